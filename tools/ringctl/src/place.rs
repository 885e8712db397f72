//! `ringctl place`: the owner of each key.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::fleet::{RuleArgs, ServerArgs};
use crate::{keys, output};

#[derive(clap::Args)]
#[command(after_help = "\
Prints a line per key: the key, a tab, and host:port of its owner.

Examples:
  ringctl place --preset libmemcached-weighted --servers a:11211,b:11211:2 user:42 user:43
  memcached-keys | ringctl place --preset twemproxy --hash-tag '{}' --file ring.conf --json -")]
pub(crate) struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    servers: ServerArgs,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Keys, or `-` for one a line from standard input
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<OsString>,
}

#[derive(Serialize)]
struct Placed<'a> {
    key: &'a str,
    /// The bytes of a key that is not UTF-8, whose `key` shows replacement characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    server: &'a str,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let servers = args.servers.needed()?;
    let ring = args.rules.build(&servers)?;
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    let mut text = Vec::new();
    let mut line = String::new();
    for key in keys::named(&args.keys)? {
        let server = &addresses[ring.owner(&key)];
        if args.json {
            let shown = String::from_utf8_lossy(&key);
            let exact = matches!(shown, std::borrow::Cow::Borrowed(_));
            let hex = || key.iter().map(|byte| format!("{byte:02x}")).collect();
            line.clear();
            output::json_line(
                &mut line,
                &Placed {
                    key: &shown,
                    key_hex: (!exact).then(hex),
                    server,
                },
            )?;
            text.extend_from_slice(line.as_bytes());
        } else {
            text.extend_from_slice(&key);
            text.push(b'\t');
            text.extend_from_slice(server.as_bytes());
            text.push(b'\n');
        }
    }
    output::print(&text)
}

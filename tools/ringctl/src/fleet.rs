//! The options that say which servers, and by whose rules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use ringcached::cluster::{Preset, Ring, RingFile, Rules, Server};

/// Which servers.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Servers, comma-separated: host:port[:weight][ name]. Write hosts as your clients do: the text is
    /// hashed
    #[arg(long, value_name = "SERVERS", conflicts_with = "file")]
    servers: Option<String>,
    /// Ring file to take the servers from
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl ServerArgs {
    /// The servers, if any were given.
    pub(crate) fn given(&self) -> Result<Option<Vec<Server>>> {
        match (&self.servers, &self.file) {
            (Some(list), _) => parse_list("--servers", list).map(Some),
            (None, Some(path)) => Ok(Some(read_file(path)?.servers)),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn needed(&self) -> Result<Vec<Server>> {
        self.given()?
            .ok_or_else(|| anyhow!("which servers? give --servers or --file"))
    }
}

/// Whose rules.
#[derive(Args)]
pub(crate) struct RuleArgs {
    /// Whose rules to follow; `ringctl presets` lists them
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Preset,
    /// Hash only what stands between these two characters, as twemproxy's hash_tag does
    #[arg(long, value_name = "CHARS", value_parser = parse_tag)]
    hash_tag: Option<[u8; 2]>,
}

impl RuleArgs {
    pub(crate) fn rules(&self) -> Rules {
        let rules = self.preset.rules();
        Rules {
            hash_tag: self.hash_tag.or(rules.hash_tag),
            ..rules
        }
    }

    pub(crate) fn build(&self, servers: &[Server]) -> Result<Ring> {
        Ring::build(&self.rules(), servers).with_context(|| format!("no {} ring", self.preset.name()))
    }
}

fn parse_tag(text: &str) -> Result<[u8; 2]> {
    text.as_bytes()
        .try_into()
        .map_err(|_| anyhow!("expected two characters, as in {{}}"))
}

/// A list of servers; two at one address would be one server counted twice.
pub(crate) fn parse_list(option: &str, list: &str) -> Result<Vec<Server>> {
    let servers = Server::parse_list(list).with_context(|| format!("{option} {list:?}"))?;
    for (index, server) in servers.iter().enumerate() {
        if servers[..index]
            .iter()
            .any(|earlier| earlier.address() == server.address())
        {
            bail!("{option}: {} is there twice", server.address());
        }
    }
    Ok(servers)
}

fn read_file(path: &Path) -> Result<RingFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    RingFile::parse(&bytes).map_err(|error| anyhow!("{}:{error}", path.display()))
}

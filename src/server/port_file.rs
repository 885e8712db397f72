//! `MEMCACHED_PORT_FILENAME`: tells a starter which ports were taken, as memcached does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;

/// Writes the file, whole: under another name first, then renamed.
pub(super) fn write(taken: &[(&'static str, SocketAddr)]) -> io::Result<()> {
    let Some(name) = std::env::var_os("MEMCACHED_PORT_FILENAME") else {
        return Ok(());
    };
    let mut unfinished = OsString::from(&name);
    unfinished.push(".lck");
    let lines: String = taken
        .iter()
        .map(|(transport, address)| {
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            format!("{transport} {family}: {}\n", address.port())
        })
        .collect();
    fs::write(&unfinished, lines)?;
    fs::rename(&unfinished, &name)
}

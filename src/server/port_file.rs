//! `MEMCACHED_PORT_FILENAME`: tells a starter which ports were taken, as memcached does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Writes the file.
pub(super) fn write(taken: &[(&'static str, SocketAddr)]) -> io::Result<()> {
    let Some(name) = std::env::var_os("MEMCACHED_PORT_FILENAME") else {
        return Ok(());
    };
    let lines: String = taken
        .iter()
        .map(|(transport, address)| {
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            format!("{transport} {family}: {}\n", address.port())
        })
        .collect();
    write_whole(Path::new(&name), &lines)
}

/// Writes a file that somebody waits for: whoever finds it finds all of it.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = OsString::from(path);
    unfinished.push(".lck");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

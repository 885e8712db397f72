//! `-P`: tells others which process this is. A server that cannot serves all the same, as memcached does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

/// Writes the file, whole: under another name first, then renamed.
pub(super) fn write(path: &Path) -> io::Result<()> {
    let mut unfinished = OsString::from(path);
    unfinished.push(".tmp");
    fs::write(&unfinished, format!("{}\n", std::process::id()))?;
    fs::rename(&unfinished, path)
}

//! `-P`: tells others which process this is. A server that cannot serves all the same, as memcached does.

use std::io;
use std::path::Path;

use super::port_file::write_whole;

/// Writes the file.
pub(super) fn write(path: &Path) -> io::Result<()> {
    write_whole(path, &format!("{}\n", std::process::id()))
}

//! `--config FILE`: options from a file of the form that Debian's memcached.conf has.
//!
//! One option a line, with its value behind blanks; `#` begins a comment unless a backslash stands before it; what does
//! not begin with a dash (`logfile ...`) is ignored, and so is `-d`, for whoever reads the file decides on that. The
//! options of the file come before those of the command line, which therefore win.

use std::ffi::OsString;

use super::{EX_USAGE, Misuse};

/// The command line with the options of the files that it names behind the program's name.
pub(super) fn with_options_of(words: Vec<OsString>) -> Result<Vec<OsString>, Misuse> {
    let mut read = Vec::new();
    let mut expects_file = false;
    for word in words.iter().skip(1) {
        let text = word.to_string_lossy();
        if std::mem::take(&mut expects_file) {
            read.extend(options_in(&text)?);
        } else if text == "--" {
            break;
        } else if text == "--config" {
            expects_file = true;
        } else if let Some(file) = text.strip_prefix("--config=") {
            read.extend(options_in(file)?);
        }
    }
    let mut words = words.into_iter();
    Ok(words.next().into_iter().chain(read).chain(words).collect())
}

fn options_in(file: &str) -> Result<Vec<OsString>, Misuse> {
    match std::fs::read_to_string(file.trim_start()) {
        Ok(text) => Ok(text.lines().flat_map(words_of).map(OsString::from).collect()),
        Err(error) => Err(Misuse::new(EX_USAGE, format!("--config {file}: {error}"))),
    }
}

/// The words of one line that are meant for the server.
fn words_of(line: &str) -> Vec<String> {
    let comment = line
        .char_indices()
        .find(|&(at, letter)| letter == '#' && !line[..at].ends_with('\\'));
    let line = comment.map_or(line, |(at, _)| &line[..at]).trim();
    let is_ours = line.starts_with('-') && !line.starts_with("-d") && !line.starts_with("-h");
    let words = line.split_whitespace().filter(|_| is_ours);
    words.map(|word| word.replace("\\#", "#")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_debian_has_them() {
        for (line, want) in [
            ("-m 64", "-m 64"),
            ("  -p 11211   # the port", "-p 11211"),
            ("# -v", ""),
            ("-d", ""),
            ("logfile /var/log/memcached.log", ""),
            ("-l 127.0.0.1 -l ::1", "-l 127.0.0.1 -l ::1"),
            ("-D \\#", "-D #"),
            ("--threads=4", "--threads=4"),
            ("", ""),
        ] {
            assert_eq!(want, words_of(line).join(" "), "{line}");
        }
    }
}

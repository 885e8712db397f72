//! The ring file: the fleet as an operator writes it.
//!
//! ```text
//! # Anything after a number sign is a remark.
//! version 1700000001
//! cache-1.example.com:11211              ip=10.0.0.1 zone=a
//! cache-2.example.com:11211:2   blue     ip=10.0.0.2 zone=b
//! ```
//!
//! A line is `version N`, at most once, or a server: `host[:port[:weight]]`, then in any order a name, `ip=`
//! and `zone=`. Where the version is missing the reader of the file takes its modification time in seconds.
//!
//! A file is right as a whole or not at all: the first mistake refuses it, with its line and column, and
//! whoever reread it keeps the ring it had. Reading the file is the caller's business; this is bytes in,
//! servers out.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use super::server::digits;
use super::{RingVersion, SERVERS_MAX, Server};

/// A ring file that was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFile {
    pub version: Option<RingVersion>,
    /// In the order of the file; one at least, no two of the same address or name.
    pub servers: Vec<Server>,
}

/// The first mistake of a ring file. Line and column count from 1, the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFileError {
    pub line: usize,
    pub column: usize,
    pub mistake: Mistake,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    NotUtf8,
    /// What [`Server`]'s notation says about it.
    Server(&'static str),
    Version,
    SecondVersion {
        first_line: usize,
    },
    SecondServer {
        first_line: usize,
    },
    SecondName {
        first_line: usize,
    },
    /// A word after the server that is not a name, `ip=` or `zone=`, or is one of them again.
    UnexpectedWord,
    Address,
    EmptyZone,
    TooManyServers,
    NoServers,
}

impl RingFile {
    /// Parses a whole file.
    pub fn parse(bytes: &[u8]) -> Result<RingFile, RingFileError> {
        let mut file = RingFile {
            version: None,
            servers: Vec::new(),
        };
        let mut version_line = 0;
        let mut address_lines = HashMap::new();
        let mut name_lines = HashMap::new();
        let mut last_line = 0;
        for (index, bytes) in bytes.split(|&byte| byte == b'\n').enumerate() {
            last_line = index + 1;
            let fail = |column, mistake| {
                Err(RingFileError {
                    line: index + 1,
                    column,
                    mistake,
                })
            };
            let line = match std::str::from_utf8(bytes) {
                Ok(line) => line,
                Err(error) => {
                    let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                    return fail(good.chars().count() + 1, Mistake::NotUtf8);
                }
            };
            let mut words = words(line);
            let Some((column, first)) = words.next() else {
                continue;
            };
            if first == "version" {
                if file.version.is_some() {
                    return fail(
                        column,
                        Mistake::SecondVersion {
                            first_line: version_line,
                        },
                    );
                }
                let (column, number) = words.next().unwrap_or((column + first.len(), ""));
                file.version = number.parse().ok();
                version_line = last_line;
                if file.version.is_none() {
                    return fail(column, Mistake::Version);
                }
                if let Some((column, _)) = words.next() {
                    return fail(column, Mistake::UnexpectedWord);
                }
                continue;
            }
            let (server, name_column) = match server(column, first, words) {
                Ok(parsed) => parsed,
                Err((column, mistake)) => return fail(column, mistake),
            };
            if let Some(first_line) = address_lines.insert(server.address(), last_line) {
                return fail(column, Mistake::SecondServer { first_line });
            }
            if let Some(name) = &server.name
                && let Some(first_line) = name_lines.insert(name.clone(), last_line)
            {
                return fail(name_column, Mistake::SecondName { first_line });
            }
            if file.servers.len() == SERVERS_MAX {
                return fail(column, Mistake::TooManyServers);
            }
            file.servers.push(server);
        }
        if file.servers.is_empty() {
            return Err(RingFileError {
                line: last_line,
                column: 1,
                mistake: Mistake::NoServers,
            });
        }
        Ok(file)
    }
}

/// The words of a line before its remark, each with its column.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let line = &line[..line.find('#').unwrap_or(line.len())];
    line.split_whitespace().map(move |word| {
        // split_whitespace hands out slices of the line, so the distance of their starts is the offset.
        let offset = word.as_ptr() as usize - line.as_ptr() as usize;
        (line[..offset].chars().count() + 1, word)
    })
}

/// A server's line, and the column of its name (or of its address, if it has none).
fn server<'a>(
    column: usize,
    address: &str,
    words: impl Iterator<Item = (usize, &'a str)>,
) -> Result<(Server, usize), (usize, Mistake)> {
    let mut server: Server = address
        .parse()
        .map_err(|e: super::ServerError| (column + e.column - 1, Mistake::Server(e.what)))?;
    let mut name_column = column;
    let mut address_given = false;
    for (column, word) in words {
        match word.split_once('=') {
            Some(("ip", ip)) if !address_given => {
                address_given = true;
                let ip: IpAddr = ip.parse().map_err(|_| (column + 3, Mistake::Address))?;
                if server.ip.is_some_and(|host| host != ip) {
                    return Err((column + 3, Mistake::Address));
                }
                server.ip = Some(ip);
            }
            Some(("zone", zone)) if server.zone.is_none() => {
                if zone.is_empty() {
                    return Err((column + 5, Mistake::EmptyZone));
                }
                server.zone = Some(zone.to_owned());
            }
            None if server.name.is_none() => {
                name_column = column;
                server.name = Some(word.to_owned());
            }
            _ => return Err((column, Mistake::UnexpectedWord)),
        }
    }
    Ok((server, name_column))
}

impl std::str::FromStr for RingVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<RingVersion, ()> {
        // Ten digits: one more than `digits` takes, because times in seconds have ten.
        let (head, tail) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(())?;
        let tail = digits(tail).ok_or(())?;
        let head = if head.is_empty() {
            0
        } else {
            digits(head).ok_or(())?
        };
        RingVersion::new(u64::from(head) * 10 + u64::from(tail)).ok_or(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::NotUtf8 => f.write_str("not UTF-8"),
            Mistake::Server(what) => f.write_str(what),
            Mistake::Version => f.write_str("version must be a whole number from 1 to 2147483647"),
            Mistake::SecondVersion { first_line } => {
                write!(f, "version was already given in line {first_line}")
            }
            Mistake::SecondServer { first_line } => write!(f, "this server is already in line {first_line}"),
            Mistake::SecondName { first_line } => write!(f, "this name is already in line {first_line}"),
            Mistake::UnexpectedWord => f.write_str("expected a name, `ip=` or `zone=`, each once"),
            Mistake::Address => f.write_str("expected the server's IP address"),
            Mistake::EmptyZone => f.write_str("expected the name of a zone"),
            Mistake::TooManyServers => write!(f, "a ring may have {SERVERS_MAX} servers"),
            Mistake::NoServers => f.write_str("the file names no server"),
        }
    }
}

impl fmt::Display for RingFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.mistake)
    }
}

impl std::error::Error for RingFileError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line per server, or the error.
    #[track_caller]
    fn check(text: &[u8], want: &str) {
        let got = match RingFile::parse(text) {
            Ok(file) => {
                let version = file.version.map_or("no version".to_owned(), |v| v.to_string());
                file.servers.iter().fold(version, |text, server| {
                    let ip = server.ip.map_or(String::new(), |ip| format!(" ip={ip}"));
                    let zone = server
                        .zone
                        .as_ref()
                        .map_or(String::new(), |zone| format!(" zone={zone}"));
                    format!("{text}, {server}{ip}{zone}")
                })
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn files() {
        check(b"a:1\nb:2\n", "no version, a:1, b:2");
        check(b"version 7\na\n", "7, a:11211");
        check(b"a\r\n\r\nversion 1700000001 # now\r\n", "1700000001, a:11211");
        check(
            b"# only\n\t a:1:3 \t blue ip=10.0.0.1 zone=z1 # x",
            "no version, a:1:3 blue ip=10.0.0.1 zone=z1",
        );
        check(b"a zone=z blue", "no version, a:11211 blue zone=z");
        check(b"10.0.0.1:1 ip=10.0.0.1", "no version, 10.0.0.1:1 ip=10.0.0.1");
        check(b"[::1]:1", "no version, [::1]:1 ip=::1");
        check(b"version:5", "no version, version:5");
        check("a:1 größe # ü\n".as_bytes(), "no version, a:1 größe");
    }

    #[test]
    fn mistakes_have_line_and_column() {
        check(b"", "1:1: the file names no server");
        check(b"# nothing\nversion 3\n", "3:1: the file names no server");
        check(b"a:1\n  b:x\n", "2:5: port must be a number from 1 to 65535");
        check(
            b"a:1\nversion zero",
            "2:9: version must be a whole number from 1 to 2147483647",
        );
        check(
            b"version",
            "1:8: version must be a whole number from 1 to 2147483647",
        );
        check(
            b"version 2147483648\na",
            "1:9: version must be a whole number from 1 to 2147483647",
        );
        check(
            b"version 0\na",
            "1:9: version must be a whole number from 1 to 2147483647",
        );
        check(
            b"version 1 a",
            "1:11: expected a name, `ip=` or `zone=`, each once",
        );
        check(
            b"version 1\nversion 2\na",
            "2:1: version was already given in line 1",
        );
        check(b"a:1\na:2\n a:1", "3:2: this server is already in line 1");
        check(b"a:1 x\nb:1 zone=q x", "2:12: this name is already in line 1");
        check(b"a:1 x y", "1:7: expected a name, `ip=` or `zone=`, each once");
        check(b"a:1 port=3", "1:5: expected a name, `ip=` or `zone=`, each once");
        check(b"a:1 ip=1.2.3", "1:8: expected the server's IP address");
        check(b"1.1.1.1 ip=1.1.1.2", "1:12: expected the server's IP address");
        check(
            b"a ip=1.1.1.1 ip=1.1.1.1",
            "1:14: expected a name, `ip=` or `zone=`, each once",
        );
        check(b"a zone=", "1:8: expected the name of a zone");
        check(
            "größe\n".as_bytes(),
            "1:3: host name may hold letters, digits, `-`, `.` and `_`",
        );
        check(b"a\n\xc3\xa4 \xff", "2:3: not UTF-8");
        check(
            b"\x00\x01",
            "1:1: host name may hold letters, digits, `-`, `.` and `_`",
        );
        let many = (0..=SERVERS_MAX).map(|n| format!("h{n}\n")).collect::<String>();
        check(many.as_bytes(), "4097:1: a ring may have 4096 servers");
    }
}

//! One memcached server as clients name it, and the notation `host:port[:weight][ name]`.
//!
//! Host and name are hash input: `10.0.0.1`, `cache-1` and `cache-1.example.com` are three different servers
//! to a ring even where they are one machine. Nothing here lowers case, resolves or normalises.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::DEFAULT_PORT;

/// A server of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address, as the client writes it; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// Share of the ring relative to the others; 1 or more.
    pub weight: u32,
    /// Name that is hashed instead of host and port where the rules know names (twemproxy).
    pub name: Option<String>,
    /// Address behind `host`, where known. Hashed by spymemcached alone; published to clients.
    pub ip: Option<IpAddr>,
    /// Failure domain, for people and for a zone-aware client. Never hashed.
    pub zone: Option<String>,
}

/// Longest host name: what DNS allows, and libmemcached's and twemproxy's buffers hold.
pub(super) const HOST_LENGTH_MAX: usize = 255;

/// Why a text is no server. `column` counts characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    pub column: usize,
    pub what: &'static str,
}

impl Server {
    /// A server of weight 1 without a name.
    pub fn new(host: impl Into<String>, port: u16) -> Server {
        let host = host.into();
        let ip = host.parse().ok();
        Server {
            host,
            port,
            weight: 1,
            name: None,
            ip,
            zone: None,
        }
    }

    pub fn with_weight(self, weight: u32) -> Server {
        Server { weight, ..self }
    }

    pub fn with_name(self, name: impl Into<String>) -> Server {
        Server {
            name: Some(name.into()),
            ..self
        }
    }

    /// `host:port`, with brackets around an IPv6 address: how we print a server and how one connects to it.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Parses `server,server,...`; columns of errors count from the start of the whole text.
    pub fn parse_list(text: &str) -> Result<Vec<Server>, ServerError> {
        let mut start = 0;
        text.split(',')
            .map(|part| {
                let column = start;
                start += part.chars().count() + 1;
                part.parse().map_err(|error: ServerError| ServerError {
                    column: error.column + column,
                    ..error
                })
            })
            .collect()
    }
}

/// `host[:port[:weight]][ name]`, or `[v6]` in place of the host. Without a port it is 11211.
impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Server, ServerError> {
        // Columns count characters, slices count bytes: this is the only place that turns one into the other.
        let fail = |at: usize, what| {
            Err(ServerError {
                column: text[..at].chars().count() + 1,
                what,
            })
        };
        let (address, name) = match text.split_once(' ') {
            Some((address, name)) => (address, Some(name)),
            None => (text, None),
        };
        let (host, host_end) = match address.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                Some((host, _)) if host.parse::<Ipv6Addr>().is_ok() => (host, host.len() + 2),
                Some(_) => return fail(1, "expected an IPv6 address between the brackets"),
                None => return fail(0, "bracket is not closed"),
            },
            None => {
                let end = address.find(':').unwrap_or(address.len());
                (&address[..end], end)
            }
        };
        if let Some((at, what)) = host_mistake(host) {
            return fail(at, what);
        }
        let mut server = Server::new(host, DEFAULT_PORT);
        let mut at = host_end;
        let mut numbers = match address[host_end..].strip_prefix(':') {
            Some(rest) => rest.split(':'),
            None if host_end == address.len() => "".split(':'),
            None => return fail(host_end, "expected `:` and a port"),
        };
        if host_end < address.len() {
            let port = numbers.next().unwrap_or_default();
            server.port = match digits(port).and_then(|port| u16::try_from(port).ok()) {
                Some(number) if number > 0 => number,
                _ => return fail(at + 1, "port must be a number from 1 to 65535"),
            };
            at += 1 + port.len();
            if let Some(weight) = numbers.next() {
                server.weight = match digits(weight) {
                    Some(number) if number > 0 => number,
                    _ => return fail(at + 1, "weight must be a whole number of 1 or more"),
                };
                at += 1 + weight.len();
            }
            if numbers.next().is_some() {
                return fail(
                    at,
                    "expected nothing after the weight (an IPv6 address needs brackets)",
                );
            }
        }
        if let Some(name) = name {
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return fail(address.len() + 1, "name must be one word");
            }
            server.name = Some(name.to_owned());
        }
        Ok(server)
    }
}

/// `host:port[:weight][ name]`: what `from_str` reads back. The weight is left out where it is 1.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())?;
        if self.weight != 1 {
            write!(f, ":{}", self.weight)?;
        }
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.what)
    }
}

impl std::error::Error for ServerError {}

/// Decimal digits alone: no sign, no blank, at most nine of them, so that twemproxy's `int` holds it as well.
pub(super) fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// What is wrong with a host name, and at which byte. Underscores are let in: Docker and Kubernetes have
/// them.
pub(super) fn host_mistake(host: &str) -> Option<(usize, &'static str)> {
    if host.is_empty() {
        return Some((0, "expected a host name or address"));
    }
    if host.len() > HOST_LENGTH_MAX {
        return Some((0, "host name is longer than 255 bytes"));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    let bad = host.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))?;
    Some((bad, "host name may hold letters, digits, `-`, `.` and `_`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = match text.parse::<Server>() {
            Ok(server) => format!(
                "{} {} {} {:?}",
                server.host, server.port, server.weight, server.name
            ),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn notation() {
        check("cache1", "cache1 11211 1 None");
        check("cache1:11212", "cache1 11212 1 None");
        check("cache1:11212:3", "cache1 11212 3 None");
        check("10.0.0.1:11212:3 alpha", "10.0.0.1 11212 3 Some(\"alpha\")");
        check("cache1 alpha", "cache1 11211 1 Some(\"alpha\")");
        check("[::1]:11212:2", "::1 11212 2 None");
        check("[fe80::1]", "fe80::1 11211 1 None");
    }

    #[test]
    fn mistakes_have_a_column() {
        check("", "column 1: expected a host name or address");
        check(":11211", "column 1: expected a host name or address");
        check(
            "ca!he:1",
            "column 3: host name may hold letters, digits, `-`, `.` and `_`",
        );
        check(
            "cäche:1",
            "column 2: host name may hold letters, digits, `-`, `.` and `_`",
        );
        check("cache:0", "column 7: port must be a number from 1 to 65535");
        check("cache:", "column 7: port must be a number from 1 to 65535");
        check("cache:65536", "column 7: port must be a number from 1 to 65535");
        check("cache:+1", "column 7: port must be a number from 1 to 65535");
        check(
            "cache:1:0",
            "column 9: weight must be a whole number of 1 or more",
        );
        check(
            "cache:1:1.5",
            "column 9: weight must be a whole number of 1 or more",
        );
        check(
            "cache:1:2:3",
            "column 10: expected nothing after the weight (an IPv6 address needs brackets)",
        );
        check("::1", "column 1: expected a host name or address");
        check("[::1", "column 1: bracket is not closed");
        check(
            "[cache]:1",
            "column 2: expected an IPv6 address between the brackets",
        );
        check("[::1]x:1", "column 6: expected `:` and a port");
        check("cache:1 two words", "column 9: name must be one word");
        check("cache:1 ", "column 9: name must be one word");
    }

    #[test]
    fn lists_count_columns_through() {
        let servers = Server::parse_list("a:1,b:2:3,[::1]:4 n").unwrap();
        assert_eq!(
            servers.iter().map(Server::to_string).collect::<Vec<_>>(),
            ["a:1", "b:2:3", "[::1]:4 n"]
        );
        assert_eq!(Server::parse_list("ä").unwrap_err().column, 1);
        assert_eq!(Server::parse_list("a:1,b:x").unwrap_err().column, 7);
        assert_eq!(Server::parse_list("a:1,,b").unwrap_err().column, 5);
    }

    #[test]
    fn printed_servers_parse_back() {
        for text in ["a:1", "a:1:7", "a:1:7 name", "[::1]:11211", "a.b-c_d:65535"] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), text);
        }
    }
}

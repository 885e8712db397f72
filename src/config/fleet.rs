//! The options about the fleet: where the published ring comes from, and who may set it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cluster::Server;

/// As typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "The published ring (config get cluster)")]
pub(super) struct FleetOptions {
    /// Publish the servers of this file; it is read again when it changes, and on SIGHUP
    #[arg(long, value_name = "PATH", conflicts_with = "ring_self")]
    ring_file: Option<PathBuf>,
    /// Ask these servers for the ring, beside those that it names
    #[arg(long, value_name = "HOST:PORT,...", conflicts_with = "ring_self")]
    ring_peers: Option<String>,
    /// Publish the servers of this DNS name: an SRV record (_memcached._tcp.NAME), or addresses and a port
    #[arg(long, value_name = "NAME[:PORT]", conflicts_with = "ring_self")]
    ring_dns: Option<String>,
    /// Name server to ask, instead of the system's
    #[arg(long, value_name = "IP[:PORT]", requires = "ring_dns", value_parser = name_server)]
    ring_dns_server: Option<SocketAddr>,
    /// Publish this server alone under this name; with --core-ports each core of it
    #[arg(long, value_name = "HOST")]
    ring_self: Option<String>,
    /// Who may set the ring by config set and config delete
    #[arg(long, value_name = "WHO", default_value = "nobody")]
    ring_admin: Admin,
}

/// Who may set the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Admin {
    Nobody,
    /// Clients on a unix socket or a loopback address
    Local,
    Anyone,
}

/// A DNS name that stands for a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// With an underscore in front it is an SRV record's.
    pub name: String,
    /// Of the servers; an SRV record says it itself.
    pub port: u16,
}

/// As meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    pub file: Option<PathBuf>,
    pub peers: Vec<Server>,
    pub dns: Option<DnsName>,
    pub name_server: Option<SocketAddr>,
    pub own_name: Option<String>,
    pub admin: Admin,
}

impl Fleet {
    /// Whether there is a fleet to look after.
    pub fn is_wanted(&self) -> bool {
        self.file.is_some()
            || !self.peers.is_empty()
            || self.dns.is_some()
            || self.own_name.is_some()
            || self.admin != Admin::Nobody
    }
}

impl FleetOptions {
    pub(super) fn meaning(self) -> Result<Fleet, String> {
        let peers = match &self.ring_peers {
            None => Vec::new(),
            Some(list) => Server::parse_list(list)
                .map_err(|error| format!("--ring-peers {list}: column {}: {}", error.column, error.what))?,
        };
        let dns = self.ring_dns.as_deref().map(dns_name).transpose()?;
        if let Some(name) = &self.ring_self {
            // The notation has a port, which the server knows better.
            let server: Server = name
                .parse()
                .map_err(|error| format!("--ring-self {name}: {error}"))?;
            if server.host != *name {
                return Err(format!(
                    "--ring-self {name}: a host alone, the port is the server's"
                ));
            }
        }
        // -d leaves the folder in which the path was typed.
        let file = self
            .ring_file
            .map(|path| std::path::absolute(&path).map_err(|error| format!("--ring-file: {error}")))
            .transpose()?;
        Ok(Fleet {
            file,
            peers,
            dns,
            name_server: self.ring_dns_server,
            own_name: self.ring_self,
            admin: self.ring_admin,
        })
    }
}

/// `NAME` or `NAME:PORT`.
fn dns_name(text: &str) -> Result<DnsName, String> {
    let server: Server = text
        .parse()
        .map_err(|error| format!("--ring-dns {text}: {error}"))?;
    if server.name.is_some() || server.weight != 1 {
        return Err(format!("--ring-dns {text}: expected a name and a port"));
    }
    Ok(DnsName {
        name: server.host,
        port: server.port,
    })
}

/// `IP` or `IP:PORT`.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    /// DNS's.
    const PORT: u16 = 53;
    text.parse()
        .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, PORT)))
        .map_err(|_| "expected an IP address, and perhaps a port".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fleet: FleetOptions,
    }

    fn fleet(line: &str) -> Result<Fleet, String> {
        let words = std::iter::once("ringcached").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.fleet.meaning()
    }

    #[test]
    fn what_is_typed_is_meant() {
        let nothing = fleet("").unwrap();
        assert!(!nothing.is_wanted());
        assert_eq!(Admin::Nobody, nothing.admin);
        let all = fleet(
            "--ring-file /etc/ring --ring-peers a:1,[::1]:2 --ring-dns _memcached._tcp.cache --ring-dns-server ::1",
        );
        let all = all.unwrap();
        assert_eq!(Some(PathBuf::from("/etc/ring")), all.file);
        assert_eq!(vec![Server::new("a", 1), Server::new("::1", 2)], all.peers);
        let name = "_memcached._tcp.cache".to_owned();
        assert_eq!(Some(DnsName { name, port: 11211 }), all.dns);
        assert_eq!("[::1]:53".parse().ok(), all.name_server);
        assert!(fleet("--ring-file ring").unwrap().file.unwrap().is_absolute());
        for line in [
            "--ring-self cache-1",
            "--ring-admin local",
            "--ring-dns cache:11212",
        ] {
            assert!(fleet(line).unwrap().is_wanted(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--ring-peers a:x",
            "--ring-peers ,",
            "--ring-self a:1",
            "--ring-self a|b",
            "--ring-self a --ring-file b",
            "--ring-self a --ring-dns b",
            "--ring-dns a:0",
            "--ring-dns a:1:2",
            "--ring-dns-server 127.0.0.1",
            "--ring-dns a --ring-dns-server b",
            "--ring-admin all",
        ] {
            assert!(fleet(line).is_err(), "{line}");
        }
    }
}

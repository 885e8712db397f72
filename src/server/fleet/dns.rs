//! A fleet by its DNS name, and hosts by theirs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use crate::cluster::{SERVERS_MAX, Server};
use crate::config::DnsName;

/// Patience with a name: everything that it takes together.
const PATIENCE: Duration = Duration::from_secs(2);

/// Patience with one question to one name server.
const PATIENCE_ONE: Duration = Duration::from_millis(900);

/// An answer is remembered for as long as it says, and no longer than this.
const TTL_MAX: Duration = Duration::from_secs(30);

pub(super) struct Names {
    /// Or why there is none: then hosts are known by their addresses alone.
    resolver: Result<TokioResolver, String>,
}

impl Names {
    /// Asks `name_server`, or those that the system is configured for. To be called inside the runtime.
    pub(super) fn new(name_server: Option<SocketAddr>) -> Names {
        Names {
            resolver: Names::resolver(name_server),
        }
    }

    fn resolver(name_server: Option<SocketAddr>) -> Result<TokioResolver, String> {
        let mut builder = match name_server {
            None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
            Some(address) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                let server = NameServerConfig::new(address.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = PATIENCE_ONE;
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(TTL_MAX);
        builder.build().map_err(|error| error.to_string())
    }

    /// The servers that a name stands for, sorted by host and port; one at least.
    pub(super) async fn servers(&self, asked: &DnsName) -> Result<Vec<Server>, String> {
        let found = tokio::time::timeout(PATIENCE, self.find(asked))
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        match found.len() {
            0 => Err("it stands for no server".to_owned()),
            1..=SERVERS_MAX => Ok(found),
            count => Err(format!("it stands for {count} servers, more than {SERVERS_MAX}")),
        }
    }

    async fn find(&self, asked: &DnsName) -> Result<Vec<Server>, String> {
        let mut servers = Vec::new();
        if asked.name.starts_with('_') {
            let answer = self
                .resolver
                .as_ref()
                .map_err(String::clone)?
                .srv_lookup(asked.name.as_str())
                .await;
            let answer = answer.map_err(|error| error.to_string())?;
            for record in answer.answers() {
                let RData::SRV(srv) = &record.data else {
                    continue;
                };
                let host = srv.target.to_utf8().trim_end_matches('.').to_owned();
                // Several clients skip a node without an address, so a ring with such a node is not to be published.
                let ip = self.addresses(&host).await?.first().copied();
                servers.push(Server {
                    ip,
                    ..Server::new(host, srv.port)
                });
            }
        } else {
            let addresses = self.addresses(&asked.name).await?;
            servers.extend(addresses.iter().map(|ip| Server::new(ip.to_string(), asked.port)));
        }
        servers.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        servers.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
        Ok(servers)
    }

    /// A host's addresses, sorted.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let answer = self
            .resolver
            .as_ref()
            .map_err(String::clone)?
            .lookup_ip(host)
            .await;
        let answer = answer.map_err(|error| format!("{host}: {error}"))?;
        let mut addresses: Vec<IpAddr> = answer.iter().collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// Where to reach a server.
    pub(super) async fn reach(&self, server: &Server) -> Result<SocketAddr, String> {
        if let Some(ip) = server.ip {
            return Ok(SocketAddr::new(ip, server.port));
        }
        let addresses = tokio::time::timeout(PATIENCE_ONE, self.addresses(&server.host))
            .await
            .map_err(|_| format!("{}: no answer within {PATIENCE_ONE:?}", server.host))??;
        let ip = addresses
            .first()
            .ok_or_else(|| format!("{}: no address", server.host))?;
        Ok(SocketAddr::new(*ip, server.port))
    }
}

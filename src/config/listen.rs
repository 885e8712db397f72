//! `-l`: what its lists stand for.
//!
//! Each entry is `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`, a bare `V6` or `*`; before it may stand `notls:`, `btls:` or
//! `mtls:` (with -Z), then `proto[NAME]:` and `tag[NAME]:` or `tag_NAME_:`, which have no effect here: every listener
//! speaks what `-B` allows.

use std::net::{IpAddr, ToSocketAddrs};

use ipnet::IpNet;

use super::{Address, EX_OSERR, Entrance, Misuse, words};

/// Bytes of a listener's tag, at most.
const TAG_SIZE_MAX: usize = 8;

/// The addresses that the lists stand for, with `port` where they name none: 0 is none at all, -1 any that is free.
pub(super) fn addresses(
    lists: &[String],
    port: i32,
    tls_enabled: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Address>, Misuse> {
    let refused = |message: String| Misuse::new(EX_OSERR, message);
    let port = match port {
        -1 => 0,
        0 => return Ok(Vec::new()),
        _ => u16::try_from(port)
            .map_err(|_| refused(format!("failed to listen on port {port}: no such port")))?,
    };
    if lists.is_empty() {
        let all = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])];
        return Ok(all
            .map(|ip| Address::Tcp(ip, port, Entrance::usual(tls_enabled)))
            .into());
    }
    let mut addresses = Vec::new();
    for entry in lists
        .iter()
        .flat_map(|list| list.split([',', ';']))
        .filter(|entry| !entry.is_empty())
    {
        let found = entrance(entry.trim(), tls_enabled).and_then(|(entrance, entry)| {
            let host = without_prefixes(entry, notes)?;
            resolve(host, port, entrance)
        });
        let found = found
            .map_err(|why| refused(format!("failed to listen on one of interface(s) {entry}: {why}")))?;
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

/// What stands first in an entry, and the rest.
fn entrance(entry: &str, tls_enabled: bool) -> Result<(Entrance, &str), String> {
    for (prefix, entrance) in [
        ("notls", Entrance::Plain),
        ("btls", Entrance::Basic),
        ("mtls", Entrance::Mutual),
    ] {
        match entry.strip_prefix(prefix) {
            Some(_) if !tls_enabled => {
                return Err(format!("'{prefix}' option is valid only when SSL is enabled"));
            }
            Some(rest) => return Ok((entrance, rest.strip_prefix(':').unwrap_or(rest))),
            None => {}
        }
    }
    Ok((Entrance::usual(tls_enabled), entry))
}

fn without_prefixes<'a>(entry: &'a str, notes: &mut Vec<String>) -> Result<&'a str, String> {
    let mut rest = entry;
    let behind = |rest: &'a str| rest.strip_prefix(':').unwrap_or(rest);
    if let Some(spec) = rest.strip_prefix("proto[") {
        let (name, host) = spec
            .split_once(']')
            .ok_or_else(|| format!("Invalid protocol spec: \"{spec}\""))?;
        if name == "proxy" {
            return Err("Server not built with proxy".to_owned());
        }
        notes.push(format!(
            "-l proto[{name}] has no effect: every address speaks what -B allows"
        ));
        rest = behind(host);
    }
    if let Some((open, spec)) = rest.strip_prefix("tag").and_then(|spec| spec.split_at_checked(1))
        && ["[", "_"].contains(&open)
    {
        let (name, host) = spec
            .split_once(']')
            .or_else(|| spec.split_once('_'))
            .ok_or_else(|| format!("Invalid tag in socket config: \"{spec}\""))?;
        if !(1..=TAG_SIZE_MAX).contains(&name.len()) {
            return Err(format!(
                "Listener tags must be between 1 and 8 characters: \"{name}\""
            ));
        }
        notes.push(format!("-l tag[{name}] has no effect: nobody asks for it"));
        rest = behind(host);
    }
    Ok(rest)
}

/// This machine, and the networks whose addresses mean nothing outside of them: private ones, those of carriers, those of
/// one link.
pub(super) fn private_networks() -> Vec<IpNet> {
    const V4: [([u8; 4], u8); 6] = [
        ([127, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([100, 64, 0, 0], 10),
        ([169, 254, 0, 0], 16),
    ];
    const V6: [([u16; 8], u8); 3] = [
        ([0, 0, 0, 0, 0, 0, 0, 1], 128),
        ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ];
    let v4 = V4.map(|(address, size)| (IpAddr::from(address), size));
    let v6 = V6.map(|(address, size)| (IpAddr::from(address), size));
    v4.into_iter()
        .chain(v6)
        .map(|(address, size)| IpNet::new_assert(address, size))
        .collect()
}

/// Every address that one entry stands for.
fn resolve(entry: &str, port: u16, entrance: Entrance) -> Result<Vec<Address>, String> {
    let own_port = |text: &str| match words::leading_number(text, 10) {
        Some(-1) => Ok(0),
        Some(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            u16::try_from(port).map_err(|_| format!("Invalid port number: \"{text}\""))
        }
        _ => Err(format!("Invalid port number: \"{text}\"")),
    };
    let (host, port) = if let Some(inside) = entry.strip_prefix('[') {
        let (host, rest) = inside
            .split_once(']')
            .ok_or_else(|| format!("Invalid IPV6 address: \"{entry}\""))?;
        match rest.strip_prefix(':') {
            Some(text) => (host, own_port(text)?),
            None => (host, port),
        }
    } else {
        match entry.split_once(':') {
            Some((host, text)) if !text.contains(':') => (host, own_port(text)?),
            _ => (entry, port),
        }
    };
    if host == "*" {
        return Ok(vec![Address::Tcp(IpAddr::from([0, 0, 0, 0]), port, entrance)]);
    }
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    Ok(found
        .map(|address| Address::Tcp(address.ip(), address.port(), entrance))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lists: &[&str], want: &str) {
        let lists: Vec<String> = lists.iter().map(|list| (*list).to_owned()).collect();
        let found =
            addresses(&lists, 11211, false, &mut Vec::new()).unwrap_or_else(|misuse| panic!("{misuse:?}"));
        let spelled: Vec<String> = found
            .iter()
            .map(|address| match address {
                Address::Tcp(ip, port, _) => std::net::SocketAddr::new(*ip, *port).to_string(),
                Address::Unix(path, _) => path.display().to_string(),
            })
            .collect();
        assert_eq!(want, spelled.join(" "), "{lists:?}");
    }

    #[test]
    fn every_form_of_an_address() {
        check(&[], "0.0.0.0:11211 [::]:11211");
        check(&["127.0.0.1"], "127.0.0.1:11211");
        check(
            &["127.0.0.1:1", "127.0.0.2;127.0.0.3,"],
            "127.0.0.1:1 127.0.0.2:11211 127.0.0.3:11211",
        );
        check(&["::1,[::1]:2,[::]"], "[::1]:11211 [::1]:2 [::]:11211");
        check(&["127.0.0.1,127.0.0.1"], "127.0.0.1:11211");
        check(&["*", "*:3"], "0.0.0.0:11211 0.0.0.0:3");
        check(&["proto[ascii]:tag_tools_:127.0.0.1:4"], "127.0.0.1:4");
        check(
            &["tag[x]:[::1]", "proto[what]:127.0.0.1:-1"],
            "[::1]:11211 127.0.0.1:0",
        );
    }

    #[test]
    fn public_addresses_are_in_no_private_network() {
        for (address, want) in [
            ("127.0.0.5", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("203.0.113.9", false),
            ("::1", true),
            ("::2", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let is_private = private_networks()
                .iter()
                .any(|network| network.contains(&address));
            assert_eq!(want, is_private, "{address}");
        }
    }

    #[test]
    fn entrances_of_tls() {
        let list = "notls:127.0.0.1,btls:proto[ascii]:127.0.0.1,mtls:[::1]:1,::1".to_owned();
        let found = addresses(&[list], 2, true, &mut Vec::new()).unwrap();
        let (v4, v6) = (
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        );
        let want = [
            Address::Tcp(v4, 2, Entrance::Plain),
            Address::Tcp(v4, 2, Entrance::Basic),
            Address::Tcp(v6, 1, Entrance::Mutual),
            Address::Tcp(v6, 2, Entrance::Tls),
        ];
        assert_eq!(want, *found);
    }
}

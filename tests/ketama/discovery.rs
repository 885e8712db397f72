//! The published ring's bytes, read as the clients that speak ElastiCache's dialect read them.
//!
//! Each reader below takes the steps of one client's own parser, with its demands as errors. They are not the
//! clients: that those find a live fleet is a test of the server.

use ringcached::cluster::{PublishedRing, RingVersion, Server};

/// Version, and the addresses that the client would connect to.
type View = Result<(u32, Vec<String>), String>;
type Reader = fn(&str) -> View;

const READERS: [(&str, Reader); 10] = [
    ("AWS libmemcached, and php on it", aws_libmemcached),
    ("AWS Java client", aws_java),
    ("AWS .NET configurator", aws_dotnet),
    ("Google's gomemcache", google_gomemcache),
    ("pymemcache AWSElastiCacheHashClient", pymemcache),
    ("django-elasticache", django_elasticache),
    ("dalli-elasticache", dalli_elasticache),
    ("node memcached-elasticache", node_memcached_elasticache),
    ("emcache", emcache),
    ("xmemcached", xmemcached),
];

fn ring(version: u64) -> PublishedRing {
    let node = |n: u16| {
        let ip = format!("10.0.0.{n}").parse().ok();
        Server {
            ip,
            ..Server::new(format!("cache-{n}.fleet.example.com"), 11210 + n)
        }
    };
    PublishedRing::new(RingVersion::new(version).unwrap(), &[node(1), node(2), node(3)]).unwrap()
}

/// The golden bytes, written out, so that no change of ours goes unseen because both sides of a test changed.
#[test]
fn golden_replies() {
    let payload = "7\ncache-1.fleet.example.com|10.0.0.1|11211 \
                   cache-2.fleet.example.com|10.0.0.2|11212 \
                   cache-3.fleet.example.com|10.0.0.3|11213\n";
    assert_eq!(payload.len(), 125);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(
        text(ring(7).config_reply()),
        format!("CONFIG cluster 0 125\r\n{payload}\r\nEND\r\n")
    );
    assert_eq!(
        text(ring(7).value_reply()),
        format!("VALUE AmazonElastiCache:cluster 0 125\r\n{payload}\r\nEND\r\n")
    );
    assert_eq!(
        text(ring(7).payload()),
        payload,
        "which is also the value of the binary replies"
    );
}

#[test]
fn every_client_finds_the_fleet() {
    for (client, read) in READERS {
        for version in [1, 12, 1_700_000_001, u64::from(RingVersion::MAX.get())] {
            let reply = String::from_utf8(ring(version).config_reply()).unwrap();
            let (seen, addresses) =
                read(&reply).unwrap_or_else(|error| panic!("{client}: {error} in {reply:?}"));
            assert_eq!(u64::from(seen), version, "{client}");
            let by_ip = ["10.0.0.1:11211", "10.0.0.2:11212", "10.0.0.3:11213"];
            let by_host = [1, 2, 3].map(|n| format!("cache-{n}.fleet.example.com:1121{n}"));
            assert!(
                addresses == by_ip || addresses == by_host,
                "{client} found {addresses:?}"
            );
        }
    }
}

/// The readers do have demands: each of these spellings breaks the client it is named for.
#[test]
fn readers_refuse_what_their_clients_refuse() {
    let good = String::from_utf8(ring(7).config_reply()).unwrap();
    let breaks = |read: Reader, from: &str, into: &str| {
        assert!(good.contains(from));
        assert!(read(&good.replace(from, into)).is_err(), "{from:?} to {into:?}");
    };
    breaks(pymemcache, "\n\r\nEND", "\r\nEND");
    breaks(django_elasticache, "\n\r\nEND", "\n\nextra\n\r\nEND");
    breaks(aws_java, "7\ncache", "7\n\ncache");
    breaks(aws_libmemcached, "\n7\n", "\n0\n");
    breaks(aws_dotnet, "11211 cache", "11211  cache");
    breaks(aws_dotnet, "\n7\n", "\n2147483648\n");
    breaks(dalli_elasticache, "|10.0.0.2|", "||");
    breaks(google_gomemcache, "|10.0.0.2|", "||");
    breaks(emcache, "cluster 0 125", "cluster 0 20");
}

/// What `CONFIG cluster <flags> <size>` promises, and exactly as many bytes.
fn counted_payload(reply: &str) -> Result<&str, String> {
    let (head, body) = reply.split_once("\r\n").ok_or("no header")?;
    let words: Vec<_> = head.split(' ').collect();
    let ["CONFIG", "cluster", _, size] = words[..] else {
        return Err(format!("header {head:?}"));
    };
    let size = size.parse::<usize>().map_err(|error| error.to_string())?;
    let payload = body.get(..size).ok_or("short payload")?;
    match &body[size..] {
        "\r\nEND\r\n" => Ok(payload),
        rest => Err(format!("{rest:?} behind the payload")),
    }
}

fn number(text: &str, max: u32) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| format!("version {text:?}"))?;
    if number <= max {
        Ok(number)
    } else {
        Err(format!("version {number} is too large"))
    }
}

/// host, ip and port of each node; `blank` is what stands between nodes.
fn split_nodes<'a>(line: &'a str, blank: &str) -> Result<Vec<[&'a str; 3]>, String> {
    line.split(blank)
        .map(|node| {
            let fields: Vec<_> = node.split('|').collect();
            <[&str; 3]>::try_from(fields).map_err(|_| format!("node {node:?}"))
        })
        .collect()
}

fn by_ip(nodes: &[[&str; 3]]) -> Vec<String> {
    nodes
        .iter()
        .map(|[host, ip, port]| format!("{}:{port}", if ip.is_empty() { host } else { ip }))
        .collect()
}

fn by_host(nodes: &[[&str; 3]]) -> Vec<String> {
    nodes
        .iter()
        .map(|[host, _, port]| format!("{host}:{port}"))
        .collect()
}

/// Counts bytes; the version must be above 0; the address may be missing.
fn aws_libmemcached(reply: &str) -> View {
    let payload = counted_payload(reply)?;
    let (version, nodes) = payload.split_once('\n').ok_or("one line")?;
    match number(version, u32::MAX)? {
        0 => Err("version 0".to_owned()),
        version => Ok((version, by_ip(&split_nodes(nodes.trim_end(), " ")?))),
    }
}

/// Exactly two lines after trimming; versions are longs.
fn aws_java(reply: &str) -> View {
    let payload = counted_payload(reply)?.trim();
    let lines: Vec<_> = payload.split('\n').collect();
    let [version, nodes] = lines[..] else {
        return Err(format!("{} lines", lines.len()));
    };
    Ok((
        number(version.trim(), u32::MAX)?,
        by_ip(&split_nodes(nodes.trim(), " ")?),
    ))
}

/// Int32 versions; one blank between nodes, none at the end.
fn aws_dotnet(reply: &str) -> View {
    let payload = counted_payload(reply)?;
    let (version, nodes) = payload.split_once('\n').ok_or("one line")?;
    let nodes = nodes.strip_suffix('\n').ok_or("no line feed at the end")?;
    Ok((
        number(version, i32::MAX as u32)?,
        by_ip(&split_nodes(nodes, " ")?),
    ))
}

/// Reads the address alone; a node without one is an error.
fn google_gomemcache(reply: &str) -> View {
    let lines: Vec<_> = counted_payload(reply)?.split('\n').collect();
    let nodes = split_nodes(lines.get(1).ok_or("no nodes")?.trim(), " ")?;
    if nodes.iter().any(|[_, ip, _]| ip.is_empty()) {
        return Err("node without address".to_owned());
    }
    Ok((number(lines[0].trim(), u32::MAX)?, by_ip(&nodes)))
}

/// Waits for exactly this end, then takes lines two and three of the whole.
fn pymemcache(reply: &str) -> View {
    if !reply.ends_with("\n\r\nEND\r\n") {
        return Err("its wait would never end".to_owned());
    }
    let lines: Vec<_> = reply.split('\n').collect();
    Ok((
        number(lines[1].trim(), u32::MAX)?,
        by_host(&split_nodes(lines[2].trim(), " ")?),
    ))
}

/// Exactly four lines that are not empty.
fn django_elasticache(reply: &str) -> View {
    if !reply.ends_with("\n\r\nEND\r\n") {
        return Err("its wait would never end".to_owned());
    }
    let lines: Vec<_> = reply
        .split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .collect();
    let [_, version, nodes, "END"] = lines[..] else {
        return Err(format!("{} lines", lines.len()));
    };
    Ok((number(version, u32::MAX)?, by_ip(&split_nodes(nodes, " ")?)))
}

/// Reads up to a line of END; a node must match `[-.a-zA-Z0-9]+|IPv4|digits`.
fn dalli_elasticache(reply: &str) -> View {
    let lines: Vec<_> = reply.lines().take_while(|line| *line != "END").collect();
    let nodes = split_nodes(lines.get(2).ok_or("no nodes")?, " ")?;
    for [host, ip, _] in &nodes {
        let plain = host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if !plain || ip.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(format!("{host}|{ip} does not match"));
        }
    }
    Ok((number(lines[1], u32::MAX)?, by_host(&nodes)))
}

/// Line by line, host and port, sorted.
fn node_memcached_elasticache(reply: &str) -> View {
    let lines: Vec<_> = reply.split("\r\n").collect();
    let (version, nodes) = lines
        .get(1)
        .and_then(|body| body.split_once('\n'))
        .ok_or("no payload")?;
    let mut found = by_host(&split_nodes(nodes.trim_end(), " ")?);
    found.sort();
    Ok((number(version, u32::MAX)?, found))
}

/// Waits for END, takes the counted bytes, trims and splits at any blanks.
fn emcache(reply: &str) -> View {
    if !reply.ends_with("END\r\n") {
        return Err("its wait would never end".to_owned());
    }
    let (head, body) = reply.split_once("\r\n").ok_or("no header")?;
    let size = head
        .rsplit(' ')
        .next()
        .and_then(|size| size.parse::<usize>().ok())
        .ok_or("no size")?;
    let lines: Vec<_> = body
        .get(..size)
        .ok_or("short payload")?
        .trim()
        .split('\n')
        .collect();
    let nodes = lines
        .get(1)
        .ok_or("no nodes")?
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    Ok((number(lines[0], u32::MAX)?, by_ip(&split_nodes(&nodes, " ")?)))
}

/// Two lines of the counted payload; the address where there is one.
fn xmemcached(reply: &str) -> View {
    let lines: Vec<_> = counted_payload(reply)?.trim().split('\n').collect();
    let [version, nodes] = lines[..] else {
        return Err(format!("{} lines", lines.len()));
    };
    Ok((number(version, u32::MAX)?, by_ip(&split_nodes(nodes, " ")?)))
}

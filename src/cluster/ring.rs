//! The ring itself: rules and servers in, the owner of each key out.
//!
//! ```text
//!        0                                                              2^32
//!        |----o------x---o----+-----x--x---o--------+----x-----o-------|    points, sorted
//!             B      A   B    C     A  A   B        C    A     B
//!                       ^ hash(key)
//!                        -----+ owner: the first point at or after the hash, here C;
//!                               behind the last point, the first
//! ```
//!
//! Building may allocate and refuse; [`Ring::owner`] does neither.

use std::cmp::Reverse;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;

use twox_hash::XxHash64;

use super::hash_function::md5_words;
use super::{DEFAULT_PORT, HashFunction, SERVERS_MAX, Server, jump};

/// Everything that decides where a key goes, apart from the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub distribution: Distribution,
    /// Unused by [`Distribution::Jump`], which needs 64 bits and brings its own.
    pub key_hash: HashFunction,
    /// twemproxy's `hash_tag`: only what stands between these two bytes is hashed, if the key has them around
    /// something. Keys with the same tag then live on the same server.
    pub hash_tag: Option<[u8; 2]>,
}

/// How a hash becomes a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Points on a circle.
    Ketama { label: Label, points: PointCount },
    /// Remainder by the number of servers; where `weighted`, each server counts as often as its weight says.
    Modula { weighted: bool },
    /// Jump consistent hash over XXH64 of the key; weights are ignored, order is everything.
    Jump,
}

/// The string whose hash makes a server's points, before `-0`, `-1`, ... is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `host:port`, but `host` alone on port 11211.
    Libmemcached,
    /// The server's name if it has one, else as [`Label::Libmemcached`].
    Twemproxy,
    /// `/host:port`, the port always: libmemcached's idea of spymemcached.
    LibmemcachedSpy,
    /// Java's `InetSocketAddress`: `ip:port`, or `host/ip:port` for a server given by host name.
    Spymemcached,
    /// spymemcached's `Format.LIBMEMCACHED`: the host name, reverse-looked-up where an address was given
    /// (then the server's name must hold what that lookup answers); port 11211 is left out.
    SpymemcachedLibmemcached,
    /// `host:port`, always.
    HostPort,
}

/// How many points a server has, and how they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointCount {
    /// 160 on average, four from each MD5, shared out by weight in the float arithmetic of C.
    Shares,
    /// 160 each; by weight as [`PointCount::Shares`] as soon as some weight is not 1 (spymemcached).
    EvenUnlessWeighted,
    /// As [`PointCount::Shares`], in JavaScript's doubles.
    SharesInDoubles,
    /// 100, one from each key hash, whatever the weights: libmemcached's KETAMA set after the servers.
    Hundred,
    /// As [`PointCount::Hundred`], but as soon as one weight exceeds 1, as [`PointCount::Shares`]; the key
    /// hash stays. libmemcached's KETAMA set before the servers, which is how pylibmc and php-memcached do
    /// it.
    HundredUnlessWeighted,
}

/// A point of the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub value: u32,
    /// Index of the server.
    pub owner: u32,
}

/// A ring ready for look-ups.
#[derive(Clone, Debug)]
pub struct Ring {
    key_hash: HashFunction,
    hash_tag: Option<[u8; 2]>,
    server_count: usize,
    owners: Owners,
}

/// What a hash is looked up in.
#[derive(Clone, Debug)]
enum Owners {
    Circle(Circle),
    /// `ends[i]` is the sum of the weights of servers 0 to i: server i owns the remainders below it that no
    /// earlier server owns. Twemproxy writes a slot per unit of weight instead; the answer is the same.
    Modula {
        ends: Vec<u64>,
    },
    Jump,
}

/// Sorted points, and where to begin among them.
///
/// The circle is cut into as many equal sectors as there are points, so that a search begins where its answer
/// is one or two points away: two lines of memory are touched instead of one for each halving. Points may
/// bunch up (crc32 has them all in the first 32,768 values), so within a sector the search still halves.
#[derive(Clone, Debug)]
struct Circle {
    /// Sorted by value and never empty: the server of the largest weight always has a point.
    points: Vec<Point>,
    /// `starts[s]` is how many points lie before sector s; one more than there are sectors, so that each has
    /// an end.
    starts: Vec<u32>,
    /// A hash shifted right by this is its sector.
    shift: u32,
}

/// Why no ring can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    NoServers,
    /// More than [`SERVERS_MAX`].
    TooManyServers(usize),
    /// A weight of 0 takes a server out of some libraries' rings and crashes others: it has no meaning to
    /// share.
    ZeroWeight(String),
    /// spymemcached hashes the address behind a host name, and it is not known.
    AddressNeeded(String),
    /// spymemcached hashes the host name behind an address, and it is not known.
    NameNeeded(String),
    /// Java writes IPv6 addresses differently in different releases, so there is no one ring to agree with.
    JavaIpv6(String),
}

/// Ketama's points per server, over all libraries.
const POINTS_PER_SERVER: f32 = 160.0;
/// Points per server where libmemcached makes them one by one.
const POINTS_ONE_BY_ONE: u32 = 100;
/// Points out of one MD5, that is, out of one hashed string.
const POINTS_PER_STRING: f32 = 4.0;

impl Ring {
    /// Builds the ring of `servers`. Their order matters to modula and jump, and decides between equal
    /// points.
    pub fn build(rules: &Rules, servers: &[Server]) -> Result<Ring, BuildError> {
        if servers.is_empty() {
            return Err(BuildError::NoServers);
        }
        if servers.len() > SERVERS_MAX {
            return Err(BuildError::TooManyServers(servers.len()));
        }
        if let Some(server) = servers.iter().find(|server| server.weight == 0) {
            return Err(BuildError::ZeroWeight(server.address()));
        }
        let owners = match rules.distribution {
            Distribution::Ketama { label, points } => Owners::Circle(Circle::new(spread_points(
                label,
                points,
                rules.key_hash,
                servers,
            )?)),
            Distribution::Modula { weighted } => Owners::Modula {
                ends: servers
                    .iter()
                    .scan(0, |end, server| {
                        *end += if weighted { u64::from(server.weight) } else { 1 };
                        Some(*end)
                    })
                    .collect(),
            },
            Distribution::Jump => Owners::Jump,
        };
        let Rules {
            key_hash, hash_tag, ..
        } = *rules;
        Ok(Ring {
            key_hash,
            hash_tag,
            server_count: servers.len(),
            owners,
        })
    }

    /// The index, in the list the ring was built from, of the server that owns a key. Allocates nothing.
    pub fn owner(&self, key: &[u8]) -> usize {
        let key = match self.hash_tag {
            Some(tag) => tagged_part(key, tag),
            None => key,
        };
        match &self.owners {
            Owners::Circle(circle) => circle.next(self.key_hash.hash(key)).owner as usize,
            Owners::Modula { ends } => {
                let remainder = u64::from(self.key_hash.hash(key)) % ends[ends.len() - 1];
                ends.partition_point(|&end| end <= remainder)
            }
            Owners::Jump => jump(XxHash64::oneshot(0, key), self.server_count as u32) as usize,
        }
    }

    /// How many servers the ring was built from.
    pub fn server_count(&self) -> usize {
        self.server_count
    }

    /// The points of the circle, sorted; `None` for modula and jump, which have none.
    pub fn points(&self) -> Option<&[Point]> {
        match &self.owners {
            Owners::Circle(circle) => Some(&circle.points),
            _ => None,
        }
    }

    /// Each server's part of all hashes, summing to 1: what evenly hashed keys would give it.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.server_count];
        match &self.owners {
            Owners::Circle(Circle { points, .. }) => {
                // A point owns the arc that ends in it; the first one's begins behind the last point.
                let mut before = points[points.len() - 1].value;
                for (index, point) in points.iter().enumerate() {
                    let arc = point.value.wrapping_sub(before);
                    // A lone point owns everything, and its arc wraps to nothing.
                    let arc = if arc == 0 && index == 0 {
                        1u64 << 32
                    } else {
                        u64::from(arc)
                    };
                    shares[point.owner as usize] += arc as f64 / (1u64 << 32) as f64;
                    before = point.value;
                }
            }
            Owners::Modula { ends } => {
                let mut before = 0;
                for (share, &end) in shares.iter_mut().zip(ends) {
                    *share = (end - before) as f64 / ends[ends.len() - 1] as f64;
                    before = end;
                }
            }
            Owners::Jump => shares.fill(1.0 / self.server_count as f64),
        }
        shares
    }
}

impl Circle {
    fn new(points: Vec<Point>) -> Circle {
        let bits = points.len().next_power_of_two().ilog2().clamp(1, 31);
        let sectors = 1 << bits;
        let shift = u32::BITS - bits;
        let starts = (0..=sectors)
            .map(|sector: u64| {
                points.partition_point(|point| u64::from(point.value) < sector << shift) as u32
            })
            .collect();
        Circle {
            points,
            starts,
            shift,
        }
    }

    /// The first point at or after `hash`, the circle closing behind the last one.
    fn next(&self, hash: u32) -> &Point {
        let sector = (hash >> self.shift) as usize;
        let (start, end) = (self.starts[sector] as usize, self.starts[sector + 1] as usize);
        // Past the sector's last point comes the next sector's first, which is at `end`.
        let next = start + self.points[start..end].partition_point(|point| point.value < hash);
        &self.points[if next == self.points.len() { 0 } else { next }]
    }
}

/// The part of the key that is hashed: what lies between the first opening byte and the first closing byte
/// after it, or the whole key where one is missing or nothing lies between.
fn tagged_part(key: &[u8], [open, close]: [u8; 2]) -> &[u8] {
    let inner = memchr::memchr(open, key).and_then(|start| {
        let rest = &key[start + 1..];
        memchr::memchr(close, rest).map(|end| &rest[..end])
    });
    inner.filter(|inner| !inner.is_empty()).unwrap_or(key)
}

/// All points of all servers, sorted by value. Of servers that share a value the first owns it, as in
/// libmemcached; spymemcached's map keeps the last.
fn spread_points(
    label: Label,
    count: PointCount,
    key_hash: HashFunction,
    servers: &[Server],
) -> Result<Vec<Point>, BuildError> {
    let weighted = servers.iter().any(|server| server.weight > 1);
    let total = servers.iter().map(|server| u64::from(server.weight)).sum();
    let one_by_one = match count {
        PointCount::Hundred => true,
        PointCount::HundredUnlessWeighted => !weighted,
        _ => false,
    };
    let mut points = Vec::with_capacity(servers.len() * POINTS_PER_SERVER as usize);
    let mut text = Vec::new();
    for (owner, server) in servers.iter().enumerate() {
        let owner = owner as u32;
        let label = label.of(server)?;
        let strings = match count {
            _ if one_by_one => POINTS_ONE_BY_ONE,
            PointCount::EvenUnlessWeighted if !weighted => (POINTS_PER_SERVER / POINTS_PER_STRING) as u32,
            PointCount::SharesInDoubles => strings_in_doubles(server.weight, total, servers.len()),
            _ => strings_in_floats(server.weight, total, servers.len()),
        };
        for index in 0..strings {
            text.clear();
            write!(text, "{label}-{index}").expect("a Vec takes all it is given");
            if one_by_one {
                points.push(Point {
                    value: key_hash.hash(&text),
                    owner,
                });
            } else {
                points.extend(md5_words(&text).map(|value| Point { value, owner }));
            }
        }
    }
    match label {
        Label::Spymemcached | Label::SpymemcachedLibmemcached => {
            points.sort_unstable_by_key(|point| (point.value, Reverse(point.owner)));
        }
        _ => points.sort_unstable_by_key(|point| (point.value, point.owner)),
    }
    Ok(points)
}

/// Strings hashed for a server, in the order and the precision of libmemcached's and twemproxy's C. The order
/// decides: equal weights give 39 instead of 40 where there are 25, 47, 50, 55, 61, ... servers. The 1e-10
/// was meant to prevent that and does nothing, being lost in a float of this size.
fn strings_in_floats(weight: u32, total: u64, servers: usize) -> u32 {
    let share = weight as f32 / total as f32;
    (share * POINTS_PER_SERVER / POINTS_PER_STRING * servers as f32 + 1e-10).floor() as u32
}

/// The same in npm hashring's doubles, where the odd counts are 7, 14, 28, 49, 56, ... servers.
fn strings_in_doubles(weight: u32, total: u64, servers: usize) -> u32 {
    let share = f64::from(weight) / total as f64;
    (share * f64::from(POINTS_PER_SERVER / POINTS_PER_STRING) * servers as f64).floor() as u32
}

impl Label {
    /// The string before `-0`.
    fn of(self, server: &Server) -> Result<String, BuildError> {
        let Server { host, port, .. } = server;
        let without_default_port = |host: &str| match *port {
            DEFAULT_PORT => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        Ok(match self {
            Label::HostPort => format!("{host}:{port}"),
            Label::LibmemcachedSpy => format!("/{host}:{port}"),
            Label::Libmemcached => without_default_port(host),
            Label::Twemproxy => match &server.name {
                Some(name) => name.clone(),
                None => without_default_port(host),
            },
            Label::Spymemcached => match (host.parse(), server.ip) {
                (Ok(IpAddr::V4(_)), _) => format!("{host}:{port}"),
                (Err(_), Some(IpAddr::V4(ip))) => format!("{host}/{ip}:{port}"),
                (Err(_), None) => return Err(BuildError::AddressNeeded(server.address())),
                _ => return Err(BuildError::JavaIpv6(server.address())),
            },
            Label::SpymemcachedLibmemcached => match (host.parse::<IpAddr>(), &server.name) {
                (Err(_), _) => without_default_port(host),
                (Ok(_), Some(name)) => without_default_port(name),
                (Ok(_), None) => return Err(BuildError::NameNeeded(server.address())),
            },
        })
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoServers => f.write_str("a ring needs at least one server"),
            BuildError::TooManyServers(count) => {
                write!(f, "{count} servers are more than a ring may have ({SERVERS_MAX})")
            }
            BuildError::ZeroWeight(server) => write!(f, "{server}: weight must be 1 or more"),
            BuildError::AddressNeeded(server) => write!(
                f,
                "{server}: spymemcached hashes the address behind the host name; say which (ip=ADDRESS in a \
                 ring file)"
            ),
            BuildError::NameNeeded(server) => write!(
                f,
                "{server}: spymemcached hashes what the address's reverse lookup answers; give that as the \
                 server's name"
            ),
            BuildError::JavaIpv6(server) => {
                write!(
                    f,
                    "{server}: spymemcached places IPv6 servers differently from one Java to the next"
                )
            }
        }
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    fn fleet(count: usize) -> Vec<Server> {
        (0..count)
            .map(|index| Server::new(format!("10.0.0.{index}"), 11212))
            .collect()
    }

    fn ring(preset: &str, servers: &[Server]) -> Ring {
        Ring::build(&preset.parse::<Preset>().unwrap().rules(), servers).unwrap()
    }

    /// Point counts of equal servers, per server: the counts at which C's floats and JavaScript's doubles
    /// lose a string, which `tests/ketama/README.md` tells how to recompute from C and from node.
    #[test]
    fn rounding_loses_points_where_c_and_javascript_do() {
        let lossy = |strings: fn(u32, u64, usize) -> u32| {
            (1..=256)
                .filter(|&count| strings(1, count as u64, count) != 40)
                .collect::<Vec<_>>()
        };
        let floats = lossy(strings_in_floats);
        assert_eq!(&floats[..8], [25, 47, 50, 55, 61, 71, 94, 100]);
        assert_eq!(floats.len(), 28);
        assert_eq!(&lossy(strings_in_doubles)[..6], [7, 14, 28, 49, 56, 98]);
        assert_eq!(
            ring("libmemcached-weighted", &fleet(25)).points().unwrap().len(),
            25 * 156
        );
        assert_eq!(ring("spymemcached", &fleet(25)).points().unwrap().len(), 25 * 160);
    }

    #[test]
    fn weights_move_points_and_modula_slots() {
        let mut servers = fleet(2);
        servers[1].weight = 3;
        let count = |ring: &Ring, owner| ring.points().unwrap().iter().filter(|p| p.owner == owner).count();
        let weighted = ring("libmemcached-weighted", &servers);
        assert_eq!((count(&weighted, 0), count(&weighted, 1)), (80, 240));
        let plain = ring("libmemcached-servers-first", &servers);
        assert_eq!((count(&plain, 0), count(&plain, 1)), (100, 100));
        let modula = ring("twemproxy-modula", &servers);
        assert_eq!(modula.shares(), [0.25, 0.75]);
        assert_eq!(ring("libmemcached-modula", &servers).shares(), [0.5, 0.5]);
    }

    #[test]
    fn shares_sum_to_one() {
        for preset in Preset::all() {
            for count in [1, 2, 7, 25] {
                let mut servers = fleet(count);
                servers
                    .iter_mut()
                    .for_each(|server| server.name = Some(format!("n{}", server.host)));
                let shares = Ring::build(&preset.rules(), &servers).unwrap().shares();
                let sum: f64 = shares.iter().sum();
                assert!(
                    (sum - 1.0).abs() < 1e-9,
                    "{} over {count}: {shares:?}",
                    preset.name()
                );
            }
        }
    }

    /// Every place where the owner may change, against a search of all points.
    #[test]
    fn sectors_find_what_a_plain_search_finds() {
        for preset in [
            "libmemcached-weighted",
            "libmemcached-crc32",
            "libmemcached",
            "node-hashring",
        ] {
            for count in [1, 2, 5, 40] {
                let Owners::Circle(circle) = ring(preset, &fleet(count)).owners else {
                    panic!("{preset}")
                };
                let plain = |hash| {
                    circle
                        .points
                        .iter()
                        .find(|p| p.value >= hash)
                        .unwrap_or(&circle.points[0])
                };
                let edges = circle
                    .points
                    .iter()
                    .map(|point| point.value)
                    .chain([0, 1, u32::MAX]);
                for hash in edges.flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1)]) {
                    assert_eq!(circle.next(hash), plain(hash), "{preset} of {count} at {hash}");
                }
            }
        }
    }

    #[test]
    fn hash_tags_are_twemproxys() {
        for (key, part) in [
            ("user:{42}:name", "42"),
            ("{a}{b}", "a"),
            ("{}x", "{}x"),
            ("{}{b}", "{}{b}"),
            ("no tag", "no tag"),
            ("}{", "}{"),
            ("x{{y}}", "{y"),
            ("{open", "{open"),
        ] {
            assert_eq!(tagged_part(key.as_bytes(), *b"{}"), part.as_bytes(), "{key}");
        }
        assert_eq!(tagged_part(b"a$b$c", *b"$$"), b"b");
    }

    #[test]
    fn what_cannot_be_exact_is_refused() {
        let build = |preset: &str, server: &str| {
            let servers = [server.parse().unwrap(), Server::new("10.0.0.9", 1)];
            Ring::build(&preset.parse::<Preset>().unwrap().rules(), &servers).unwrap_err()
        };
        let at = |text: &str| text.to_owned();
        assert_eq!(
            build("spymemcached", "cache1:1"),
            BuildError::AddressNeeded(at("cache1:1"))
        );
        assert_eq!(
            build("spymemcached", "[::1]:1"),
            BuildError::JavaIpv6(at("[::1]:1"))
        );
        assert_eq!(
            build("spymemcached-libmemcached", "10.0.0.1:1"),
            BuildError::NameNeeded(at("10.0.0.1:1"))
        );
        let rules = "php".parse::<Preset>().unwrap().rules();
        assert_eq!(Ring::build(&rules, &[]).unwrap_err(), BuildError::NoServers);
        let many = vec![Server::new("a", 1); SERVERS_MAX + 1];
        assert_eq!(
            Ring::build(&rules, &many).unwrap_err(),
            BuildError::TooManyServers(SERVERS_MAX + 1)
        );
        let none = [Server::new("a", 1).with_weight(0)];
        assert_eq!(
            Ring::build(&rules, &none).unwrap_err(),
            BuildError::ZeroWeight(at("a:1"))
        );
    }
}

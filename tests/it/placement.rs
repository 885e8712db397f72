//! Where real clients and proxies put 10,000 keys over five ringcacheds, held against `ringcached::cluster` live: every
//! preset of a program that is installed, equal servers and weighted ones, on the default port and on others. The
//! recordings of tests/ketama say the same without the programs.
//!
//! Each server holds every key, and its value is the server's place: a get that arrives says where it arrived.

use std::net::SocketAddrV4;
use std::path::Path;

use ringcached::cluster::{Preset, Ring, Server as Member};

use crate::clients::python_with;
use crate::fleet::{Fleet, Network, PORT, answer, php_with_memcached, recorded_keys};
use crate::harness::{Client, binary_under_test, scratch_folder};
use crate::nutcracker::{self, Nutcracker};

/// A port that is not memcached's.
const OTHER_PORT: u16 = 21201;
const WEIGHTS: [u32; 5] = [3, 1, 2, 5, 1];
/// twemproxy's hashes.
const HASHES: [&str; 12] = [
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
];
/// php-memcached's, as it comes.
const SESSION_PREFIX: &[u8] = b"memc.sess.key.";
/// record_php.php takes no longer key for a session's id.
const SESSION_ID_MAX: usize = 100;
/// Keys in one piece.
const PIECE: usize = 50;
/// Fewest keys of which a client must say where they are: text clients refuse some, sessions most.
const PLACED_MIN: usize = 2_000;

/// Five servers (and the first once more, on the other port) that hold every key.
struct Stage {
    _fleet: Fleet,
    network: Network,
    keys: Vec<Vec<u8>>,
}

impl Stage {
    fn set() -> Stage {
        let (network, keys) = (Network::new(), recorded_keys());
        let address = |host, port| SocketAddrV4::new(network.host(host), port);
        let mut addresses: Vec<_> = (1..=5).map(|host| address(host, OTHER_PORT)).collect();
        addresses.push(address(1, PORT));
        let fleet = Fleet::start_at(&binary_under_test(), addresses);
        for (index, server) in fleet.alive().enumerate() {
            let place = index % 5;
            let mut client = server.connect();
            // A session's key is its id behind a prefix, which is not hashed.
            let prefixed = keys.iter().filter(|key| key.len() <= SESSION_ID_MAX);
            let prefixed = prefixed.map(|key| [SESSION_PREFIX, key].concat());
            let all: Vec<Vec<u8>> = keys.iter().cloned().chain(prefixed).collect();
            for keys in all.chunks(1000) {
                let requests = keys.iter().flat_map(|key| {
                    [b"set ", &key[..], format!(" 0 0 1\r\n{place}\r\n").as_bytes()].concat()
                });
                client.send(requests.collect::<Vec<u8>>());
                keys.iter().for_each(|_| assert_eq!("STORED", client.line()));
            }
        }
        Stage {
            _fleet: fleet,
            network,
            keys,
        }
    }

    /// Equal and weighted, all on the other port and the first on memcached's.
    fn rings(&self) -> Vec<Vec<Member>> {
        let rings = [
            (OTHER_PORT, [1; 5]),
            (OTHER_PORT, WEIGHTS),
            (PORT, [1; 5]),
            (PORT, WEIGHTS),
        ];
        let member = |host: usize, first, weight| {
            let port = if host == 0 { first } else { OTHER_PORT };
            let address = self.network.host(host as u8 + 1).to_string();
            Member::new(address, port).with_weight(weight)
        };
        let ring = |(first, weights): (u16, [u32; 5])| {
            (0..5).map(|host| member(host, first, weights[host])).collect()
        };
        rings.into_iter().map(ring).collect()
    }

    /// `owners` has a digit for each key, or a dot where the client has refused it.
    #[track_caller]
    fn check(&self, preset: &str, members: &[Member], owners: &str) {
        let rules = preset.parse::<Preset>().expect("a preset").rules();
        let ring = Ring::build(&rules, members).expect("a ring");
        assert_eq!(self.keys.len(), owners.len(), "{preset}");
        let placed = || {
            self.keys
                .iter()
                .zip(owners.bytes())
                .filter(|(_, owner)| *owner != b'.')
        };
        let wrong = placed()
            .filter(|(key, owner)| ring.owner(key) != usize::from(owner - b'0'))
            .count();
        assert_eq!(
            0,
            wrong,
            "{preset}: keys that are elsewhere, of {}, on {members:?}",
            placed().count()
        );
        assert!(
            placed().count() >= PLACED_MIN,
            "{preset}: {} keys",
            placed().count()
        );
    }

    /// Checks what a recorder of tests/ketama prints: the preset, a tab, the owners.
    fn check_recorder(&self, interpreter: &Path, script: &str, presets: usize) {
        let folder = scratch_folder();
        let file = folder.join("keys");
        std::fs::write(&file, [&self.keys.join(&b'\n')[..], b"\n"].concat()).expect("the keys");
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/ketama")
            .join(script);
        for members in self.rings() {
            let names = members
                .iter()
                .map(|member| format!("{}:{}:{}", member.host, member.port, member.weight));
            let names: Vec<String> = names.collect();
            let files = [script.to_str().expect("a path"), file.to_str().expect("a path")];
            let arguments: Vec<&str> = files
                .into_iter()
                .chain(names.iter().map(String::as_str))
                .collect();
            let said = answer(interpreter, &arguments, b"");
            assert_eq!(presets, said.lines().count(), "{said}");
            for line in said.lines() {
                let (preset, owners) = line.split_once('\t').expect("a preset and owners");
                self.check(preset, &members, owners);
            }
        }
        std::fs::remove_dir_all(folder).expect("folder");
    }
}

#[test]
fn pylibmc() {
    if let Some(python) = python_with("pylibmc") {
        Stage::set().check_recorder(&python, "record_pylibmc.py", 10);
    }
}

#[test]
fn php_memcached() {
    if let Some(php) = php_with_memcached() {
        Stage::set().check_recorder(&php, "record_php.php", 5);
    }
}

/// Every hash, as ketama and as modula.
#[test]
fn twemproxy() {
    let Some(binary) = nutcracker::binary() else {
        return;
    };
    let stage = Stage::set();
    for members in stage.rings() {
        let mut pools = Vec::new();
        for hash in HASHES {
            pools.push((format!("twemproxy-{hash}"), hash, "ketama"));
            pools.push((format!("twemproxy-modula-{hash}"), hash, "modula"));
        }
        let mut configuration = String::new();
        let address =
            |pool: usize| SocketAddrV4::new(stage.network.host(200), nutcracker::PORT + pool as u16);
        for (index, (name, hash, distribution)) in pools.iter().enumerate() {
            configuration += &format!(
                "{name}:\n  listen: {}\n  hash: {hash}\n  distribution: {distribution}\n  servers:\n",
                address(index)
            );
            for member in &members {
                configuration += &format!("   - {}:{}:{}\n", member.host, member.port, member.weight);
            }
        }
        let _proxy = Nutcracker::start(&binary, stage.network, &configuration);
        for (index, (preset, ..)) in pools.iter().enumerate() {
            let owners = ask(&mut Client::connect(address(index).into()), &stage.keys);
            stage.check(preset, &members, &owners);
        }
    }
}

/// Where gets of these keys arrive: a digit each.
fn ask(client: &mut Client, keys: &[Vec<u8>]) -> String {
    let mut owners = String::new();
    for keys in keys.chunks(PIECE) {
        let requests = keys.iter().flat_map(|key| [b"get ", &key[..], b"\r\n"].concat());
        client.send(requests.collect::<Vec<u8>>());
        for key in keys {
            let (_, place) = client
                .value()
                .unwrap_or_else(|| panic!("no {}", key.escape_ascii()));
            assert_eq!("END", client.line());
            owners.push(char::from(place[0]));
        }
    }
    owners
}

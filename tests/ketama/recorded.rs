//! Reads the recorders' files.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use ringcached::cluster::Server;

/// One client on one set of servers.
pub(crate) struct Row {
    pub(crate) set: String,
    pub(crate) preset: String,
    pub(crate) hash_tag: Option<[u8; 2]>,
    library: String,
    /// A digit in base 36 per key; a dot where the client refused the key.
    pub(crate) owners: Vec<u8>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} against {}", self.preset, self.set, self.library)
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ketama")
        .join(name)
}

fn unpack(name: &str) -> Vec<u8> {
    let packed = std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// The 10,000 keys, in the order of every row.
pub(crate) fn recorded_keys() -> Vec<Vec<u8>> {
    let bytes = unpack("keys.gz");
    let mut keys: Vec<_> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(keys.pop(), Some(Vec::new()), "the file ends with a line feed");
    keys
}

/// Every key of up to 200 bytes inside braces; owners.py builds the same.
pub(crate) fn tagged_keys() -> Vec<Vec<u8>> {
    let tag = |(index, key): (usize, Vec<u8>)| match key.len() {
        0..=200 => [b"a{", &key[..], b"}", index.to_string().as_bytes()].concat(),
        _ => key,
    };
    recorded_keys().into_iter().enumerate().map(tag).collect()
}

/// All rows of one recorder.
pub(crate) fn rows(file: &str) -> Vec<Row> {
    let text = String::from_utf8(unpack(&format!("{file}.tsv.gz"))).unwrap();
    let row = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let [set, preset, tag, library, owners] = fields[..] else {
            panic!("{file}: {line:.80}")
        };
        let hash_tag = match *tag.as_bytes() {
            [open, close] => Some([open, close]),
            _ => None,
        };
        let (set, preset, library) = (set.to_owned(), preset.to_owned(), library.to_owned());
        Row {
            set,
            preset,
            hash_tag,
            library,
            owners: owners.into(),
        }
    };
    text.lines().map(row).collect()
}

/// A set of servers.tsv.
pub(crate) fn server_set(name: &str) -> Vec<Server> {
    let text = std::fs::read_to_string(path("servers.tsv")).unwrap();
    let server = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let [set, host, port, weight, server_name, ip] = fields[..] else {
            panic!("servers.tsv: {line}")
        };
        let server = Server::new(host, port.parse().unwrap()).with_weight(weight.parse().unwrap());
        let server = if server_name == "-" {
            server
        } else {
            server.with_name(server_name)
        };
        let ip = ip.parse().ok().or(server.ip);
        (set == name).then_some(Server { ip, ..server })
    };
    let servers: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(server)
        .collect();
    assert!(!servers.is_empty(), "servers.tsv has no set {name}");
    servers
}

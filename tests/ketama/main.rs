//! Placement held against the real libraries: every recorded row, key for key.
//!
//! The recorders beside this file wrote down where libmemcached, pylibmc, php-memcached, twemproxy,
//! spymemcached and npm hashring put 10,000 keys; README.md has the recipe. Nothing here needs those
//! libraries.

mod allocations;
mod discovery;
mod recorded;
mod robust;

use ringcached::cluster::{HashFunction, Preset, Ring, Server};

use recorded::{Row, recorded_keys, rows, server_set, tagged_keys};

/// Fewest keys of a row that the client placed at all: text-protocol clients leave out those that are not
/// ASCII, and PHP has few keys that may be session ids.
const PLACED_MIN: usize = 2_000;

/// Owners of keys as rows write them: a digit in base 36 each.
fn place(row: &Row, keys: &[Vec<u8>]) -> Vec<u8> {
    let servers = server_set(&row.set);
    let preset: Preset = row.preset.parse().unwrap();
    let mut rules = preset.rules();
    rules.hash_tag = row.hash_tag;
    let ring = Ring::build(&rules, &servers).unwrap();
    let digit = |key: &Vec<u8>| char::from_digit(ring.owner(key) as u32, 36).unwrap() as u8;
    keys.iter().map(digit).collect()
}

/// Every row of a file agrees with us on every key that it places.
#[track_caller]
fn check(file: &str, rows_expected: usize) {
    let (plain, tagged) = (recorded_keys(), tagged_keys());
    let rows = rows(file);
    assert_eq!(rows.len(), rows_expected, "rows of {file}");
    for row in rows {
        let keys = if row.hash_tag.is_some() { &tagged } else { &plain };
        let ours = place(&row, keys);
        assert_eq!(row.owners.len(), keys.len(), "{row}");
        let placed = || {
            row.owners
                .iter()
                .zip(&ours)
                .enumerate()
                .filter(|(_, (theirs, _))| **theirs != b'.')
        };
        let wrong: Vec<_> = placed().filter(|(_, (theirs, ours))| theirs != ours).collect();
        let first = wrong
            .first()
            .map(|(index, _)| String::from_utf8_lossy(&keys[*index]));
        assert!(
            wrong.is_empty(),
            "{row}: {} of {} keys differ, first {first:?}",
            wrong.len(),
            placed().count()
        );
        assert!(
            placed().count() >= PLACED_MIN,
            "{row}: only {} keys were placed",
            placed().count()
        );
    }
}

#[test]
fn libmemcached_as_its_own_hash_says() {
    check("libmemcached", 81);
}

#[test]
fn pylibmc_as_keys_land() {
    check("pylibmc", 50);
}

#[test]
fn php_memcached_as_keys_land() {
    check("php", 20);
}

#[test]
fn twemproxy_as_keys_land() {
    check("twemproxy", 108);
}

#[test]
fn npm_hashring_as_it_answers() {
    check("node", 16);
}

#[test]
fn spymemcached_as_its_locator_says() {
    check("spymemcached", 9);
}

#[test]
fn vectors_recorded_earlier() {
    check("vectors", 51);
}

/// A preset nobody recorded would be a claim without a proof.
#[test]
fn every_preset_has_a_recording() {
    let mut recorded: Vec<String> = [
        "libmemcached",
        "pylibmc",
        "php",
        "twemproxy",
        "node",
        "spymemcached",
        "vectors",
    ]
    .into_iter()
    .flat_map(rows)
    .map(|row| row.preset)
    .collect();
    // Jump has its authors' values in src/cluster/jump.rs, and below; libmemcached's HSIEH is compiled out of
    // every libmemcached at hand, and the function is twemproxy's, which is recorded.
    recorded.extend(["jump", "libmemcached-hsieh", "libmemcached-modula-hsieh"].map(str::to_owned));
    let missing: Vec<_> = Preset::all()
        .into_iter()
        .map(|p| p.name().to_owned())
        .filter(|name| !recorded.contains(name))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// XXH64 and jump hash together, from the PyPI packages xxhash and jump-consistent-hash.
#[test]
fn jump_is_jump_of_xxh64() {
    let rules = "jump".parse::<Preset>().unwrap().rules();
    let servers: Vec<_> = (1..=10).map(|port| Server::new("a", port)).collect();
    let ring = Ring::build(&rules, &servers).unwrap();
    let owners: String = (0..40)
        .map(|n| ring.owner(format!("key{n}").as_bytes()).to_string())
        .collect();
    assert_eq!(owners, JUMP_OWNERS);
}

const JUMP_OWNERS: &str = "5046075755192122501576660818634441487489";

/// The promise of consistent hashing, on the ring most fleets use: a tenth server takes a tenth of the keys,
/// and no key moves between the old ones.
#[test]
fn a_tenth_server_takes_a_tenth_of_the_keys() {
    let keys = recorded_keys();
    for name in ["libmemcached-weighted", "twemproxy-md5", "spymemcached", "jump"] {
        let rules = name.parse::<Preset>().unwrap().rules();
        let ten: Vec<_> = (1..=10)
            .map(|n| Server::new(format!("10.0.0.{n}"), 11211))
            .collect();
        let before = Ring::build(&rules, &ten[..9]).unwrap();
        let after = Ring::build(&rules, &ten).unwrap();
        let moved: Vec<_> = keys
            .iter()
            .filter(|key| before.owner(key) != after.owner(key))
            .collect();
        assert!(
            moved.iter().all(|key| after.owner(key) == 9),
            "{name}: a key moved between old servers"
        );
        let share = moved.len() as f64 / keys.len() as f64;
        assert!(
            (0.09..=0.11).contains(&share),
            "{name}: {share} of the keys moved"
        );
    }
}

/// docs/FLEET.md says which presets may share a cache: those place every key alike, the others do not.
#[test]
fn presets_that_may_share_a_cache_agree() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/FLEET.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let last_cell = |row: &&str| row.trim_matches('|').rsplit('|').next().unwrap().to_owned();
    let cells: Vec<String> = rows
        .iter()
        .map(last_cell)
        .filter(|cell| cell.contains('`'))
        .collect();
    let preset = |cell: &str| cell.split('`').nth(1).unwrap().to_owned();
    let (alike, others): (Vec<_>, Vec<_>) = cells[1..]
        .iter()
        .partition(|cell| cell.contains("the same places"));
    assert!(alike.len() >= 4 && others.len() >= 3, "{cells:?}");
    let keys = recorded_keys();
    for set in ["equal5", "port11211", "weights12345", "weights11211"] {
        let servers = server_set(set);
        let owners = |cell: &str| -> Vec<usize> {
            let rules = preset(cell).parse::<Preset>().unwrap().rules();
            let ring = Ring::build(&rules, &servers).unwrap();
            // The clients of this table send no UTF-8.
            keys.iter()
                .filter(|key| key.is_ascii())
                .map(|key| ring.owner(key))
                .collect()
        };
        let first = owners(&cells[0]);
        for cell in &alike {
            assert!(owners(cell) == first, "{cell} on {set}");
        }
        for cell in &others {
            assert!(owners(cell) != first, "{cell} on {set}");
        }
    }
}

/// twemproxy's default clumps numbered keys, which is why docs/design/20-ketama.md advises `hash: md5`: the
/// same figures as were seen live.
#[test]
fn numbered_keys_clump_under_fnv1a_64() {
    let servers: Vec<_> = (21201..=21205)
        .map(|port| Server::new("127.0.0.1", port))
        .collect();
    let largest = |preset: &str| {
        let ring = Ring::build(&preset.parse::<Preset>().unwrap().rules(), &servers).unwrap();
        let mut counts = [0; 5];
        (0..1000).for_each(|n| counts[ring.owner(format!("user:{n:04}").as_bytes())] += 1);
        counts
    };
    assert_eq!(largest("twemproxy"), [120, 190, 490, 200, 0]);
    assert_eq!(largest("twemproxy-md5"), [231, 198, 203, 216, 152]);
}

/// Bytes from 0x80 up are where signed and unsigned chars part; the recordings must hold enough of them.
#[test]
fn recorded_keys_reach_the_sign_bit() {
    let keys = recorded_keys();
    assert_eq!(keys.len(), 10_000);
    assert!(keys.iter().filter(|key| !key.is_ascii()).count() >= 400);
    let signed_differs = keys.iter().filter(|key| {
        let ascii: Vec<u8> = key.iter().map(|byte| byte & 0x7f).collect();
        HashFunction::OneAtATime.hash(key) != HashFunction::OneAtATime.hash(&ascii)
    });
    assert!(signed_differs.count() >= 400);
}

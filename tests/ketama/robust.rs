//! Whatever bytes arrive, the readers of rings answer: a ring, or where the mistake is. They never panic, and
//! what they accept keeps its promises.

use ringcached::cluster::{FleetReply, PublishedRing, RingFile, Server, find_fleet_reply};

/// Steps of a 64-bit generator (Steele and Vigna's SplitMix64): the same bytes on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Sound texts, from which one to four edits are made at a time.
const SEEDS: [&str; 6] = [
    "version 7\ncache-1:11211:2 blue ip=10.0.0.1 zone=a # remark\n[::1]:1\n",
    "7\ncache-1|10.0.0.1|11211 cache-2||11212 ::1|::1|3\n",
    "CONFIG cluster 0 21\r\n1\na|10.0.0.1|1 b||2\n\r\nEND\r\n",
    "VALUE AmazonElastiCache:cluster 0 7\r\n1\na||1\n\r\nEND\r\n",
    "größe:1,[fe80::1]:2:3 name,10.0.0.1",
    "SERVER_ERROR out of memory\r\n",
];
/// Bytes that mean something to one reader or another, and some that mean nothing to any.
const BYTES: &[u8] = b"\0\n\r\t |:=#[],.019azAZ_-\xc3\xa4\xff";

#[test]
fn readers_survive_edited_texts() {
    let mut random = Random(1);
    let (mut files, mut payloads, mut found) = (0, 0, 0);
    for round in 0..60_000 {
        let mut bytes = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            let byte = BYTES[random.below(BYTES.len())];
            match random.below(4) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        match RingFile::parse(&bytes) {
            Ok(file) => {
                files += 1;
                assert!(!file.servers.is_empty() && file.servers.iter().all(|s| s.weight > 0 && s.port > 0));
            }
            Err(error) => {
                let line = bytes.split(|&byte| byte == b'\n').nth(error.line - 1);
                let line = line.unwrap_or_else(|| panic!("{error} in {:?}", shown()));
                assert!(
                    (1..=line.len() + 1).contains(&error.column),
                    "{error} in {:?}",
                    shown()
                );
            }
        }
        if let Ok(ring) = PublishedRing::parse(&bytes) {
            payloads += 1;
            assert_eq!(
                PublishedRing::parse(&ring.payload()).as_ref(),
                Ok(&ring),
                "{:?}",
                shown()
            );
        }
        if let FleetReply::Payload(payload) = find_fleet_reply(&bytes) {
            found += 1;
            assert!(payload.len() < bytes.len());
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            for server in Server::parse_list(text).unwrap_or_default() {
                assert_eq!(server.to_string().parse(), Ok(server), "{text:?}");
            }
        }
    }
    // The edits are gentle enough that every reader has also had something to accept.
    assert!(
        files > 100 && payloads > 100 && found > 100,
        "{files} {payloads} {found}"
    );
}

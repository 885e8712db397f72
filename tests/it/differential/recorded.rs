//! What memcached 1.6.45 answered to a few meta streams, for machines whose memcached is older.
//!
//! `recorded-meta.gz` holds, for each stream, the number of its pieces and the digest of each. To record again, after the
//! streams have changed:
//!
//! ```text
//! RINGCACHED_DIFFERENTIAL_RECORD=1 MEMCACHED_BIN=path/to/memcached-1.6.45/memcached cargo test --test it recorded
//! ```

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::explained::Oracle;
use super::stream::{Dialect, Generator, Step};
use super::{QUIET, Replies, STREAM_COMMANDS, compare, oracle, ours, parting, run};
use crate::harness::{Server, testing_memcached};

/// The streams are those of the seeds from 1.
const STREAMS: u64 = 8;

/// A longer reply is recorded as its size and checksum.
const REPLY_SIZE_MAX: usize = 120;

#[test]
fn meta_answers_are_those_recorded() {
    if std::env::var_os("RINGCACHED_DIFFERENTIAL_RECORD").is_some() {
        record();
    }
    let mut recording = Recording(&unpacked());
    for seed in 1..=STREAMS {
        let steps = Generator::new(seed).stream(Dialect::Meta, STREAM_COMMANDS);
        assert_eq!(
            recording.number(),
            checksum(&steps),
            "the stream of seed {seed} is not the one that was recorded: record again"
        );
        let theirs: Replies = (0..recording.number()).map(|_| recording.reply()).collect();
        for (threads, server) in &ours() {
            let got = digests(run(server.address(), Dialect::Meta, &steps, seed));
            if let Err(piece) = compare(&steps, &theirs, &got, Oracle::New) {
                panic!("seed {seed}, -t {threads}: {}", parting(&theirs, &got, piece));
            }
        }
    }
    assert!(
        recording.0.is_empty(),
        "more streams were recorded than are compared"
    );
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/differential/recorded-meta.gz")
}

fn record() {
    assert!(
        !testing_memcached(),
        "record with ringcached as the server under test"
    );
    let memcached = Server::memcached(&QUIET).expect("a memcached to record from");
    assert_eq!(oracle(&memcached), Oracle::New, "record from 1.6.45");
    let mut bytes = Vec::new();
    let number = |number: u32, bytes: &mut Vec<u8>| bytes.extend_from_slice(&number.to_be_bytes());
    for seed in 1..=STREAMS {
        let steps = Generator::new(seed).stream(Dialect::Meta, STREAM_COMMANDS);
        let replies = digests(run(memcached.address(), Dialect::Meta, &steps, seed));
        number(checksum(&steps), &mut bytes);
        number(replies.len() as u32, &mut bytes);
        for reply in replies {
            number(reply.len() as u32, &mut bytes);
            bytes.extend_from_slice(&reply);
        }
    }
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&bytes).expect("packed");
    fs::write(file(), packer.finish().expect("packed")).expect("the recording");
}

fn unpacked() -> Vec<u8> {
    let packed = fs::read(file()).expect("the recording");
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .expect("a whole recording");
    bytes
}

/// What is left of the recording.
struct Recording<'a>(&'a [u8]);

impl<'a> Recording<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(size);
        self.0 = rest;
        head
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn reply(&mut self) -> Vec<u8> {
        let size = self.number() as usize;
        self.take(size).to_vec()
    }
}

fn digests(replies: Replies) -> Replies {
    let digest = |reply: Vec<u8>| match reply.len() {
        ..=REPLY_SIZE_MAX => reply,
        size => format!("({size} bytes, {:08x})", crc32fast::hash(&reply)).into_bytes(),
    };
    replies.into_iter().map(digest).collect()
}

/// Of everything that the stream sends.
fn checksum(steps: &[Step]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for step in steps {
        hasher.update(format!("{:?}", step.parts).as_bytes());
    }
    hasher.finalize()
}

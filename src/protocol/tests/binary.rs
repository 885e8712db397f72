//! The binary dialect, and that all dialects mean the same.

use super::helper::{SEED, check, parse_in_pieces};
use crate::command::{Operation, Request};
use crate::protocol::{Dialects, Parsed, Parser, Scratch, Spelling};

/// A request packet.
pub(super) fn packet(opcode: u8, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_size = (extras.len() + key.len() + value.len()) as u32;
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(body_size.to_be_bytes());
    bytes.extend([0xde, 0xad, 0xbe, 0xef]);
    bytes.extend(cas.to_be_bytes());
    bytes.extend([extras, key, value].concat());
    bytes
}

/// Extras of 32-bit numbers.
fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The extras of incr and decr.
fn counting(delta: u64, initial: u64, exptime: u32) -> Vec<u8> {
    [
        &delta.to_be_bytes()[..],
        &initial.to_be_bytes(),
        &exptime.to_be_bytes(),
    ]
    .concat()
}

/// Checks one packet, with a noop behind it to see that the stream is in step.
#[track_caller]
fn check_packet(packet: Vec<u8>, want: &str) {
    let noop = self::packet(0x0a, 0, &[], &[], &[]);
    check([packet, noop].concat(), &format!("{want}\nstatus 0x00"));
}

#[test]
fn reads() {
    for opcode in [0x00, 0x09, 0x0c, 0x0d] {
        check_packet(packet(opcode, 0, &[], b"a b\r\n", &[]), "get a b\\r\\n");
    }
    for opcode in [0x1d, 0x1e, 0x23, 0x24] {
        check_packet(packet(opcode, 0, &words(&[60]), b"k", &[]), "get k touch=60");
    }
    check_packet(
        packet(0x1c, 0, &words(&[u32::MAX]), b"k", &[]),
        "touch k exptime=4294967295",
    );
}

#[test]
fn stores() {
    let extras = words(&[7, 60]);
    for (opcode, quiet, mode, refused) in [
        (0x01, 0x11, "set", " refusal_removes"),
        (0x02, 0x12, "add", ""),
        (0x03, 0x13, "replace", ""),
    ] {
        for opcode in [opcode, quiet] {
            let want = format!("{mode} k flags=7 exptime=60 value=abc{refused}");
            check_packet(packet(opcode, 0, &extras, b"k", b"abc"), &want);
        }
    }
    check_packet(
        packet(0x01, 9, &extras, b"k", b""),
        "set k flags=7 exptime=60 value= cas=9 refusal_removes",
    );
    check_packet(
        packet(0x02, 9, &extras, b"k", b"a"),
        "set k flags=7 exptime=60 value=a cas=9",
    );
    check_packet(
        packet(0x03, 9, &extras, b"k", b"a"),
        "replace k flags=7 exptime=60 value=a cas=9",
    );
    for (opcode, mode) in [
        (0x0e, "append"),
        (0x19, "append"),
        (0x0f, "prepend"),
        (0x1a, "prepend"),
    ] {
        check_packet(
            packet(opcode, 3, &[], b"k", b"a"),
            &format!("{mode} k flags=0 exptime=0 value=a cas=3"),
        );
    }
    let large = packet(0x01, 0, &extras, b"k", &[b'v'; 10_000]);
    for piece in [usize::MAX, 1000, 100] {
        let outcomes = parse_in_pieces(Dialects::Any, &large, piece);
        assert_eq!(
            outcomes,
            ["set k flags=7 exptime=60 value=(10000 bytes) refusal_removes"]
        );
    }
}

#[test]
fn deletes_and_counts() {
    check_packet(packet(0x04, 0, &[], b"k", &[]), "delete k");
    check_packet(packet(0x14, 5, &[], b"k", &[]), "delete k cas=5");
    for (opcode, direction) in [(0x05, "Up"), (0x15, "Up"), (0x06, "Down"), (0x16, "Down")] {
        check_packet(
            packet(opcode, 0, &counting(3, 9, 60), b"k", &[]),
            &format!("count k {direction} 3 vivify=9/60"),
        );
        check_packet(
            packet(opcode, 0, &counting(3, 9, u32::MAX), b"k", &[]),
            &format!("count k {direction} 3"),
        );
    }
}

#[test]
fn server_commands() {
    check_packet(packet(0x08, 0, &[], &[], &[]), "FlushAll { delay: Exptime(0) }");
    check_packet(
        packet(0x18, 0, &words(&[u32::MAX]), &[], &[]),
        "FlushAll { delay: Exptime(4294967295) }",
    );
    check_packet(packet(0x0b, 0, &[], &[], &[]), "Version");
    check_packet(packet(0x10, 0, &[], &[], &[]), "Stats { what: General }");
    check_packet(
        packet(0x10, 0, &[], b"detail dump", &[]),
        "Stats { what: DetailDump }",
    );
    check_packet(packet(0x10, 0, &[], b"reset", &[]), "Stats { what: Reset }");
    for unknown in [&b"conns"[..], b"cachedump 1 0", b"bogus", b"detail", b"detail x"] {
        check_packet(packet(0x10, 0, &[], unknown, &[]), "status 0x01");
    }
    check(packet(0x07, 0, &[], &[], &[]), "status 0x00\nquit");
    check(packet(0x17, 0, &[], &[], &[]), "quit");
}

#[test]
fn sasl() {
    check_packet(packet(0x20, 0, &[], &[], &[]), "Sasl(ListMechanisms)");
    check_packet(
        packet(0x21, 0, &[], b"P", b"\0u"),
        "Sasl(Auth { mechanism: [80], data: [0, 117] })",
    );
    check_packet(
        packet(0x22, 0, &[], b"P", b""),
        "Sasl(Step { mechanism: [80], data: [] })",
    );
    check_packet(packet(0x21, 0, &[], &[b'M'; 33], b"x"), "status 0x04");
    check_packet(packet(0x21, 0, &[], b"M", &[b'x'; 5000]), "status 0x04");
}

#[test]
fn unknown_opcodes_lose_only_their_body() {
    for opcode in [0x1b, 0x1f, 0x25, 0x30, 0x3c, 0xff] {
        check_packet(packet(opcode, 0, &[0; 4], b"key", b"value"), "status 0x81");
        check_packet(packet(opcode, 0, &[], &[], &[]), "status 0x81");
    }
}

#[test]
fn headers_that_contradict_themselves_end_the_connection() {
    let invalid = "status 0x04\nhangup";
    for broken in [
        packet(0x00, 0, &[], &[], &[]),
        packet(0x00, 0, &[0; 4], b"k", &[]),
        packet(0x00, 0, &[], b"k", b"v"),
        packet(0x00, 0, &[], &[b'k'; 251], &[]),
        packet(0x01, 0, &[0; 4], b"k", b"v"),
        packet(0x01, 0, &[0; 8], &[], b"v"),
        packet(0x04, 0, &[0; 4], b"k", &[]),
        packet(0x05, 0, &[0; 8], b"k", &[]),
        packet(0x07, 0, &[], b"k", &[]),
        packet(0x08, 0, &[0; 3], &[], &[]),
        packet(0x0a, 0, &[], b"k", &[]),
        packet(0x0e, 0, &[0; 8], b"k", b"v"),
        packet(0x10, 0, &[0; 4], &[], &[]),
        packet(0x1c, 0, &[], b"k", &[]),
    ] {
        check(broken, invalid);
    }
    let mut huge = packet(0x01, 0, &[0; 8], b"k", &[]);
    huge[8..12].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
    check(huge, invalid);
    let mut short = packet(0x00, 0, &[], b"key", &[]);
    short[8..12].copy_from_slice(&2u32.to_be_bytes());
    check(short, "status 0x81\nhangup");
    check(
        [packet(0x0a, 0, &[], &[], &[]), b"get a\r\n".to_vec()].concat(),
        "status 0x00\nhangup",
    );
}

/// Parses what must be one whole request.
#[track_caller]
fn one<'a>(parser: &mut Parser, scratch: &'a Scratch, input: &'a [u8]) -> (Request<'a>, Spelling) {
    match parser.parse(input, scratch) {
        Parsed::Request {
            request,
            spelling,
            size,
            ..
        } => {
            assert_eq!(size, input.len());
            (request, spelling)
        }
        other => panic!("no request: {other:?}"),
    }
}

#[test]
fn the_dialects_mean_the_same() {
    let same = |classic: &str, meta: &str, binary: Vec<u8>| {
        let parser = || Parser::new(SEED, Dialects::Any);
        let (mut first, mut second, mut third) = (parser(), parser(), parser());
        let scratch = Scratch::default();
        let (classic, _) = one(&mut first, &scratch, classic.as_bytes());
        let (mut meta, _) = one(&mut second, &scratch, meta.as_bytes());
        let (binary, _) = one(&mut third, &scratch, &binary);
        // What only the meta dialect has: marks of readers, and the removal of what could not be replaced.
        match (&mut meta.operation, classic.operation) {
            (Operation::Get(get), _) => get.tokens = None,
            (Operation::Store(store), Operation::Store(other)) => {
                store.refusal_removes = other.refusal_removes
            }
            _ => {}
        }
        assert_eq!(classic, meta);
        assert_eq!(classic, binary);
    };
    same("get k\r\n", "mg k v f c\r\n", packet(0x00, 0, &[], b"k", &[]));
    same(
        "gat 60 k\r\n",
        "mg k T60 v\r\n",
        packet(0x1d, 0, &words(&[60]), b"k", &[]),
    );
    for (index, (word, mode)) in [("set", "S"), ("add", "E"), ("replace", "R")]
        .into_iter()
        .enumerate()
    {
        same(
            &format!("{word} k 5 60 3\r\nabc\r\n"),
            &format!("ms k 3 F5 T60 M{mode}\r\nabc\r\n"),
            packet(0x01 + index as u8, 0, &words(&[5, 60]), b"k", b"abc"),
        );
    }
    same(
        "append k 0 0 1\r\na\r\n",
        "ms k 1 MA\r\na\r\n",
        packet(0x0e, 0, &[], b"k", b"a"),
    );
    same(
        "prepend k 0 0 1\r\na\r\n",
        "ms k 1 MP\r\na\r\n",
        packet(0x0f, 0, &[], b"k", b"a"),
    );
    same("delete k\r\n", "md k\r\n", packet(0x04, 0, &[], b"k", &[]));
    same(
        "incr k 5\r\n",
        "ma k D5\r\n",
        packet(0x05, 0, &counting(5, 0, u32::MAX), b"k", &[]),
    );
    same(
        "decr k 5\r\n",
        "ma k MD D5\r\n",
        packet(0x06, 0, &counting(5, 0, u32::MAX), b"k", &[]),
    );

    // A compare and swap removes nothing in any dialect but binary Set and ms; the rest is alike.
    let (mut first, mut second) = (Parser::new(SEED, Dialects::Any), Parser::new(SEED, Dialects::Any));
    let scratch = Scratch::default();
    let (classic, _) = one(&mut first, &scratch, b"cas k 5 60 1 9\r\na\r\n");
    let binary = packet(0x02, 9, &words(&[5, 60]), b"k", b"a");
    assert_eq!(classic, one(&mut second, &scratch, &binary).0);
}

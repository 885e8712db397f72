//! Replies in the spelling of their requests.

use super::binary::packet;
use super::helper::SEED;
use crate::command::{Counted, Hit, Reply, Value};
use crate::protocol::{Dialects, Parsed, Parser, Scratch, Spelling, Tail, Word};
use crate::protocol::{say, write, write_ok, write_reset, write_stat, write_stats_end, write_version};

const HIT: Hit<'static> = Hit {
    key: b"foo",
    value: Value::whole(b"abc"),
    flags: 7,
    cas: 99,
    left_before: Some(30),
    left_after: Some(60),
    idle: 5,
    fetched: true,
    key_is_binary: false,
    won: false,
    stale: false,
    token_sent: false,
    vivified: false,
    class: 3,
    item_size: 64,
};

const STORED: Reply<'static> = Reply::Stored {
    cas: 99,
    value_size: 3,
    key_is_binary: false,
};

const COUNTED: Reply<'static> = Reply::Counted(Counted {
    number: 12,
    cas: 99,
    flags: 7,
    left_before: None,
    left_after: Some(60),
    key_is_binary: false,
});

/// What is written to `request` (the first one in it) if the cache answers `reply`.
fn answer(request: &[u8], reply: Reply<'_>) -> Vec<u8> {
    let mut parser = Parser::new(SEED, Dialects::Any);
    let scratch = Scratch::default();
    let Parsed::Request {
        request,
        spelling,
        text,
        ..
    } = parser.parse(request, &scratch)
    else {
        panic!("no request");
    };
    let mut out = Vec::new();
    let tail = write(&mut out, spelling, request.key, text, &reply, usize::MAX);
    assert_eq!(tail, None);

    // With the value apart it is the same bytes.
    let mut apart = Vec::new();
    if let Some(Tail { value, end }) = write(&mut apart, spelling, request.key, text, &reply, 0) {
        apart.extend(value.to_vec());
        apart.extend(end);
    }
    assert_eq!(apart, out);
    out
}

#[track_caller]
fn check(request: &str, reply: Reply<'_>, want: &str) {
    let out = answer(request.as_bytes(), reply);
    assert_eq!(out.escape_ascii().to_string(), want.escape_default().to_string());
}

#[test]
fn classic_reads() {
    let hit = Reply::Hit(HIT);
    check("get foo\r\n", hit, "VALUE foo 7 3\r\nabc\r\nEND\r\n");
    check("get foo bar\r\n", hit, "VALUE foo 7 3\r\nabc\r\n");
    check("gets foo\r\n", hit, "VALUE foo 7 3 99\r\nabc\r\nEND\r\n");
    check("gats 0 foo x\r\n", hit, "VALUE foo 7 3 99\r\nabc\r\n");
    check("get foo\r\n", Reply::Miss, "END\r\n");
    check("get foo bar\r\n", Reply::Miss, "");
}

#[test]
fn classic_writes() {
    let set = "set foo 0 0 1\r\na\r\n";
    check(set, STORED, "STORED\r\n");
    check(set, Reply::NotStored, "NOT_STORED\r\n");
    check(set, Reply::Exists, "EXISTS\r\n");
    check(set, Reply::NotFound, "NOT_FOUND\r\n");
    check(
        set,
        Reply::TooLarge,
        "SERVER_ERROR object too large for cache\r\n",
    );
    check(
        set,
        Reply::NoMemory,
        "SERVER_ERROR out of memory storing object\r\n",
    );
    check("delete foo\r\n", Reply::Deleted, "DELETED\r\n");
    check(
        "touch foo 1\r\n",
        Reply::Touched { flags: 0, cas: 0 },
        "TOUCHED\r\n",
    );
    check("incr foo 1\r\n", COUNTED, "12\r\n");
    check(
        "incr foo 1\r\n",
        Reply::NoMemory,
        "SERVER_ERROR out of memory\r\n",
    );
    let not_numeric = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    check("decr foo 1\r\n", Reply::NotNumeric, not_numeric);
    for request in [
        "set foo 0 0 1 noreply\r\na\r\n",
        "incr foo 1 noreply\r\n",
        "delete foo noreply\r\n",
    ] {
        check(request, STORED, "");
        check(request, Reply::NotNumeric, "");
        check(request, Reply::TooLarge, "");
    }
}

#[test]
fn mg_answers_flags_in_the_order_asked() {
    let hit = Reply::Hit(HIT);
    check("mg foo\r\n", hit, "HD\r\n");
    check("mg foo v\r\n", hit, "VA 3\r\nabc\r\n");
    check(
        "mg foo s t c f k l h O1 v\r\n",
        hit,
        "VA 3 s3 t30 c99 f7 kfoo l5 h1 O1\r\nabc\r\n",
    );
    check("mg foo O k h f\r\n", hit, "HD O kfoo h1 f7\r\n");
    check("mg foo t T60\r\n", hit, "HD t30\r\n");
    check("mg foo T60 t P L q\r\n", hit, "HD t60\r\n");
    check("mg foo v C99 s\r\n", hit, "HD s3\r\n");
    check("mg foo v C98 s\r\n", hit, "VA 3 s3\r\nabc\r\n");
    let forever = Hit {
        left_before: None,
        ..HIT
    };
    check("mg foo t\r\n", Reply::Hit(forever), "HD t-1\r\n");
    let past = Hit {
        left_after: Some(-7),
        ..HIT
    };
    check("mg foo T-1 t\r\n", Reply::Hit(past), "HD t0\r\n");
    check("mg foo v k O9\r\n", Reply::Miss, "EN kfoo O9\r\n");
    check("mg foo v q k\r\n", Reply::Miss, "");
    check("mg foo N1\r\n", Reply::NoMemory, "SERVER_ERROR out of memory\r\n");
}

#[test]
fn marks_come_last() {
    let winner = Hit {
        won: true,
        stale: true,
        ..HIT
    };
    check("mg foo k\r\n", Reply::Hit(winner), "HD kfoo X W\r\n");
    let loser = Hit {
        token_sent: true,
        stale: true,
        ..HIT
    };
    check("mg foo c v\r\n", Reply::Hit(loser), "VA 3 c99 Z X\r\nabc\r\n");
    let vivified = Hit {
        won: true,
        vivified: true,
        left_before: None,
        value: Value::whole(b""),
        ..HIT
    };
    check("mg foo t N60 v\r\n", Reply::Hit(vivified), "VA 0 t-1 W\r\n\r\n");
    check("mg foo N60 t\r\n", Reply::Hit(vivified), "HD t60 W\r\n");
}

#[test]
fn binary_keys_come_back_in_base64() {
    let marked = Hit {
        key_is_binary: true,
        ..HIT
    };
    check("mg foo k\r\n", Reply::Hit(marked), "HD kZm9v b\r\n");
    check("mg Zm9v b k\r\n", Reply::Hit(marked), "HD kZm9v b\r\n");
    check("mg Zm9v b k\r\n", Reply::Hit(HIT), "HD kfoo\r\n");
    check("mg Zm9v k b\r\n", Reply::Miss, "EN kZm9v b\r\n");
    check("md Zm9v b k\r\n", Reply::NotFound, "NF kZm9v b\r\n");
}

#[test]
fn ms_md_ma_me() {
    check("ms foo 1 s c k O1 t\r\na\r\n", STORED, "HD s3 c99 kfoo O1\r\n");
    check("ms foo 1 q c\r\na\r\n", STORED, "");
    check(
        "ms foo 1 q c k O s\r\na\r\n",
        Reply::Exists,
        "EX c0 kfoo O s1\r\n",
    );
    check("ms foo 1 c\r\na\r\n", Reply::NotStored, "NS c0\r\n");
    check(
        "ms foo 1 q\r\na\r\n",
        Reply::TooLarge,
        "SERVER_ERROR object too large for cache\r\n",
    );
    check(
        "ms foo 1\r\na\r\n",
        Reply::NoMemory,
        "SERVER_ERROR out of memory storing object\r\n",
    );
    check("md foo k O1 c s t\r\n", Reply::Deleted, "HD kfoo O1\r\n");
    check("md foo q\r\n", Reply::Deleted, "");
    check("md foo q c s\r\n", Reply::NotFound, "NF\r\n");
    check("md foo\r\n", Reply::Exists, "EX\r\n");
    check("ma foo\r\n", COUNTED, "HD\r\n");
    check(
        "ma foo v t c k O1 s f\r\n",
        COUNTED,
        "VA 2 t-1 c99 kfoo O1\r\n12\r\n",
    );
    check("ma foo N60 t\r\n", COUNTED, "HD t60\r\n");
    check("ma foo q v\r\n", COUNTED, "");
    check("ma foo q k\r\n", Reply::NotFound, "NF kfoo\r\n");
    let debugged = "ME foo exp=30 la=5 cas=99 fetch=yes cls=3 size=64\r\n";
    check("me foo\r\n", Reply::Hit(HIT), debugged);
    check("me foo\r\n", Reply::Miss, "EN\r\n");
}

/// A reply packet: opcode, status, extras, key, value, cas.
fn reply(opcode: u8, status: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let mut bytes = packet(opcode, cas, extras, key, value);
    bytes[0] = 0x81;
    bytes[7] = status;
    bytes
}

#[test]
fn binary_replies() {
    let get = |opcode| packet(opcode, 0, &[], b"foo", &[]);
    let hit = Reply::Hit(HIT);
    for opcode in [0x00, 0x09] {
        assert_eq!(
            answer(&get(opcode), hit),
            reply(opcode, 0, &[0, 0, 0, 7], b"", b"abc", 99)
        );
    }
    for opcode in [0x0c, 0x0d] {
        assert_eq!(
            answer(&get(opcode), hit),
            reply(opcode, 0, &[0, 0, 0, 7], b"foo", b"abc", 99)
        );
    }
    assert_eq!(
        answer(&get(0x00), Reply::Miss),
        reply(0x00, 1, &[], b"", b"Not found", 0)
    );
    assert_eq!(
        answer(&get(0x0c), Reply::Miss),
        reply(0x0c, 1, &[], b"foo", b"", 0)
    );
    assert_eq!(answer(&get(0x09), Reply::Miss), b"");
    assert_eq!(answer(&get(0x0d), Reply::Miss), b"");
    let touch = packet(0x1c, 0, &[0; 4], b"foo", &[]);
    let touched = Reply::Touched { flags: 7, cas: 99 };
    assert_eq!(
        answer(&touch, touched),
        reply(0x1c, 0, &[0, 0, 0, 7], b"", b"", 99)
    );

    let store = |opcode| packet(opcode, 0, &[0; 8], b"foo", b"abc");
    assert_eq!(answer(&store(0x01), STORED), reply(0x01, 0, &[], b"", b"", 99));
    assert_eq!(answer(&store(0x11), STORED), b"");
    assert_eq!(
        answer(&store(0x01), Reply::TooLarge),
        reply(0x01, 3, &[], b"", b"Too large.", 0)
    );
    assert_eq!(
        answer(&store(0x11), Reply::NoMemory),
        reply(0x11, 0x82, &[], b"", b"Out of memory", 0)
    );
    let exists = b"Data exists for key.";
    assert_eq!(
        answer(&store(0x12), Reply::NotStored),
        reply(0x12, 2, &[], b"", exists, 0)
    );
    assert_eq!(
        answer(&store(0x11), Reply::Exists),
        reply(0x11, 2, &[], b"", exists, 0)
    );
    assert_eq!(
        answer(&store(0x13), Reply::NotStored),
        reply(0x13, 1, &[], b"", b"Not found", 0)
    );
    let append = packet(0x0e, 0, &[], b"foo", b"abc");
    assert_eq!(
        answer(&append, Reply::NotStored),
        reply(0x0e, 5, &[], b"", b"Not stored.", 0)
    );

    assert_eq!(
        answer(&packet(0x04, 0, &[], b"foo", &[]), Reply::Deleted),
        reply(0x04, 0, &[], b"", b"", 0)
    );
    assert_eq!(answer(&packet(0x14, 0, &[], b"foo", &[]), Reply::Deleted), b"");
    let incr = packet(0x05, 0, &[0; 20], b"foo", &[]);
    assert_eq!(
        answer(&incr, COUNTED),
        reply(0x05, 0, &[], b"", &12u64.to_be_bytes(), 99)
    );
    let not_numeric = b"Non-numeric server-side value for incr or decr";
    assert_eq!(
        answer(&incr, Reply::NotNumeric),
        reply(0x05, 6, &[], b"", not_numeric, 0)
    );
}

#[test]
fn words_and_statistics() {
    let said = |spelling, f: &dyn Fn(&mut Vec<u8>, Spelling)| {
        let mut out = Vec::new();
        f(&mut out, spelling);
        out
    };
    let binary = |opcode| Spelling::Binary {
        opcode,
        opaque: 0xdead_beef,
    };
    assert_eq!(said(Spelling::CLASSIC, &write_ok), b"OK\r\n");
    assert_eq!(said(Spelling::classic(true), &write_ok), b"");
    assert_eq!(said(binary(0x08), &write_ok), reply(0x08, 0, &[], b"", b"", 0));
    assert_eq!(said(binary(0x18), &write_ok), b"");
    let refuse = |out: &mut Vec<u8>, spelling| say(out, spelling, Word::FlushNotAllowed);
    assert_eq!(
        said(Spelling::CLASSIC, &refuse),
        b"CLIENT_ERROR flush_all not allowed\r\n"
    );
    assert_eq!(
        said(binary(0x18), &refuse),
        reply(0x18, 0x20, &[], b"", b"Auth failure.", 0)
    );
    let version = |out: &mut Vec<u8>, spelling| write_version(out, spelling, "1.6.45");
    assert_eq!(said(Spelling::CLASSIC, &version), b"VERSION 1.6.45\r\n");
    assert_eq!(
        said(binary(0x0b), &version),
        reply(0x0b, 0, &[], b"", b"1.6.45", 0)
    );
    let stat = |out: &mut Vec<u8>, spelling| {
        write_stat(out, spelling, b"pid", b"12");
        write_stats_end(out, spelling);
    };
    assert_eq!(said(Spelling::CLASSIC, &stat), b"STAT pid 12\r\nEND\r\n");
    let packets = [
        reply(0x10, 0, &[], b"pid", b"12", 0),
        reply(0x10, 0, &[], b"", b"", 0),
    ]
    .concat();
    assert_eq!(said(binary(0x10), &stat), packets);
    assert_eq!(said(Spelling::CLASSIC, &write_reset), b"RESET\r\n");
    assert_eq!(said(binary(0x10), &write_reset), reply(0x10, 0, &[], b"", b"", 0));
}

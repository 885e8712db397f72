//! The classic protocol, word by word, at the boundary: bytes to a real server, bytes back.
//!
//! In requests and replies `\n` stands for CR LF. Every conversation ends in a `version` that must be answered next,
//! so that an answer too many is seen as well as one too few.

use crate::harness::{Client, Server, check, nothing_within, spell, testing_memcached};
use std::time::Duration;

/// What a command line of the wrong shape is told.
const BAD_LINE: &str = "CLIENT_ERROR bad command line format\n";

#[test]
fn set_and_get() {
    check("set a 0 0 1\nx\nget a\n", "STORED\nVALUE a 0 1\nx\nEND\n");
    check("set a 7 0 0\n\nget a\n", "STORED\nVALUE a 7 0\n\nEND\n");
    check("get a\n", "END\n");
    check(
        "set a 0 0 1\nx\nset a 1 0 2\nyy\nget a\n",
        "STORED\nSTORED\nVALUE a 1 2\nyy\nEND\n",
    );
}

#[test]
fn flags_are_32_bits() {
    check(
        "set a 4294967295 0 1\nx\nset b 4294967296 0 1\nx\nset c 18446744073709551615 0 1\nx\nget a b c\n",
        "STORED\nSTORED\nSTORED\nVALUE a 4294967295 1\nx\nVALUE b 0 1\nx\nVALUE c 4294967295 1\nx\nEND\n",
    );
    for flags in ["-1", "x", "1x", "18446744073709551616"] {
        check(
            &format!("set a {flags} 0 1\nx\nget a\n"),
            &format!("{BAD_LINE}END\n"),
        );
    }
}

#[test]
fn add_and_replace() {
    check(
        "add a 1 0 1\nx\nadd a 2 0 1\ny\nget a\n",
        "STORED\nNOT_STORED\nVALUE a 1 1\nx\nEND\n",
    );
    check("replace a 1 0 1\nx\nget a\n", "NOT_STORED\nEND\n");
    check(
        "set a 1 0 1\nx\nreplace a 2 0 2\nyz\nget a\n",
        "STORED\nSTORED\nVALUE a 2 2\nyz\nEND\n",
    );
    // memcexist's way of asking whether a key is there: an add that expires at once.
    check(
        "add a 0 2678400 0\n\nget a\nadd a 0 2678400 0\n\n",
        "STORED\nEND\nSTORED\n",
    );
}

#[test]
fn append_and_prepend_keep_flags() {
    check(
        "set a 5 0 2\nbb\nappend a 9 0 1\nc\nprepend a 9 0 1\na\nget a\n",
        "STORED\nSTORED\nSTORED\nVALUE a 5 4\nabbc\nEND\n",
    );
    check(
        "append a 0 0 1\nx\nprepend a 0 0 1\nx\nget a\n",
        "NOT_STORED\nNOT_STORED\nEND\n",
    );
    check(
        "set a 0 0 1\nx\nappend a 0 0 0\n\nget a\n",
        "STORED\nSTORED\nVALUE a 0 1\nx\nEND\n",
    );
    check(
        "set a 0 0 1\nx\nappend a z 0 1\ny\nget a\n",
        &format!("STORED\n{BAD_LINE}VALUE a 0 1\nx\nEND\n"),
    );
}

#[test]
fn cas_compares() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.set("a", b"x");
    let first = cas_of(&mut client, "a");
    client.check(
        &format!("cas a 3 0 1 {first}\ny\nget a\n"),
        "STORED\nVALUE a 3 1\ny\nEND\n",
    );
    let second = cas_of(&mut client, "a");
    assert_ne!(first, second, "a store gives a new cas unique");
    client.check(
        &format!("cas a 0 0 1 {first}\nz\nget a\n"),
        "EXISTS\nVALUE a 3 1\ny\nEND\n",
    );
    client.check("cas b 0 0 1 1\nz\ncas a 0 0 1 0\nz\n", "NOT_FOUND\nEXISTS\n");
    client.check("touch a 100\n", "TOUCHED\n");
    assert_eq!(
        second,
        cas_of(&mut client, "a"),
        "touch leaves the cas unique alone"
    );
    client.check("append a 0 0 1\nw\n", "STORED\n");
    assert_ne!(second, cas_of(&mut client, "a"), "append gives a new one");
    client.check("set n 0 0 1\n1\n", "STORED\n");
    let number = cas_of(&mut client, "n");
    client.check("incr n 1\n", "2\n");
    assert_ne!(number, cas_of(&mut client, "n"), "incr gives a new one");
    // A key that comes back does not come back with a cas unique that somebody may still hold.
    client.check("delete a\nset a 0 0 1\nx\n", "DELETED\nSTORED\n");
    let reborn = cas_of(&mut client, "a");
    assert!(reborn > second, "{reborn} after {second}");
    for bad in ["x", "-1", "1x", "+1", "18446744073709551616"] {
        client.check(
            &format!("cas a 0 0 1 {bad}\nz\nget b\n"),
            &format!("{BAD_LINE}END\n"),
        );
    }
    client.check("cas a 0 0 1\nz\nget b\n", &format!("{BAD_LINE}END\n"));
}

#[test]
fn of_two_who_compare_one_wins() {
    let server = Server::start(&["-t", "4"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    for round in 0..200 {
        one.set("a", b"x");
        let cas = cas_of(&mut one, "a");
        assert_eq!(cas, cas_of(&mut two, "a"));
        let request = format!("cas a 0 0 1 {cas}\r\n{}\r\n", round % 10);
        one.send(&request);
        two.send(&request);
        let mut answers = [one.line(), two.line()];
        answers.sort();
        assert_eq!(
            ["EXISTS", "STORED"],
            answers.each_ref().map(String::as_str),
            "round {round}"
        );
    }
}

#[test]
fn delete_takes_a_zero() {
    check(
        "set a 0 0 1\nx\ndelete a\ndelete a\nget a\n",
        "STORED\nDELETED\nNOT_FOUND\nEND\n",
    );
    check("set a 0 0 1\nx\ndelete a 0\n", "STORED\nDELETED\n");
    check("set a 0 0 1\nx\ndelete a 0 noreply\nget a\n", "STORED\nEND\n");
    check("set a 0 0 1\nx\ndelete a noreply\nget a\n", "STORED\nEND\n");
    check("delete\n", BAD_LINE);
    if !testing_memcached() {
        // memcached 1.6.45 takes anything for a zero; memccapable, and 1.6.18, do not.
        let usage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\n";
        check("delete a 10\n", usage);
        check(
            "set a 0 0 1\nx\ndelete a b c d e\nget a\n",
            &format!("STORED\n{usage}VALUE a 0 1\nx\nEND\n"),
        );
        check(
            "set a 0 0 1\nx\ndelete a 10 noreply\nget a\n",
            "STORED\nVALUE a 0 1\nx\nEND\n",
        );
    }
}

#[test]
fn incr_and_decr() {
    check(
        "set a 0 0 2\n10\nincr a 1\nincr a 89\nget a\n",
        "STORED\n11\n100\nVALUE a 0 3\n100\nEND\n",
    );
    // Down, the stored text keeps its length; the reply does not show it.
    check(
        "set a 0 0 3\n100\ndecr a 1\nget a\n",
        "STORED\n99\nVALUE a 0 3\n99 \nEND\n",
    );
    check(
        "set a 0 0 1\n5\ndecr a 9\nget a\n",
        "STORED\n0\nVALUE a 0 1\n0\nEND\n",
    );
    check("set a 0 0 20\n18446744073709551615\nincr a 1\n", "STORED\n0\n");
    check("set a 0 0 1\n1\nincr a 18446744073709551615\n", "STORED\n0\n");
    check("incr a 1\ndecr a 1\n", "NOT_FOUND\nNOT_FOUND\n");
    check(
        "set a 9 0 1\n1\nincr a 1 noreply\nget a\n",
        "STORED\nVALUE a 9 1\n2\nEND\n",
    );
    for delta in ["x", "-1", "+1", "1x", "18446744073709551616"] {
        check(
            &format!("set a 0 0 1\n1\nincr a {delta}\nget a\n"),
            "STORED\nCLIENT_ERROR invalid numeric delta argument\nVALUE a 0 1\n1\nEND\n",
        );
    }
    check("incr a\nincr\n", &format!("{BAD_LINE}{BAD_LINE}"));
}

#[test]
fn what_counts_as_a_number() {
    for (value, next) in [
        ("12 ", "13"),
        (" 12", "13"),
        ("+5", "6"),
        ("00010", "11"),
        ("18446744073709551614", "18446744073709551615"),
    ] {
        let size = value.len();
        check(
            &format!("set a 0 0 {size}\n{value}\nincr a 1\n"),
            &format!("STORED\n{next}\n"),
        );
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check_bytes(b"set a 0 0 3\r\n1\x002\r\nincr a 1\r\n", b"STORED\r\n2\r\n");
    client.check_bytes(b"set a 0 0 4\r\n12\n3\r\nincr a 1\r\n", b"STORED\r\n13\r\n");
    for value in [
        "",
        "-1",
        "12abc",
        "0x10",
        "abc",
        "18446744073709551616",
        "123456789012345678901234",
    ] {
        client.check(
            &format!("set a 0 0 {}\n{value}\nincr a 1\ndecr a 1\nget a\n", value.len()),
            &format!(
                "STORED\n{no}\n{no}\nVALUE a 0 {}\n{value}\nEND\n",
                value.len(),
                no = "CLIENT_ERROR cannot increment or decrement non-numeric value"
            ),
        );
    }
}

#[test]
fn a_number_in_64_kib_of_blanks_is_none() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut answer = |size: usize| {
        client.set("a", format!("12{}", " ".repeat(size - 2)).as_bytes());
        client.ask("incr a 1")
    };
    assert_eq!("13", answer((64 << 10) - 1));
    assert_eq!(
        "CLIENT_ERROR cannot increment or decrement non-numeric value",
        answer(64 << 10)
    );
}

#[test]
fn touch_and_get_and_touch() {
    check(
        "touch a 10\nset a 3 0 1\nx\ntouch a 10\nget a\n",
        "NOT_FOUND\nSTORED\nTOUCHED\nVALUE a 3 1\nx\nEND\n",
    );
    check(
        "set a 3 0 1\nx\ngat 10 a b a\n",
        "STORED\nVALUE a 3 1\nx\nVALUE a 3 1\nx\nEND\n",
    );
    check("set a 3 0 1\nx\ntouch a -1\nget a\n", "STORED\nTOUCHED\nEND\n");
    check(
        "set a 3 0 1\nx\ngat -1 a\nget a\n",
        "STORED\nVALUE a 3 1\nx\nEND\nEND\n",
    );
    check("set a 3 0 1\nx\ntouch a -1 noreply\nget a\n", "STORED\nEND\n");
    for exptime in ["x", "1x", "4294967296", "99999999999999999999"] {
        let bad = "CLIENT_ERROR invalid exptime argument\n";
        check(
            &format!("set a 0 0 1\nx\ntouch a {exptime}\ngat {exptime} a\ngats {exptime} a\nget a\n"),
            &format!("STORED\n{bad}{bad}{bad}VALUE a 0 1\nx\nEND\n"),
        );
    }
    check("touch\ntouch a\ngat\ngat 10\ngats 10\n", &BAD_LINE.repeat(5));
}

#[test]
fn exptimes() {
    let gone = ["-1", "-2147483648", "2592001", "2147483648", "6442450944"];
    for exptime in gone {
        check(
            &format!("set a 0 {exptime} 1\nx\nget a\nadd a 0 0 1\ny\n"),
            "STORED\nEND\nSTORED\n",
        );
    }
    let there = [
        "0",
        "1000",
        "2592000",
        "2147483647",
        "4294967296",
        "4294968296",
        "+1000",
    ];
    for exptime in there {
        check(
            &format!("set a 0 {exptime} 1\nx\nget a\n"),
            "STORED\nVALUE a 0 1\nx\nEND\n",
        );
    }
    for exptime in ["x", "1x", "9223372036854775808", "-9223372036854775809"] {
        check(
            &format!("set a 0 {exptime} 1\nx\nget a\n"),
            &format!("{BAD_LINE}END\n"),
        );
    }
}

#[test]
fn an_item_expires() {
    // The clock ticks once a second: an exptime of 1 is over after one second at the latest, one of 1,000 is not.
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check("set long 0 1000 1\nx\nset short 0 1 1\nx\n", "STORED\nSTORED\n");
    let started = std::time::Instant::now();
    while client.get("short").is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "still there after {:?}",
            started.elapsed()
        );
    }
    assert_eq!(Some(b"x".to_vec()), client.get("long"));
    assert!(client.stat("get_expired") >= 1 || client.stat("get_misses") >= 1);
}

#[test]
fn gets_shows_the_cas_unique() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check("set a 3 0 1\nx\nset b 4 0 2\nyz\n", "STORED\nSTORED\n");
    let (a, b) = (cas_of(&mut client, "a"), cas_of(&mut client, "b"));
    let want = format!("VALUE a 3 1 {a}\nx\nVALUE b 4 2 {b}\nyz\nEND\n");
    client.check("gets a nothing b\n", &want);
    client.check("gats 100 a nothing b\n", &want);
}

#[test]
fn a_get_of_many() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check("set a 0 0 1\nx\nset b 0 0 1\ny\n", "STORED\nSTORED\n");
    client.check(
        "get b a nothing a\n",
        "VALUE b 0 1\ny\nVALUE a 0 1\nx\nVALUE a 0 1\nx\nEND\n",
    );
    client.check(
        "get noreply\nset noreply 0 0 1\nz\nget noreply\n",
        "END\nSTORED\nVALUE noreply 0 1\nz\nEND\n",
    );
    client.check("get / HTTP/1.0\n", "END\n");
    client.check("get\ngets\n", &BAD_LINE.repeat(2));
}

#[test]
fn keys() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let longest = "k".repeat(250);
    client.check(
        &format!("set {longest} 0 0 1\nx\nget {longest}\n"),
        &format!("STORED\nVALUE {longest} 0 1\nx\nEND\n"),
    );
    let too_long = "k".repeat(251);
    // The data of a refused store is dropped, not obeyed.
    for verb in ["set", "add", "replace", "append", "prepend"] {
        client.check(&format!("{verb} {too_long} 0 0 9\nflush_all\n"), BAD_LINE);
    }
    client.check(&format!("cas {too_long} 0 0 9 1\nflush_all\n"), BAD_LINE);
    client.check(
        &format!("delete {too_long}\nincr {too_long} 1\ntouch {too_long} 1\n"),
        &BAD_LINE.repeat(3),
    );
    if !testing_memcached() {
        // 1.6.45 sends an empty line behind the error and loses the answers that stand before it.
        client.check(&format!("get a\nget {too_long}\n"), &format!("END\n{BAD_LINE}"));
        client.check(&format!("get {longest} {too_long} {longest}\n"), BAD_LINE);
    }
    // Any bytes but the blank and the line end.
    let odd: Vec<u8> = (1..=255)
        .filter(|byte| !matches!(byte, b' ' | b'\n' | b'\r'))
        .collect();
    for key in odd.chunks(100).chain([
        &b"\0nul\0"[..],
        b"tab\there",
        b"cr\rinside",
        "\u{fc}n\u{ef}".as_bytes(),
    ]) {
        let request = [b"set ", key, b" 0 0 1\r\nx\r\nget ", key, b"\r\n"].concat();
        let reply = [b"STORED\r\nVALUE ", key, b" 0 1\r\nx\r\nEND\r\n"].concat();
        client.check_bytes(&request, &reply);
    }
}

#[test]
fn lines() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    // A bare LF ends a line; blanks may stand at its end and twice between words.
    client.check_bytes(
        b"set a 0 0 1\nx\r\nget a\nget  a \r\n",
        b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
    );
    client.check(
        "set a 0 0 1 \nx\ndelete a \nflush_all \n",
        "STORED\nDELETED\nOK\n",
    );
    client.check(
        "set a 0 0 1 bogus words\nx\nget a\n",
        "STORED\nVALUE a 0 1\nx\nEND\n",
    );
    client.check(
        "GET a\nbogus\nSET a 0 0 1\nget\ta\n get a\n",
        "ERROR\nERROR\nERROR\nERROR\nERROR\n",
    );
    client.check("ab\nconfig get cluster\n", "ERROR\nERROR\n");
    client.check("\na\n", &BAD_LINE.repeat(2));
    client.check_bytes(b"\n \n", spell(&BAD_LINE.repeat(2)).as_bytes());
    client.check("set a\nset a 0 0\nset\n", &BAD_LINE.repeat(3));
    let version = client.ask("version");
    for words in ["version noreply", "version a b"] {
        assert_eq!(version, client.ask(words));
    }
}

#[test]
fn noreply() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check(
        "set a 0 0 1 noreply\nx\nadd b 0 0 1 noreply\n1\nreplace a 0 0 1 noreply\ny\nappend a 0 0 1 noreply\nz\n\
         prepend a 0 0 1 noreply\nw\nincr b 5 noreply\ndecr b 1 noreply\ntouch a 100 noreply\nverbosity 0 noreply\n\
         get a b\ndelete a noreply\nget a\nflush_all noreply\nget b\n",
        "VALUE a 0 3\nwyz\nVALUE b 0 1\n5\nEND\nEND\nEND\n",
    );
    // It silences refusals, too, once the line has been understood,
    client.check(
        "add a 0 0 1 noreply\nx\nadd a 0 0 1 noreply\ny\ncas a 0 0 1 1 noreply\nz\nincr a 1 noreply\n",
        "",
    );
    client.check(
        "incr a x noreply\ntouch a x noreply\nset a 0 0 1 noreply\nxyzverbosity x noreply\n",
        "",
    );
    // and it silences an unknown command, but not a line that is no storage command at all.
    client.check(
        "bogus noreply\nset a 0 0 x noreply\nset a noreply\n",
        &BAD_LINE.repeat(2),
    );
    client.check("verbosity noreply\n", "");
}

#[test]
fn a_bad_data_chunk() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.set("a", b"old");
    let bad = "CLIENT_ERROR bad data chunk\n";
    // Exactly BYTES + 2 bytes belong to the store; what follows is a command line.
    client.check(
        "set a 0 0 3\nxyzuvw\nget a\n",
        &format!("{bad}{BAD_LINE}VALUE a 0 3\nold\nEND\n"),
    );
    client.check(
        "set a 0 0 2\nx\nget a\nget a\n",
        &format!("{bad}ERROR\nVALUE a 0 3\nold\nEND\n"),
    );
    client.check_bytes(
        b"set a 0 0 1\r\nx\n\nget a\r\n",
        spell(&format!("{bad}VALUE a 0 3\nold\nEND\n")).as_bytes(),
    );
    client.check_bytes(
        b"set a 0 0 1\r\nxxxget a\r\n",
        spell(&format!("{bad}VALUE a 0 3\nold\nEND\n")).as_bytes(),
    );
    client.check_bytes(
        b"set a 0 0 1 noreply\r\nxxxget a\r\n",
        spell("VALUE a 0 3\nold\nEND\n").as_bytes(),
    );
}

/// Too large comes first, as memcached sees it before the value has come, and takes the old value along.
#[test]
fn a_bad_data_chunk_that_is_too_large() {
    let server = Server::start(&["-I", "1024"]);
    let mut client = server.connect();
    client.check("set a 0 0 1\nx\nset b 0 0 1\ny\n", "STORED\nSTORED\n");
    let value = "v".repeat(1020);
    client.check(
        &format!("set a 0 0 1020\n{value}xyget a\nadd b 0 0 1020\n{value}xyget b\n"),
        "SERVER_ERROR object too large for cache\nEND\nSERVER_ERROR object too large for cache\nVALUE b 0 1\ny\nEND\n",
    );
}

#[test]
fn sizes_that_are_none() {
    // Where the size itself is bad nothing can be dropped: the data is read as a line.
    for size in [
        "x",
        "-1",
        "1x",
        "+1",
        "2147483646",
        "4294967296",
        "99999999999999999999",
    ] {
        check(
            &format!("set a 0 0 {size}\nbogus\n"),
            &format!("{BAD_LINE}ERROR\n"),
        );
    }
}

#[test]
fn too_large() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let refusal = "SERVER_ERROR object too large for cache\n";
    let value = "v".repeat(1024 * 1024 + 1024);
    let size = value.len();
    client.check("set a 0 0 1\nx\nset b 0 0 1\ny\n", "STORED\nSTORED\n");
    // A refused set takes the old value with it, lest a reader find it stale; a refused add leaves it.
    client.check(
        &format!("set a 0 0 {size}\n{value}\nget a\n"),
        &format!("{refusal}END\n"),
    );
    client.check(
        &format!("add b 0 0 {size}\n{value}\nget b\n"),
        &format!("{refusal}VALUE b 0 1\ny\nEND\n"),
    );
    client.check(&format!("set b 0 0 {size} noreply\n{value}\nget b\n"), "END\n");
    // An append that would grow past the limit does not, and leaves the item as it is.
    let half = "h".repeat(700 * 1024);
    client.check(
        &format!(
            "set c 0 0 {0}\n{half}\nappend c 0 0 {0}\n{half}\nget c\n",
            half.len()
        ),
        &format!("STORED\nNOT_STORED\nVALUE c 0 {}\n{half}\nEND\n", half.len()),
    );
    assert!(client.stat("store_too_large") >= 3);
}

#[test]
fn values_of_many_sizes() {
    let server = Server::start(&["-m", "256"]);
    let mut client = server.connect();
    let edges = [
        0, 1, 63, 64, 500, 1000, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 8193, 16384, 65_534, 65_535,
        65_536, 65_537,
    ];
    let large = [100_000, 524_288, 1024 * 1024 - 1024];
    for (number, size) in edges.into_iter().chain(large).enumerate() {
        let value = pattern(size, number as u64);
        client.set("v", &value);
        let got = client.get("v").expect("the value");
        assert!(value == got, "a value of {size} bytes came back otherwise");
        let key = format!("kept{number}");
        client.set(&key, &value);
    }
    for (number, size) in edges.into_iter().chain(large).enumerate() {
        let got = client.get(&format!("kept{number}")).expect("the value");
        assert!(
            pattern(size, number as u64) == got,
            "value {number} of {size} bytes"
        );
    }
}

#[test]
fn a_value_holds_any_bytes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let every: Vec<u8> = (0..=255).collect();
    let lines = b"\r\nEND\r\nget a\r\nset a 0 0 1\r\n\r\n\n\n\0";
    for value in [&every[..], lines] {
        client.set("a", value);
        assert_eq!(Some(value.to_vec()), client.get("a"));
    }
}

#[test]
fn flush_all() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check(
        "set a 0 0 1\nx\nflush_all\nget a\nset a 0 0 1\ny\nget a\nadd b 0 0 1\nx\nflush_all 0\nget a b\n",
        "STORED\nOK\nEND\nSTORED\nVALUE a 0 1\ny\nEND\nSTORED\nOK\nEND\n",
    );
    // A flush that is still to come takes nothing yet; a second one replaces it.
    client.check(
        "set a 0 0 1\nx\nflush_all 1000\nget a\nflush_all 2000 noreply\nget a\n",
        "STORED\nOK\nVALUE a 0 1\nx\nEND\nVALUE a 0 1\nx\nEND\n",
    );
    client.check("flush_all -1\nget a\n", "OK\nEND\n");
    let bad = "CLIENT_ERROR invalid exptime argument\n";
    client.check(
        "set a 0 0 1\nx\nflush_all x\nflush_all 4294967296\nget a\n",
        &format!("STORED\n{bad}{bad}VALUE a 0 1\nx\nEND\n"),
    );
}

#[test]
fn a_delayed_flush_comes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check(
        "set a 0 0 1\nx\nflush_all 2\nget a\n",
        "STORED\nOK\nVALUE a 0 1\nx\nEND\n",
    );
    let started = std::time::Instant::now();
    while client.get("a").is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "still there after {:?}",
            started.elapsed()
        );
    }
    // The clock ticks once a second: what is stored within the tick of the flush goes with it, what comes later stays.
    client.set("a", b"y");
    while client.get("a").is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(6),
            "nothing can be stored after a delayed flush"
        );
        client.set("a", b"y");
    }
}

#[test]
fn verbosity() {
    check(
        "verbosity 0\nverbosity 2\nverbosity 99\nverbosity 1 a b\n",
        "OK\nOK\nOK\nOK\n",
    );
    check("verbosity\nverbosity x\nverbosity -1\n", &BAD_LINE.repeat(3));
    check("verbosity 1 noreply\n", "");
}

#[test]
fn version_is_one_that_clients_can_read() {
    let server = Server::start(&[]);
    let answer = server.connect().ask("version");
    let version = answer.strip_prefix("VERSION ").expect("VERSION");
    let numbers: Vec<u32> = version
        .split('.')
        .map(|word| word.parse().expect("a number"))
        .collect();
    // libmemcached wants a major number of at least 1 and no number above 255; node's client wants exactly three.
    assert_eq!(3, numbers.len(), "{answer}");
    assert!(
        numbers[0] >= 1 && numbers.iter().all(|number| *number <= 255),
        "{answer}"
    );
}

#[test]
fn stats() {
    let server = Server::start(&["-t", "2", "-m", "100"]);
    let mut client = server.connect();
    client.check(
        "set a 0 0 1\nx\nget a b\nincr c 1\ndelete c\ntouch a 10\n",
        "STORED\nVALUE a 0 1\nx\nEND\nNOT_FOUND\nNOT_FOUND\nTOUCHED\n",
    );
    for (name, want) in [
        ("cmd_get", 2),
        ("cmd_set", 1),
        ("cmd_touch", 1),
        ("get_hits", 1),
        ("get_misses", 1),
        ("incr_misses", 1),
        ("delete_misses", 1),
        ("touch_hits", 1),
        ("curr_items", 1),
        ("total_items", 1),
        ("threads", 2),
        ("limit_maxbytes", 100 * 1024 * 1024),
        ("pointer_size", 64),
        ("curr_connections", client.stat("curr_connections")),
    ] {
        assert_eq!(want, client.stat(name), "{name}");
    }
    assert!(client.stat("uptime") >= 1, "dashboards divide by it");
    assert_eq!("RESET", client.ask("stats reset"));
    for (name, want) in [("cmd_get", 0), ("get_hits", 0), ("cmd_set", 0), ("curr_items", 1)] {
        assert_eq!(want, client.stat(name), "{name} after a reset");
    }
    // libmemcached sends a blank behind the word.
    client.send("stats \r\n");
    assert!(client.line().starts_with("STAT pid "));
    while client.line() != "END" {}
}

#[test]
fn every_line_of_stats_has_three_words() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("stats\r\n");
    let mut names = Vec::new();
    loop {
        let line = client.line();
        if line == "END" {
            break;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert!(
            words.len() == 3 && words[0] == "STAT" && !words[2].is_empty(),
            "{line:?}"
        );
        names.push(words[1].to_owned());
    }
    for name in [
        "pid",
        "uptime",
        "time",
        "version",
        "pointer_size",
        "rusage_user",
        "curr_connections",
        "total_connections",
        "cmd_get",
        "cmd_set",
        "cmd_flush",
        "get_hits",
        "get_misses",
        "delete_hits",
        "incr_hits",
        "decr_hits",
        "cas_hits",
        "cas_badval",
        "cas_misses",
        "bytes_read",
        "bytes_written",
        "limit_maxbytes",
        "threads",
        "bytes",
        "curr_items",
        "total_items",
        "evictions",
    ] {
        assert!(names.iter().any(|found| found == name), "no {name}");
    }
}

#[test]
fn quit_sends_what_is_pending() {
    let server = Server::start(&[]);
    for quit in ["quit\r\n", "quit now\r\n"] {
        let mut client = server.connect();
        client.send(format!("set a 0 0 1\r\nx\r\nget a\r\n{quit}get a\r\n"));
        assert_eq!(spell("STORED\nVALUE a 0 1\nx\nEND\n").as_bytes(), client.rest());
    }
}

#[test]
fn http_is_hung_up_on() {
    let server = Server::start(&[]);
    for request in [
        "GET / HTTP/1.1\r\nHost: cache\r\n\r\n",
        "POST /set HTTP/1.0\r\n\r\nset a 0 0 1\r\nx\r\n",
    ] {
        let mut client = server.connect();
        client.send(request);
        assert!(client.rest().is_empty(), "{request:?}");
    }
    assert_eq!(None, server.connect().get("a"));
}

#[test]
fn an_endless_line_is_hung_up_on() {
    let server = Server::start(&[]);
    for start in ["incr ", "x", "stats ", "set "] {
        let mut client = server.connect();
        // The server may hang up before it has all of it.
        let _ = std::io::Write::write_all(
            &mut client.socket(),
            format!("{start}{}", "k".repeat(70_000)).as_bytes(),
        );
        assert!(client.rest().is_empty(), "{start:?}");
    }
    assert_eq!("END", server.connect().ask("get a"));
}

#[test]
fn every_split_is_the_same_request() {
    let requests = spell(
        "set a 1 0 5\nhello\nadd a 0 0 1\nx\nget a b\nappend a 0 0 2\n!!\ngets nothing\nset n 0 0 2 noreply\n10\nincr n 5\n\
         cas q 0 0 1 7\nx\nbogus\nset a 0 0 2\nabcd\ntouch a 100\nset big 0 0 x\ndelete n\nget a n\nverbosity 0\n",
    );
    let replies = spell(
        "STORED\nNOT_STORED\nVALUE a 1 5\nhello\nEND\nSTORED\nEND\n15\nNOT_FOUND\nERROR\nCLIENT_ERROR bad data chunk\n\
         CLIENT_ERROR bad command line format\nTOUCHED\nCLIENT_ERROR bad command line format\nDELETED\nVALUE a 1 7\nhello!!\nEND\nOK\n",
    );
    let server = Server::start(&["-t", "1"]);
    let mut pacer = server.connect();
    let mut client = server.connect();
    client.check_bytes(requests.as_bytes(), replies.as_bytes());
    for at in 1..requests.len() {
        client.check("flush_all\n", "OK\n");
        let (head, tail) = requests.as_bytes().split_at(at);
        client.send(head);
        // Another connection's answer from the same thread: by then the head has been read.
        assert_eq!("END", pacer.ask("get pace"));
        client.check_bytes(tail, replies.as_bytes());
    }
    for size in [1, 2, 3, 7] {
        client.check("flush_all\n", "OK\n");
        for piece in requests.as_bytes().chunks(size) {
            client.send(piece);
            assert_eq!("END", pacer.ask("get pace"));
        }
        client.check_bytes(b"", replies.as_bytes());
    }
}

#[test]
fn a_large_value_in_pieces() {
    let server = Server::start(&["-t", "1"]);
    let mut pacer = server.connect();
    let mut client = server.connect();
    let value = pattern(300_000, 1);
    for size in [1000, 4096, 65_536, 299_999] {
        client.send(format!("set a 0 0 {}\r\n", value.len()));
        for piece in value.chunks(size) {
            client.send(piece);
            assert_eq!("END", pacer.ask("get pace"));
        }
        client.send(b"\r");
        assert_eq!("END", pacer.ask("get pace"));
        assert!(
            nothing_within(&client, Duration::from_millis(1)),
            "answered before the end of the data"
        );
        client.send(b"\n");
        assert_eq!("STORED", client.line());
        assert!(Some(&value) == client.get("a").as_ref(), "pieces of {size}");
        client.check("delete a\n", "DELETED\n");
    }
}

/// The cas unique that gets shows.
fn cas_of(client: &mut Client, key: &str) -> u64 {
    let line = client.ask(&format!("gets {key}"));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(5, words.len(), "{line:?}");
    let size: usize = words[3].parse().expect("a size");
    client.exact(size + 2);
    assert_eq!("END", client.line());
    words[4].parse().expect("a cas unique")
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let mut random = crate::harness::Random(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

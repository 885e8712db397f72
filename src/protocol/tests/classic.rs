//! The classic dialect: what its lines mean, and what is wrong with them.

use super::helper::{SEED, check, parse_in_pieces};
use crate::command::KEY_SIZE_MAX;
use crate::protocol::{Dialects, LINE_SIZE_MAX, Parsed, Parser, Scratch, VALUE_INLINE_MAX};

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";

/// A storage line of one key, with everything else as usual.
fn set(key: &str, rest: &str) -> String {
    format!("set {key} {rest}\r\n")
}

#[test]
fn lines_end_in_lf() {
    check("get a\n", "get a\nEND");
    check("get a\r\n", "get a\nEND");
    check("get a\r\r\n", "get a\\r\nEND");
    check("get a", "partial");
    check("", "");
}

#[test]
fn tokens_are_parted_by_spaces() {
    check("get  a   b \r\n", "get a\nget b\nEND");
    check("gets a \r\n", "get a with_cas\nEND");
    check("get\ta\r\n", "ERROR");
    check(" get a\r\n", "ERROR");
    check("GET a\r\n", "ERROR");
    check("get \x01\x7f\0\t\r\n", "get \\x01\\x7f\\x00\\t\nEND");
    check(b"get \xff\xc3\xa4\r\n", "get \\xff\\xc3\\xa4\nEND");
    check(
        "set  a  1  2  3 \r\nabc\r\n",
        "set a flags=1 exptime=2 value=abc refusal_removes",
    );
}

#[test]
fn short_and_unknown_lines() {
    check("\n", BAD_LINE);
    check("\r\n", BAD_LINE);
    check("a\r\n", BAD_LINE);
    check("mn\n", BAD_LINE);
    check(" \n", BAD_LINE);
    check("ab\r\n", "ERROR");
    check("bogus\r\n", "ERROR");
    check("bogus noreply\r\n", "(silent Error)");
    check("noreply\r\n", "ERROR");
    check("debugitem lock k\r\nmisbehave\r\n", "ERROR\nMisbehave");
    check("mn\r\n", "MN");
    check("mn noreply\r\n", "MN");
}

#[test]
fn http_is_hung_up_on() {
    check("GET / HTTP/1.0\r\n", "hangup");
    check("POST HTTP/\r\nget a\r\n", "hangup");
    check("HTTP/1.0\r\n", "ERROR");
    check("get / HTTP/1.0\r\n", "get /\nget HTTP/1.0\nEND");
    check("bogus HTTP/1.0 x\r\n", "ERROR");
}

#[test]
fn gets() {
    check("get a b a\r\n", "get a\nget b\nget a\nEND");
    check("gets a b\r\n", "get a with_cas\nget b with_cas\nEND");
    check("get a noreply\r\n", "get a\nget noreply\nEND");
    check("get\r\n", BAD_LINE);
    check("get \r\n", BAD_LINE);
    check("gets   \r\n", BAD_LINE);
    check("gat 10 a b\r\n", "get a touch=10\nget b touch=10\nEND");
    check("gats -1 a\r\n", "get a touch=-1 with_cas\nEND");
    check("gat x a\r\n", "CLIENT_ERROR invalid exptime argument");
    check("gat 2147483648 a\r\n", "CLIENT_ERROR invalid exptime argument");
    check("gat 10\r\n", BAD_LINE);
    check("gat\r\n", BAD_LINE);
}

#[test]
fn a_key_too_long_spoils_its_line() {
    let long = "k".repeat(KEY_SIZE_MAX + 1);
    let fits = &long[1..];
    check(format!("get {fits}\r\n"), "get (250 bytes)\nEND");
    check(
        format!("get {fits} a {fits}\n"),
        "get (250 bytes)\nget a\nget (250 bytes)\nEND",
    );
    for line in [
        format!("get {long}"),
        format!("get a b c {long}"),
        format!("gets {fits} {long} a"),
        format!("gat 0 a {long} b"),
        format!("delete {long}"),
        format!("incr {long} 1"),
        format!("touch {long} 1"),
    ] {
        check(format!("{line}\r\nget a\r\n"), &format!("{BAD_LINE}\nget a\nEND"));
    }
}

#[test]
fn stores() {
    check(
        "set k 7 0 3\r\nabc\r\n",
        "set k flags=7 exptime=0 value=abc refusal_removes",
    );
    check("add k 0 60 0\r\n\r\n", "add k flags=0 exptime=60 value=");
    check(
        "replace k 0 -1 1\r\na\r\n",
        "replace k flags=0 exptime=-1 value=a",
    );
    check("append k 1 2 1\r\na\r\n", "append k flags=1 exptime=2 value=a");
    check(
        "prepend k 1 2 1 noreply\r\na\r\n",
        "prepend k flags=1 exptime=2 value=a silent",
    );
    check(
        "cas k 1 2 1 99\r\na\r\n",
        "set k flags=1 exptime=2 value=a cas=99",
    );
    check(
        "cas k 1 2 1 0 noreply \r\na\r\n",
        "set k flags=1 exptime=2 value=a cas=0 silent",
    );
    check(
        "set k 0 0 5\r\na\r\nb\n\r\n",
        "set k flags=0 exptime=0 value=a\\r\\nb\\n refusal_removes",
    );
    check(
        "set k 0 0 1 bogus\r\na\r\n",
        "set k flags=0 exptime=0 value=a refusal_removes",
    );
    check(
        "set k 0 0 1 bogus noreply\r\na\r\n",
        "set k flags=0 exptime=0 value=a refusal_removes silent",
    );
    check(
        "set k 4294967295 4294967296 1\r\na\r\n",
        "set k flags=4294967295 exptime=0 value=a refusal_removes",
    );
    check(
        "set k +1 +2 1\r\na\r\n",
        "set k flags=1 exptime=2 value=a refusal_removes",
    );
    check(
        "set k 0 0 1\na\r\n",
        "set k flags=0 exptime=0 value=a refusal_removes",
    );
}

#[test]
fn a_refused_store_takes_its_value_along() {
    let long = "k".repeat(KEY_SIZE_MAX + 1);
    for line in [
        set(&long, "0 0 8"),
        set("k", "x 0 8"),
        set("k", "-1 0 8"),
        set("k", "0 x 8"),
        set("k", "18446744073709551616 0 8"),
        set("k", "0 9223372036854775808 8"),
        "cas k 0 0 8\r\n".to_string(),
        "cas k 0 0 8 x\r\n".to_string(),
        "cas k 0 0 8 -1\r\n".to_string(),
    ] {
        check(
            format!("{line}delete x\r\nget a\r\n"),
            &format!("{BAD_LINE}\nget a\nEND"),
        );
    }
    for line in [set(&long, "0 0 8 noreply"), "cas k 0 0 8 noreply\r\n".to_string()] {
        check(
            format!("{line}delete x\r\nget a\r\n"),
            "(silent BadLine)\nget a\nEND",
        );
    }
}

#[test]
fn a_store_without_size_is_a_line() {
    for rest in [
        "0 0",
        "0 0 -1",
        "0 0 x",
        "0 0 x noreply",
        "0 0 noreply",
        "0 0 2147483646",
        "0 0 +1",
    ] {
        check(
            format!("{}delete x\r\n", set("k", rest)),
            &format!("{BAD_LINE}\ndelete x"),
        );
    }
    check("set\r\nset k\r\ncas k 0 0\r\n", [BAD_LINE; 3].join("\n").as_str());
}

#[test]
fn a_value_must_end_where_it_was_said_to() {
    const BAD_CHUNK: &str = "CLIENT_ERROR bad data chunk";
    // Bytes and the two after them are gone; what follows is a command.
    check(
        "set k 0 0 3\r\nabcdeget a\r\n",
        &format!("{BAD_CHUNK}\nget a\nEND"),
    );
    check(
        "set k 0 0 3\r\nabcd\r\n\n",
        &format!("{BAD_CHUNK}\n{BAD_LINE}\n{BAD_LINE}"),
    );
    check("set k 0 0 3 noreply\r\nabcde", "(silent BadDataChunk)");
    check(
        "set k 0 0 3\r\nabc\n\nget a\r\n",
        &format!("{BAD_CHUNK}\nget a\nEND"),
    );
}

#[test]
fn large_values_arrive_apart() {
    for size in [VALUE_INLINE_MAX, VALUE_INLINE_MAX + 1, 100_000] {
        let value = "v".repeat(size);
        let got = format!("set k flags=1 exptime=2 value=({size} bytes) refusal_removes silent");
        for piece in [usize::MAX, 1000, 100] {
            let input = format!("set k 1 2 {size} noreply\r\n{value}\r\nget a\r\n");
            let outcomes = parse_in_pieces(Dialects::Any, input.as_bytes(), piece);
            assert_eq!(outcomes.join("\n"), format!("{got}\nget a\nEND"));
            let input = format!("set k 1 2 {size}\r\n{value}xyget a\r\n");
            let outcomes = parse_in_pieces(Dialects::Any, input.as_bytes(), piece);
            assert_eq!(outcomes.join("\n"), "CLIENT_ERROR bad data chunk\nget a\nEND");
        }
    }
}

#[test]
fn a_session_may_refuse_what_is_incoming() {
    let mut parser = Parser::new(SEED, Dialects::Any);
    let Parsed::Incoming {
        value_size,
        line_size,
        ..
    } = parser.parse(b"set k 0 0 1000000\r\nabc", &Scratch::default())
    else {
        panic!("a large value arrives apart");
    };
    assert_eq!((value_size, line_size), (1_000_000, 19));
    parser.skip(value_size + 2);
    assert_eq!(
        parser.parse(&[b'x'; 600_000], &Scratch::default()),
        Parsed::Skip { size: 600_000 }
    );
    assert_eq!(
        parser.parse(&[b'x'; 600_000], &Scratch::default()),
        Parsed::Skip { size: 400_002 }
    );
    assert!(matches!(
        parser.parse(b"get a\r\n", &Scratch::default()),
        Parsed::Request { size: 7, .. }
    ));
}

#[test]
fn keyed_commands() {
    const USAGE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
    check(
        "delete k\r\ndelete k 0\r\ndelete k \r\n",
        "delete k\ndelete k\ndelete k",
    );
    check(
        "delete k noreply\r\ndelete k 0 noreply\r\n",
        "delete k silent\ndelete k silent",
    );
    check("delete k 10\r\n", USAGE);
    check("delete a b c d e\r\n", USAGE);
    check("delete k 10 noreply\r\n", "(silent DeleteUsage)");
    check("delete noreply\r\n", "delete noreply silent");
    check("delete\r\n", BAD_LINE);
    check(
        "incr k 5\r\ndecr k 18446744073709551615 noreply\r\n",
        "count k Up 5\ncount k Down 18446744073709551615 silent",
    );
    check("incr k +1\r\n", "CLIENT_ERROR invalid numeric delta argument");
    check("incr k -1 noreply\r\n", "(silent InvalidDelta)");
    check("incr k noreply\r\n", "(silent InvalidDelta)");
    check("incr k\r\n", BAD_LINE);
    check(
        "touch k 10\r\ntouch k -1 noreply\r\n",
        "touch k exptime=10\ntouch k exptime=-1 silent",
    );
    check("touch k x\r\n", "CLIENT_ERROR invalid exptime argument");
    check("touch k\r\n", BAD_LINE);
}

#[test]
fn server_commands() {
    check(
        "flush_all\r\nflush_all \r\n",
        "FlushAll { delay: Exptime(0) }\nFlushAll { delay: Exptime(0) }",
    );
    check("flush_all noreply\r\n", "FlushAll { delay: Exptime(0) } silent");
    check(
        "flush_all 10 noreply\r\n",
        "FlushAll { delay: Exptime(10) } silent",
    );
    check("flush_all -1\r\n", "FlushAll { delay: Exptime(-1) }");
    check("flush_all x\r\n", "CLIENT_ERROR invalid exptime argument");
    check("version noreply\r\nversion\r\n", "Version\nVersion");
    check("verbosity 1\r\nverbosity 9 x\r\n", "Verbosity(1)\nVerbosity(2)");
    check("verbosity noreply\r\n", "(silent BadLine)");
    check("verbosity\r\n", BAD_LINE);
    check("quit now\r\nget a\r\n", "quit");
    check("cache_memlimit 64\r\n", "CacheMemlimit { megabytes: 64 }");
    check(
        "cache_memlimit 7\r\n",
        "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
    );
    check(
        "cache_memlimit 1000000001\r\n",
        "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
    );
    check("cache_memlimit x\r\n", "ERROR");
    check("cache_memlimit x noreply\r\n", "(silent Error)");
    check("shutdown\r\n", "Shutdown { mode: Now }");
    check("shutdown graceful\r\n", "Shutdown { mode: Graceful }");
    check("shutdown x\r\n", "Shutdown { mode: Unknown }");
    check("refresh_certs\r\n", "RefreshCerts");
    check(
        "debugtime 100\r\ndebugtime p\r\ndebugtime r\r\n",
        "DebugTime(Advance(100))\nDebugTime(Pause)\nDebugTime(Resume)",
    );
    check("debugtime\r\ndebugtime x\r\n", "ERROR\nERROR");
    check(
        "extstore item_size 10\r\nextstore bogus 1\r\n",
        "Extstore { name: [105, 116, 101, 109, 95, 115, 105, 122, 101], number: 10 }\nERROR",
    );
}

#[test]
fn stats() {
    let what = |name: &str| format!("Stats {{ what: {name} }}");
    check("stats\r\nstats \r\n", &format!("{0}\n{0}", what("General")));
    check(
        "stats settings\r\nstats reset\r\n",
        &format!("{}\n{}", what("Settings"), what("Reset")),
    );
    check(
        "stats items\r\nstats slabs\r\n",
        &format!("{}\n{}", what("Items"), what("Slabs")),
    );
    check(
        "stats sizes\r\nstats conns\r\n",
        &format!("{}\n{}", what("Sizes"), what("Conns")),
    );
    check(
        "stats detail on\r\nstats detail dump\r\n",
        &format!("{}\n{}", what("DetailOn"), what("DetailDump")),
    );
    check(
        "stats detail\r\nstats detail x\r\n",
        ["CLIENT_ERROR usage: stats detail on|off|dump"; 2]
            .join("\n")
            .as_str(),
    );
    check(
        "stats cachedump 1 0\r\n",
        &what("Cachedump { class: 1, limit: 0 }"),
    );
    check("stats cachedump 64 0\r\n", "CLIENT_ERROR Illegal slab id");
    check("stats cachedump 1\r\n", "CLIENT_ERROR bad command line");
    check("stats cachedump x 1\r\n", BAD_LINE);
    check(
        "stats malloc\r\nstats noreply\r\nstats s\r\n",
        "ERROR\nERROR\nERROR",
    );
}

#[test]
fn slabs_lru_and_crawler() {
    check(
        "slabs reassign 1 2\r\n",
        "Slabs(Reassign { source: 1, target: 2 })",
    );
    check("slabs reassign -1 x\r\n", "Slabs(ReassignUnreadable)");
    check("slabs reassign 1 2 3\r\n", "ERROR");
    check("slabs automove window x\r\n", BAD_LINE);
    check("slabs automove 1\r\n", "Slabs(Automove(1))");
    check("slabs automove invalid\r\n", BAD_LINE);
    check("slabs automove 3\r\nslabs\r\nslabs x\r\n", "ERROR\nERROR\nERROR");
    check(
        "slabs automove ratio 0.8\r\nslabs automove ratio x\r\n",
        "Slabs(AutomoveRatio(0.8))\nERROR",
    );
    check(
        "slabs automove freeratio 0.01\r\n",
        "Slabs(AutomoveFreeratio(0.01))",
    );
    check("slabs automove window 10\r\n", "Slabs(AutomoveWindow(10))");
    check(
        "slabs automove window 2\r\n",
        "CLIENT_ERROR automove window too low or too high",
    );
    check(
        "lru mode flat\r\nlru mode segmented\r\nlru mode x\r\n",
        "Lru(ModeFlat)\nLru(ModeSegmented)\nERROR",
    );
    check(
        "lru temp_ttl -1\r\nlru temp_ttl 10\r\n",
        "Lru(TempTtl(-1))\nLru(TempTtl(10))",
    );
    check(
        "lru tune 10 25 0.1 2.0\r\n",
        "Lru(Tune { hot_percent: 10, warm_percent: 25, hot_factor: 0.1, warm_factor: 2.0 })",
    );
    check(
        "lru tune 60 25 0.1 2.0\r\n",
        "ERROR hot and warm pcts must not exceed 80",
    );
    check(
        "lru tune 10 25 0 2.0\r\n",
        "ERROR hot/warm age factors must be greater than 0",
    );
    check("lru tune 10 25\r\nlru\r\n", "ERROR\nERROR");
    check(
        "lru_crawler enable\r\nlru_crawler disable noreply\r\n",
        "LruCrawler(Enable)\nLruCrawler(Disable) silent",
    );
    check(
        "lru_crawler sleep 100\r\nlru_crawler tocrawl 5\r\n",
        "LruCrawler(Sleep(100))\nLruCrawler(Tocrawl(5))",
    );
    check(
        "lru_crawler sleep 1000001\r\n",
        "CLIENT_ERROR sleep must be one second or less",
    );
    check(
        "lru_crawler sleep x\r\nlru_crawler tocrawl x\r\n",
        [BAD_LINE; 2].join("\n").as_str(),
    );
    check("lru_crawler crawl 1,3\r\n", "LruCrawler(Crawl(Classes(10)))");
    check(
        "lru_crawler crawl 0\r\nlru_crawler crawl x\r\n",
        ["BADCLASS invalid class id"; 2].join("\n").as_str(),
    );
    check(
        "lru_crawler metadump all\r\n",
        "LruCrawler(Metadump(Classes(18446744073709551614)))",
    );
    check(
        "lru_crawler mgdump hash\r\n",
        "LruCrawler(Mgdump(Classes(18446744073709551614)))",
    );
    check(
        "lru_crawler\r\nlru_crawler metadump\r\nlru_crawler x\r\n",
        "ERROR\nERROR\nERROR",
    );
}

#[test]
fn watch() {
    check("watch\r\n", "Watch { streams: Streams(1) }");
    check(
        "watch fetchers mutations evictions\r\n",
        "Watch { streams: Streams(7) }",
    );
    check("watch connevents deletions\r\n", "Watch { streams: Streams(24) }");
    check("watch f\r\n", "ERROR");
}

#[test]
fn a_line_that_never_ends_is_hung_up_on() {
    let parse = |input: &str| {
        let mut parser = Parser::new(SEED, Dialects::Any);
        match parser.parse(input.as_bytes(), &Scratch::default()) {
            Parsed::Partial => "partial",
            Parsed::Hangup { word: None, .. } => "hangup",
            Parsed::Request { .. } => "request",
            _ => "other",
        }
    };
    assert_eq!(parse(&"x".repeat(2048)), "partial");
    assert_eq!(parse(&"x".repeat(2049)), "hangup");
    assert_eq!(parse(&format!("delete {}", "x".repeat(2048))), "hangup");
    assert_eq!(parse(&format!("gat 0 {}", "x ".repeat(2048))), "hangup");
    assert_eq!(parse(&format!("get {}", "x ".repeat(2048))), "partial");
    assert_eq!(parse(&format!("gets {}", "x ".repeat(2048))), "partial");
    assert_eq!(parse(&format!("  get {}", "x ".repeat(2048))), "partial");
    assert_eq!(parse(&format!("  get {}", "x ".repeat(LINE_SIZE_MAX))), "hangup");
    assert_eq!(parse(&format!("get {}", " ".repeat(LINE_SIZE_MAX))), "hangup");
    assert_eq!(parse(&format!("get {}", "x ".repeat(LINE_SIZE_MAX))), "request");
    // Long, but complete when it is first seen.
    assert_eq!(parse(&format!("delete k{}\r\n", " ".repeat(5000))), "request");
}

#[test]
fn a_get_of_any_length_streams() {
    let keys: Vec<String> = (0..200_000).map(|index| format!("key-{index}")).collect();
    let input = format!("gets {}\r\nget a\r\n", keys.join(" "));
    for piece in [8192, 5003] {
        let outcomes = parse_in_pieces(Dialects::Any, input.as_bytes(), piece);
        assert_eq!(
            outcomes.len(),
            keys.len() + 1 + usize::from(outcomes[keys.len()] == "END")
        );
        for (outcome, key) in outcomes.iter().zip(&keys) {
            let want = format!("get {key} with_cas");
            assert_eq!(outcome.lines().next(), Some(want.as_str()));
        }
        let end = outcomes[keys.len() - 1..].join("\n");
        assert_eq!(end, "get key-199999 with_cas\nEND\nget a\nEND");
    }
}

#[test]
fn a_key_too_long_ends_a_streamed_get() {
    let input = format!(
        "get {} {} b\r\nget a\r\n",
        "k ".repeat(LINE_SIZE_MAX),
        "x".repeat(300)
    );
    let outcomes = parse_in_pieces(Dialects::Any, input.as_bytes(), 4096);
    assert_eq!(outcomes.len(), LINE_SIZE_MAX + 2);
    assert_eq!(
        outcomes[LINE_SIZE_MAX..].join("\n"),
        format!("{BAD_LINE}\nget a\nEND")
    );
}

#[test]
fn the_first_byte_chooses_the_dialect() {
    let mut ascii = Parser::new(SEED, Dialects::Classic);
    assert!(matches!(
        ascii.parse(b"\x80\r\n\r\n", &Scratch::default()),
        Parsed::Say { .. }
    ));
    let mut any = Parser::new(SEED, Dialects::Any);
    assert!(matches!(
        any.parse(b"get a\r\n", &Scratch::default()),
        Parsed::Request { .. }
    ));
    assert!(matches!(
        any.parse(b"\x80a\r\n", &Scratch::default()),
        Parsed::Say { .. }
    ));
    let mut binary = Parser::new(SEED, Dialects::Binary);
    assert!(matches!(
        binary.parse(b"get a\r\n", &Scratch::default()),
        Parsed::Hangup { word: None, .. }
    ));
}

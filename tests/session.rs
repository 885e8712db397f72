//! A session driven by slices: the same is said whatever the pieces, the delays and the wire. tools/fuzz runs the same
//! body on a fuzzer's bytes.

#[path = "model/session.rs"]
mod model;

use model::{Driven, Manner, replies};
use proptest::prelude::*;
use ringcached::protocol::Dialects;
use ringcached::protocol::watch::CloseReason;
use ringcached::session::{INPUT_STALLED_MAX, OUTPUT_SIZE_MAX, Stall};

fn manner() -> Manner {
    Manner::plain(Dialects::Any)
}

/// Checks the replies to `input`, cut at every place, then into pieces of every small size, with another core's
/// answers late and without, with a wire that takes all, some or nothing.
fn check(input: &[u8], expected: &[u8]) {
    let (said, _) = replies(input, &manner());
    assert_eq!(
        said.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    for others in [false, true] {
        for cut in 0..=input.len().min(300) {
            let mut driven = Driven::new(&Manner { others, ..manner() });
            driven.receive(&input[..cut]);
            driven.receive(&input[cut..]);
            driven.settle();
            assert!(driven.heard() == expected, "cut at {cut}, others: {others}");
        }
        for piece in (1..=40).chain([100, 1000, 4096, 8192]) {
            for (wire, requests_per_turn, seldom) in
                [(0, 1, 1), (1, usize::MAX, 7), (5000, 3, 2), (usize::MAX, 2, 1)]
            {
                let manner = Manner {
                    piece,
                    wire,
                    requests_per_turn,
                    others,
                    seldom,
                    ..manner()
                };
                let (said, _) = replies(input, &manner);
                assert!(said == expected, "{manner:?}");
            }
        }
    }
}

/// Where no ring is published the name of the older question is a key like any other; and nobody from afar sets a ring.
#[test]
fn words_about_a_ring_where_there_is_none() {
    check(
        b"get AmazonElastiCache:cluster\r\nset AmazonElastiCache:cluster 3 0 1\r\nx\r\nget a\r\n\
          get AmazonElastiCache:cluster \r\nget AmazonElastiCache:cluster\r\nconfig get cluster\r\n\
          config set cluster 0 7\r\n1\na||1\n\r\nconfig delete cluster noreply\r\nstats cluster\r\nmn\r\n",
        b"END\r\nSTORED\r\nEND\r\nVALUE AmazonElastiCache:cluster 3 1\r\nx\r\nEND\r\n\
          VALUE AmazonElastiCache:cluster 3 1\r\nx\r\nEND\r\nERROR\r\n\
          CLIENT_ERROR config set and delete not allowed\r\nERROR\r\nMN\r\n",
    );
}

#[test]
fn pipelines_are_answered_in_order() {
    check(
        b"set a 1 0 1\r\nA\r\nset b 2 0 2\r\nBB\r\nget a\r\nget b\r\ndelete a\r\nget a\r\nincr b 1\r\nmn\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 1 1\r\nA\r\nEND\r\nVALUE b 2 2\r\nBB\r\nEND\r\nDELETED\r\nEND\r\n\
          CLIENT_ERROR cannot increment or decrement non-numeric value\r\nMN\r\n",
    );
}

#[test]
fn a_multi_get_keeps_the_order_of_its_keys() {
    check(
        b"set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nset c 0 0 1\r\n3\r\nset d 0 0 1\r\n4\r\nget d x b a y c\r\nmn\r\n",
        b"STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\nVALUE d 0 1\r\n4\r\nVALUE b 0 1\r\n2\r\nVALUE a 0 1\r\n1\r\n\
          VALUE c 0 1\r\n3\r\nEND\r\nMN\r\n",
    );
}

#[test]
fn large_values_arrive_and_leave_in_any_pieces() {
    let value: Vec<u8> = (0..20_000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let input = [
        b"set big 5 0 20000\r\n",
        &value[..],
        b"\r\nget nothing big\r\nmn\r\n",
    ]
    .concat();
    let expected = [
        b"STORED\r\nVALUE big 5 20000\r\n",
        &value[..],
        b"\r\nEND\r\nMN\r\n",
    ]
    .concat();
    check(&input, &expected);
}

#[test]
fn a_large_value_that_ends_badly_is_not_stored() {
    let input = [b"set big 0 0 5000\r\n", &[b'v'; 5000][..], b"xyget big\r\nmn\r\n"].concat();
    check(&input, b"CLIENT_ERROR bad data chunk\r\nEND\r\nMN\r\n");
}

#[test]
fn a_value_too_large_is_swallowed() {
    let input = [
        b"set big 0 0 100000\r\n",
        "delete a\r\n".repeat(10_000).as_bytes(),
        b"\r\nget big\r\n",
    ]
    .concat();
    check(&input, b"SERVER_ERROR object too large for cache\r\nEND\r\n");
}

/// The line is read again with every piece that comes, and the core goes on with others meanwhile.
#[test]
fn a_value_behind_a_key_in_base64_may_come_in_pieces() {
    check(
        b"mg Zm9v b k\r\nms Zm9v 3 b k\r\nabc\r\nmg Zm9v b k v\r\nms Zm9w 5 b\r\nabcxxxxmn\r\n",
        b"EN kZm9v b\r\nHD kZm9v b\r\nVA 3 kZm9v b\r\nabc\r\nCLIENT_ERROR bad data chunk\r\nMN\r\n",
    );
}

/// Both faults are there; which one is named does not depend on how much of the value has come.
#[test]
fn a_value_too_large_that_ends_badly_is_too_large() {
    let input = [
        b"set big 0 0 100000\r\n",
        &[b'v'; 100_000][..],
        b"xyget big\r\nmn\r\n",
    ]
    .concat();
    check(
        &input,
        b"SERVER_ERROR object too large for cache\r\nEND\r\nMN\r\n",
    );
    let input = [b"ms big 100000\r\n", &[b'v'; 100_000][..], b"xymn\r\n"].concat();
    check(&input, b"SERVER_ERROR object too large for cache\r\nMN\r\n");
}

#[test]
fn a_refused_store_takes_its_value_along() {
    check(
        b"set k x 0 6\r\nget k \r\nget k\r\nmn\r\n",
        b"CLIENT_ERROR bad command line format\r\nEND\r\nMN\r\n",
    );
}

#[test]
fn a_flush_is_a_barrier() {
    check(
        b"set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nflush_all\r\nget a b\r\nset a 0 0 1\r\n3\r\nget a b\r\n",
        b"STORED\r\nSTORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\n3\r\nEND\r\n",
    );
}

/// What stood before is answered, what stands behind is not.
#[test]
fn nothing_is_answered_after_quit() {
    let input = b"get a\r\nget b\r\nquit\r\nget a\r\n";
    check(input, b"END\r\nEND\r\n");
    assert!(replies(input, &manner()).1);
    assert!(!replies(b"get a\r\n", &manner()).1);
}

/// A client that asks and never reads: the session stops serving at [`OUTPUT_SIZE_MAX`], stops wanting input soon
/// after, and says everything when the output moves again.
#[test]
fn a_session_whose_output_waits_takes_no_more() {
    const VALUE: usize = 8000;
    const GETS: usize = 10_000;
    let mut driven = Driven::new(&manner());
    driven.receive(&[b"set a 0 0 8000\r\n", &[b'v'; VALUE][..], b"\r\n"].concat());
    driven.settle();
    let stored = driven.heard().len();
    let mut asked = 0;
    while !driven.session().wants_no_input() {
        driven.receive(b"get a\r\n");
        asked += 1;
        assert!(asked < GETS, "it never stops");
    }
    assert_eq!(driven.session().stall(), Some(Stall::Output));
    assert!(driven.session().output().size() < OUTPUT_SIZE_MAX + VALUE + 100);
    assert!(asked * b"get a\r\n".len() < INPUT_STALLED_MAX + OUTPUT_SIZE_MAX / VALUE * 10);
    driven.settle();
    let one = b"VALUE a 0 8000\r\n".len() + VALUE + b"\r\nEND\r\n".len();
    assert_eq!(driven.heard().len() - stored, asked * one);
}

/// A connection that ends in the middle of a large value leaves no item and no page behind (`Shard::check`).
#[test]
fn a_value_cut_short_leaves_nothing() {
    let mut driven = Driven::new(&manner());
    driven.receive(b"set a 0 0 50000\r\nbeginning");
    driven.settle();
    assert_eq!(driven.close(), b"");
}

/// Requests, whole, broken and cut short, one after the other.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        Just("a"),
        Just("b"),
        Just("cc"),
        Just("d"),
        Just("long-key-number-5")
    ];
    let size = prop_oneof![
        0..20usize,
        4000..4200usize,
        8000..9000usize,
        60_000..65_000usize,
        70_000..70_100usize
    ];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("xy"), 1 => Just("")];
    let store = (
        prop_oneof!["set", "add", "append", "replace"],
        key.clone(),
        size,
        end,
    )
        .prop_map(|(word, key, size, end)| {
            let mut bytes = format!("{word} {key} 1 0 {size}\r\n").into_bytes();
            bytes.resize(bytes.len() + size, b'7');
            bytes.extend_from_slice(end.as_bytes());
            bytes
        });
    let meta_store = (prop_oneof!["Zm9v", "YQ==", "Zm9"], 0..30usize).prop_map(|(key, size)| {
        let mut bytes = format!("ms {key} {size} b k\r\n").into_bytes();
        bytes.resize(bytes.len() + size, b'7');
        bytes.extend_from_slice(b"\r\n");
        bytes
    });
    let line = (
        prop_oneof![
            "get",
            "gets",
            "mg",
            "delete",
            "touch",
            "incr",
            "gat 0",
            "flush_all",
            "version",
            "bogus",
            "mn"
        ],
        prop::collection::vec(key, 0..4),
        prop_oneof![8 => Just(""), 1 => Just(" 1"), 1 => Just(" v t f q"), 1 => Just(" noreply")],
    )
        .prop_map(|(word, keys, rest)| format!("{word} {}{rest}\r\n", keys.join(" ")).into_bytes());
    prop::collection::vec(prop_oneof![2 => store, 1 => meta_store, 3 => line], 0..30)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_delays_and_wires_change_nothing(manner in prop::array::uniform4(any::<u8>()), input in requests()) {
        model::run(&[&[0], &manner[..], &input].concat());
    }

    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        model::run(&input);
    }
}

#[test]
fn a_session_knows_why_it_is_closed() {
    for (input, reason) in [
        (&b"mn\r\n"[..], None),
        (b"get a\r\nquit\r\n", Some(CloseReason::Normal)),
        (
            b"\x80\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            Some(CloseReason::Normal),
        ),
        (
            b"\x80\x07\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            Some(CloseReason::Error),
        ),
        (b"GET / HTTP/1.1\r\n", Some(CloseReason::Error)),
    ] {
        let mut driven = Driven::new(&manner());
        driven.receive(input);
        driven.settle();
        assert_eq!(
            driven.session().close_reason(),
            reason,
            "{}",
            input.escape_ascii()
        );
    }
}

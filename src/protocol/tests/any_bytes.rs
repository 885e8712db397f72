//! Any bytes, however cut: never a panic, never waiting for too much, always the same outcomes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::helper::parse_in_pieces;
use crate::protocol::Dialects;

/// Bytes that look like the protocol often enough to get deep into it.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "get ",
        "gets ",
        "gat ",
        "set ",
        "cas ",
        "append ",
        "delete ",
        "incr ",
        "touch ",
        "mg ",
        "ms ",
        "md ",
        "ma ",
        "me ",
        "mn",
        "stats ",
        "flush_all ",
        "lru_crawler ",
        "config get ",
        "config set ",
        "AmazonElastiCache:cluster",
        "metadump all",
        "quit",
        " noreply",
        "\r\n",
        "\n",
        " ",
        "k ",
        "0 ",
        "1 ",
        "3 ",
        "5000 ",
        "-1 ",
        "b ",
        "v ",
        "MA ",
        "T1 ",
        "Zm9v ",
        "abc",
        "HTTP/1",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..30),
        1 => (0u8..0x6a, 0u8..21, 0usize..6, 0usize..9, any::<bool>()).prop_map(
            |(opcode, extras, key, value, whole)| {
                let extras = vec![0; usize::from(extras)];
                let mut packet = super::binary::packet(opcode, 0, &extras, &vec![b'k'; key], &vec![b'v'; value]);
                packet.truncate(if whole { packet.len() } else { 20 });
                packet
            }
        ),
        1 => (200usize..300).prop_map(|size| vec![b'x'; size]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn pieces_make_the_same_whole(fragments in vec(fragment(), 0..20), piece in 1usize..40) {
        let mut input = fragments.concat();
        // Longer lines may be refused when they come in pieces and served when they come at once.
        input.truncate(2048);
        for dialects in [Dialects::Any, Dialects::Binary] {
            let whole = parse_in_pieces(dialects, &input, usize::MAX);
            prop_assert_eq!(parse_in_pieces(dialects, &input, piece), whole);
        }
    }
}

//! The shard against a model, on random commands. tools/fuzz runs the same body on a fuzzer's commands.

#[path = "model/shard.rs"]
mod model;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_may_forget_but_never_lie(input in prop::collection::vec(any::<u8>(), 0..4000)) {
        model::run(&input);
    }
}

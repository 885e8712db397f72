//! The shard against its model, on the fuzzer's commands. The body is the property test's: tests/model/shard.rs.
//!
//! `cargo +nightly fuzz run --fuzz-dir tools/fuzz shard` (AddressSanitizer is on by default).

#![no_main]

#[path = "../../../tests/model/shard.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|input: &[u8]| model::run(input));

//! Any bytes, at any split, through a session on a real shard: no panic, a bounded output, and the same replies as to
//! the bytes in one piece. The body is shared with the unit tests: tests/model/session.rs.
//!
//! `cargo +nightly fuzz run --fuzz-dir tools/fuzz session` (AddressSanitizer is on by default).

#![no_main]

#[path = "../../../tests/model/session.rs"]
#[expect(dead_code, reason = "the unit tests use more of it")]
mod model;

/// Longer inputs only take longer: nothing here has a larger period.
const INPUT_SIZE_MAX: usize = 16 * 1024;

libfuzzer_sys::fuzz_target!(|input: &[u8]| model::run(&input[..input.len().min(INPUT_SIZE_MAX)]));

//! Timing of short operations, shared by the benchmarks that print one figure a line.

use std::time::{Duration, Instant};

const ROUNDS: usize = 60;
const ROUND_TIME: Duration = Duration::from_millis(4);
/// Passes between two looks at the clock.
const PASSES: usize = 16;

/// Runs `pass`, which does `count` things, for a while, and prints the best time of one thing. A word on the command line
/// leaves out every name that does not contain it.
pub(crate) fn measure(name: &str, count: usize, mut pass: impl FnMut()) {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    if wanted.is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (mut passes, start) = (0, Instant::now());
        while start.elapsed() < ROUND_TIME {
            for _ in 0..PASSES {
                pass();
            }
            passes += PASSES;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (passes * count) as f64);
    }
    println!("{name:<44} {best:9.1} ns each");
}

//! cachesim: how many requests of a trace a cache misses.
//!
//! `replay` sends traces through ringcached's own shard code and through other eviction policies, at several sizes;
//! `shift` changes the size of the values that are written and watches how soon the new ones hit.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cache;
mod policy;
mod random;
mod replay;
mod shift;
mod skew;

/// Counts the misses of caches: of ringcached's own shard code, and of other eviction policies beside it.
#[derive(Parser)]
#[command(version, about, max_term_width = 120)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replay traces and print the miss ratios at several cache sizes.
    Replay(replay::Args),
    /// Fill a cache with small values, then write larger ones, and print how soon those hit.
    Shift(shift::Args),
    /// Give one shard larger values than the others, and print how memory and misses divide.
    Skew(skew::Args),
}

fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Replay(args) => replay::run(&args),
        Command::Shift(args) => shift::run(&args),
        Command::Skew(args) => skew::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cachesim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

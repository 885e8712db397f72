//! ringctl: where a fleet's keys live, how evenly, what moves when it changes, and whether its nodes agree.
//!
//! The rings are `ringcached::cluster`'s; here is only reading of arguments, arithmetic over many keys, and
//! printing. Nothing is changed anywhere: every command only looks.

mod check;
mod diff;
mod fleet;
mod keys;
mod output;
mod place;
mod spread;
mod svg;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use ringcached::cluster::Preset;

/// Asks and explains where a memcached fleet's keys live.
#[derive(Parser)]
#[command(name = "ringctl", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  ringctl place --preset php --servers 10.0.0.1:11211,10.0.0.2:11211 user:42
  ringctl spread --preset twemproxy-md5 --file ring.conf --svg spread.svg
  ringctl diff --preset libmemcached-weighted --file ring.conf --add 10.0.0.9:11211
  ringctl check --file ring.conf

Exit status: 0 when all is well, 1 when `check` found a difference, 2 when a request made no sense or could \
not be carried out.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the server that owns each key
    Place(place::Args),
    /// Shows each server's share of the ring and of keys
    Spread(spread::Args),
    /// Shows what moves when servers come, go or change weight
    Diff(diff::Args),
    /// Asks every node for its ring and compares the answers with a client's view
    Check(check::Args),
    /// Lists the presets: whose rules a ring can follow
    Presets {
        /// Print JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Prints completions for a shell
    #[command(after_help = "Example: ringctl completions bash > /etc/bash_completion.d/ringctl")]
    Completions { shell: clap_complete::Shell },
}

#[derive(Serialize)]
struct PresetLine<'a> {
    preset: &'a str,
    summary: &'a str,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Place(args) => place::run(&args),
        Command::Spread(args) => spread::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Presets { json } => presets(json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ringctl", &mut script);
            output::print(&script)
        }
    };
    match result {
        Ok(code) => code,
        // A reader such as `head` has seen enough: no error of anybody's.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringctl: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn presets(json: bool) -> anyhow::Result<ExitCode> {
    let presets = Preset::all();
    let mut text = String::new();
    if json {
        for preset in &presets {
            output::json_line(
                &mut text,
                &PresetLine {
                    preset: preset.name(),
                    summary: preset.summary(),
                },
            )?;
        }
    } else {
        let width = presets
            .iter()
            .map(|preset| preset.name().len())
            .max()
            .unwrap_or(0);
        for preset in &presets {
            text.push_str(&format!("{:width$}  {}\n", preset.name(), preset.summary()));
        }
    }
    output::print(text.as_bytes())
}

//! The program: reads the command line, starts the log, serves.

use std::process::ExitCode;

use log::LevelFilter;
use ringcached::{config, server};

fn main() -> ExitCode {
    let config = config::from_command_line();
    let level = match config.verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    // RUST_LOG, where it is set, says it more finely than -v.
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .init();
    match server::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("{}", refusal.message);
            ExitCode::from(refusal.code)
        }
    }
}

//! The program: reads the command line, starts the log, serves.

use std::process::ExitCode;

use log::LevelFilter;
use ringcached::{config, server};

fn main() -> ExitCode {
    let config = config::from_command_line();
    let mut logger = env_logger::Builder::new();
    logger.filter_level(LevelFilter::Trace);
    // RUST_LOG, where it is set, says it more finely than -v.
    let is_finer = std::env::var_os("RUST_LOG").is_some();
    if is_finer {
        logger.filter_level(server::log_level(config.verbosity.into()));
        logger.parse_default_env();
    }
    // systemd's journal knows the time.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logger.format_timestamp(None);
    }
    logger.init();
    if !is_finer {
        log::set_max_level(server::log_level(config.verbosity.into()));
    }
    match server::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("{}", refusal.message);
            ExitCode::from(refusal.code)
        }
    }
}

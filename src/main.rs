//! The program: reads the command line, starts the log, serves.

use std::process::ExitCode;

use ringcached::{config, server};

fn main() -> ExitCode {
    let config = config::from_command_line();
    server::start_log(&config);
    match server::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            server::say(log::Level::Error, &refusal.message);
            ExitCode::from(refusal.code)
        }
    }
}

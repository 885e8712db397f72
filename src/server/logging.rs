//! What the server says, and how a line of it looks: for people, for systemd's journal, or for programs.
//!
//! ```text
//!   people    [2026-01-31T12:00:00Z WARN  ringcached::server] text
//!   journal   <4>text                                           it knows the time; <4> is syslog's number of a warning
//!   JSON      {"time":"2026-01-31T12:00:00.000Z","level":"WARN","target":"ringcached::server","message":"text"}
//! ```
//!
//! All of it goes to stderr. `-v` says how much: 0 what is wrong, 1 what the server does, 2 who comes and what is asked,
//! 3 what comes and goes on the wire, too; `RUST_LOG`, where it is set, says it more finely.

use std::io::{self, Write};
use std::sync::OnceLock;

use env_logger::Target;
use log::{Level, LevelFilter, Record};

use crate::config::{Config, LogFormat};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    People,
    Journal,
    Json,
}

/// Set once, by [`start`].
static FORM: OnceLock<Form> = OnceLock::new();

/// What the log says with so many -v.
pub(super) fn level(verbosity: u32) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Starts the log. To be called once, before anything is to be said.
pub fn start(config: &Config) {
    let form = match config.log_format {
        LogFormat::Json => Form::Json,
        LogFormat::Text if stderr_is_the_journal() => Form::Journal,
        LogFormat::Text => Form::People,
    };
    FORM.get_or_init(|| form);
    let wanted = level(config.verbosity.into());
    let mut logger = env_logger::Builder::new();
    logger.target(Target::Stderr);
    logger.filter_level(LevelFilter::Trace);
    let is_finer = std::env::var_os("RUST_LOG").is_some();
    if is_finer {
        logger.filter_level(wanted);
        logger.parse_default_env();
    }
    match form {
        Form::People => {}
        Form::Journal => {
            logger.format(|out, record| {
                let line = for_journal(record.level(), &record.args().to_string());
                out.write_all(line.as_bytes())
            });
        }
        Form::Json => {
            logger.format(|out, record| {
                let time = out.timestamp_millis().to_string();
                let line = json(&time, record.level(), record.target(), &record.args().to_string());
                out.write_all(line.as_bytes())
            });
        }
    }
    logger.init();
    if !is_finer {
        log::set_max_level(wanted);
    }
}

/// What memcached prints however much is to be said, and tools look for: to people it is this text and nothing else.
pub fn say(level: Level, text: &str) {
    if FORM.get().is_none_or(|form| *form == Form::People) {
        // Nobody is told that stderr is gone.
        let _ = writeln!(io::stderr(), "{text}");
        return;
    }
    let mut record = Record::builder();
    record.level(level).target("ringcached");
    log::logger().log(&record.args(format_args!("{text}")).build());
}

fn json(time: &str, level: Level, target: &str, text: &str) -> String {
    let string = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\"time\":{},\"level\":\"{level}\",\"target\":{},\"message\":{}}}\n",
        string(time),
        string(target),
        string(text)
    )
}

/// Every line has its priority: the journal reads one line after another.
fn for_journal(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

/// systemd names the journal's socket (device and inode) to those whose stderr it is; others may inherit the name.
fn stderr_is_the_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else {
        return false;
    };
    names(&named, stat.st_dev, stat.st_ino)
}

fn names(named: &str, device: u64, inode: u64) -> bool {
    let parts = named.split_once(':');
    let parts = parts.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    parts == Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_one_object_on_one_line() {
        for text in ["plain", "\"quoted\" \\ and\nbroken\r\u{1}\u{7f}", "ключ", ""] {
            let line = json(
                "2026-01-31T12:00:00.000Z",
                Level::Warn,
                "ringcached::server",
                text,
            );
            assert_eq!(1, line.lines().count(), "{line}");
            let object: serde_json::Value = serde_json::from_str(&line).expect("an object");
            assert_eq!(
                (Some("WARN"), Some("ringcached::server"), Some(text)),
                (
                    object["level"].as_str(),
                    object["target"].as_str(),
                    object["message"].as_str()
                )
            );
        }
    }

    #[test]
    fn every_line_for_the_journal_has_its_priority() {
        for (level, want) in [
            (Level::Error, "<3>a\n<3>b\n"),
            (Level::Warn, "<4>a\n<4>b\n"),
            (Level::Info, "<6>a\n<6>b\n"),
            (Level::Trace, "<7>a\n<7>b\n"),
        ] {
            assert_eq!(want, for_journal(level, "a\nb"));
        }
    }

    #[test]
    fn the_journal_is_known_by_its_socket() {
        for (named, want) in [
            ("9:1234", true),
            ("9:1235", false),
            ("8:1234", false),
            ("", false),
            ("9:", false),
            ("9:1234:1", false),
        ] {
            assert_eq!(want, names(named, 9, 1234), "{named}");
        }
    }
}

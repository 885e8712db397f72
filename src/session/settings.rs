//! `stats settings`: names, order and formats as memcached has them.

use super::statistics::Facts;

/// What one line of `stats settings` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Holds for the life of the server.
    Fixed(String),
    MemoryLimit,
    Verbosity,
    Detail,
    Crawler,
}

/// Calls `line` with the name and value of every setting.
pub(super) fn settings(facts: &Facts, mut line: impl FnMut(&[u8], &[u8])) {
    let word = |on: bool| if on { "yes" } else { "no" }.to_owned();
    for (name, setting) in &facts.settings {
        let now = match setting {
            Setting::Fixed(value) => {
                line(name.as_bytes(), value.as_bytes());
                continue;
            }
            Setting::MemoryLimit => facts.switches.memory_limit().to_string(),
            Setting::Verbosity => facts.switches.verbosity().to_string(),
            Setting::Detail => word(facts.switches.detail()),
            Setting::Crawler => word(facts.switches.crawler()),
        };
        line(name.as_bytes(), now.as_bytes());
    }
}

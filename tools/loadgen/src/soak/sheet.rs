//! The balance sheet: what the server weighed and counted at each halt of a soak, and what must be equal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::ledger::Sums;
use super::talk::Talk;

/// How much more memory a server may hold at a halt than at the one before: its allocator keeps what it has used once, and
/// every soak uses it a little differently.
pub(super) const MEMORY_SLACK: u64 = 16 << 20;

/// The general statistics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics(BTreeMap<String, String>);

impl Statistics {
    /// Asks for them.
    pub(crate) fn read(talk: &mut Talk) -> io::Result<Statistics> {
        let mut lines = BTreeMap::new();
        let mut line = talk.command("stats")?;
        while line != "END" {
            let words = line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' '));
            let (name, value) = words.ok_or_else(|| io::Error::other(format!("stats: {line:?}")))?;
            lines.insert(name.to_string(), value.to_string());
            line = talk.line()?;
        }
        Ok(Statistics(lines))
    }

    /// 0 where there is no such number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// The server at a halt: nobody but one client is connected.
#[derive(Clone, Debug)]
pub(super) struct Halt {
    pub(super) name: &'static str,
    pub(super) memory: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    pub(super) statistics: Statistics,
    /// Connections opened so far by all clients.
    pub(super) opened: u64,
    /// Bytes that the one connection which is left had sent and received.
    pub(super) control_sent: u64,
    pub(super) control_received: u64,
}

/// One line that must come out right.
struct Entry {
    is_right: bool,
    text: String,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Sheet {
    entries: Vec<Entry>,
}

impl Sheet {
    pub(super) fn check(&mut self, is_right: bool, text: String) {
        self.entries.push(Entry { is_right, text });
    }

    pub(super) fn equal(&mut self, what: &str, left: u64, right: u64) {
        self.check(left == right, format!("{what}: {left} = {right}"));
    }

    /// What must be as it was.
    pub(super) fn compare(&mut self, before: &Halt, after: &Halt) {
        let between = format!("{} to {}", before.name, after.name);
        self.equal(
            &format!("{between}: descriptors"),
            before.descriptors,
            after.descriptors,
        );
        self.equal(&format!("{between}: threads"), before.threads, after.threads);
        let connections = |halt: &Halt| halt.statistics.number("curr_connections");
        self.equal(
            &format!("{between}: curr_connections"),
            connections(before),
            connections(after),
        );
        let counted = |halt: &Halt| {
            halt.statistics.number("total_connections") + halt.statistics.number("rejected_connections")
        };
        self.equal(
            &format!("{between}: connections counted by the server = opened by the clients"),
            counted(after) - counted(before),
            after.opened - before.opened,
        );
    }

    /// Memory must not have grown by more than the slack.
    pub(super) fn weigh(&mut self, before: &Halt, after: &Halt) {
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        self.check(
            after.memory <= before.memory + MEMORY_SLACK,
            format!(
                "{} to {}: resident memory {:.1} MiB, then {:.1} MiB; at most {:.0} MiB more",
                before.name,
                after.name,
                mib(before.memory),
                mib(after.memory),
                mib(MEMORY_SLACK)
            ),
        );
    }

    /// The server's counters against each other.
    pub(super) fn consistent(&mut self, halt: &Halt) {
        let of = |name| halt.statistics.number(name);
        let name = halt.name;
        self.equal(
            &format!("{name}: get_hits + get_misses = cmd_get"),
            of("get_hits") + of("get_misses"),
            of("cmd_get"),
        );
        self.equal(
            &format!("{name}: listen_disabled_num"),
            of("listen_disabled_num"),
            0,
        );
        self.check(
            of("bytes") <= of("limit_maxbytes"),
            format!(
                "{name}: {} bytes of items, {} allowed",
                of("bytes"),
                of("limit_maxbytes")
            ),
        );
    }

    /// What the clients have counted themselves against the same counters of the server: equal if everybody behaved, no
    /// more than the server's otherwise.
    pub(super) fn account(&mut self, before: &Halt, after: &Halt, sums: &Sums, is_exact: bool) {
        const SHARED: [&str; 14] = [
            "cmd_get",
            "get_hits",
            "get_misses",
            "delete_hits",
            "delete_misses",
            "incr_hits",
            "incr_misses",
            "decr_hits",
            "decr_misses",
            "cas_hits",
            "cas_misses",
            "cas_badval",
            "bytes_read",
            "bytes_written",
        ];
        for name in SHARED {
            let counted = after.statistics.number(name) - before.statistics.number(name);
            let ours = sums.of(name);
            let what = format!(
                "{} to {}: {name} of the server, of the clients who behaved",
                before.name, after.name
            );
            if is_exact {
                self.equal(&what, counted, ours);
            } else {
                self.check(ours <= counted, format!("{what}: {counted} >= {ours}"));
            }
        }
    }

    /// What a soak that has shown anything must have done.
    pub(super) fn exercised(&mut self, what: &str, count: u64) {
        self.check(count > 0, format!("it has come to pass: {what}: {count}"));
    }

    pub(super) fn is_balanced(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_right)
    }

    /// For people.
    pub(super) fn text(&self, halts: &[Halt]) -> String {
        let mut text = format!("{:<26}", "at");
        for halt in halts {
            let _ = write!(text, "{:>14}", halt.name);
        }
        let mut row = |name: &str, figure: &dyn Fn(&Halt) -> u64| {
            let _ = write!(text, "\n{name:<26}");
            for halt in halts {
                let _ = write!(text, "{:>14}", figure(halt));
            }
        };
        row("resident memory, KiB", &|halt| halt.memory / 1024);
        row("descriptors", &|halt| halt.descriptors);
        row("threads", &|halt| halt.threads);
        row("opened by clients", &|halt| halt.opened);
        for name in [
            "curr_connections",
            "total_connections",
            "rejected_connections",
            "cmd_get",
            "get_hits",
            "get_misses",
            "get_expired",
            "get_flushed",
            "cmd_set",
            "cmd_touch",
            "cmd_flush",
            "bytes_read",
            "bytes_written",
            "curr_items",
            "total_items",
            "bytes",
            "evictions",
            "reclaimed",
        ] {
            row(name, &|halt| halt.statistics.number(name));
        }
        text.push_str("\n\n");
        for entry in &self.entries {
            let _ = writeln!(
                text,
                "{} {}",
                if entry.is_right { "  ok  " } else { "WRONG " },
                entry.text
            );
        }
        text
    }
}

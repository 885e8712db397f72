//! The differences from memcached that are known and wanted, each with its reason. docs/PROTOCOL.md quotes this table.

use super::stream::Step;

/// Which memcached answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    /// 1.6.18 of Debian 12, before the parser was rewritten.
    Old,
    /// 1.6.45, which ringcached follows.
    New,
}

impl Oracle {
    pub(super) fn of_version(answer: &str) -> Oracle {
        let patch = answer.rsplit('.').next().and_then(|number| number.parse::<u32>().ok());
        if patch.is_some_and(|patch| patch < 40) { Oracle::Old } else { Oracle::New }
    }
}

/// A difference: these requests, this reply of memcached's, this one of ours.
pub(super) struct Explained {
    /// The name that the step carries.
    pub(super) quirk: &'static str,
    pub(super) oracle: Oracle,
    /// Whole replies to the step; `\n` stands for CR LF.
    pub(super) theirs: &'static str,
    pub(super) ours: &'static str,
    /// Why ours is ours.
    pub(super) reason: &'static str,
}

const fn old(quirk: &'static str, theirs: &'static str, ours: &'static str, reason: &'static str) -> Explained {
    Explained { quirk, oracle: Oracle::Old, theirs, ours, reason }
}

const fn new(quirk: &'static str, theirs: &'static str, ours: &'static str, reason: &'static str) -> Explained {
    Explained { quirk, oracle: Oracle::New, theirs, ours, reason }
}

/// Every known difference.
pub(super) const EXPLAINED: &[Explained] = &[];

/// The row that explains this difference.
pub(super) fn find(step: &Step, theirs: &[u8], ours: &[u8], oracle: Oracle) -> Option<&'static str> {
    let same = |want: &str, got: &[u8]| want.replace('\n', "\r\n").as_bytes() == got;
    let row = EXPLAINED.iter().find(|row| {
        step.quirk == Some(row.quirk) && oracle == row.oracle && same(row.theirs, theirs) && same(row.ours, ours)
    })?;
    debug_assert!(!row.reason.is_empty());
    Some(row.quirk)
}

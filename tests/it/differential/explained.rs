//! The differences from memcached that are known and wanted, each with its reason. docs/PROTOCOL.md quotes this table.

use super::stream::Step;
use crate::harness::testing_memcached;

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
        let patch = answer
            .rsplit('.')
            .next()
            .and_then(|number| number.parse::<u32>().ok());
        if patch.is_some_and(|patch| patch < 40) {
            Oracle::Old
        } else {
            Oracle::New
        }
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

const fn old(
    quirk: &'static str,
    theirs: &'static str,
    ours: &'static str,
    reason: &'static str,
) -> Explained {
    Explained {
        quirk,
        oracle: Oracle::Old,
        theirs,
        ours,
        reason,
    }
}

const fn new(
    quirk: &'static str,
    theirs: &'static str,
    ours: &'static str,
    reason: &'static str,
) -> Explained {
    Explained {
        quirk,
        oracle: Oracle::New,
        theirs,
        ours,
        reason,
    }
}

/// Every known difference.
pub(super) const EXPLAINED: &[Explained] = &[
    old(
        "short line",
        "ERROR\n",
        "CLIENT_ERROR bad command line format\n",
        "1.6.45 tells a line of the wrong shape from an unknown word",
    ),
    old(
        "too few words",
        "ERROR\n",
        "CLIENT_ERROR bad command line format\n",
        "1.6.45 tells a line of the wrong shape from an unknown word",
    ),
    old(
        "too few words",
        "ERROR\nERROR\n",
        "CLIENT_ERROR bad command line format\n",
        "as above, and the data of a refused store is dropped",
    ),
    old(
        "gat of no key",
        "END\n",
        "CLIENT_ERROR bad command line format\n",
        "1.6.45 wants a key, as get does",
    ),
    old(
        "leading blank",
        "END\n",
        "ERROR\n",
        "1.6.45 takes no blank before a command",
    ),
    old(
        "leading blank",
        "NOT_FOUND\n",
        "ERROR\n",
        "1.6.45 takes no blank before a command",
    ),
    old(
        "unknown command, noreply",
        "ERROR\n",
        "",
        "1.6.45 is silent when asked to be",
    ),
    old(
        "refused store",
        "CLIENT_ERROR bad command line format\nERROR\n",
        "CLIENT_ERROR bad command line format\n",
        "1.6.45 drops the data of a refused store, so that it is never obeyed as a command",
    ),
    old(
        "bad size",
        "CLIENT_ERROR bad data chunk\nERROR\n",
        "CLIENT_ERROR bad command line format\nERROR\n",
        "1.6.45 names the line, which is what is wrong",
    ),
    old(
        "signed delta",
        "STORED\n2\nDELETED\n",
        "STORED\nCLIENT_ERROR invalid numeric delta argument\nDELETED\n",
        "1.6.45 takes digits only",
    ),
    old(
        "exptime beyond 32 bits",
        "END\n",
        "CLIENT_ERROR invalid exptime argument\n",
        "1.6.45 refuses instead of dropping the high bits",
    ),
    old(
        "exptime beyond 32 bits",
        "STORED\nTOUCHED\nDELETED\n",
        "STORED\nCLIENT_ERROR invalid exptime argument\nDELETED\n",
        "1.6.45 refuses instead of dropping the high bits",
    ),
    old(
        "words behind a store",
        "ERROR\nERROR\n",
        "STORED\n",
        "1.6.45 ignores words between the size and noreply",
    ),
    old(
        "words behind incr",
        "STORED\nERROR\nDELETED\n",
        "STORED\n2\nDELETED\n",
        "1.6.45 ignores words behind the delta",
    ),
    old(
        "server words",
        "ERROR\n",
        "OK\n",
        "1.6.45 ignores words behind the number",
    ),
    old(
        "server words",
        "ERROR\nOK\n",
        "OK\nOK\n",
        "1.6.45 ignores words behind the number",
    ),
    old(
        "a key named noreply",
        "STORED\nDELETED\n",
        "STORED\n",
        "1.6.45 reads the last word as noreply, though it is the key: it deletes, in silence",
    ),
    old(
        "delete with words",
        "ERROR\n",
        "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\n",
        "an error either way; ours names the usage",
    ),
    old(
        "lone minus",
        "CLIENT_ERROR invalid exptime argument\n",
        "END\n",
        "1.6.45 reads a sign without digits as 0",
    ),
    old(
        "lone minus",
        "CLIENT_ERROR invalid exptime argument\n",
        "NOT_FOUND\n",
        "1.6.45 reads a sign without digits as 0",
    ),
    old(
        "number beyond 63 bits",
        "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\nCLIENT_ERROR cannot increment or decrement non-numeric value\nDELETED\n",
        "STORED\n18446744073709551615\n0\nDELETED\n",
        "1.6.18 looks for a minus sign behind a large number, past the end of its value",
    ),
    old(
        "number beyond 63 bits",
        "STORED\n18446744073709551615\nCLIENT_ERROR cannot increment or decrement non-numeric value\nDELETED\n",
        "STORED\n18446744073709551615\n0\nDELETED\n",
        "1.6.18 looks for a minus sign behind a large number, past the end of its value",
    ),
    old(
        "number beyond 63 bits",
        "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n18446744073709551615\nDELETED\n",
        "STORED\n18446744073709551615\n0\nDELETED\n",
        "1.6.18 looks for a minus sign behind a large number, past the end of its value",
    ),
    new(
        "lone minus",
        "END\n",
        "CLIENT_ERROR invalid exptime argument\n",
        "a sign without digits is no number, as 1.6.18 has it",
    ),
    new(
        "lone minus",
        "NOT_FOUND\n",
        "CLIENT_ERROR invalid exptime argument\n",
        "a sign without digits is no number, as 1.6.18 has it",
    ),
    new(
        "lone minus",
        "EN\n",
        "CLIENT_ERROR bad token in command line format\n",
        "a sign without digits is no number",
    ),
    new(
        "ms with a flag that is no letter",
        "CLIENT_ERROR bad command line format\nERROR\n",
        "CLIENT_ERROR bad command line format\n",
        "data is never obeyed",
    ),
    new(
        "T of a number that grows",
        "HD\nHD\nHD t-1\n",
        "HD\nHD\nHD t~5000\n",
        "1.6.45 gives T and E to the item that the longer number replaces",
    ),
    new(
        "delete with words",
        "STORED\nDELETED\n",
        "STORED\nCLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\n",
        "memccapable wants an error here, as 1.6.18 gives it; a typing mistake should not delete",
    ),
    new(
        "delete with words",
        "NOT_FOUND\n",
        "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\n",
        "memccapable wants an error here, as 1.6.18 gives it; a typing mistake should not delete",
    ),
    new(
        "delete with words",
        "NOT_FOUND\n",
        "ERROR\n",
        "memccapable wants an error here, as 1.6.18 gives it; a typing mistake should not delete",
    ),
    new(
        "get of a long key",
        "CLIENT_ERROR bad command line format\n\n",
        "CLIENT_ERROR bad command line format\n",
        "1.6.45 sends an empty line behind the refusal and loses the answers before it",
    ),
    old(
        "unknown opcode with a key",
        "op=40 key=0 extras=0 raw=0 status=0081 size=15 opaque=00000001 cas=0 Unknown command\n",
        "op=40 key=0 extras=0 raw=0 status=0081 size=15 opaque=00000001 cas=0 Unknown command\nop=0a key=0 extras=0 raw=0 status=0000 size=0 opaque=00000002 cas=0 \n",
        "memcached drops extras and key twice, and with them the packets behind",
    ),
    new(
        "unknown opcode with a key",
        "op=40 key=0 extras=0 raw=0 status=0081 size=15 opaque=00000001 cas=0 Unknown command\n",
        "op=40 key=0 extras=0 raw=0 status=0081 size=15 opaque=00000001 cas=0 Unknown command\nop=0a key=0 extras=0 raw=0 status=0000 size=0 opaque=00000002 cas=0 \n",
        "memcached drops extras and key twice, and with them the packets behind",
    ),
    new(
        "me of base64",
        "HD c#\nEN\n",
        "HD c#\nME a2V5 exp=-1 la=~0 cas=# fetch=no cls= size=\n",
        "the key is decoded, as memcached's documents say",
    ),
    new(
        "time left of the past",
        "HD\nHD t(past, unsigned)\nNF\n",
        "HD\nHD t~0\nNF\n",
        "nothing is left of a time in the past",
    ),
    new(
        "opaque too long",
        "CLIENT_ERROR opaque token too long\nVA 1\n1\n",
        "CLIENT_ERROR opaque token too long\nEN\n",
        "what is refused is not done",
    ),
    new(
        "opaque too long",
        "HD\nCLIENT_ERROR opaque token too long\nVA 1\n2\n",
        "HD\nCLIENT_ERROR opaque token too long\nVA 1\n1\n",
        "what is refused is not done",
    ),
    new(
        "T before N",
        "HD t~5000 W\n",
        "HD t~1000 W\n",
        "T decides wherever it stands",
    ),
    new(
        "N before T in ma",
        "HD t~1000\n",
        "HD t~5000\n",
        "N alone decides for a number that is made",
    ),
    new(
        "T before R",
        "HD\nHD W\n",
        "HD\nHD\n",
        "R looks at the time that the item had, wherever T stands",
    ),
    old(
        "tuning words",
        "CLIENT_ERROR bad command line format\n",
        "OK\n",
        "1.6.45 knows these words",
    ),
    old(
        "tuning words",
        "CLIENT_ERROR bad command line format\n",
        "CLIENT_ERROR automove window too low or too high\n",
        "1.6.45 knows these words",
    ),
    old(
        "tuning words",
        "ERROR\n",
        "OK\n",
        "1.6.45 ignores words behind the number",
    ),
    old(
        "tuning words",
        "ERROR: shutdown not enabled\n",
        "SERVER_ERROR: shutdown not enabled\n",
        "as 1.6.45 begins it",
    ),
];

/// A row does not say which cas unique it is, only that there is one.
fn without_ordinals(reply: &[u8]) -> Vec<u8> {
    let mut after_sign = false;
    let kept = reply.iter().copied().filter(|byte| {
        let dropped = after_sign && byte.is_ascii_digit();
        after_sign = *byte == b'#' || dropped;
        !dropped
    });
    kept.collect()
}

/// The row that explains this difference. Between two memcacheds every step with a name is explained: the table is
/// about ringcached.
pub(super) fn find(step: &Step, theirs: &[u8], ours: &[u8], oracle: Oracle) -> Option<&'static str> {
    if testing_memcached() {
        return step.quirk;
    }
    let same = |want: &str, got: &[u8]| want.replace('\n', "\r\n").as_bytes() == without_ordinals(got);
    let row = EXPLAINED.iter().find(|row| {
        step.quirk == Some(row.quirk)
            && oracle == row.oracle
            && same(row.theirs, theirs)
            && same(row.ours, ours)
    })?;
    debug_assert!(!row.reason.is_empty());
    Some(row.quirk)
}

//! Hang-ups that the kernel may have missed.
//!
//! A multishot receive that is woken for data and for the end together may take the data and never hear of the end: of any
//! end before Linux 7.0 (liburing's issue 1549), of a reset with its fix, too (one in 6,000 on Linux 6.18). Then the
//! connection would stay for ever. So a receive that has taken something is made anew once, when nothing more has come
//! for a second: a new one begins by looking. Who keeps talking costs a look at his clock each second; who is silent,
//! nothing.

use crate::session::ConnectionId;
use crate::time::Seconds;

/// Looks in one turn, at most.
const LOOKS_PER_TURN: usize = 256;

/// Seconds that must be over since something came.
const SILENCE: u32 = 1;

/// Invariant: the connections on the two lists are those that are marked ([`super::Socket::has_taken`]), and some that are
/// gone. None is there twice.
#[derive(Debug)]
pub(super) struct Hangups {
    /// Those whose receive has taken something, and who are to be looked at in the next second.
    heard: Vec<ConnectionId>,
    /// Those who are to be looked at now.
    due: Vec<ConnectionId>,
    second: Seconds,
}

impl Hangups {
    pub(super) fn new() -> Hangups {
        Hangups {
            heard: Vec::new(),
            due: Vec::new(),
            second: Seconds::START,
        }
    }

    /// This connection's receive has taken something, for the first time since it was looked at; or it was looked at, and
    /// something had come not long ago.
    pub(super) fn note(&mut self, id: ConnectionId) {
        self.heard.push(id);
    }

    /// Those who are to be looked at in this turn.
    pub(super) fn take(&mut self, now: Seconds) -> impl Iterator<Item = ConnectionId> + use<> {
        if self.second != now {
            self.second = now;
            self.due.append(&mut self.heard);
        }
        let rest = self.due.len().saturating_sub(LOOKS_PER_TURN);
        self.due.split_off(rest).into_iter()
    }

    /// Whether there is somebody to be looked at without waiting for the next second.
    pub(super) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether a connection from which something last came then has been silent for long enough.
    pub(super) fn is_silent(&self, last_heard: Seconds) -> bool {
        self.second.since(last_heard) > SILENCE
    }
}

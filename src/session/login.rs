//! Clients who have not logged in, where they must (`-Y`: by a set, `-S`: by SASL).

use super::credentials::Admission;
use super::{Desk, Ready, Session};
use crate::protocol::watch::CloseReason;
use crate::protocol::{self, Control, Login, Parsed, Sasl, Spelling, Word};

/// The one mechanism of SASL that is known.
const PLAIN: &str = "PLAIN";

/// Whether a stranger may say this in the binary dialect: half a packet, a version, a login.
pub(super) fn is_for_strangers(parsed: &Parsed<'_>) -> bool {
    matches!(
        parsed,
        Parsed::Partial
            | Parsed::Skip { .. }
            | Parsed::Hangup {
                // Not quit, which has an answer.
                word: None | Some(Word::InvalidArguments | Word::Unknown),
                ..
            }
            | Parsed::Control {
                control: Control::Version | Control::Sasl(_),
                ..
            }
            | Parsed::Say {
                // Of a login that is too long to be one.
                word: Word::InvalidArguments,
                ..
            }
    )
}

/// `[authorization] NUL user NUL password`.
fn user_and_password(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    Some((user, password))
}

impl Session {
    /// Serves one line of a client who has not logged in. Returns how much it consumed, or `None` if more must come.
    pub(super) fn take_login<S, W>(&mut self, input: &[u8], desk: &mut Desk<'_, S, W>) -> Option<usize> {
        let (word, size) = match protocol::parse_login(input) {
            Login::Partial => return None,
            Login::Hangup => {
                self.closing = Some(CloseReason::Error);
                return Some(input.len());
            }
            Login::Say { word, size } => (word, size),
            Login::Attempt { user, password, size } => {
                self.enter(user, password, desk);
                (
                    if self.is_stranger {
                        Word::AuthFailure
                    } else {
                        Word::Stored
                    },
                    size,
                )
            }
        };
        protocol::say(self.pipeline.writer(desk.buffers), Spelling::CLASSIC, word);
        Some(size)
    }

    /// Serves a packet of SASL. Whatever it is, who sent it is a stranger again until he is known.
    pub(super) fn take_sasl<S, W>(&mut self, sasl: Sasl<'_>, spelling: Spelling, desk: &mut Desk<'_, S, W>) {
        self.is_stranger = true;
        let claim = match sasl {
            Sasl::ListMechanisms => {
                return protocol::write_sasl(self.pipeline.writer(desk.buffers), spelling, PLAIN);
            }
            Sasl::Auth { mechanism, data } if mechanism == PLAIN.as_bytes() => user_and_password(data),
            // No mechanism that is known takes steps.
            Sasl::Auth { .. } | Sasl::Step { .. } => None,
        };
        match claim {
            Some((user, password)) => self.enter(user, password, desk),
            None => self.stay_outside(desk),
        }
        let out = self.pipeline.writer(desk.buffers);
        match self.is_stranger {
            true => protocol::say(out, spelling, Word::AuthFailure),
            false => protocol::write_sasl(out, spelling, "Authenticated"),
        }
    }

    /// Somebody says who he is. From here on he may do what is his to do, which is nothing if he was wrong.
    fn enter<S, W>(&mut self, user: &[u8], password: &[u8], desk: &mut Desk<'_, S, W>) {
        let credentials = desk.rules.credentials.as_ref();
        match credentials.map(|known| known.admit(user, password)) {
            Some(Admission::Known(rights)) => {
                self.is_stranger = false;
                self.rights = rights;
                desk.counters.auth_cmds += 1;
            }
            Some(Admission::Stranger) | None => self.stay_outside(desk),
        }
    }

    fn stay_outside<S, W>(&mut self, desk: &mut Desk<'_, S, W>) {
        self.is_stranger = true;
        desk.counters.auth_cmds += 1;
        desk.counters.auth_errors += 1;
    }

    /// Says that a stranger is not served, and hangs up on him.
    pub(super) fn turn_away<S, W>(
        &mut self,
        ahead: &[Ready<'_>],
        next: Option<Parsed<'_>>,
        desk: &mut Desk<'_, S, W>,
    ) {
        let spelling = match (ahead.first(), next) {
            (Some(ready), _) => ready.spelling,
            (
                None,
                Some(
                    Parsed::Request { spelling, .. }
                    | Parsed::Incoming { spelling, .. }
                    | Parsed::Control { spelling, .. }
                    | Parsed::Say { spelling, .. }
                    | Parsed::Hangup { spelling, .. },
                ),
            ) => spelling,
            (None, _) => Spelling::CLASSIC,
        };
        protocol::say(self.pipeline.writer(desk.buffers), spelling, Word::AuthFailure);
        self.closing = Some(CloseReason::Error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts() {
        for (data, want) in [
            ("\0user\0password", Some(("user", "password"))),
            ("other\0user\0pass\0word", Some(("user", "pass\0word"))),
            ("\0\0", Some(("", ""))),
            ("user\0password", None),
            ("", None),
        ] {
            let found = user_and_password(data.as_bytes());
            assert_eq!(
                want.map(|(user, password)| (user.as_bytes(), password.as_bytes())),
                found,
                "{data:?}"
            );
        }
    }
}

//! Who may log in, with which password, and what they may do then (`-Y`, `-S`).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::rights::Rights;

/// Users and passwords, shared by all cores. They can be exchanged while the server runs.
#[derive(Default)]
pub struct Credentials(RwLock<Vec<Credential>>);

/// One user's. It has no `Debug`: it must not be printed.
pub struct Credential {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
    /// `None`: everything.
    pub rights: Option<Arc<Rights>>,
}

/// What an attempt to log in comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Stranger,
    /// Somebody we know, who may do this; `None` is everything.
    Known(Option<Arc<Rights>>),
}

impl Credentials {
    pub fn new(list: Vec<Credential>) -> Credentials {
        Credentials(RwLock::new(list))
    }

    /// From now on these, and no others. Who has logged in stays, and may do what he might.
    pub fn replace(&self, list: Vec<Credential>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list;
    }

    /// Whether this is the password of this user: of several such entries the first counts. How long that takes tells
    /// lengths and nothing else.
    pub fn admit(&self, user: &[u8], password: &[u8]) -> Admission {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Nobody's place, if nobody is found.
        let found = (0..list.len()).rev().fold(u64::MAX, |found, place| {
            let known = &list[place];
            let is_right = known.user.ct_eq(user) & known.password.ct_eq(password);
            u64::conditional_select(&found, &(place as u64), is_right)
        });
        match list.get(found as usize) {
            Some(known) => Admission::Known(known.rights.clone()),
            None => Admission::Stranger,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_must_both_be_right() {
        let rights = |read| {
            Some(Arc::new(Rights {
                read,
                ..Rights::default()
            }))
        };
        let known = |user: &str, password: &str, rights| Credential {
            user: user.into(),
            password: password.into(),
            rights,
        };
        let credentials = Credentials::new(vec![
            known("a", "x", None),
            known("b", "y", rights(true)),
            known("b", "y", rights(false)),
        ]);
        let stranger = Admission::Stranger;
        for (user, password, want) in [
            ("a", "x", Admission::Known(None)),
            ("b", "y", Admission::Known(rights(true))),
            ("a", "y", stranger.clone()),
            ("b", "x", stranger.clone()),
            ("a", "", stranger.clone()),
            ("", "", stranger.clone()),
            ("a", "xx", stranger.clone()),
            ("ax", "", stranger.clone()),
        ] {
            assert_eq!(
                want,
                credentials.admit(user.as_bytes(), password.as_bytes()),
                "{user} {password}"
            );
        }
        credentials.replace(vec![known("c", "z", None)]);
        assert_eq!(stranger, credentials.admit(b"a", b"x"));
        assert_eq!(Admission::Known(None), credentials.admit(b"c", b"z"));
        assert_eq!("Credentials(..)", format!("{credentials:?}"));
    }
}

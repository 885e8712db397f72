//! Who may log in, with which password (`-Y`).

use std::fmt;
use std::sync::{PoisonError, RwLock};

use subtle::{Choice, ConstantTimeEq};

/// Users and passwords, shared by all cores. They can be exchanged while the server runs.
#[derive(Default)]
pub struct Credentials(RwLock<Vec<Credential>>);

/// One user's. It has no `Debug`: it must not be printed.
pub struct Credential {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

impl Credentials {
    pub fn new(list: Vec<Credential>) -> Credentials {
        Credentials(RwLock::new(list))
    }

    /// From now on these, and no others. Who has logged in stays.
    pub fn replace(&self, list: Vec<Credential>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list;
    }

    /// Whether this is the password of this user. How long that takes tells lengths and nothing else.
    pub fn are_right(&self, user: &[u8], password: &[u8]) -> bool {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let right = list.iter().fold(Choice::from(0), |right, known| {
            right | (known.user.ct_eq(user) & known.password.ct_eq(password))
        });
        right.into()
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
        let known = |user: &str, password: &str| Credential {
            user: user.into(),
            password: password.into(),
        };
        let credentials = Credentials::new(vec![known("a", "x"), known("b", "y")]);
        for (user, password, want) in [
            ("a", "x", true),
            ("b", "y", true),
            ("a", "y", false),
            ("b", "x", false),
            ("a", "", false),
            ("", "", false),
            ("a", "xx", false),
            ("ax", "", false),
        ] {
            assert_eq!(
                want,
                credentials.are_right(user.as_bytes(), password.as_bytes()),
                "{user} {password}"
            );
        }
        credentials.replace(vec![known("c", "z")]);
        assert!(!credentials.are_right(b"a", b"x") && credentials.are_right(b"c", b"z"));
        assert_eq!("Credentials(..)", format!("{credentials:?}"));
    }
}

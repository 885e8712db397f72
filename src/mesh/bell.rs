//! Sleeping without missing a letter.
//!
//! A core about to sleep says so ([`Bell::lie_down`]), looks into its mailbox once more, and only then sleeps. A
//! core that has posted letters asks [`Bell::must_ring`], and rings if the other sleeps. With a full fence on either
//! side between "write mine" and "read yours", at least one of the two sees the other: the sleeper sees the letter, or
//! the poster sees the sleeper (Dekker's argument; checked by loom). Two posters may both ring one sleeper: a
//! wake-up too many costs a little, one too few would cost everything.

use super::sync::{AtomicBool, Ordering, fence};

pub struct Bell {
    /// Written by its own core only.
    asleep: AtomicBool,
}

impl Bell {
    #[expect(
        clippy::new_without_default,
        reason = "a bell belongs to a place; nobody needs one by default"
    )]
    pub fn new() -> Bell {
        Bell {
            asleep: AtomicBool::new(false),
        }
    }

    /// The core is about to sleep. It must look into its mailbox after this, and sleep only if that is empty.
    pub fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The core is up, whoever woke it.
    pub fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, who has just posted a letter, must wake the core.
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed)
    }
}

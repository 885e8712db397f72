//! A thing that its owner holds while it works and that others may take while the owner is away.

use super::sync::{Mutex, MutexGuard, TryLockError};

/// At any instant one thread has it; ownership moves by one compare-and-swap.
pub struct Lendable<T>(Mutex<T>);

/// The right to use it; given back on drop.
pub struct Lent<'a, T>(MutexGuard<'a, T>);

impl<T> Lendable<T> {
    pub fn new(thing: T) -> Lendable<T> {
        Lendable(Mutex::new(thing))
    }

    /// The owner takes it back. Waits for a borrower, who holds it for one connection's requests at most.
    pub fn take_back(&self) -> Lent<'_, T> {
        /// A borrower is done within microseconds as a rule: a few tries spare the owner a sleep.
        const TRIES: usize = 100;
        for _ in 0..if cfg!(modelled) { 0 } else { TRIES } {
            if let Some(lent) = self.borrow() {
                return lent;
            }
            std::hint::spin_loop();
        }
        match self.0.lock() {
            Ok(guard) => Lent(guard),
            Err(_) => panic!("a core failed while it held a shard"),
        }
    }

    /// Takes it if nobody has it.
    pub fn borrow(&self) -> Option<Lent<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(Lent(guard)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a core failed while it held a shard"),
        }
    }
}

impl<T> std::ops::Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

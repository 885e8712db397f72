//! The primitives of the sleep, wake and lend protocol: std's, or the model checker's under `--cfg loom`.

#[cfg(not(loom))]
pub(super) use std::sync::{
    Mutex, MutexGuard, TryLockError,
    atomic::{AtomicBool, Ordering, fence},
};

#[cfg(loom)]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(loom)]
pub(super) use std::sync::TryLockError;

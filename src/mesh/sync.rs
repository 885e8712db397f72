//! The primitives of the sleep, wake and lend protocol: std's, or the model checker's under `--cfg modelled`. (Its usual
//! name, `loom`, means something to other crates, too: tokio loses its sockets.)

#[cfg(not(modelled))]
pub(super) use std::sync::{
    Mutex, MutexGuard, TryLockError,
    atomic::{AtomicBool, Ordering, fence},
};

#[cfg(modelled)]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(modelled)]
pub(super) use std::sync::TryLockError;

//! What `-vv` shows of requests: the verb and the key, never a value.

use log::debug;

use super::{ConnectionId, Ready};
use crate::command::{Direction, Operation, StoreMode};

/// Whether anybody listens: one look at a number that seldom changes.
#[inline]
pub(super) fn is_heard() -> bool {
    log::log_enabled!(log::Level::Debug)
}

#[cold]
pub(super) fn request(connection: ConnectionId, ready: &Ready<'_>) {
    let verb = match &ready.request.operation {
        Operation::Get(get) if get.touch.is_some() => "gat",
        Operation::Get(_) => "get",
        Operation::Touch(_) => "touch",
        Operation::Store(store) => match store.mode {
            StoreMode::Set if store.cas_compare.is_some() => "cas",
            StoreMode::Set => "set",
            StoreMode::Add => "add",
            StoreMode::Replace => "replace",
            StoreMode::Append => "append",
            StoreMode::Prepend => "prepend",
        },
        Operation::Delete(_) => "delete",
        Operation::Count(count) => match count.direction {
            Direction::Up => "incr",
            Direction::Down => "decr",
        },
        Operation::Inspect => "me",
    };
    debug!(
        "<{} {verb} {}",
        connection.index,
        ready.request.key.escape_ascii()
    );
}

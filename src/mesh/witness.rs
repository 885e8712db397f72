//! Executing a request, under watchers' eyes if there are any: what memcached would log of it, in its order.
//!
//! Every command looks its item up, and that is an event; a store looks up, too, before it is one; a refused set looks
//! up what it removes. The shard knows nothing of this: it is asked what it has before and after.

use super::Watch;
use crate::command::{Count, Delete, Operation, Reply, Request, Store, StoreMode};
use crate::protocol::watch::{Event, Found, StoreOutcome};
use crate::protocol::{Spelling, Streams};
use crate::session::Ask;
use crate::shard::{Glance, Reservation, Reserve, Shard};
use crate::time::Now;

/// Executes a request, hands its reply to `write` and tells the watchers, if there are any. There is one call of
/// `write`, watched or not, so that it is compiled into the way that most requests go.
#[inline]
pub(super) fn execute<R>(
    shard: &mut Shard,
    watch: &mut Watch,
    ask: &Ask<'_>,
    reservation: Option<Reservation>,
    now: Now,
    write: impl FnOnce(&Reply<'_>) -> R,
) -> R {
    let before = watch
        .is_on()
        .then(|| Before::look(shard, ask, reservation.as_ref(), now));
    let reply = match reservation {
        None => shard.execute(&ask.request, now),
        Some(reservation) => shard.commit(reservation, &ask.request, now),
    };
    let before = before.map(|before| (before, Outcome::of(&reply)));
    let result = write(&reply);
    if let Some((before, outcome)) = before {
        tell(shard, watch, ask, before, outcome, now);
    }
    result
}

/// What is known of a request before it is executed.
struct Before {
    glance: Option<Glance>,
    /// Bytes of the value that comes with it.
    value_size: usize,
}

impl Before {
    #[cold]
    fn look(shard: &mut Shard, ask: &Ask<'_>, reservation: Option<&Reservation>, now: Now) -> Before {
        Before {
            glance: shard.glance(&ask.request, now),
            value_size: reservation.map_or(ask.request.value.len(), Reservation::size),
        }
    }
}

#[cold]
fn tell(shard: &mut Shard, watch: &mut Watch, ask: &Ask<'_>, before: Before, outcome: Outcome, now: Now) {
    tell_evicted(shard, watch);
    let after = shard.glance(&ask.request, now);
    let mut witness = Witness {
        shard,
        watch,
        ask,
        before: before.glance,
        after,
        now,
    };
    match &ask.request.operation {
        Operation::Get(_) | Operation::Touch(_) | Operation::Inspect => witness.looked_up(before.glance),
        Operation::Store(store) => witness.stored(store, before.value_size, outcome),
        Operation::Delete(delete) => witness.deleted(delete, outcome),
        Operation::Count(count) => witness.counted(count, outcome),
    }
}

/// Reserves memory for a value and tells the watchers: others may be forgotten for it, or it is refused.
pub(super) fn reserve(
    shard: &mut Shard,
    watch: &mut Watch,
    ask: &Ask<'_>,
    value_size: usize,
    now: Now,
) -> Reserve {
    let before = shard.glance(&ask.request, now);
    let reserve = shard.reserve(&ask.request, value_size, now);
    tell_evicted(shard, watch);
    if let (Reserve::Refused(reply), Operation::Store(store)) = (&reserve, &ask.request.operation) {
        let mut witness = Witness {
            shard,
            watch,
            ask,
            before,
            after: None,
            now,
        };
        witness.stored(store, value_size, Outcome::of(reply));
    }
    reserve
}

/// Tells the watchers what this shard has forgotten since it was last asked.
pub(super) fn tell_evicted(shard: &mut Shard, watch: &mut Watch) {
    let unlisted = shard.take_evicted(|evicted| {
        watch.tell(&Event::Evicted {
            key: evicted.key,
            fetched: evicted.fetched,
            left: evicted.left,
            idle: evicted.idle,
            class: evicted.class,
            size: evicted.value_size,
        });
    });
    watch.leave_out(Streams::EVICTIONS, unlisted);
}

/// What a reply says, without the item that it borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Store(StoreOutcome),
    Deleted,
    Counted,
    Other,
}

impl Outcome {
    fn of(reply: &Reply<'_>) -> Outcome {
        Outcome::Store(match reply {
            Reply::Stored { .. } => StoreOutcome::Stored,
            Reply::NotStored => StoreOutcome::NotStored,
            Reply::Exists => StoreOutcome::Exists,
            Reply::NotFound => StoreOutcome::NotFound,
            Reply::TooLarge => StoreOutcome::TooLarge,
            Reply::NoMemory => StoreOutcome::NoMemory,
            Reply::Deleted => return Outcome::Deleted,
            Reply::Counted(_) => return Outcome::Counted,
            _ => return Outcome::Other,
        })
    }
}

/// A request that was executed, and what stood under its key before and stands there after.
struct Witness<'a> {
    shard: &'a Shard,
    watch: &'a mut Watch,
    ask: &'a Ask<'a>,
    before: Option<Glance>,
    after: Option<Glance>,
    now: Now,
}

impl Witness<'_> {
    fn request(&self) -> &Request<'_> {
        &self.ask.request
    }

    fn looked_up(&mut self, glance: Option<Glance>) {
        let found = match &glance {
            None => Found::Nothing,
            Some(glance) if glance.is_flushed => Found::Flushed,
            Some(glance) if glance.has_expired => Found::Expired,
            Some(_) => Found::Live,
        };
        let live = glance.filter(|_| found == Found::Live);
        self.watch.tell(&Event::Fetched {
            key: self.ask.request.key,
            found,
            class: live.map_or(0, |glance| glance.class),
            size: live.map_or(0, |glance| glance.value_size),
            client: self.ask.client,
        });
    }

    fn stored(&mut self, store: &Store, value_size: usize, outcome: Outcome) {
        let Outcome::Store(outcome) = outcome else { return };
        let command = match (store.mode, store.cas_compare) {
            (StoreMode::Set | StoreMode::Replace, Some(_)) => "cas",
            (StoreMode::Set, None) => "set",
            (StoreMode::Replace, None) => "replace",
            (StoreMode::Add, _) => "add",
            (StoreMode::Append, _) => "append",
            (StoreMode::Prepend, _) => "prepend",
        };
        match outcome {
            StoreOutcome::TooLarge | StoreOutcome::NoMemory => {
                let is_binary = matches!(self.ask.spelling, Spelling::Binary { .. });
                let command = if is_binary { "null" } else { command };
                self.tell_stored(outcome, command, None, 0, 0);
                if store.refusal_removes {
                    self.looked_up(self.before);
                }
            }
            StoreOutcome::Stored => {
                self.looked_up(self.before);
                self.tell_item_stored(command);
            }
            // What was not stored is described as it came.
            _ => {
                self.looked_up(self.before);
                let left = self.now.deadline(store.exptime).left(self.now.seconds);
                let class = self.shard.class_for(self.request().key, value_size);
                self.tell_stored(outcome, command, left, class, value_size);
            }
        }
    }

    /// The item that there is now has been stored.
    fn tell_item_stored(&mut self, command: &'static str) {
        let left = self.after.and_then(|glance| glance.left);
        let (class, size) = self
            .after
            .map_or((0, 0), |glance| (glance.class, glance.value_size));
        self.tell_stored(StoreOutcome::Stored, command, left, class, size);
    }

    fn tell_stored(
        &mut self,
        outcome: StoreOutcome,
        command: &'static str,
        left: Option<i64>,
        class: u8,
        size: usize,
    ) {
        self.watch.tell(&Event::Stored {
            key: self.ask.request.key,
            outcome,
            command,
            ttl: left.unwrap_or(0) as u32,
            class,
            size,
            client: self.ask.client,
        });
    }

    fn deleted(&mut self, delete: &Delete, outcome: Outcome) {
        self.looked_up(self.before);
        if outcome != Outcome::Deleted {
            return;
        }
        let mut gone = self.before;
        if delete.empty.is_some() {
            // An empty item took its place before it was deleted.
            self.looked_up(self.before);
            self.tell_item_stored("set");
            gone = self.after;
        }
        let command = match self.ask.spelling {
            Spelling::Classic { .. } => "delete",
            Spelling::Meta { .. } => "md",
            // memcached keeps quiet about these.
            Spelling::Binary { .. } => return,
        };
        if let Some(gone) = gone.filter(|_| !delete.invalidate) {
            self.watch.tell(&Event::Deleted {
                key: self.ask.request.key,
                command,
                class: gone.class,
                size: gone.value_size,
            });
        }
    }

    fn counted(&mut self, count: &Count, outcome: Outcome) {
        self.looked_up(self.before);
        let was_live = self
            .before
            .is_some_and(|glance| !glance.is_flushed && !glance.has_expired);
        if outcome != Outcome::Counted || was_live || count.vivify.is_none() {
            return;
        }
        self.looked_up(None);
        if matches!(self.ask.spelling, Spelling::Meta { .. }) {
            // Its exptime comes later.
            self.after = self.after.map(|glance| Glance { left: None, ..glance });
        }
        self.tell_item_stored("add");
    }
}

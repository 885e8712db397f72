//! What was forgotten to make room, for somebody who wants to know.
//!
//! Nobody does, as a rule, and then nothing is kept. Who has asked empties the list after each thing that may forget
//! items; what does not fit meanwhile is only counted.

use super::Shard;
use super::item::FETCHED;
use super::slab::ItemId;
use crate::time::{Now, Seconds};

/// Items listed, at most: more than are forgotten for one store, as a rule.
const LIST_MAX: usize = 4096;

/// A live item that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted<'a> {
    pub key: &'a [u8],
    pub fetched: bool,
    /// Seconds left; `None` is never.
    pub left: Option<i64>,
    /// Seconds since the last access.
    pub idle: u32,
    /// The band, 1 to 63.
    pub class: u8,
    pub value_size: usize,
}

/// Invariant: the keys lie in `keys` in the order of `items`, of which there are at most [`LIST_MAX`].
#[derive(Debug, Default)]
pub(super) struct EvictedList {
    keys: Vec<u8>,
    items: Vec<Listed>,
    /// Items that were forgotten while the list was full.
    unlisted: u64,
}

#[derive(Debug)]
struct Listed {
    key_size: u8,
    fetched: bool,
    left: Option<i64>,
    idle: u32,
    class: u8,
    value_size: usize,
}

impl Shard {
    /// Begins or ends listing what is forgotten.
    pub fn list_evicted(&mut self, on: bool) {
        if on != self.evicted.is_some() {
            self.evicted = on.then(Box::default);
        }
    }

    /// Empties the list: calls `tell` for each item in order, and returns how many more there were.
    pub fn take_evicted(&mut self, mut tell: impl FnMut(&Evicted<'_>)) -> u64 {
        let Some(list) = self.evicted.as_deref_mut() else {
            return 0;
        };
        let mut keys = &list.keys[..];
        for item in list.items.drain(..) {
            let (key, rest) = keys.split_at(usize::from(item.key_size));
            keys = rest;
            tell(&Evicted {
                key,
                fetched: item.fetched,
                left: item.left,
                idle: item.idle,
                class: item.class,
                value_size: item.value_size,
            });
        }
        list.keys.clear();
        std::mem::take(&mut list.unlisted)
    }

    /// Lists an item that is about to be forgotten, if somebody wants to know.
    #[inline]
    pub(super) fn note_evicted(&mut self, id: ItemId, now: Now) {
        if self.evicted.is_some() {
            self.list(id, now);
        }
    }

    #[cold]
    fn list(&mut self, id: ItemId, now: Now) {
        let Some(mut list) = self.evicted.take() else {
            return;
        };
        if list.items.len() < LIST_MAX {
            let item = self.slab.item(id);
            list.keys.extend_from_slice(item.key());
            list.items.push(Listed {
                key_size: item.key().len() as u8,
                fetched: item.header.has(FETCHED),
                left: item.header.deadline().left(now.seconds),
                idle: now.seconds.since(Seconds(item.header.accessed)),
                class: self.band(&item, self.slab.class_of(id)),
                value_size: self.value(&item).size(),
            });
        } else {
            list.unlisted += 1;
        }
        self.evicted = Some(list);
    }
}

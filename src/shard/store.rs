//! Commands that write values: one way in for all of them, [`Shard::put`].

use super::item::{self, CLOCK, Draft, FETCHED, STALE, TOKEN_SENT};
use super::large::{Parts, Reservation, Reserve, Shape};
use super::slab::{ItemId, Ring};
use super::{Eviction, Shard, number};
use crate::command::{
    Count, Counted, Delete, Direction, Operation, Reply, Request, Store, StoreMode, Tokens,
};
use crate::hash::KeyHash;
use crate::memory::PageList;
use crate::time::{Deadline, Exptime, Now};

/// Nothing can be forgotten to make room.
pub(super) struct NoMemory;

/// What a store comes to, before any memory is taken.
enum Verdict {
    Refused(Reply<'static>),
    /// The value becomes the item's.
    Replaces {
        old: Option<ItemId>,
        stale: bool,
    },
    /// The value is added to the item's.
    Extends(ItemId),
    /// An append or prepend that makes the item, with this exptime.
    Vivifies(Exptime),
}

impl Shard {
    pub(super) fn store(&mut self, request: &Request<'_>, store: &Store, now: Now) -> Reply<'_> {
        if self.is_too_large(request.key, store.flags, request.value.len()) {
            return self.refuse(request, store, Reply::TooLarge);
        }
        if self.shape(request.key, request.value.len()).pages == 0 {
            return self.store_parts(request, store, Parts::small(request.value), now);
        }
        match self.take_reservation(request.key, request.value.len(), now) {
            Ok(mut reservation) => {
                reservation.fill(request.value);
                self.store_parts(request, store, reservation.into_parts(), now)
            }
            Err(NoMemory) => self.refuse(request, store, Reply::NoMemory),
        }
    }

    /// Begins a store whose value arrives in pieces: takes the memory for it, forgetting others if need be. A
    /// refused store removes the item that it was to replace, where its `refusal_removes` says so.
    ///
    /// The work of one call is bounded, whatever the size: [`Reserve::Again`] says that more calls are needed. The
    /// request's own value is not looked at.
    pub fn reserve(&mut self, request: &Request<'_>, value_size: usize, now: Now) -> Reserve {
        let Operation::Store(store) = &request.operation else {
            panic!("only a store reserves: {request:?}");
        };
        self.advance(now);
        if self.is_too_large(request.key, store.flags, value_size) {
            return Reserve::Refused(self.refuse(request, store, Reply::TooLarge));
        }
        let shape = self.shape(request.key, value_size);
        let pages = match shape.pages {
            0 => Ok(Some(PageList::default())),
            count => self.gather_pages(count, now),
        };
        match pages {
            Ok(Some(pages)) => Reserve::Reserved(Reservation::new(shape, pages, &self.pool)),
            Ok(None) => Reserve::Again,
            Err(NoMemory) => Reserve::Refused(self.refuse(request, store, Reply::NoMemory)),
        }
    }

    /// Ends a store that [`Shard::reserve`] began, when the value is complete.
    pub fn commit(&mut self, reservation: Reservation, request: &Request<'_>, now: Now) -> Reply<'_> {
        let Operation::Store(store) = &request.operation else {
            panic!("only a store commits: {request:?}");
        };
        self.advance(now);
        self.store_parts(request, store, reservation.into_parts(), now)
    }

    fn store_parts(&mut self, request: &Request<'_>, store: &Store, parts: Parts<'_>, now: Now) -> Reply<'_> {
        let hash = request.hash;
        let value_size = parts.size();
        if self.detail {
            self.detail(request.key, |prefix| prefix.sets += 1);
        }
        let mut draft = Draft {
            key: request.key,
            flags: store.flags,
            deadline: now.deadline(store.exptime),
            accessed: now.seconds.0,
            cas: 0,
            key_is_binary: store.key_is_binary,
            marks: 0,
            large: None,
        };
        let stored = match self.judge_store(request, store, now) {
            Verdict::Refused(reply) => {
                self.counters.cmd_set += 1;
                return reply;
            }
            Verdict::Replaces { old, stale } => {
                if let Some(old) = old.filter(|_| stale) {
                    let header = self.slab.item(old).header;
                    draft.deadline = header.deadline();
                    draft.marks = STALE | header.bits & TOKEN_SENT;
                }
                draft.cas = self.new_cas(store.cas_new);
                self.put(hash, draft, parts, old, now).map(|_| value_size)
            }
            Verdict::Vivifies(exptime) => {
                draft.deadline = now.deadline(exptime);
                draft.cas = self.new_cas(store.cas_new);
                self.put(hash, draft, parts, None, now).map(|_| value_size)
            }
            Verdict::Extends(old) => {
                let item = self.slab.item(old);
                draft.flags = item.flags();
                draft.deadline = item.header.deadline();
                draft.key_is_binary = item.header.key_is_binary();
                let value_size = value_size + self.value(&item).size();
                if self.is_too_large(draft.key, draft.flags, value_size) {
                    self.counters.cmd_set += 1;
                    return Reply::NotStored;
                }
                draft.cas = self.new_cas(store.cas_new);
                match self.extend(request, draft, parts, store.mode, old, now) {
                    Ok(true) => Ok(value_size),
                    Ok(false) => {
                        self.counters.cmd_set += 1;
                        return Reply::NotStored;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
        };
        match stored {
            Ok(value_size) => {
                self.counters.cmd_set += 1;
                Reply::Stored {
                    cas: draft.cas,
                    value_size: value_size as u32,
                    key_is_binary: draft.key_is_binary,
                }
            }
            Err(NoMemory) => self.refuse(request, store, Reply::NoMemory),
        }
    }

    fn judge_store(&mut self, request: &Request<'_>, store: &Store, now: Now) -> Verdict {
        use StoreMode::{Add, Append, Prepend, Replace, Set};
        let Some(old) = self.find(request, now) else {
            return match (store.mode, store.cas_compare, store.vivify) {
                (Add, _, _) | (Set, None, _) => Verdict::Replaces {
                    old: None,
                    stale: false,
                },
                (Set | Replace, Some(_), _) => {
                    self.counters.cas_misses += 1;
                    Verdict::Refused(Reply::NotFound)
                }
                (Append | Prepend, _, Some(exptime)) => Verdict::Vivifies(exptime),
                (Replace | Append | Prepend, _, _) => Verdict::Refused(Reply::NotStored),
            };
        };
        let cas = self.slab.item(old).cas();
        match (store.mode, store.cas_compare) {
            (Add, _) => {
                let mut header = self.slab.item(old).header;
                header.reference();
                header.accessed = now.seconds.0;
                self.slab.set_header(old, &header);
                Verdict::Refused(Reply::NotStored)
            }
            (Set | Replace, None) => Verdict::Replaces {
                old: Some(old),
                stale: false,
            },
            (Set | Replace, Some(compare)) => {
                let known = compare != 0 && self.settings.cas_enabled;
                if known && (compare == cas || store.invalidate && compare < cas) {
                    self.counters.cas_hits += 1;
                    self.band_of(old).cas_hits += 1;
                    Verdict::Replaces {
                        old: Some(old),
                        stale: compare != cas,
                    }
                } else {
                    self.counters.cas_badval += 1;
                    self.band_of(old).cas_badval += 1;
                    Verdict::Refused(Reply::Exists)
                }
            }
            (Append | Prepend, Some(compare)) if self.settings.cas_enabled && compare != cas => {
                Verdict::Refused(Reply::Exists)
            }
            (Append | Prepend, _) => Verdict::Extends(old),
        }
    }

    /// Gives the key this value, in place of its old item if it has one. All writing of items goes through here.
    ///
    /// On failure the old item is as it was, unless it was forgotten to make room.
    pub(super) fn put(
        &mut self,
        hash: KeyHash,
        mut draft: Draft<'_>,
        parts: Parts<'_>,
        old: Option<ItemId>,
        now: Now,
    ) -> Result<ItemId, NoMemory> {
        let shape = self.shape(draft.key, parts.size());
        let chain_pages = parts.chain.pages();
        let (in_blocks, last) = match shape.is_large {
            true => parts
                .tail
                .bytes()
                .split_at(self.larges.in_blocks(parts.tail.bytes().len())),
            false => (&[][..], parts.tail.bytes()),
        };
        self.counters.total_items += 1;
        draft.marks |= old.map_or(0, |old| self.slab.item(old).header.bits & CLOCK);
        if let Some(old) = old.filter(|_| !shape.is_large) {
            let (item, class, _) = self.slab.item_in_page(old);
            let size = draft.size(last.len());
            if !item.header.is_large() && class == self.slab.classes.of(size) {
                let size_old = item.size();
                self.slab.write(old, &draft, last);
                self.count_overwrite(old, size_old, size);
                self.counters.bytes = self.counters.bytes + size as u64 - size_old as u64;
                return Ok(old);
            }
        }

        let in_pages = chain_pages * self.pool.page_size();
        let ring = self.ring_for(hash, old, draft.size(last.len()) + in_blocks.len() + in_pages);
        let moves = self.moves;
        if shape.is_large {
            self.own_pages(self.counters.pages + chain_pages as u64);
            draft.large = Some(self.larges.insert(parts.chain));
        }
        let Some(id) = self.allocate_all(&draft, in_blocks, last.len(), ring, now) else {
            self.counters.total_items -= 1;
            if let Some(number) = draft.large {
                self.discard_large(number);
            }
            return Err(NoMemory);
        };
        self.slab.write(id, &draft, last);
        let mut size = draft.size(last.len());
        if let Some(number) = draft.large {
            size += self.larges.size(number);
            self.large_blocks[self.slab.ring_of(id) as usize] += self.larges.weight(number);
        }
        self.count_item(id, draft.large.is_some(), size);
        self.counters.bytes += size as u64;
        self.counters.curr_items += 1;
        self.note_stored(size);
        let old = match old {
            // Making room may have moved the old item, or forgotten it.
            Some(_) if self.moves != moves => {
                self.table.find(hash, |other| self.slab.has_key(other, draft.key))
            }
            old => old,
        };
        match old {
            Some(old) => {
                self.table.replace(hash, old, id);
                self.discard(old);
            }
            None => {
                let hash_of = |id| self.seed.hash(self.slab.item(id).key());
                let changed = self
                    .table
                    .insert(hash, id, hash_of, |id| self.slab.prefetch_key(id));
                let size = &mut self.counters.hash_bytes;
                *size = size.strict_add_signed(changed as i64);
            }
        }
        if let Some(number) = draft.large {
            self.larges.join_last(number);
        }
        Ok(id)
    }

    /// Blocks for these bytes, with the bytes in them, and a chunk for the rest of the item.
    fn allocate_all(
        &mut self,
        draft: &Draft<'_>,
        in_blocks: &[u8],
        last_size: usize,
        ring: Ring,
        now: Now,
    ) -> Option<ItemId> {
        if let Some(number) = draft.large {
            for bytes in in_blocks.chunks_exact(self.larges.blocks.block_size()) {
                if !self.larges.blocks.has_vacant() {
                    let page = self.page_of_blocks(now)?;
                    // What was forgotten for the page may have left blocks.
                    match self.larges.blocks.has_vacant() {
                        true => self.recycle(page),
                        false => self.larges.blocks.open_page(page),
                    }
                }
                self.larges.add_block(number, bytes);
            }
        }
        self.allocate(draft.size(last_size), ring, now)
    }

    /// The ring that a key's new item of this size goes to: where the old one is, or main if it was forgotten too soon.
    fn ring_for(&mut self, hash: KeyHash, old: Option<ItemId>, size: usize) -> Ring {
        if let Some(old) = old {
            return self.slab.ring_of(old);
        }
        if !self.settings.evict || self.settings.eviction == Eviction::Clock {
            return Ring::Main;
        }
        if self.ghosts.take(hash) {
            self.counters.ghost_hits += 1;
            if self.ghost_earns_main(size) {
                return Ring::Main;
            }
        }
        self.probation_for(size)
    }

    /// The empty item that a meta get makes on a miss, if it asks for one.
    pub(super) fn vivify(&mut self, request: &Request<'_>, tokens: &Tokens, now: Now) -> Option<ItemId> {
        let draft = Draft {
            key: request.key,
            flags: 0,
            deadline: now.deadline(tokens.vivify?),
            accessed: now.seconds.0,
            cas: self.new_cas(tokens.vivify_cas),
            key_is_binary: tokens.key_is_binary,
            marks: 0,
            large: None,
        };
        self.put(request.hash, draft, Parts::small(&[]), None, now).ok()
    }

    /// A delete that keeps the item: as stale, as empty, or both.
    pub(super) fn keep_deleted(
        &mut self,
        request: &Request<'_>,
        delete: &Delete,
        id: ItemId,
        now: Now,
    ) -> Reply<'_> {
        let item = self.slab.item(id);
        let mut header = item.header;
        let mut cas = item.cas();
        let flags = delete.empty.map_or(item.flags(), |empty| empty.0);
        if delete.invalidate || delete.cas_new.is_some() {
            cas = self.new_cas(delete.cas_new);
        }
        let deadline = match (delete.exptime, delete.empty) {
            (Some(exptime), _) => now.deadline(exptime),
            (None, Some(_)) => Deadline::NEVER,
            (None, None) => header.deadline(),
        };
        if delete.empty.is_none() {
            header.set(STALE, true);
            header.set(TOKEN_SENT, false);
            header.set_deadline(deadline);
            self.slab.note_deadline(id, deadline);
            if header.set_cas(self.slab.chunk_mut(id), cas) {
                self.slab.set_header(id, &header);
                return Reply::Deleted;
            }
        }
        // An item that is only marked keeps its marks and its time; an empty one is new.
        let emptied = delete.empty.is_some();
        let draft = Draft {
            key: request.key,
            flags,
            deadline,
            accessed: if emptied { now.seconds.0 } else { header.accessed },
            cas,
            key_is_binary: header.key_is_binary(),
            marks: if emptied { 0 } else { header.bits & FETCHED }
                | if delete.invalidate { STALE } else { 0 },
            large: None,
        };
        let parts = if emptied {
            Parts::small(&[])
        } else {
            self.parts(id)
        };
        match self.put(request.hash, draft, parts, Some(id), now) {
            Ok(_) => Reply::Deleted,
            Err(NoMemory) => Reply::NoMemory,
        }
    }

    pub(super) fn count(&mut self, request: &Request<'_>, count: &Count, now: Now) -> Reply<'_> {
        let Some(id) = self.find(request, now) else {
            return self.count_missing(request, count, now);
        };
        let item = self.slab.item(id);
        let value = self.value(&item);
        if !value.segments.is_empty() || value.size() == 0 {
            return Reply::NotNumeric;
        }
        // Of a value in blocks the first is more than any number takes.
        let first = value.pieces().next().unwrap_or_default();
        if self.settings.cas_enabled && count.cas_compare.is_some_and(|compare| compare != item.cas()) {
            return Reply::Exists;
        }
        let Some(number) = number::parse(first) else {
            return Reply::NotNumeric;
        };
        let number = number::count(number, count.direction, count.delta);
        match count.direction {
            Direction::Up => self.counters.incr_hits += 1,
            Direction::Down => self.counters.decr_hits += 1,
        }
        let band = self.band_of(id);
        match count.direction {
            Direction::Up => band.incr_hits += 1,
            Direction::Down => band.decr_hits += 1,
        }
        let item = self.slab.item(id);
        let mut text = itoa::Buffer::new();
        let text = text.format(number).as_bytes();
        let flags = item.flags();
        let value_size = self.value(&item).size();
        let mut header = item.header;
        let before = header.deadline();
        let deadline = count.touch.map_or(before, |exptime| now.deadline(exptime));
        let cas = self.new_cas(count.cas_new);
        header.set_deadline(deadline);
        header.reference();
        header.accessed = now.seconds.0;
        let fits = text.len() <= value_size && !header.is_large();
        if fits && header.set_cas(self.slab.chunk_mut(id), cas) {
            self.slab.note_deadline(id, deadline);
            self.slab.set_header(id, &header);
            item::overwrite_value(self.slab.chunk_mut(id), text);
        } else {
            let draft = Draft {
                key: request.key,
                flags,
                deadline,
                accessed: now.seconds.0,
                cas,
                key_is_binary: header.key_is_binary(),
                // A longer number makes a new item, a wider cas unique does not.
                marks: if text.len() <= value_size {
                    header.bits & (FETCHED | STALE | TOKEN_SENT)
                } else {
                    0
                },
                large: None,
            };
            let mut value = std::mem::take(&mut self.scratch);
            value.clear();
            value.extend_from_slice(text);
            value.resize(text.len().max(value_size), b' ');
            let stored = self.put(request.hash, draft, Parts::small(&value), Some(id), now);
            self.scratch = value;
            if stored.is_err() {
                self.note_refusal();
                return Reply::NoMemory;
            }
        }
        Reply::Counted(Counted {
            number,
            cas,
            flags,
            left_before: before.left(now.seconds),
            left_after: deadline.left(now.seconds),
            key_is_binary: header.key_is_binary(),
        })
    }

    fn count_missing(&mut self, request: &Request<'_>, count: &Count, now: Now) -> Reply<'_> {
        let Some((number, exptime)) = count.vivify else {
            match count.direction {
                Direction::Up => self.counters.incr_misses += 1,
                Direction::Down => self.counters.decr_misses += 1,
            }
            return Reply::NotFound;
        };
        let deadline = now.deadline(exptime);
        let draft = Draft {
            key: request.key,
            flags: 0,
            deadline,
            accessed: now.seconds.0,
            cas: self.new_cas(count.cas_new),
            key_is_binary: count.key_is_binary,
            marks: 0,
            large: None,
        };
        let mut text = itoa::Buffer::new();
        let text = text.format(number).as_bytes();
        if self
            .put(request.hash, draft, Parts::small(text), None, now)
            .is_err()
        {
            self.note_refusal();
            return Reply::NoMemory;
        }
        Reply::Counted(Counted {
            number,
            cas: draft.cas,
            flags: 0,
            left_before: None,
            left_after: deadline.left(now.seconds),
            key_is_binary: count.key_is_binary,
        })
    }

    pub(super) fn shape(&self, key: &[u8], value_size: usize) -> Shape {
        Shape::of(value_size, key.len(), self.pool.page_size())
    }

    fn take_reservation(&mut self, key: &[u8], size: usize, now: Now) -> Result<Reservation, NoMemory> {
        let shape = self.shape(key, size);
        let pages = self.take_pages(shape.pages, now)?;
        Ok(Reservation::new(shape, pages, &self.pool))
    }

    /// memcached's own count of an item's bytes, so that the same values fit: header, key and NUL, flags, cas
    /// unique, value and line end.
    fn is_too_large(&self, key: &[u8], flags: u32, value_size: usize) -> bool {
        let flags = if flags != 0 { 4 } else { 0 };
        let cas = if self.settings.cas_enabled { 8 } else { 0 };
        48 + key.len() + 1 + flags + cas + value_size + 2 > self.settings.item_size_max
    }

    fn refuse(&mut self, request: &Request<'_>, store: &Store, refusal: Reply<'static>) -> Reply<'static> {
        match refusal {
            Reply::NoMemory => {
                let size = item::HEADER_SIZE + request.key.len() + request.value.len();
                self.band_for(size).outofmemory += 1;
                self.counters.store_no_memory += 1;
                self.note_refusal();
            }
            _ => self.counters.store_too_large += 1,
        }
        if store.refusal_removes
            && let Some(id) = self
                .table
                .find(request.hash, |id| self.slab.has_key(id, request.key))
        {
            self.remove(id, request.hash);
        }
        refusal
    }

    /// A cache that does not evict goes on refusing until memory is freed.
    fn note_refusal(&mut self) {
        if !self.settings.evict {
            self.pool.set_refusing(true);
        }
    }
}

//! Statistics by size: what `stats items` and `stats slabs` show.
//!
//! memcached has at most 63 slab classes, and tools are made for that; a shard may have 255. So neighbouring classes
//! share a *band*, numbered from 1 to 62, and large values have band 63. Events are counted in bands as they happen,
//! an addition each; what the slab knows anyway (pages, chunks) is gathered when somebody asks.

use super::slab::Ring;
use super::{ItemId, Shard};
use crate::time::{Now, Seconds};

/// One more than the highest number of a band.
pub const BANDS: usize = 64;

/// The band of large values.
pub(super) const LARGE_VALUES: u8 = 63;

macro_rules! band {
    (events { $($(#[$event_doc:meta])* $event:ident,)* } gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }) => {
        /// The figures of one band. Names are memcached's where memcached has them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Band {
            $($(#[$event_doc])* pub $event: u64,)*
            $($(#[$gauge_doc])* pub $gauge: u64,)*
            /// Seconds that the last evicted item had not been asked for.
            pub evicted_time: u64,
            /// The largest chunk of the band in bytes; 0 if no class is in it.
            pub chunk_size: u64,
            pub chunks_per_page: u64,
        }

        impl Band {
            fn add(&mut self, other: &Band) {
                $(self.$event += other.$event;)*
                $(self.$gauge += other.$gauge;)*
                self.evicted_time = self.evicted_time.max(other.evicted_time);
                // The same in all shards.
                self.chunk_size = other.chunk_size;
                self.chunks_per_page = other.chunks_per_page;
            }

            fn reset(&mut self) {
                $(self.$event = 0;)*
                self.evicted_time = 0;
            }
        }
    };
}

band! {
    events {
        get_hits,
        cmd_set,
        delete_hits,
        incr_hits,
        decr_hits,
        cas_hits,
        cas_badval,
        touch_hits,
        /// Hits of items in probation.
        hits_to_probation,
        /// Hits of items in main.
        hits_to_main,
        evicted,
        /// Evicted items that had an exptime.
        evicted_nonzero,
        evicted_unfetched,
        evicted_active,
        outofmemory,
        reclaimed,
        expired_unfetched,
        crawler_reclaimed,
        crawler_items_checked,
        /// Items that moved from probation to main.
        promoted,
        /// Items that main's hand passed over.
        retained,
    }
    gauges {
        /// Bytes of items.
        mem_requested,
        /// Items of large values whose heads lie in chunks of this band.
        heads,
        /// Items in probation.
        in_probation,
        /// Items in main.
        in_main,
        pages,
        chunks,
        chunks_used,
    }
}

impl Band {
    /// Items that count as this band's.
    pub fn number(&self) -> u64 {
        (self.in_probation + self.in_main).saturating_sub(self.heads)
    }
}

/// All bands by number; the first is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bands(Box<[Band; BANDS]>);

impl Default for Bands {
    fn default() -> Bands {
        Bands(Box::new([Band::default(); BANDS]))
    }
}

impl Bands {
    pub(super) fn at(&mut self, band: u8) -> &mut Band {
        &mut self.0[usize::from(band)]
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Bands) {
        for (band, other) in self.0.iter_mut().zip(&*other.0) {
            band.add(other);
        }
    }

    pub(super) fn reset(&mut self) {
        self.0.iter_mut().for_each(Band::reset);
    }

    /// The bands that have pages, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (usize, &Band)> {
        self.0.iter().enumerate().filter(|(_, band)| band.pages > 0)
    }

    /// Whether no item is in the band.
    pub fn is_empty(&self, band: u8) -> bool {
        self.0[usize::from(band)].number() == 0
    }
}

/// What is counted at every get and set: by class, and small, so that it costs one addition in a line of cache that
/// is there. The last is that of large values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Busy {
    /// Hits of gets, by ring.
    hits: [u64; Ring::COUNT],
    stored: u64,
    bytes: u64,
}

impl Busy {
    pub(super) fn reset(&mut self) {
        *self = Busy {
            bytes: self.bytes,
            ..Busy::default()
        };
    }

    /// Gets that found an item in this ring.
    pub(super) fn hits(&self, ring: Ring) -> u64 {
        self.hits[ring as usize]
    }

    fn add_to(&self, band: &mut Band) {
        band.get_hits += self.hits.iter().sum::<u64>();
        band.hits_to_probation += self.hits(Ring::Probation) + self.hits(Ring::Heavy);
        band.hits_to_main += self.hits(Ring::Main);
        band.cmd_set += self.stored;
        band.mem_requested += self.bytes;
    }
}

impl Shard {
    /// Events by band, and how things stand in the slab.
    pub fn bands(&self) -> Bands {
        let mut bands = self.bands.clone();
        for (class, usage) in self.slab.usage() {
            let chunks_per_page = self.slab.classes.chunks_per_page(class) as u64;
            let band = bands.at(self.slab.classes.band(class));
            self.busy[class.index()].add_to(band);
            band.chunk_size = self.slab.classes.chunk_size(class) as u64;
            band.chunks_per_page = chunks_per_page;
            band.in_probation += usage.items[Ring::Probation as usize] + usage.items[Ring::Heavy as usize];
            band.in_main += usage.items[Ring::Main as usize];
            band.pages += usage.pages;
            band.chunks += usage.pages * chunks_per_page;
            band.chunks_used += usage.items.iter().sum::<u64>();
        }
        let large = bands.at(LARGE_VALUES);
        let pages = self.counters().pages_large;
        self.busy[self.slab.classes.count()].add_to(large);
        large.chunk_size = self.pool.page_size() as u64;
        large.chunks_per_page = 1;
        large.in_main = self.larges.count() as u64;
        (large.pages, large.chunks, large.chunks_used) = (pages, pages, pages);
        bands
    }

    /// The figures of an item's band.
    pub(super) fn band_of(&mut self, id: ItemId) -> &mut Band {
        let band = self.band(&self.slab.item(id), self.slab.class_of(id));
        self.bands.at(band)
    }

    fn busy(&mut self, id: ItemId, is_large: bool) -> &mut Busy {
        let class = match is_large {
            false => self.slab.class_of(id).index(),
            true => self.slab.classes.count(),
        };
        &mut self.busy[class]
    }

    /// Counts a get that found an item.
    pub(super) fn count_hit(&mut self, id: ItemId, is_large: bool) {
        let ring = self.slab.ring_of(id) as usize;
        self.busy(id, is_large).hits[ring] += 1;
    }

    /// Counts an item that is forgotten to make room.
    pub(super) fn count_eviction(&mut self, id: ItemId, referenced: bool, fetched: bool, now: Seconds) {
        let header = self.slab.item(id).header;
        let band = self.band_of(id);
        band.evicted += 1;
        band.evicted_nonzero += u64::from(header.deadline().raw() != 0);
        band.evicted_time = u64::from(now.since(Seconds(header.accessed)));
        band.evicted_unfetched += u64::from(!fetched);
        band.evicted_active += u64::from(referenced);
    }

    /// Counts a store that overwrote an item in place.
    pub(super) fn count_overwrite(&mut self, id: ItemId, size_old: usize, size: usize) {
        let busy = self.busy(id, false);
        busy.stored += 1;
        busy.bytes = busy.bytes + size as u64 - size_old as u64;
    }

    /// Counts a store that made an item of so many bytes.
    pub(super) fn count_item(&mut self, id: ItemId, is_large: bool, size: usize) {
        let busy = self.busy(id, is_large);
        busy.stored += 1;
        busy.bytes += size as u64;
        if is_large {
            self.head_of(id).heads += 1;
        }
    }

    /// Takes an item's bytes back, when it is discarded.
    pub(super) fn discount_item(&mut self, id: ItemId, is_large: bool, size: usize) {
        self.busy(id, is_large).bytes -= size as u64;
        if is_large {
            self.head_of(id).heads -= 1;
        }
    }

    /// The figures of the band that a large value's head lies in.
    fn head_of(&mut self, id: ItemId) -> &mut Band {
        let class = self.slab.class_of(id);
        self.bands.at(self.slab.classes.band(class))
    }

    /// The figures of the band that an item of this size would be in.
    pub(super) fn band_for(&mut self, size: usize) -> &mut Band {
        let band = self.band_number(size);
        self.bands.at(band)
    }

    /// The number of the band that an item of this size would be in.
    pub(super) fn band_number(&self, size: usize) -> u8 {
        match size <= self.pool.page_size() {
            true => self.slab.classes.band(self.slab.classes.of(size)),
            false => LARGE_VALUES,
        }
    }

    /// Changes the budget of item memory. What is beyond it goes back to the system bit by bit, as it is swept.
    pub fn set_memory_limit(&mut self, bytes: u64, now: Now) {
        self.pool.set_budget(bytes);
        let share = super::share::fair(&self.pool, &self.settings);
        let short = |floor: u64| floor.saturating_sub(self.counters.pages) as usize;
        let floor = super::share::floor(share, &self.settings);
        self.pool.change_promise(short(self.pages_floor), short(floor));
        self.pages_floor = floor;
        self.maintain(now);
    }
}

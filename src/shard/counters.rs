//! A shard's counters: plain integers, summed over the shards when somebody asks.

/// Declares [`Counters`] and the sums over its fields, so that no field can be forgotten in one of them.
macro_rules! counters {
    (events { $($(#[$event_doc:meta])* $event:ident,)* } gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }) => {
        /// What a shard has counted. Names are those of memcached's statistics where memcached has the statistic.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$event_doc])* pub $event: u64,)*
            $($(#[$gauge_doc])* pub $gauge: u64,)*
        }

        impl Counters {
            /// Adds another shard's counters to these.
            pub fn add(&mut self, other: &Counters) {
                $(self.$event += other.$event;)*
                $(self.$gauge += other.$gauge;)*
            }

            /// Sets what counts events to 0, and leaves what says how things stand.
            pub(super) fn reset(&mut self) {
                $(self.$event = 0;)*
            }
        }
    };
}

counters! {
    events {
        /// Keys looked up by gets that do not touch.
        cmd_get,
        get_hits,
        get_misses,
        /// Lookups by any command that met an expired item.
        get_expired,
        /// Lookups by any command that met a flushed item.
        get_flushed,
        /// Stores that were not refused, whatever came of them.
        cmd_set,
        /// Touches, and gets that touch.
        cmd_touch,
        /// Inspections.
        cmd_meta,
        touch_hits,
        touch_misses,
        delete_hits,
        delete_misses,
        incr_hits,
        incr_misses,
        decr_hits,
        decr_misses,
        cas_hits,
        cas_misses,
        cas_badval,
        store_too_large,
        store_no_memory,
        /// Items ever stored.
        total_items,
        /// Live items that were forgotten to make room.
        evictions,
        /// Of these, items that nobody had ever read.
        evicted_unfetched,
        /// Of these, items that were referenced since the hand came by: the memory is too small for what is asked.
        evicted_active,
        /// Expired or flushed items whose memory was taken back when room was needed.
        reclaimed,
        /// Of these, items that nobody had ever read.
        expired_unfetched,
        /// Expired or flushed items that the background search found.
        crawler_reclaimed,
        crawler_items_checked,
        /// Items that were asked for in probation and so moved on to main.
        promoted,
        /// Items that main's hand passed over because they were referenced.
        retained,
        /// Stores of keys that probation had forgotten too soon: they go straight to main.
        ghost_hits,
    }
    gauges {
        /// Bytes of all items: headers, keys and values.
        bytes,
        curr_items,
        /// Bytes of the hash tables.
        hash_bytes,
        /// Bytes of the ghosts.
        ghost_bytes,
        /// Pages that hold items or are about to.
        pages,
        /// Of these, pages of large values.
        pages_large,
        /// Empty pages in the pool of all shards: the first one says it.
        pages_idle,
    }
}

//! `stats items` and `stats slabs`: the shard's bands of sizes under memcached's names.
//!
//! Probation stands where memcached has its HOT segment and main where it has COLD: new items begin in the first, and
//! the second is where the hand forgets. There is no WARM and no TEMP. What else memcached counts and has no
//! likeness here says 0.

use crate::shard::{Band, Bands};

/// What total_malloced is told in whole numbers of: a page of memcached's. So a few small pages more, because keys fall to
/// more shards, are not taken for growth.
const MALLOCED_UNIT: u64 = 1 << 20;

/// `stats items`: the bands that hold items.
pub(super) fn items(bands: &Bands, mut line: impl FnMut(&[u8], &[u8])) {
    for (number, band) in bands.present().filter(|(_, band)| band.number() > 0) {
        let mut say = |name: &str, value: u64| {
            line(
                format!("items:{number}:{name}").as_bytes(),
                value.to_string().as_bytes(),
            );
        };
        // The heads of large values are in this band's chunks, and their items are counted with the large ones.
        let in_main = band.number().saturating_sub(band.in_probation);
        say("number", band.number());
        say("number_hot", band.number() - in_main);
        say("number_warm", 0);
        say("number_cold", in_main);
        say("age_hot", 0);
        say("age_warm", 0);
        say("age", 0);
        say("mem_requested", band.mem_requested);
        say("evicted", band.evicted);
        say("evicted_nonzero", band.evicted_nonzero);
        say("evicted_time", band.evicted_time);
        say("outofmemory", band.outofmemory);
        say("tailrepairs", 0);
        say("reclaimed", band.reclaimed);
        say("expired_unfetched", band.expired_unfetched);
        say("evicted_unfetched", band.evicted_unfetched);
        say("evicted_active", band.evicted_active);
        say("crawler_reclaimed", band.crawler_reclaimed);
        say("crawler_items_checked", band.crawler_items_checked);
        say("lrutail_reflocked", 0);
        say("moves_to_cold", band.promoted);
        say("moves_to_warm", 0);
        say("moves_within_lru", band.retained);
        say("direct_reclaims", 0);
        say("hits_to_hot", band.hits_to_probation);
        say("hits_to_warm", 0);
        say("hits_to_cold", band.hits_to_main);
        say("hits_to_temp", 0);
    }
}

/// `stats slabs`: the bands that have pages, then the sums.
pub(super) fn slabs(bands: &Bands, page_size: u64, mut line: impl FnMut(&[u8], &[u8])) {
    let (mut active, mut pages) = (0, 0);
    for (number, band) in bands.present() {
        active += 1;
        pages += band.pages;
        let mut say = |name: &str, value: u64| {
            line(
                format!("{number}:{name}").as_bytes(),
                value.to_string().as_bytes(),
            );
        };
        let Band {
            chunks, chunks_used, ..
        } = *band;
        say("chunk_size", band.chunk_size);
        say("chunks_per_page", band.chunks_per_page);
        say("total_pages", band.pages);
        say("total_chunks", chunks);
        say("used_chunks", chunks_used);
        say("free_chunks", chunks - chunks_used);
        say("free_chunks_end", 0);
        say("get_hits", band.get_hits);
        say("cmd_set", band.cmd_set);
        say("delete_hits", band.delete_hits);
        say("incr_hits", band.incr_hits);
        say("decr_hits", band.decr_hits);
        say("cas_hits", band.cas_hits);
        say("cas_badval", band.cas_badval);
        say("touch_hits", band.touch_hits);
    }
    line(b"active_slabs", active.to_string().as_bytes());
    let malloced = (pages * page_size).next_multiple_of(MALLOCED_UNIT);
    line(b"total_malloced", malloced.to_string().as_bytes());
}

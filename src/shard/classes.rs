//! Slab classes: the sizes of chunk that a page can be cut into.
//!
//! Rounding an item up to its chunk costs as much memory as its header does, so classes are fine: steps of 8
//! bytes to 512, then about 3 %, where each size is the largest that fits a page the same number of times. A
//! small shard cannot afford that many: each class may keep a page partly filled in each of the two rings. So
//! the growth factor is the finest whose classes do not outnumber what the shard's pages allow.

/// A size of chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(pub(super) u8);

impl ClassId {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Chunks begin and end on multiples of this.
pub(super) const UNIT: usize = 8;

/// The smallest chunk: a header and a key of up to 8 bytes.
const CHUNK_SIZE_MIN: usize = 24;

/// Up to here the finest classes are a unit apart.
const FINE_UNTIL: usize = 512;

/// Growth factors to choose from, in per cent. The first [`FINE_GROWTHS`] begin with steps of a unit to [`FINE_UNTIL`].
const GROWTHS: [usize; 10] = [103, 106, 108, 110, 113, 117, 122, 130, 145, 200];

const FINE_GROWTHS: usize = 2;

#[derive(Debug)]
pub(super) struct Classes {
    /// Ascending; the last is a whole page.
    sizes: Vec<u32>,
    /// The class of an item of so many units, rounded up.
    by_units: Vec<u8>,
    /// By class: its number in statistics.
    bands: Vec<u8>,
    page_size: usize,
}

/// How many classes so many pages can afford. Of c classes from 24 bytes to 64 KiB, items waste about 4/c of their
/// chunks; and where half of the classes are in use, with half a page unfilled in each of two rings, c/2 pages are
/// empty. The sum is least where c is the root of eight times the pages.
pub(super) fn fitting(pages: usize) -> usize {
    (pages * 8).isqrt()
}

impl Classes {
    /// At most about `classes_max` classes for pages of this size.
    pub(super) fn new(page_size: usize, classes_max: usize) -> Classes {
        let sizes = GROWTHS
            .iter()
            .enumerate()
            .map(|(index, &growth)| sizes(page_size, growth, index < FINE_GROWTHS))
            .find(|sizes| sizes.len() <= classes_max)
            .unwrap_or_else(|| sizes(page_size, GROWTHS[GROWTHS.len() - 1], false));
        assert!(sizes.len() <= usize::from(u8::MAX));
        let by_units = (0..=page_size / UNIT)
            .map(|units| sizes.partition_point(|&size| (size as usize) < units * UNIT) as u8)
            .collect();
        Classes {
            bands: sizes.iter().map(|&size| band(size as usize)).collect(),
            sizes,
            by_units,
            page_size,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sizes.len()
    }

    /// The class with the least chunk that holds `size` bytes; `size` is at most a page.
    pub(super) fn of(&self, size: usize) -> ClassId {
        ClassId(self.by_units[size.div_ceil(UNIT)])
    }

    pub(super) fn chunk_size(&self, class: ClassId) -> usize {
        self.sizes[class.index()] as usize
    }

    pub(super) fn chunks_per_page(&self, class: ClassId) -> usize {
        self.page_size / self.chunk_size(class)
    }

    /// A number from 1 to 62 that grows with the class: statistics name no more classes than memcached has.
    pub(super) fn band(&self, class: ClassId) -> u8 {
        self.bands[class.index()]
    }
}

/// The class in which memcached, with its default growth factor of 1.25, would have the items that just fit a chunk
/// of this size here: its headers are 40 bytes larger. So a number of a class means to tools and people what they
/// know.
fn band(size: usize) -> u8 {
    const HEADER_EXCESS: usize = 40;
    let (mut band, mut limit) = (1, 96);
    while size + HEADER_EXCESS > limit && band < 62 {
        band += 1;
        limit = (limit * 5 / 4).next_multiple_of(8);
    }
    band
}

fn sizes(page_size: usize, growth: usize, fine: bool) -> Vec<u32> {
    let mut sizes = Vec::new();
    let mut size = CHUNK_SIZE_MIN;
    while size < page_size {
        // Small chunks leave at most one of them unused at the page's end; large ones are made to fill it.
        let count = page_size / size;
        let filling = page_size / count / UNIT * UNIT;
        size = if fine && size <= FINE_UNTIL { size } else { filling };
        if size == page_size {
            break;
        }
        sizes.push(size as u32);
        let grown = size * growth / 100 / UNIT * UNIT;
        size = if fine && size < FINE_UNTIL {
            size + UNIT
        } else {
            grown.max(size + UNIT)
        };
    }
    sizes.push(page_size as u32);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_small_in_large_shards() {
        let classes = Classes::new(65536, 255);
        assert_eq!(classes.chunk_size(classes.of(1)), 24);
        for size in 24..=512 {
            assert!(classes.chunk_size(classes.of(size)) < size + UNIT, "{size}");
        }
        for size in 513..8192 {
            let rounded = classes.chunk_size(classes.of(size));
            assert!(
                rounded >= size && rounded <= size + size / 8 + UNIT,
                "{size}: {rounded}"
            );
            assert!(classes.chunks_per_page(classes.of(size)) * rounded > 65536 - 65536 / 16);
        }
        assert_eq!(classes.chunk_size(classes.of(65536)), 65536);
    }

    #[test]
    fn bands_are_memcacheds_classes() {
        assert_eq!([24, 56, 64, 80, 81, 65536].map(band), [1, 1, 2, 2, 3, 30]);
    }

    #[test]
    fn small_shards_get_fewer_classes() {
        for page_size in [1024, 4096, 65536] {
            for classes_max in [8, 16, 32, 64, 255] {
                let classes = Classes::new(page_size, classes_max);
                assert!(
                    classes.count() <= classes_max.max(12),
                    "{page_size} {classes_max}: {classes:?}"
                );
                for class in 1..classes.count() {
                    assert!(classes.sizes[class - 1] < classes.sizes[class], "{classes:?}");
                    assert!(classes.band(ClassId(class as u8)) <= 62);
                }
            }
        }
    }
}

//! The pages of a large value, shared by reference.
//!
//! ```text
//! Chain    | segment                 | segment      | segment |
//!          | page | page | ... | page | page | page  | page    |
//!          ^ begins anywhere in its first page        ^ ends anywhere in its last
//! ```
//!
//! Bytes in a chain never change. So whoever sends a value holds the chain and is sure of it, whatever becomes of the
//! item meanwhile: the pages go back to their pool when the last holder lets go, and count as taken until then.
//! A value that grows shares its old segments with its predecessor.

use std::sync::Arc;

use super::list::SEGMENT_PAGES_MAX;
use super::{Page, PageList, Pool};

/// Pages that belong together.
///
/// Invariant: not empty; the value's bytes begin at `start` of the first page and end at `end` of the last, and fill
/// all pages between.
#[derive(Debug)]
pub struct Segment {
    pages: Vec<Page>,
    start: usize,
    end: usize,
    pool: Arc<Pool>,
}

impl Segment {
    /// Bytes of the value.
    pub fn size(&self) -> usize {
        (self.pages.len() - 1) * self.pool.page_size() + self.end - self.start
    }

    /// The bytes page by page.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.pages.len()).map(|index| self.piece(index))
    }

    fn piece(&self, index: usize) -> &[u8] {
        let page = &self.pages[index];
        let start = if index == 0 { self.start } else { 0 };
        let is_last = index + 1 == self.pages.len();
        &page[start..if is_last { self.end } else { page.len() }]
    }

    /// The bytes from here to the end of their page.
    fn piece_at(&self, offset: usize) -> &[u8] {
        let at = self.start + offset;
        let page_size = self.pool.page_size();
        let piece = self.piece(at / page_size);
        let skipped = match at / page_size {
            0 => offset,
            _ => at % page_size,
        };
        &piece[skipped..]
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.pool.give_parts([std::mem::take(&mut self.pages)]);
        self.pool.set_refusing(false);
    }
}

/// Bytes in pages. A clone is another holder of the same pages.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    segments: Vec<Arc<Segment>>,
    size: usize,
}

impl Chain {
    /// The bytes of these pages from `start` of the first to `end` of the last.
    pub fn new(pages: PageList, start: usize, end: usize, pool: &Arc<Pool>) -> Chain {
        let mut chain = Chain::default();
        let mut parts = pages.into_parts().into_iter();
        while let Some(mut pages) = parts.next() {
            pages.shrink_to_fit();
            let segment = Segment {
                pages,
                start: if chain.is_empty() { start } else { 0 },
                end: if parts.len() == 0 { end } else { pool.page_size() },
                pool: Arc::clone(pool),
            };
            chain.push(Arc::new(segment));
        }
        chain
    }

    /// A holder of the pages of a value that lies in these segments.
    pub fn of(segments: &[Arc<Segment>]) -> Chain {
        Chain {
            size: segments.iter().map(|segment| segment.size()).sum(),
            segments: segments.to_vec(),
        }
    }

    fn push(&mut self, segment: Arc<Segment>) {
        self.size += segment.size();
        self.segments.push(segment);
    }

    /// Puts another chain behind this one.
    pub fn append(&mut self, other: Chain) {
        self.size += other.size;
        self.segments.extend(other.segments);
    }

    /// Takes the first segment off if it is one page that is not full: there its bytes are few, and waste most of it.
    pub fn pop_sparse_front(&mut self) -> Option<Arc<Segment>> {
        let first = self.segments.first()?;
        if first.pages.len() > 1 || first.size() == first.pool.page_size() {
            return None;
        }
        self.size -= first.size();
        Some(self.segments.remove(0))
    }

    /// Joins the last two segments where that is possible and nobody else holds them, so that a value that grows by
    /// little does not come to consist of little.
    pub fn join_last(&mut self) {
        let [.., before, last] = &mut self.segments[..] else {
            return;
        };
        let (Some(before), Some(last)) = (Arc::get_mut(before), Arc::get_mut(last)) else {
            return;
        };
        let fits = before.pages.len() + last.pages.len() <= SEGMENT_PAGES_MAX;
        if fits && before.end == before.pool.page_size() && last.start == 0 {
            before.end = last.end;
            before.pages.append(&mut last.pages);
            self.segments.pop();
        }
    }

    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn pages(&self) -> usize {
        self.segments.iter().map(|segment| segment.pages.len()).sum()
    }

    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.segments.iter().flat_map(|segment| segment.pieces())
    }

    /// The bytes from here on as far as they lie together; empty at the end.
    pub fn piece_at(&self, mut offset: usize) -> &[u8] {
        for segment in &self.segments {
            let size = segment.size();
            if offset < size {
                return segment.piece_at(offset);
            }
            offset -= size;
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_SIZE: usize = 64;

    fn chain(pool: &Arc<Pool>, bytes: &[u8], start: usize) -> Chain {
        let size = start + bytes.len();
        let pages = size.div_ceil(PAGE_SIZE);
        let mut pages: PageList = (0..pages).map(|_| pool.take().expect("room")).collect();
        for (index, byte) in bytes.iter().enumerate() {
            let at = start + index;
            pages.get_mut(at / PAGE_SIZE).expect("enough")[at % PAGE_SIZE] = *byte;
        }
        Chain::new(pages, start, (size - 1) % PAGE_SIZE + 1, pool)
    }

    #[test]
    fn bytes_are_found_at_every_offset() {
        let pool = Arc::new(Pool::new(1 << 20, PAGE_SIZE));
        let bytes: Vec<u8> = (0..40_000u32).map(|index| (index % 251) as u8).collect();
        for (start, cut) in [(0, 20_000), (63, 20_001), (5, 1), (1, 64), (0, 39_999)] {
            let mut whole = chain(&pool, &bytes[..cut], start);
            whole.append(chain(&pool, &bytes[cut..], 0));
            assert_eq!(whole.size(), bytes.len());
            assert_eq!(whole.pieces().collect::<Vec<_>>().concat(), bytes);
            for offset in [0, 1, 58, 59, 63, 64, 65, cut - 1, cut, 20_300, 39_999] {
                let piece = whole.piece_at(offset);
                assert!(
                    !piece.is_empty() && bytes[offset..].starts_with(piece),
                    "{start} {cut} {offset}"
                );
            }
            assert!(whole.piece_at(bytes.len()).is_empty());
        }
        assert_eq!(pool.pages_taken(), 0);
    }

    #[test]
    fn pages_are_taken_until_the_last_holder_lets_go() {
        let pool = Arc::new(Pool::new(1 << 20, PAGE_SIZE));
        let mut first = chain(&pool, &[7; 6400], 0);
        let held = first.clone();
        first.append(chain(&pool, &[8; 64], 0));
        first.join_last();
        assert_eq!(
            (first.segments().len(), first.pages()),
            (2, 101),
            "others hold the first"
        );
        drop(held);
        first.join_last();
        assert_eq!((first.segments().len(), first.pages()), (1, 101));
        first.append(chain(&pool, &[9; 10], 0));
        first.join_last();
        assert_eq!((first.segments().len(), first.size()), (1, 6474));
        assert!(first.pop_sparse_front().is_none());
        let mut front = chain(&pool, &[1; 3], 61);
        front.append(first);
        let sparse = front.pop_sparse_front().expect("three bytes in a page");
        assert_eq!((sparse.size(), front.size()), (3, 6474));
        drop((sparse, front));
        assert_eq!(pool.pages_taken(), 0);
    }
}

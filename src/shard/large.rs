//! Values that are larger than a page, and values that are still arriving.
//!
//! ```text
//! value     | first piece: size % page size | page | page | page |
//!             in the item's chunk, or in a    whole pages, moved from the reservation
//!             page of its own where it with   into the item without being copied
//!             key and header does not fit one
//! ```

use std::sync::Arc;

use super::item::HEADER_SIZE_MAX;
use crate::command::Reply;
use crate::memory::{Page, Pool};
use crate::time::Seconds;

/// Pages on their way between owners; when dropped they go back to the pool.
#[derive(Debug)]
struct Pages {
    list: Vec<Page>,
    pool: Arc<Pool>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.list.is_empty() {
            self.pool.give_all(self.list.drain(..));
            self.pool.set_refusing(false);
        }
    }
}

/// How a value of some size is cut. Depends on sizes alone, so that it stays true while the value arrives, whatever
/// happens to the key meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of the first piece.
    first_size: usize,
    /// True if the first piece has a page of its own.
    first_in_page: bool,
    /// Whole pages after the first piece.
    rest: usize,
}

impl Shape {
    pub(super) fn of(value_size: usize, key_size: usize, page_size: usize) -> Shape {
        let room = page_size - HEADER_SIZE_MAX - key_size;
        if value_size <= room {
            return Shape {
                first_size: value_size,
                first_in_page: false,
                rest: 0,
            };
        }
        let first_size = value_size % page_size;
        Shape {
            first_size,
            first_in_page: first_size > room,
            rest: value_size / page_size,
        }
    }

    pub(super) fn pages(&self) -> usize {
        self.rest + usize::from(self.first_in_page)
    }

    pub(super) fn is_large(&self) -> bool {
        self.pages() > 0
    }
}

/// What comes of [`super::Shard::reserve`].
#[derive(Debug)]
pub enum Reserve {
    Reserved(Reservation),
    Refused(Reply<'static>),
    /// So many pages could not be freed within one call's bound. What was freed is kept for the next calls: ask
    /// again after other work.
    Again,
}

/// Pages that are being gathered for a large value, over several calls.
#[derive(Debug, Default)]
pub(super) struct Hoard {
    pub(super) pages: Vec<Page>,
    /// When somebody last asked for them.
    pub(super) asked: Option<Seconds>,
}

impl Hoard {
    /// True if the pages wait for somebody who has not asked for a second or more: perhaps his connection is gone.
    pub(super) fn is_stale(&self, now: Seconds) -> bool {
        !self.pages.is_empty() && self.asked.is_some_and(|asked| now.since(asked) > 1)
    }
}

/// Memory for a value that arrives in pieces. It belongs to nobody else, so it is filled without the shard; dropped,
/// it goes back to where it came from.
#[derive(Debug)]
pub struct Reservation {
    shape: Shape,
    size: usize,
    filled: usize,
    /// The first piece, unless it has a page of its own.
    head: Vec<u8>,
    /// The whole pages in order, and then the first piece's page if it has one.
    pages: Pages,
}

impl Reservation {
    /// `pages` are as many as the shape asks for.
    pub(super) fn new(shape: Shape, size: usize, pages: Vec<Page>, pool: &Arc<Pool>) -> Reservation {
        assert_eq!(pages.len(), shape.pages());
        Reservation {
            shape,
            size,
            filled: 0,
            head: Vec::with_capacity(if shape.first_in_page { 0 } else { shape.first_size }),
            pages: Pages {
                list: pages,
                pool: Arc::clone(pool),
            },
        }
    }

    /// Bytes of the whole value.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> usize {
        self.size - self.filled
    }

    /// The memory for the next bytes of the value, as far as it is in one piece; empty when the value is complete.
    pub fn unfilled(&mut self) -> &mut [u8] {
        if self.filled < self.shape.first_size {
            let first = match self.shape.first_in_page {
                true => &mut self.pages.list[self.shape.rest][..self.shape.first_size],
                false => &mut self.head[..],
            };
            return &mut first[self.filled..];
        }
        let page_size = self.pages.pool.page_size();
        let at = self.filled - self.shape.first_size;
        match at / page_size {
            page if page < self.shape.rest => &mut self.pages.list[page][at % page_size..],
            _ => &mut [],
        }
    }

    /// Counts bytes that were written to [`Reservation::unfilled`].
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "more bytes than were reserved");
        self.filled += count;
    }

    /// Copies the next bytes of the value in. They must not be more than remain.
    pub fn fill(&mut self, mut bytes: &[u8]) {
        assert!(bytes.len() <= self.remaining(), "more bytes than were reserved");
        if !self.shape.first_in_page && self.filled < self.shape.first_size {
            let (head, later) = bytes.split_at((self.shape.first_size - self.filled).min(bytes.len()));
            self.head.extend_from_slice(head);
            self.filled += head.len();
            bytes = later;
        }
        while !bytes.is_empty() {
            let room = self.unfilled();
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
    }

    /// The pieces that are filled, in order; of a complete value all of it.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (rest, own) = self.pages.list.split_at(self.shape.rest);
        let first = own
            .first()
            .map_or(&self.head[..], |page| &page[..self.shape.first_size]);
        std::iter::once(first).chain(rest.iter().map(|page| &page[..]))
    }

    /// Takes the value apart: what goes into the chunk, and the pages if there are any.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, Option<Large>) {
        assert_eq!(self.remaining(), 0, "the value is complete");
        let mut rest = std::mem::take(&mut self.pages.list);
        let first = rest.split_off(self.shape.rest).pop();
        let head = std::mem::take(&mut self.head);
        let large = self.shape.is_large().then(|| Large {
            first_size: if first.is_some() { self.shape.first_size } else { 0 },
            first,
            rest,
        });
        (head, large)
    }
}

/// The pages of a large value.
#[derive(Debug)]
pub(super) struct Large {
    /// The first piece, where it is not in the item's chunk.
    first: Option<Page>,
    first_size: usize,
    pub(super) rest: Vec<Page>,
}

impl Large {
    /// The first piece, if it is here and not in the chunk.
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.first.as_ref().map(|page| &page[..self.first_size])
    }

    pub(super) fn pages(&self) -> usize {
        self.rest.len() + usize::from(self.first.is_some())
    }

    /// Bytes of value in these pages, which are of one size.
    pub(super) fn size(&self) -> usize {
        self.first_size + self.rest.first().map_or(0, |page| page.len() * self.rest.len())
    }

    pub(super) fn into_pages(mut self) -> std::vec::IntoIter<Page> {
        self.rest.extend(self.first);
        self.rest.into_iter()
    }
}

/// The pages of all large values of a shard, by the number that the item keeps.
#[derive(Debug, Default)]
pub(super) struct LargeValues {
    values: Vec<Option<Large>>,
    /// Numbers whose value is gone.
    free: Vec<u32>,
}

impl LargeValues {
    pub(super) fn insert(&mut self, large: Large) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.values[number as usize] = Some(large);
                number
            }
            None => {
                self.values.push(Some(large));
                self.values.len() as u32 - 1
            }
        }
    }

    pub(super) fn get(&self, number: u32) -> &Large {
        self.values[number as usize].as_ref().expect("an item's pages")
    }

    pub(super) fn remove(&mut self, number: u32) -> Large {
        self.free.push(number);
        self.values[number as usize].take().expect("an item's pages")
    }

    pub(super) fn into_pages(self) -> impl Iterator<Item = Page> {
        self.values.into_iter().flatten().flat_map(Large::into_pages)
    }

    pub(super) fn count(&self) -> usize {
        self.values.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_however_it_arrives() {
        let pool = Arc::new(Pool::new(64 * 1024, 1024));
        for size in [0, 1, 900, 1000, 1023, 1024, 1025, 2047, 3000, 10_240] {
            let value: Vec<u8> = (0..size).map(|index| (index * 7) as u8).collect();
            for piece in [1, 10, 100, 5000] {
                let shape = Shape::of(size, 20, 1024);
                let pages = (0..shape.pages()).map(|_| pool.take().expect("room")).collect();
                let mut reservation = Reservation::new(shape, size, pages, &pool);
                for bytes in value.chunks(piece) {
                    reservation.fill(bytes);
                }
                assert_eq!(reservation.remaining(), 0);
                assert!(reservation.unfilled().is_empty());
                assert_eq!(reservation.pieces().collect::<Vec<_>>().concat(), value);
                let (head, large) = reservation.into_parts();
                assert_eq!(large.is_some(), size > 1024 - 20 - HEADER_SIZE_MAX, "{size}");
                assert_eq!(head.len() + large.as_ref().map_or(0, Large::size), size);
                pool.give_all(large.into_iter().flat_map(Large::into_pages));
            }
        }
        let shape = Shape::of(5000, 20, 1024);
        let pages = (0..shape.pages()).map(|_| pool.take().expect("room")).collect();
        let mut abandoned = Reservation::new(shape, 5000, pages, &pool);
        abandoned.fill(&[1; 2000]);
        drop(abandoned);
        assert_eq!(pool.pages_taken(), 0);
    }
}

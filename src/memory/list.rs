//! Pages that are gathered for one large value, in parts that are its segments later.
//!
//! A list of a gigabyte has 16,384 pages. In one piece it would be 393 KB, to be moved or cleared by the system in one
//! step: as it grows, and again as it is cut into segments.

use super::Page;

/// Pages in a part, and so in a segment, at most: letting go of one is one step for the pool, and what holds a value counts segments.
pub(super) const SEGMENT_PAGES_MAX: usize = 256;

/// Pages, in order. When dropped they are lost to their pool: give them back.
#[derive(Debug, Default)]
pub struct PageList {
    /// None is empty, and all but the last are full.
    parts: Vec<Vec<Page>>,
}

impl PageList {
    /// How many pages there are.
    pub fn len(&self) -> usize {
        let last = self.parts.last().map_or(0, Vec::len);
        self.parts.len().saturating_sub(1) * SEGMENT_PAGES_MAX + last
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn push(&mut self, page: Page) {
        match self.parts.last_mut() {
            Some(last) if last.len() < SEGMENT_PAGES_MAX => last.push(page),
            _ => self.parts.push(vec![page]),
        }
    }

    /// The last page.
    pub fn pop(&mut self) -> Option<Page> {
        let last = self.parts.last_mut()?;
        let page = last.pop();
        if last.is_empty() {
            self.parts.pop();
        }
        page
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Page> {
        self.parts
            .get_mut(index / SEGMENT_PAGES_MAX)?
            .get_mut(index % SEGMENT_PAGES_MAX)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        self.parts.iter_mut().flatten()
    }

    /// Takes so many pages out, which there must be: whole parts, and less than a part page by page.
    pub fn take(&mut self, count: usize) -> PageList {
        assert!(count <= self.len(), "{count} of {} pages", self.len());
        let later = self.parts.split_off(count / SEGMENT_PAGES_MAX);
        let mut taken = std::mem::replace(self, PageList { parts: later });
        let rest = std::iter::from_fn(|| self.pop()).take(count % SEGMENT_PAGES_MAX);
        rest.for_each(|page| taken.push(page));
        taken
    }

    /// Bytes of the list itself, pages apart.
    pub fn memory(&self) -> usize {
        let parts: usize = self.parts.iter().map(Vec::capacity).sum();
        parts * size_of::<Page>() + self.parts.capacity() * size_of::<Vec<Page>>()
    }

    pub(super) fn into_parts(self) -> Vec<Vec<Page>> {
        self.parts
    }
}

impl FromIterator<Page> for PageList {
    fn from_iter<I: IntoIterator<Item = Page>>(pages: I) -> PageList {
        let mut list = PageList::default();
        pages.into_iter().for_each(|page| list.push(page));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &PageList) {
        let mut parts = list.parts.iter().map(Vec::len).rev();
        assert!(
            parts
                .next()
                .is_none_or(|last| (1..=SEGMENT_PAGES_MAX).contains(&last))
        );
        assert!(parts.all(|pages| pages == SEGMENT_PAGES_MAX));
    }

    #[test]
    fn as_many_are_taken_as_are_asked_for() {
        for held in [0, 1, 255, 256, 257, 600] {
            for count in [0, 1, 255, 256, 257, 511, 512, 600] {
                let mut list: PageList = (0..held).map(|_| Page::none()).collect();
                assert_eq!(list.len(), held);
                if count <= held {
                    let taken = list.take(count);
                    assert_eq!((taken.len(), list.len()), (count, held - count));
                    check(&taken);
                }
                check(&list);
                let left = list.len();
                assert_eq!(std::iter::from_fn(|| list.pop()).count(), left);
                assert!(list.is_empty());
            }
        }
    }
}

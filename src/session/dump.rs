//! Walks over the items of all shards: `lru_crawler metadump` and `mgdump`, `stats cachedump`, `stats sizes`.
//!
//! A walk is a row of small orders, each to one core for one slice of its shard; the next is given when the slice has
//! been written and the output has room. So no core is held up, a slow reader holds up nobody but himself, and
//! nothing is kept but the place where the walk is.

use std::collections::BTreeMap;

use crate::protocol::{Classes, uri_encode};
use crate::shard::{Seen, Shard};
use crate::time::Now;

/// memcached's limit for the whole answer to `stats cachedump`.
const CACHEDUMP_SIZE_MAX: usize = 2 << 20;

/// Width of the buckets of `stats sizes`, in bytes.
const SIZE_STEP: usize = 32;

/// What is wanted of each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    Metadump(Classes),
    Mgdump(Classes),
    Cachedump { class: u8 },
    Sizes,
}

/// What one slice of a walk gave.
#[derive(Debug, Default)]
pub struct Slice {
    pub lines: Vec<u8>,
    /// Lines that may be left out from the end, where their number is limited: the end of each in `lines`.
    pub line_ends: Vec<usize>,
    /// Items by size, in steps of [`SIZE_STEP`].
    pub sizes: BTreeMap<u32, u64>,
    /// Where in this shard the next slice begins; `None` at its end.
    pub next: Option<usize>,
}

/// Walks over one slice of a shard.
pub fn take_slice(shard: &Shard, walk: Walk, from: usize, now: Now) -> Slice {
    let mut slice = Slice::default();
    if let Walk::Cachedump { class } = walk
        && shard.bands().is_empty(class)
    {
        return slice;
    }
    let Slice {
        lines,
        line_ends,
        sizes,
        ..
    } = &mut slice;
    slice.next = shard.scan(from, now, |item| match walk {
        Walk::Metadump(classes) if classes.contains(item.class) => metadump(lines, item, now),
        Walk::Mgdump(classes) if classes.contains(item.class) => mgdump(lines, item),
        Walk::Cachedump { class } if class == item.class && cachedump(lines, item, now) => {
            line_ends.push(lines.len());
        }
        Walk::Sizes => {
            *sizes
                .entry(item.item_size.div_ceil(SIZE_STEP) as u32)
                .or_default() += 1
        }
        _ => {}
    });
    slice
}

/// `key=<uri> exp=<unix|-1> la=<unix> cas=<n> fetch=<yes|no> cls=<n> size=<n> flags=<n> `, and a line feed
fn metadump(lines: &mut Vec<u8>, item: &Seen<'_>, now: Now) {
    use std::io::Write;
    lines.extend_from_slice(b"key=");
    uri_encode(lines, item.key);
    let exp = item.left.map_or(-1, |left| now.unix() as i64 + left);
    let accessed = now.unix() - u64::from(item.idle);
    let fetch = if item.fetched { "yes" } else { "no" };
    let Seen {
        cas,
        class,
        item_size,
        flags,
        ..
    } = *item;
    let text = format_args!(
        " exp={exp} la={accessed} cas={cas} fetch={fetch} cls={class} size={item_size} flags={flags} \n"
    );
    lines.write_fmt(text).expect("writing to a vector does not fail");
}

/// `mg <key>`, or `mg <base64> b` for a key that is not text
fn mgdump(lines: &mut Vec<u8>, item: &Seen<'_>) {
    lines.extend_from_slice(b"mg ");
    if item.key_is_binary || !is_text(item.key) {
        crate::protocol::base64_encode(lines, item.key);
        lines.extend_from_slice(b" b");
    } else {
        lines.extend_from_slice(item.key);
    }
    lines.extend_from_slice(b"\r\n");
}

/// `ITEM <key> [<bytes> b; <unix|0> s]`; false for a key that would break the line
fn cachedump(lines: &mut Vec<u8>, item: &Seen<'_>, now: Now) -> bool {
    use std::io::Write;
    if !is_text(item.key) {
        return false;
    }
    lines.extend_from_slice(b"ITEM ");
    lines.extend_from_slice(item.key);
    let exp = item.left.map_or(0, |left| now.unix() as i64 + left);
    write!(lines, " [{} b; {exp} s]\r\n", item.value_size).expect("writing to a vector does not fail");
    true
}

fn is_text(key: &[u8]) -> bool {
    key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walking {
    pub(super) walk: Walk,
    /// The core whose shard is walked over, and where.
    pub(super) core: usize,
    pub(super) from: usize,
    /// Lines that may still be said; `None` is no limit.
    lines_left: Option<u32>,
    bytes_left: usize,
    sizes: BTreeMap<u32, u64>,
    /// The next slice has been asked for.
    pub(super) is_asked: bool,
}

impl Walking {
    pub(super) fn new(walk: Walk, lines_max: u32) -> Walking {
        let is_bounded = matches!(walk, Walk::Cachedump { .. });
        Walking {
            walk,
            core: 0,
            from: 0,
            lines_left: Some(lines_max).filter(|&lines| lines > 0),
            bytes_left: if is_bounded {
                CACHEDUMP_SIZE_MAX
            } else {
                usize::MAX
            },
            sizes: BTreeMap::new(),
            is_asked: false,
        }
    }

    /// Takes a slice in; false if the walk is over, there being so many cores.
    pub(super) fn take(&mut self, slice: &Slice, cores: usize, out: &mut Vec<u8>) -> bool {
        self.is_asked = false;
        for (size, count) in &slice.sizes {
            *self.sizes.entry(*size).or_default() += count;
        }
        let mut end = slice.lines.len();
        if matches!(self.walk, Walk::Cachedump { .. }) {
            let lines = self.lines_left.map_or(usize::MAX, |lines| lines as usize);
            let fits = slice
                .line_ends
                .iter()
                .take(lines)
                .take_while(|&&end| end <= self.bytes_left);
            let count = fits.count();
            end = slice.line_ends[..count].last().copied().unwrap_or(0);
            self.lines_left = self.lines_left.map(|lines| lines - count as u32);
            self.bytes_left -= end;
            if count < slice.line_ends.len() || self.lines_left == Some(0) {
                out.extend_from_slice(&slice.lines[..end]);
                return false;
            }
        }
        out.extend_from_slice(&slice.lines[..end]);
        match slice.next {
            Some(next) => self.from = next,
            None => {
                self.core += 1;
                self.from = 0;
            }
        }
        self.core < cores
    }

    /// Bytes and count of each size that there is.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sizes
            .iter()
            .map(|(step, count)| (u64::from(*step) * SIZE_STEP as u64, *count))
    }
}

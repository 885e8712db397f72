//! Bytes on their way out, and between them values that are sent from where they lie.
//!
//! ```text
//! bytes    | VALUE a 0 200000\r\n | last piece\r\nVALUE b ...
//!                                 ^ at: here belongs the chain of a's pages
//! ```
//!
//! A chain is held by reference: whatever becomes of the item, what is said of it stays whole and as it was.

use std::collections::VecDeque;

use super::Buffers;
use crate::command::Value;
use crate::memory::Chain;

/// Bytes and chains in the order in which they go.
///
/// Invariant: the chains are sorted by `at`; none belongs before `gone`.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    chains: VecDeque<Insert>,
    /// How many of `bytes` have gone.
    gone: usize,
    /// What has gone in all.
    sent: usize,
}

#[derive(Debug)]
struct Insert {
    /// Before which of the bytes it goes. There is at least one byte between two inserts: the line of the second.
    at: usize,
    chain: Chain,
    /// How much of the chain has gone.
    gone: usize,
}

impl Output {
    /// Where bytes are appended.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes a buffer to write to, unless there is one.
    pub(super) fn equip(&mut self, buffers: &mut Buffers) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
    }

    /// Appends a value without its first `gone` bytes, and what ends it: pages by reference, the rest copied.
    pub fn put_value(&mut self, value: &Value<'_>, gone: usize, end: &[u8]) {
        let mut skip = gone;
        if !value.segments.is_empty() {
            let chain = Chain::of(value.segments);
            let size = chain.size();
            if skip < size {
                self.chains.push_back(Insert {
                    at: self.bytes.len(),
                    chain,
                    gone: skip,
                });
            }
            skip = skip.saturating_sub(size);
        }
        for piece in value.tail_pieces().chain(std::iter::once(end)) {
            let skipped = skip.min(piece.len());
            self.bytes.extend_from_slice(&piece[skipped..]);
            skip -= skipped;
        }
    }

    /// Bytes to the place where the next are appended; for [`Output::append`].
    pub fn place(&self) -> usize {
        self.bytes.len()
    }

    /// Appends what stands in another output between two places, and takes the chains from it. Returns how many bytes
    /// that is in all.
    pub(super) fn append(&mut self, from: &mut Output, start: usize, end: usize) -> usize {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[start..end]);
        // A chain belongs to the line before it.
        let first = from.chains.partition_point(|insert| insert.at <= start);
        let last = from.chains.partition_point(|insert| insert.at <= end);
        let mut size = end - start;
        for insert in from.chains.drain(first..last) {
            size += insert.chain.size() - insert.gone;
            self.chains.push_back(Insert {
                at: base + insert.at - start,
                ..insert
            });
        }
        size
    }

    /// Bytes that are still to go, those of chains among them.
    pub fn size(&self) -> usize {
        let in_chains = self.chains.iter().map(|insert| insert.chain.size() - insert.gone);
        self.bytes.len() - self.gone + in_chains.sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.gone == self.bytes.len() && self.chains.is_empty()
    }

    /// Whether [`Output::piece`] is all of it.
    pub fn is_plain(&self) -> bool {
        self.chains.is_empty()
    }

    /// The next bytes as far as they lie together; empty if there are none.
    pub fn piece(&self) -> &[u8] {
        match self.chains.front() {
            Some(insert) if insert.at == self.gone => insert.chain.piece_at(insert.gone),
            Some(insert) => &self.bytes[self.gone..insert.at],
            None => &self.bytes[self.gone..],
        }
    }

    /// So many bytes of the piece have gone.
    pub fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.piece().len());
        self.sent += count;
        match self.chains.front_mut() {
            Some(insert) if insert.at == self.gone => {
                insert.gone += count;
                if insert.gone == insert.chain.size() {
                    self.chains.pop_front();
                }
            }
            _ => self.gone += count,
        }
    }

    /// Bytes of memory that it takes, pages apart.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.chains.capacity() * size_of::<Insert>()
    }

    /// Of [`Output::memory`], the bytes that are yet to go.
    pub fn used(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// Bytes that have gone.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Forgets everything; keeps at most so much memory.
    pub fn clear(&mut self, capacity: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(capacity);
        self.chains.clear();
        (self.gone, self.sent) = (0, 0);
    }

    /// All that is still to go, in one buffer.
    pub fn into_bytes(mut self) -> Vec<u8> {
        if self.is_plain() && self.gone == 0 {
            return self.bytes;
        }
        let mut bytes = Vec::with_capacity(self.size());
        while !self.is_empty() {
            bytes.extend_from_slice(self.piece());
            self.advance(self.piece().len());
        }
        bytes
    }

    /// What it was written to, for the next.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

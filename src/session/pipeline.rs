//! Replies in request order, whoever answers first.
//!
//! Replies of shards reached at once are appended; a request that went to another core leaves a *gap*. Replies
//! behind a gap wait in `tail`, answers that overtook an earlier one wait in `held`.
//!
//! ```text
//!  out (may go)             tail (waits)
//!  +----------------+       +-------+----------+-----+
//!  | reply | reply  |  gap  | reply |   gap    | ... |
//!  +----------------+   ^   +-------+----^-----+-----+
//!                     first            at: offset in tail before which its answer belongs
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;

use super::output::Output;
use super::{Ask, Buffers, Counters, VALUE_APART_MIN, Wire};
use crate::command::Reply;
use crate::protocol::{self, Tail};

/// Most requests of one connection that may be under way to other cores.
const GAPS_MAX: usize = 256;

/// Gaps allowed before the size of this connection's answers is known: each may bring a whole value.
const GAPS_START: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub(super) out: Output,
    /// Empty unless there are gaps.
    pub(super) tail: Output,
    /// How much of the tail has moved to `out`: ≤ the first gap's `at`.
    tail_taken: usize,
    /// Answers that came before an earlier gap was filled. Empty unless there are gaps.
    pub(super) held: Output,
    gaps: VecDeque<Gap>,
    /// The number of the first gap; numbers grow by one and wrap.
    first: u32,
    /// A running mean of the bytes per answer, so that gaps × mean stays near what the output may hold.
    answer_size_mean: usize,
}

#[derive(Debug)]
struct Gap {
    /// Where in `tail` the answer belongs. Never less than the gap's before it.
    at: usize,
    /// Where in `held` the answer is, if it came early.
    held: Option<(usize, usize)>,
}

impl Pipeline {
    /// Where the next reply is written.
    pub(super) fn writer(&mut self, buffers: &mut Buffers) -> &mut Vec<u8> {
        self.last(buffers).bytes()
    }

    /// What the next reply is put behind.
    fn last(&mut self, buffers: &mut Buffers) -> &mut Output {
        let last = if self.gaps.is_empty() {
            &mut self.out
        } else {
            &mut self.tail
        };
        last.equip(buffers);
        last
    }

    /// Writes a reply behind all others. A large value leaves at once, from where the item lies, if nothing is in
    /// its way; of what does not go, pages are held by reference and the rest is copied.
    pub(super) fn reply<W: Wire>(
        &mut self,
        ask: &Ask<'_>,
        reply: &Reply<'_>,
        wire: &mut W,
        buffers: &mut Buffers,
        counters: &mut Counters,
    ) {
        let in_order = self.gaps.is_empty();
        let out = self.last(buffers);
        let left = protocol::write(
            out.bytes(),
            ask.spelling,
            ask.request.key,
            ask.text,
            reply,
            VALUE_APART_MIN,
        );
        let Some(Tail { value, end }) = left else { return };
        let mut gone = 0;
        if in_order && out.is_plain() {
            let head = out.bytes().len();
            gone = send_with_value(out.bytes(), &value, end, wire);
            counters.bytes_written += gone as u64;
            let of_head = gone.min(head);
            out.bytes().drain(..of_head);
            gone -= of_head;
        }
        out.put_value(&value, gone, end);
    }

    /// The number that the next gap will have.
    pub(super) fn next_gap(&self) -> u32 {
        self.first.wrapping_add(self.gaps.len() as u32)
    }

    /// Leaves a gap for an answer that comes later.
    pub(super) fn open_gap(&mut self, buffers: &mut Buffers) {
        self.tail.equip(buffers);
        self.gaps.push_back(Gap {
            at: self.tail.place(),
            held: None,
        });
    }

    /// Fills a gap with what stands between two places of `answers`, and moves all that has become complete to the
    /// output.
    pub(super) fn answer(
        &mut self,
        gap: u32,
        answers: &mut Output,
        (start, end): (usize, usize),
        buffers: &mut Buffers,
    ) {
        let index = gap.wrapping_sub(self.first) as usize;
        assert!(
            index < self.gaps.len(),
            "an answer to gap {gap}, which is not open"
        );
        if index > 0 {
            self.held.equip(buffers);
            let place = self.held.place();
            let size = self.held.append(answers, start, end);
            self.note_size(size);
            self.gaps[index].held = Some((place, self.held.place()));
            return;
        }
        self.out.equip(buffers);
        self.close_first_gap();
        let size = self.out.append(answers, start, end);
        self.note_size(size);
        while let Some(&Gap {
            held: Some((start, end)),
            ..
        }) = self.gaps.front()
        {
            self.close_first_gap();
            self.out.append(&mut self.held, start, end);
        }
        if self.gaps.is_empty() {
            let end = self.tail.place();
            self.out.append(&mut self.tail, self.tail_taken, end);
            self.tail_taken = 0;
            buffers.give(std::mem::take(&mut self.tail).into_buffer());
            buffers.give(std::mem::take(&mut self.held).into_buffer());
        }
    }

    fn note_size(&mut self, size: usize) {
        self.answer_size_mean = (self.answer_size_mean * 7 + size) / 8;
    }

    /// Moves what stands before the first gap to the output and forgets the gap.
    fn close_first_gap(&mut self) {
        let gap = self.gaps.pop_front().expect("the caller saw a gap");
        self.out.append(&mut self.tail, self.tail_taken, gap.at);
        self.tail_taken = gap.at;
        self.first = self.first.wrapping_add(1);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Whether another gap could bring more bytes than an output may hold.
    pub(super) fn is_full_of_gaps(&self, output_size_max: usize) -> bool {
        let fits = output_size_max / self.answer_size_mean.max(1);
        let allowed = if self.answer_size_mean == 0 {
            GAPS_START
        } else {
            fits.clamp(1, GAPS_MAX)
        };
        self.gaps.len() >= allowed
    }

    /// Bytes of all replies here.
    pub(super) fn size(&self) -> usize {
        self.out.size() + self.tail.size() + self.held.size()
    }

    /// Bytes that the list of gaps takes.
    pub(super) fn gaps_memory(&self) -> usize {
        self.gaps.capacity() * size_of::<Gap>()
    }

    pub(super) fn output(&self) -> &Output {
        &self.out
    }

    pub(super) fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.out)
    }

    pub(super) fn close(&mut self, buffers: &mut Buffers) {
        for buffer in [&mut self.out, &mut self.tail, &mut self.held] {
            buffers.give(std::mem::take(buffer).into_buffer());
        }
        self.gaps.clear();
    }
}

/// Sends the head, the value and its end with one call; returns how many bytes went.
fn send_with_value<W: Wire>(
    head: &[u8],
    value: &crate::command::Value<'_>,
    end: &'static [u8],
    wire: &mut W,
) -> usize {
    /// Pieces in one call: a value of 64 KiB pages up to 1 MiB, with blocks, head and end.
    const PIECES_MAX: usize = 27;
    /// Bytes after which no further piece is put in: the shard is held while the kernel copies them.
    const SIZE_MAX: usize = 1 << 20;
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let (mut count, mut size) = (0, 0);
    let parts = std::iter::once(head)
        .chain(value.pieces())
        .chain(std::iter::once(end));
    for (slot, part) in pieces.iter_mut().zip(parts) {
        if size > SIZE_MAX {
            break;
        }
        *slot = IoSlice::new(part);
        count += 1;
        size += part.len();
    }
    wire.send_now(&pieces[..count])
}

#[cfg(test)]
mod tests {
    use super::super::OUTPUT_SIZE_MAX;
    use super::*;

    fn say(pipeline: &mut Pipeline, buffers: &mut Buffers, bytes: &[u8]) {
        pipeline.writer(buffers).extend_from_slice(bytes);
    }

    fn answer(pipeline: &mut Pipeline, gap: u32, bytes: &[u8], buffers: &mut Buffers) {
        let mut answers = Output::default();
        answers.bytes().extend_from_slice(bytes);
        pipeline.answer(gap, &mut answers, (0, bytes.len()), buffers);
    }

    /// Every order in which three answers can come gives the same output.
    #[test]
    fn answers_are_put_in_request_order() {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for start in [0, u32::MAX - 1] {
            for order in orders {
                let mut buffers = Buffers::default();
                let mut pipeline = Pipeline {
                    first: start,
                    ..Pipeline::default()
                };
                say(&mut pipeline, &mut buffers, b"a");
                let first = pipeline.next_gap();
                pipeline.open_gap(&mut buffers);
                say(&mut pipeline, &mut buffers, b"c");
                pipeline.open_gap(&mut buffers);
                pipeline.open_gap(&mut buffers);
                say(&mut pipeline, &mut buffers, b"f");
                for index in order {
                    assert!(!pipeline.is_settled());
                    let gap = first.wrapping_add(index);
                    answer(
                        &mut pipeline,
                        gap,
                        [b"b", b"d", b"e"][index as usize],
                        &mut buffers,
                    );
                }
                assert!(pipeline.is_settled());
                say(&mut pipeline, &mut buffers, b"g");
                assert_eq!(pipeline.output().piece(), b"abcdefg", "{order:?}");
            }
        }
    }

    #[test]
    fn large_answers_narrow_the_pipeline() {
        let mut buffers = Buffers::default();
        let mut pipeline = Pipeline::default();
        for _ in 0..GAPS_START {
            assert!(!pipeline.is_full_of_gaps(OUTPUT_SIZE_MAX));
            pipeline.open_gap(&mut buffers);
        }
        assert!(pipeline.is_full_of_gaps(OUTPUT_SIZE_MAX));
        for gap in 0..GAPS_START as u32 {
            answer(&mut pipeline, gap, &[0; OUTPUT_SIZE_MAX], &mut buffers);
        }
        pipeline.open_gap(&mut buffers);
        assert!(pipeline.is_full_of_gaps(OUTPUT_SIZE_MAX), "one at a time");
    }
}

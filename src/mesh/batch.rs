//! A batch: one turn's requests to one peer, and their answers on the way home. The buffers travel with it and
//! are used again, so a request allocates nothing.

use crate::command::{Operation, Request};
use crate::hash::KeyHash;
use crate::protocol::Spelling;
use crate::session::{Ask, ConnectionId, Output};
use crate::shard::Reservation;

use super::{ANSWERS_SIZE_MAX, BATCH_ASKS_MAX, BATCH_SIZE_MAX};

/// Requests of one core to another.
///
/// Invariant: `answers.len() == done ≤ asks.len()`; the bytes of the asks lie in `bytes` in their order, those of the
/// answers in `answer_bytes` in theirs.
#[derive(Debug)]
pub struct Batch {
    /// Whose batch it is: where it goes home to.
    pub home: usize,
    /// Whose shard it is for.
    pub peer: usize,
    asks: Vec<Packed>,
    bytes: Vec<u8>,
    /// Bytes of values that arrived apart and are not in pages.
    apart: usize,
    /// How many asks have been executed, and where the next one's bytes begin.
    done: usize,
    done_bytes: usize,
    answers: Vec<Answer>,
    answer_bytes: Output,
    /// What [`Batch::weigh`] found last.
    pub weighed: usize,
}

/// An ask without its slices: key, text and value lie in the batch's bytes, in this order.
#[derive(Debug)]
struct Packed {
    connection: ConnectionId,
    gap: u32,
    client: i32,
    hash: KeyHash,
    operation: Operation,
    spelling: Spelling,
    key_size: u8,
    text_size: u32,
    value_size: u32,
    /// The value, where it arrived apart.
    reservation: Option<Reservation>,
}

/// Where an answer belongs, and between which places of the batch's answers it stands.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub connection: ConnectionId,
    pub gap: u32,
    pub places: (usize, usize),
}

impl Batch {
    pub fn new(home: usize, peer: usize) -> Batch {
        Batch {
            home,
            peer,
            asks: Vec::new(),
            bytes: Vec::new(),
            apart: 0,
            done: 0,
            done_bytes: 0,
            answers: Vec::new(),
            answer_bytes: Output::default(),
            weighed: 0,
        }
    }

    /// Bytes of memory that it takes.
    pub fn weigh(&mut self) -> usize {
        let lists =
            self.asks.capacity() * size_of::<Packed>() + self.answers.capacity() * size_of::<Answer>();
        self.weighed = lists + self.apart + self.bytes.capacity() + self.answer_bytes.memory();
        self.weighed
    }

    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() + self.apart >= BATCH_SIZE_MAX || self.asks.len() >= BATCH_ASKS_MAX
    }

    pub fn push(&mut self, ask: &Ask<'_>, reservation: Option<Reservation>) {
        let Ask {
            request,
            spelling,
            text,
            connection,
            gap,
            client,
        } = *ask;
        let Request {
            key,
            hash,
            value,
            operation,
        } = request;
        self.apart += reservation.as_ref().map_or(0, Reservation::memory);
        self.asks.push(Packed {
            connection,
            gap,
            client,
            hash,
            operation,
            spelling,
            key_size: key.len() as u8,
            text_size: text.len() as u32,
            value_size: value.len() as u32,
            reservation,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(value);
    }

    /// The hashes of the next asks to be executed, at most `count`.
    pub fn next_hashes(&self, count: usize) -> impl Iterator<Item = KeyHash> {
        self.asks[self.done..].iter().take(count).map(|ask| ask.hash)
    }

    /// Whether it may go on: something is not done yet, and the answers have not grown to [`ANSWERS_SIZE_MAX`]. Values
    /// in pages do not count: they travel by reference.
    pub fn may_go_on(&self) -> bool {
        self.done < self.asks.len() && self.answer_bytes.place() < ANSWERS_SIZE_MAX
    }

    /// Executes the next asks, at most `count`: `answer` executes one and appends its reply to the buffer. Stops early
    /// when the answers have grown enough.
    pub fn work(&mut self, count: usize, mut answer: impl FnMut(&Ask<'_>, Option<Reservation>, &mut Output)) {
        for _ in 0..count {
            if !self.may_go_on() {
                break;
            }
            let packed = &mut self.asks[self.done];
            let bytes = &self.bytes[self.done_bytes..];
            let (key, bytes) = bytes.split_at(usize::from(packed.key_size));
            let (text, bytes) = bytes.split_at(packed.text_size as usize);
            let value = &bytes[..packed.value_size as usize];
            let ask = Ask {
                request: Request {
                    key,
                    hash: packed.hash,
                    value,
                    operation: packed.operation,
                },
                spelling: packed.spelling,
                text,
                connection: packed.connection,
                gap: packed.gap,
                client: packed.client,
            };
            let start = self.answer_bytes.place();
            answer(&ask, packed.reservation.take(), &mut self.answer_bytes);
            self.done += 1;
            self.done_bytes += key.len() + text.len() + value.len();
            self.answers.push(Answer {
                connection: ask.connection,
                gap: ask.gap,
                places: (start, self.answer_bytes.place()),
            });
        }
    }

    /// Whether it has been home half done.
    pub fn is_begun(&self) -> bool {
        self.done > 0
    }

    /// Whether every ask has been executed.
    pub fn is_done(&self) -> bool {
        self.done == self.asks.len()
    }

    /// The answers in order, and what their places are in.
    pub fn answers(&mut self) -> (&[Answer], &mut Output) {
        (&self.answers, &mut self.answer_bytes)
    }

    /// Forgets the answers, which have been delivered.
    pub fn forget_answers(&mut self) {
        self.answers.clear();
        // A value of a megabyte may have passed through once: that memory is not kept.
        self.answer_bytes.clear(2 * BATCH_SIZE_MAX);
    }

    /// Makes a finished batch ready for new asks.
    pub fn clear(&mut self) {
        self.forget_answers();
        self.asks.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_SIZE_MAX);
        self.apart = 0;
        self.done = 0;
        self.done_bytes = 0;
    }
}

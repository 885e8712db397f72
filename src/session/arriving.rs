//! A large value on its way in: its bytes go straight to the memory that the item will own.

use crate::shard::Reservation;

#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) reservation: Reservation,
    pub(super) line: Line,
    /// Value bytes that are still to come.
    value_left: usize,
    /// Bytes of the closing `\r\n` that are still to come.
    end_left: usize,
}

/// The command line (or header) that announced the value, kept to be parsed again, and how its data ended.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bytes: Box<[u8]>,
    /// False once the bytes behind the value were not `\r\n`.
    pub(super) ends_well: bool,
}

impl Arriving {
    pub(super) fn new(reservation: Reservation, line: &[u8], value_size: usize, crlf: bool) -> Arriving {
        Arriving {
            reservation,
            line: Line {
                bytes: line.into(),
                ends_well: true,
            },
            value_left: value_size,
            end_left: if crlf { 2 } else { 0 },
        }
    }

    /// Bytes of memory that it takes, pages apart.
    pub(super) fn memory(&self) -> usize {
        size_of::<Arriving>() + self.line.bytes.len() + self.reservation.memory()
    }

    /// Takes what belongs to the value and its end from the head of `input`; returns how much.
    pub(super) fn take(&mut self, input: &[u8]) -> usize {
        let (value, rest) = input.split_at(input.len().min(self.value_left));
        self.reservation.fill(value);
        self.value_left -= value.len();
        if self.value_left > 0 {
            return value.len();
        }
        let end = &rest[..rest.len().min(self.end_left)];
        let expected = &b"\r\n"[2 - self.end_left..];
        self.line.ends_well &= expected.starts_with(end);
        self.end_left -= end.len();
        value.len() + end.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.value_left == 0 && self.end_left == 0
    }
}

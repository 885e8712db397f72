//! The meta dialect.
use super::spelling::Spelling;
use super::words::Word;
use super::{Parsed, Scratch, State, Tail};
use crate::command::Reply;
use crate::hash::KeySeed;

pub(super) fn parse<'a>(
    _verb: u8,
    _input: &'a [u8],
    _line: &'a [u8],
    size: usize,
    _seed: &KeySeed,
    _state: &mut State,
    _scratch: &'a mut Scratch,
) -> Parsed<'a> {
    Parsed::Say {
        word: Word::Error,
        spelling: Spelling::CLASSIC,
        size,
    }
}

pub(super) fn write<'r>(
    _out: &mut Vec<u8>,
    _spelling: Spelling,
    _key: &[u8],
    _text: &[u8],
    _reply: &Reply<'r>,
    _apart_from: usize,
) -> Option<Tail<'r>> {
    None
}

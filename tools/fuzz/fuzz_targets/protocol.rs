//! Any bytes at any split through the parser, and a reply to every request: no panic, no waiting beyond the bound,
//! no request that breaks its promises, and the same outcomes however the input is cut.
//!
//! The first byte chooses the dialects, the second how the input is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringcached::command::{KEY_SIZE_MAX, Operation, Reply, Request};
use ringcached::hash::KeySeed;
use ringcached::protocol::{Dialects, PARTIAL_SIZE_MAX, Parsed, Parser, Scratch, Spelling, Word, say, write};

/// Longer lines may be hung up on when they come in pieces and served when they come at once.
const INPUT_SIZE_MAX: usize = 2048;

/// Parses `input` as a session would, `piece` bytes at a time, and returns everything that was said and asked.
fn run(dialects: Dialects, input: &[u8], piece: usize) -> Vec<u8> {
    let seed = KeySeed::fixed(1);
    let mut parser = Parser::new(seed, dialects);
    let (mut start, mut end) = (0, 0);
    let mut out = Vec::new();
    // A value that arrives apart, as its line and its size with what ends it.
    let mut incoming: Option<(&[u8], usize, bool)> = None;
    loop {
        let head = &input[start..end];
        let mut wants_more = false;
        match incoming {
            Some((line, value_size, crlf)) => {
                let size = value_size + if crlf { 2 } else { 0 };
                if head.len() < size {
                    wants_more = true;
                } else {
                    let line_scratch = Scratch::default();
                    let (mut request, spelling, text) = parser.parse_line(line, &line_scratch).expect("parsed before");
                    request.value = &head[..value_size];
                    if crlf && &head[value_size..size] != b"\r\n" {
                        say(&mut out, spelling, Word::BadDataChunk);
                    } else {
                        answer(&mut out, seed, &request, spelling, text);
                    }
                    start += size;
                    incoming = None;
                }
            }
            None => match parser.parse(head, &Scratch::default()) {
                Parsed::Request {
                    request,
                    spelling,
                    text,
                    size,
                } => {
                    answer(&mut out, seed, &request, spelling, text);
                    start += size;
                }
                Parsed::Incoming {
                    value_size,
                    crlf,
                    line_size,
                    ..
                } => {
                    incoming = Some((&head[..line_size], value_size, crlf));
                    start += line_size;
                }
                Parsed::BadEnd { spelling, size, .. } => {
                    say(&mut out, spelling, Word::BadDataChunk);
                    start += size;
                }
                Parsed::Control { control, size, .. } => {
                    out.extend(format!("{control:?}").bytes());
                    start += size;
                }
                Parsed::Say { word, spelling, size } => {
                    say(&mut out, spelling, word);
                    start += size;
                }
                Parsed::Skip { size } => {
                    assert!(size > 0);
                    start += size;
                }
                Parsed::Partial => {
                    assert!(head.len() <= PARTIAL_SIZE_MAX);
                    wants_more = true;
                }
                Parsed::Hangup { word, spelling, size, .. } => {
                    assert!(start + size <= end);
                    if let Some(word) = word {
                        say(&mut out, spelling, word);
                    }
                    return out;
                }
            },
        }
        assert!(start <= end, "consumed more than there was");
        if wants_more {
            if end == input.len() {
                return out;
            }
            end = input.len().min(end.saturating_add(piece));
        }
    }
}

fn answer(out: &mut Vec<u8>, seed: KeySeed, request: &Request<'_>, spelling: Spelling, text: &[u8]) {
    assert!((1..=KEY_SIZE_MAX).contains(&request.key.len()));
    assert_eq!(request.hash, seed.hash(request.key));
    let reply = match request.operation {
        Operation::Get(_) | Operation::Inspect => Reply::Miss,
        Operation::Touch(_) => Reply::NotFound,
        Operation::Store(_) => Reply::Stored {
            cas: 1,
            value_size: request.value.len() as u32,
            key_is_binary: false,
        },
        Operation::Delete(_) => Reply::Deleted,
        Operation::Count(_) => Reply::NotNumeric,
    };
    out.extend(format!("{:?} {:?}", request.key, request.operation).bytes());
    // Where the end of a get line is not in sight yet, its END comes apart; together they are the same.
    assert_eq!(write(out, spelling, request.key, text, &reply, usize::MAX), None);
}

fuzz_target!(|bytes: &[u8]| {
    let [dialects, piece, input @ ..] = bytes else {
        return;
    };
    let dialects = match dialects % 3 {
        0 => Dialects::Any,
        1 => Dialects::Classic,
        _ => Dialects::Binary,
    };
    let input = &input[..input.len().min(INPUT_SIZE_MAX)];
    let whole = run(dialects, input, usize::MAX);
    assert_eq!(run(dialects, input, usize::from(*piece).max(1)), whole);
});

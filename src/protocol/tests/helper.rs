//! One way to run a case: the input in pieces of every size, the outcome as text.

use crate::command::{Operation, Request, StoreMode};
use crate::hash::KeySeed;
use crate::protocol::{
    Control, Dialects, Fleet, PARTIAL_SIZE_MAX, Parsed, Parser, Scratch, Spelling, Word, say,
};

pub(super) const SEED: KeySeed = KeySeed::fixed(1);

/// Checks that `input`, cut into pieces of any size, comes out as `want`: one line an outcome.
#[track_caller]
pub(super) fn check(input: impl AsRef<[u8]>, want: &str) {
    for piece in [usize::MAX, 100, 10, 5, 2, 1] {
        let outcomes = parse_in_pieces(Dialects::Any, input.as_ref(), piece);
        assert_eq!(outcomes.join("\n"), want, "in pieces of {piece}");
    }
}

/// Drives a parser as a session does: `piece` more bytes of input at a time.
pub(super) fn parse_in_pieces(dialects: Dialects, input: &[u8], piece: usize) -> Vec<String> {
    let mut parser = Parser::new(SEED, dialects);
    let mut outcomes: Vec<String> = Vec::new();
    let (mut start, mut end) = (0, 0);
    // The line of a value that arrives apart, and how much of the value is still to come.
    let mut line: &[u8] = &[];
    let mut incoming: Option<(usize, bool)> = None;
    loop {
        let head = &input[start..end];
        let mut wants_more = false;
        if let Some((value_size, crlf)) = incoming {
            let size = value_size + if crlf { 2 } else { 0 };
            if head.len() >= size {
                let line_scratch = Scratch::default();
                let (mut request, spelling, _) = parser
                    .parse_line(line, &line_scratch)
                    .expect("the line of an Incoming");
                request.value = &head[..value_size];
                outcomes.push(if crlf && &head[value_size..size] != b"\r\n" {
                    describe_say(Word::BadDataChunk, spelling)
                } else {
                    describe_request(&request, spelling)
                });
                start += size;
                incoming = None;
            } else {
                wants_more = true;
            }
        } else {
            match parser.parse(head, &Scratch::default()) {
                Parsed::Request {
                    request,
                    spelling,
                    size,
                    ..
                } => {
                    assert_eq!(request.hash, SEED.hash(request.key));
                    outcomes.push(describe_request(&request, spelling));
                    start += size;
                }
                Parsed::Incoming {
                    value_size,
                    crlf,
                    line_size,
                    ..
                } => {
                    line = &head[..line_size];
                    incoming = Some((value_size, crlf));
                    start += line_size;
                }
                Parsed::BadEnd { spelling, size, .. } => {
                    outcomes.push(describe_say(Word::BadDataChunk, spelling));
                    start += size;
                }
                Parsed::Control {
                    control,
                    spelling,
                    size,
                } => {
                    outcomes.push(describe_control(&control, spelling));
                    start += size;
                }
                Parsed::Say { word, spelling, size } => {
                    outcomes.push(describe_say(word, spelling));
                    start += size;
                }
                // How much is skipped at a time depends on the pieces, so it is no outcome.
                Parsed::Skip { size } => {
                    assert!(size > 0);
                    start += size;
                }
                Parsed::Partial => {
                    assert!(head.len() <= PARTIAL_SIZE_MAX);
                    wants_more = true;
                }
                Parsed::Hangup {
                    word,
                    spelling,
                    size,
                    asked,
                } => {
                    assert!(start + size <= end);
                    outcomes.extend(word.map(|word| describe_say(word, spelling)));
                    outcomes.push(if asked { "quit" } else { "hangup" }.to_string());
                    return outcomes;
                }
            }
        }
        assert!(start <= end, "consumed more than there was");
        if wants_more {
            if end == input.len() {
                if start < end {
                    outcomes.push("partial".to_string());
                }
                return outcomes;
            }
            end = input.len().min(end.saturating_add(piece));
        }
    }
}

fn describe_say(word: Word, spelling: Spelling) -> String {
    let mut out = Vec::new();
    say(&mut out, spelling, word);
    match &out[..] {
        [] => format!("(silent {word:?})"),
        _ if matches!(spelling, Spelling::Binary { .. }) => format!("status {:#04x}", word.status()),
        line => line.trim_ascii_end().escape_ascii().to_string(),
    }
}

fn describe_control(control: &Control<'_>, spelling: Spelling) -> String {
    let silent = matches!(spelling, Spelling::Classic { silent: true, .. });
    if let Control::Fleet(fleet) = control {
        let text = |bytes: &[u8]| match bytes.len() {
            0..=60 => bytes.escape_ascii().to_string(),
            size => format!("({size} bytes)"),
        };
        let described = match fleet {
            Fleet::Get { name } => format!("config get {}", text(name)),
            Fleet::OldGet { request } => format!("old {}", describe_request(request, spelling)),
            Fleet::Set { name, payload } => format!("config set {} {}", text(name), text(payload)),
            Fleet::Delete { name } => format!("config delete {}", text(name)),
        };
        return format!("{described}{}", if silent { " silent" } else { "" });
    }
    format!("{control:?}{}", if silent { " silent" } else { "" })
}

/// The verb, the key, and every option that is not the plain command's.
pub(super) fn describe_request(request: &Request<'_>, spelling: Spelling) -> String {
    let key = match request.key.len() {
        0..=60 => request.key.escape_ascii().to_string(),
        size => format!("({size} bytes)"),
    };
    let mut text = match request.operation {
        Operation::Get(get) => {
            let mut text = format!("get {key}");
            if let Some(exptime) = get.touch {
                text += &format!(" touch={}", exptime.0);
            }
            if !get.bump {
                text += " quietly";
            }
            if let Some(tokens) = get.tokens {
                text += " tokens";
                if let Some(exptime) = tokens.vivify {
                    text += &format!(" vivify={}", exptime.0);
                }
                text += &option(" vivify_cas", tokens.vivify_cas);
                text += &option(" recache_below", tokens.recache_below);
                text += flag(" binary_key", tokens.key_is_binary);
            }
            text
        }
        Operation::Touch(exptime) => format!("touch {key} exptime={}", exptime.0),
        Operation::Store(store) => {
            let mode = match store.mode {
                StoreMode::Set => "set",
                StoreMode::Add => "add",
                StoreMode::Replace => "replace",
                StoreMode::Append => "append",
                StoreMode::Prepend => "prepend",
            };
            let value = match request.value.len() {
                0..=60 => request.value.escape_ascii().to_string(),
                size => format!("({size} bytes)"),
            };
            let mut text = format!(
                "{mode} {key} flags={} exptime={} value={value}",
                store.flags, store.exptime.0
            );
            text += &option(" cas", store.cas_compare);
            text += &option(" cas_new", store.cas_new);
            text += flag(" invalidate", store.invalidate);
            text += &option(" vivify", store.vivify.map(|exptime| exptime.0));
            text += flag(" refusal_removes", store.refusal_removes);
            text += flag(" binary_key", store.key_is_binary);
            text
        }
        Operation::Delete(delete) => {
            let mut text = format!("delete {key}");
            text += &option(" cas", delete.cas_compare);
            text += &option(" cas_new", delete.cas_new);
            text += flag(" invalidate", delete.invalidate);
            text += &option(" exptime", delete.exptime.map(|exptime| exptime.0));
            text += &option(" empty", delete.empty.map(|flags| flags.0));
            text
        }
        Operation::Count(count) => {
            let mut text = format!("count {key} {:?} {}", count.direction, count.delta);
            text += &option(" cas", count.cas_compare);
            text += &option(" cas_new", count.cas_new);
            text += &option(" touch", count.touch.map(|exptime| exptime.0));
            if let Some((number, exptime)) = count.vivify {
                text += &format!(" vivify={number}/{}", exptime.0);
            }
            text += flag(" binary_key", count.key_is_binary);
            text
        }
        Operation::Inspect => format!("inspect {key}"),
    };
    if let Spelling::Classic { silent, with_cas, .. } = spelling {
        text += flag(" with_cas", with_cas);
        text += flag(" silent", silent);
    }
    // Whether END comes with the last key or by itself depends on the pieces, and is the same to the client.
    if matches!(spelling, Spelling::Classic { last: true, .. }) {
        text += "\nEND";
    }
    text
}

fn option(name: &str, value: Option<impl std::fmt::Display>) -> String {
    value.map_or(String::new(), |value| format!("{name}={value}"))
}

fn flag(name: &'static str, value: bool) -> &'static str {
    if value { name } else { "" }
}

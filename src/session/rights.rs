//! What a user may do, where the file of `-Y` or `-S` says it (docs/design/11-rights.md).
//!
//! A request is judged where it leaves the parser, before anything comes of it: what is not allowed becomes a word to be
//! said ([`judge`]), whatever the dialect, and however the request would have gone on. So neither the pipeline nor a
//! shard has heard of rights, and a connection without any pays one look at an empty field for each request.

use crate::command::{Operation, Request};
use crate::protocol::{Control, Fleet, Parsed, Parser, Stats, Word};

/// What somebody may do who may not do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// To see anything of an item.
    pub read: bool,
    /// To change anything about it.
    pub write: bool,
    /// To do what concerns others: their items, their connections, the server.
    pub admin: bool,
    /// The prefixes of keys that may be read or written; `None` is all keys. Other keys are as good as not there.
    pub prefixes: Option<Box<[Box<[u8]>]>>,
}

impl Rights {
    fn allow(&self, request: &Request<'_>) -> bool {
        let (reads, writes) = match request.operation {
            Operation::Inspect => (true, false),
            Operation::Get(get) => {
                let vivifies = get.tokens.is_some_and(|tokens| tokens.vivify.is_some());
                (true, get.touch.is_some() || vivifies)
            }
            Operation::Touch(_) | Operation::Store(_) | Operation::Delete(_) => (false, true),
            // It answers the number.
            Operation::Count(_) => (true, true),
        };
        (self.read || !reads) && (self.write || !writes) && self.has(request.key)
    }

    fn has(&self, key: &[u8]) -> bool {
        let is_head = |prefix: &[u8]| key.starts_with(prefix);
        match &self.prefixes {
            None => true,
            Some(prefixes) => prefixes.iter().any(|prefix| is_head(prefix)),
        }
    }

    fn obey(&self, control: &Control<'_>) -> bool {
        match control {
            // Who they are, what is there in all, where the fleet is.
            Control::Version | Control::Sasl(_) | Control::Fleet(Fleet::Get { .. }) => true,
            // Where no ring is published it is a get.
            Control::Fleet(Fleet::OldGet { request }) => self.allow(request),
            Control::Stats { what } => match what {
                Stats::General
                | Stats::Settings
                | Stats::Items
                | Stats::Slabs
                | Stats::Sizes
                | Stats::Extstore
                | Stats::Memory
                | Stats::Cluster => true,
                // Others' addresses and keys, and what others count.
                Stats::Conns
                | Stats::Cachedump { .. }
                | Stats::DetailOn
                | Stats::DetailOff
                | Stats::DetailDump
                | Stats::Reset => self.admin,
            },
            Control::FlushAll { .. }
            | Control::Verbosity(_)
            | Control::CacheMemlimit { .. }
            | Control::Shutdown { .. }
            | Control::RefreshCerts
            | Control::Slabs(_)
            | Control::Lru(_)
            | Control::LruCrawler(_)
            | Control::Watch { .. }
            | Control::Extstore { .. }
            | Control::DebugTime(_)
            | Control::Misbehave
            | Control::Fleet(Fleet::Set { .. } | Fleet::Delete { .. }) => self.admin,
        }
    }
}

/// Passes on what may be done. In place of anything else comes the word that it may not, and the parser drops what
/// belongs to it and has not come yet: a value, the further keys of a get.
#[cold]
pub(super) fn judge<'a>(rights: &Rights, parsed: Parsed<'a>, parser: &mut Parser) -> Parsed<'a> {
    let (is_allowed, spelling, size) = match &parsed {
        Parsed::Request {
            request,
            spelling,
            size,
            ..
        }
        | Parsed::BadEnd {
            request,
            spelling,
            size,
            ..
        }
        | Parsed::Incoming {
            request,
            spelling,
            line_size: size,
            ..
        } => (rights.allow(request), *spelling, *size),
        Parsed::Control {
            control,
            spelling,
            size,
        } => (rights.obey(control), *spelling, *size),
        Parsed::Say { .. } | Parsed::Skip { .. } | Parsed::Partial | Parsed::Hangup { .. } => return parsed,
    };
    if is_allowed {
        return parsed;
    }
    match parsed {
        Parsed::Incoming { value_size, crlf, .. } => parser.skip(value_size + if crlf { 2 } else { 0 }),
        _ => parser.skip_keys(),
    }
    let word = Word::Unauthorized;
    Parsed::Say { word, spelling, size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeySeed;
    use crate::protocol::{Dialects, Scratch};

    /// Whether the first command of `input` is let through.
    fn is_allowed(rights: &Rights, input: &[u8]) -> bool {
        let scratch = Scratch::default();
        let mut parser = Parser::new(KeySeed::fixed(1), Dialects::Any);
        let parsed = parser.parse(input, &scratch);
        assert!(
            !matches!(
                parsed,
                Parsed::Say { .. } | Parsed::Partial | Parsed::Hangup { .. }
            ),
            "{}: {parsed:?}",
            input.escape_ascii()
        );
        let judged = judge(rights, parsed, &mut parser);
        !matches!(
            judged,
            Parsed::Say {
                word: Word::Unauthorized,
                ..
            }
        )
    }

    /// Which of the three rights each command needs, all of them.
    #[test]
    fn every_command_needs_what_it_does() {
        let value = vec![b'v'; 5000];
        let large = [b"set k 0 0 5000\r\n", &value[..100]].concat();
        let binary = |opcode: u8, extras: u8, body: &[u8]| {
            let mut packet = vec![0x80, opcode, 0, 1, extras, 0, 0, 0, 0, 0, 0, body.len() as u8];
            packet.extend_from_slice(&[0; 12]);
            packet.extend_from_slice(body);
            packet
        };
        let bare = |opcode: u8| [&[0x80, opcode][..], &[0; 22]].concat();
        let text = |line: &str| format!("{line}\r\n").into_bytes();
        let table: Vec<(Vec<u8>, &str)> = vec![
            (text("get k"), "r"),
            (text("gets k l"), "r"),
            (text("gat 0 k"), "rw"),
            (text("gats 0 k l"), "rw"),
            (text("touch k 0"), "w"),
            (text("set k 0 0 1\r\nv"), "w"),
            (text("set k 0 0 1\r\nvXX"), "w"),
            (large, "w"),
            (text("add k 0 0 1\r\nv"), "w"),
            (text("replace k 0 0 1\r\nv"), "w"),
            (text("append k 0 0 1\r\nv"), "w"),
            (text("prepend k 0 0 1\r\nv"), "w"),
            (text("cas k 0 0 1 5\r\nv"), "w"),
            (text("delete k"), "w"),
            (text("incr k 1"), "rw"),
            (text("decr k 0 noreply"), "rw"),
            (text("mg k v"), "r"),
            (text("mg k"), "r"),
            (text("mg k v R30 q"), "r"),
            (text("mg k T30 v"), "rw"),
            (text("mg k N30 v"), "rw"),
            (text("me k"), "r"),
            (text("ms k 1\r\nv"), "w"),
            (text("md k q"), "w"),
            (text("ma k N0"), "rw"),
            (text("get AmazonElastiCache:cluster"), "r"),
            (text("version"), ""),
            (text("stats"), ""),
            (text("stats settings"), ""),
            (text("stats items"), ""),
            (text("stats slabs"), ""),
            (text("stats sizes"), ""),
            (text("stats cluster"), ""),
            (text("config get cluster"), ""),
            (text("stats conns"), "a"),
            (text("stats reset"), "a"),
            (text("stats cachedump 1 1"), "a"),
            (text("stats detail on"), "a"),
            (text("stats detail off"), "a"),
            (text("stats detail dump"), "a"),
            (text("flush_all"), "a"),
            (text("flush_all 0 noreply"), "a"),
            (text("verbosity 1"), "a"),
            (text("cache_memlimit 64"), "a"),
            (text("shutdown"), "a"),
            (text("refresh_certs"), "a"),
            (text("slabs automove 1"), "a"),
            (text("lru mode flat"), "a"),
            (text("lru_crawler metadump all"), "a"),
            (text("lru_crawler mgdump all"), "a"),
            (text("lru_crawler enable"), "a"),
            (text("watch fetchers"), "a"),
            (text("debugtime 1"), "a"),
            (text("misbehave"), "a"),
            (text("config set cluster 0 1\r\nx"), "a"),
            (text("config delete cluster"), "a"),
            (binary(0x00, 0, b"k"), "r"),
            (binary(0x09, 0, b"k"), "r"),
            (binary(0x0c, 0, b"k"), "r"),
            (binary(0x0d, 0, b"k"), "r"),
            (binary(0x01, 8, b"\0\0\0\0\0\0\0\0kv"), "w"),
            (binary(0x11, 8, b"\0\0\0\0\0\0\0\0kv"), "w"),
            (binary(0x02, 8, b"\0\0\0\0\0\0\0\0kv"), "w"),
            (binary(0x03, 8, b"\0\0\0\0\0\0\0\0kv"), "w"),
            (binary(0x0e, 0, b"kv"), "w"),
            (binary(0x1a, 0, b"kv"), "w"),
            (binary(0x04, 0, b"k"), "w"),
            (binary(0x14, 0, b"k"), "w"),
            (binary(0x05, 20, &[&[0; 20][..], b"k"].concat()), "rw"),
            (binary(0x16, 20, &[&[0; 20][..], b"k"].concat()), "rw"),
            (binary(0x1c, 4, b"\0\0\0\0k"), "w"),
            (binary(0x1d, 4, b"\0\0\0\0k"), "rw"),
            (binary(0x24, 4, b"\0\0\0\0k"), "rw"),
            (bare(0x08), "a"),
            (bare(0x18), "a"),
            (bare(0x0b), ""),
            (bare(0x10), ""),
        ];
        for (input, needs) in table {
            for bits in 0..8 {
                let rights = Rights {
                    read: bits & 1 != 0,
                    write: bits & 2 != 0,
                    admin: bits & 4 != 0,
                    prefixes: None,
                };
                let has = |right| match right {
                    'r' => rights.read,
                    'w' => rights.write,
                    _ => rights.admin,
                };
                let want = needs.chars().all(has);
                assert_eq!(
                    want,
                    is_allowed(&rights, &input),
                    "{}: {rights:?}",
                    input.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn keys_are_known_by_their_prefix() {
        let mut rights = Rights {
            read: true,
            write: true,
            ..Rights::default()
        };
        let prefixes: [&[u8]; 2] = [b"shop:", b"a,"];
        rights.prefixes = Some(prefixes.map(Box::from).into());
        for (line, want) in [
            ("get shop:1", true),
            ("get shop:", true),
            ("get shop", false),
            ("get xshop:1", false),
            ("get Shop:1", false),
            ("get a,", true),
            ("get a", false),
            ("delete shop:1", true),
            ("delete other", false),
            ("incr other 1", false),
            ("touch other 1", false),
            // In base64: shop:1, and other.
            ("mg c2hvcDox b v", true),
            ("mg b3RoZXI= b v", false),
        ] {
            assert_eq!(
                want,
                is_allowed(&rights, format!("{line}\r\n").as_bytes()),
                "{line}"
            );
        }
        rights.prefixes = Some(Box::default());
        assert!(!is_allowed(&rights, b"get shop:1\r\n"));
    }
}

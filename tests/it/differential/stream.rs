//! Random command streams: every classic command, the edge values of every number, and every way to get it wrong.
//!
//! A stream is a list of steps. A step is bytes that leave a server in a known place of its input, whatever is wrong
//! with them: data blocks end, lines end. So replies can be told apart by a `version` behind each step
//! or few steps. What depends on the clock is left out: no exptime that comes true while the test runs, no
//! flush that does.

use std::collections::HashSet;

use crate::classic::pattern;
use crate::harness::Random;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Classic,
    /// Meta, with classic lines between.
    Meta,
    Binary,
}

/// Some commands that are sent and answered together.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) parts: Vec<Part>,
    /// All earlier answers must have been read before this is sent: the step names a cas unique, or memcached's
    /// answer depends on whether an earlier reply has left (it counts in place only while nobody reads the item).
    pub(super) after_answers: bool,
    /// Answers are told apart from those of its neighbours. True for everything that may be explained.
    pub(super) alone: bool,
    /// The row of the table of explained differences that it may meet.
    pub(super) quirk: Option<&'static str>,
    /// The server hangs up after it.
    pub(super) last: bool,
    /// How many of its commands are answered with a VERSION line.
    pub(super) versions: usize,
    /// How many commands it has.
    pub(super) commands: usize,
}

/// A piece of a step.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    /// The cas unique that this server showed for the key: the newest, or the one before it.
    Cas {
        key: Vec<u8>,
        newest: bool,
    },
}

impl Step {
    pub(super) fn new(bytes: impl Into<Vec<u8>>) -> Step {
        Step {
            parts: vec![Part::Bytes(bytes.into())],
            after_answers: false,
            alone: false,
            quirk: None,
            last: false,
            versions: 0,
            commands: 1,
        }
    }

    pub(super) fn alone(bytes: impl Into<Vec<u8>>) -> Step {
        Step {
            alone: true,
            ..Step::new(bytes)
        }
    }

    pub(super) fn quirk(bytes: impl Into<Vec<u8>>, quirk: &'static str) -> Step {
        Step {
            quirk: Some(quirk),
            ..Step::alone(bytes)
        }
    }

    /// The bytes, with words for the cas uniques, for people to read.
    pub(super) fn describe(&self) -> String {
        let words = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) if bytes.len() > 120 => {
                format!("{}... ({} bytes)", bytes[..80].escape_ascii(), bytes.len())
            }
            Part::Bytes(bytes) => bytes.escape_ascii().to_string(),
            Part::Cas { newest: true, .. } => "{newest cas}".to_owned(),
            Part::Cas { newest: false, .. } => "{older cas}".to_owned(),
        });
        words.collect()
    }
}

const EXPTIMES: [&str; 16] = [
    "0",
    "0",
    "0",
    "0",
    "0",
    "1000",
    "2592000",
    "2000000000",
    "2147483647",
    "-1",
    "-2147483648",
    "2592001",
    "2147483648",
    "4294967295",
    "4294967296",
    "-4294967296",
];
/// touch, gat and flush_all want 32 bits.
const EXPTIMES_STRICT: [&str; 8] = [
    "0",
    "0",
    "1000",
    "2592000",
    "2000000000",
    "2147483647",
    "-1",
    "2592001",
];
const FLAGS: [&str; 8] = [
    "0",
    "0",
    "1",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551615",
];
/// Together they stay below 2^63: above it 1.6.18 looks for a minus sign, and past the end of the value, too.
const DELTAS: [&str; 7] = ["0", "1", "2", "9", "10", "4294967296", "0000000000000000000005"];
const DELTAS_DOWN: [&str; 3] = [
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
];
const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "9",
    "10",
    "99",
    "100",
    "4294967295",
    "4611686018427387904",
    "00010",
    "12 ",
    " 12",
    "+5",
    "-1",
    "",
    "12abc",
    "0x10",
    "18446744073709551616",
    "99999999999999999999999",
    "1 2",
    "5\r",
    "\t7",
    "1\n",
    "100000000000000000000",
    "1.5",
];
/// No numbers for any command.
const NONSENSE: [&str; 6] = ["x", "1x", "0x1", "1.0", "99999999999999999999999999", "\u{e9}"];
/// What a value that may be counted has at most: ringcached takes none for a number that has pages of its own.
const COUNTED_SIZE_MAX: usize = 40_000;
/// The key that may hold an empty value.
const BLANK_KEY: &[u8] = b"k";
const VERBS: [&str; 5] = ["set", "add", "replace", "append", "prepend"];

/// Makes streams.
pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) keys: Vec<Vec<u8>>,
    /// Keys whose items some reply not yet read may hold.
    pub(super) read: HashSet<Vec<u8>>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        let mut keys: Vec<Vec<u8>> = (0..16)
            .map(|number| format!("key{number}").into_bytes())
            .collect();
        keys.push(BLANK_KEY.to_vec());
        keys.push(vec![b'L'; 250]);
        keys.push(b"noreply".to_vec());
        keys.push(b"odd\t\x01\x7f\x80\xff".to_vec());
        keys.push(b"0".to_vec());
        keys.push("umlaut-\u{fc}".into());
        Generator {
            random: Random(seed),
            keys,
            read: HashSet::new(),
        }
    }

    /// A stream of about `commands` commands in a dialect, from a flush to the last look at every key.
    pub(super) fn stream(&mut self, dialect: Dialect, commands: usize) -> Vec<Step> {
        match dialect {
            Dialect::Classic => self.classic_stream(commands),
            Dialect::Meta => self.meta_stream(commands),
            Dialect::Binary => self.binary_stream(commands),
        }
    }

    fn classic_stream(&mut self, commands: usize) -> Vec<Step> {
        let mut steps = self.stream_of(commands, Step::alone("flush_all\r\n"), Generator::some);
        let keys = self.keys.join(&b' ');
        steps.push(Step::alone([b"gets ", &keys[..], b"\r\n"].concat()));
        if self.random.one_in(2) {
            steps.push(self.farewell());
        }
        steps
    }

    /// `first`, and what `some` makes until there are so many.
    pub(super) fn stream_of(
        &mut self,
        commands: usize,
        first: Step,
        some: impl Fn(&mut Generator) -> Vec<Step>,
    ) -> Vec<Step> {
        let mut steps = vec![first];
        let mut made = 0;
        while made < commands {
            for step in some(self) {
                made += step.commands;
                if step.after_answers {
                    self.read.clear();
                }
                steps.push(step);
            }
        }
        steps
    }

    fn some(&mut self) -> Vec<Step> {
        match self.random.below(100) {
            0..=29 => vec![self.store()],
            30..=54 => vec![self.retrieve()],
            55..=64 => vec![self.count()],
            65..=71 => self.compare(),
            72..=77 => vec![self.delete()],
            78..=81 => vec![self.touch()],
            82 => vec![self.server_word()],
            83 => vec![self.tuning()],
            84..=85 => vec![self.bad_chunk()],
            86..=95 => vec![self.mistake()],
            _ => vec![self.quirk()],
        }
    }

    pub(super) fn key(&mut self) -> Vec<u8> {
        self.random.pick(&self.keys).clone()
    }

    /// A key that never holds a blank value.
    pub(super) fn counted_key(&mut self) -> Vec<u8> {
        Some(self.key())
            .filter(|key| key != BLANK_KEY)
            .unwrap_or_else(|| b"key0".to_vec())
    }

    /// One key, as text.
    pub(super) fn plain_key(&mut self) -> String {
        format!("key{}", self.random.below(16))
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(200) {
            0..=99 => self.random.pick(&NUMBERS).as_bytes().to_vec(),
            100..=180 => {
                let size = self.random.below(40);
                (0..size)
                    .map(|_| *self.random.pick(b"abcdefghij 0123456789\r\n"))
                    .collect()
            }
            181..=198 => self.bytes(4000),
            _ if self.random.one_in(10) => self.bytes(1024 * 1024 - 2048),
            _ => self.bytes(40_000),
        }
    }

    /// A value for this key. Blank ones and large ones go to one key alone, which is never counted: memcached looks for the
    /// digits of a blank value in the memory behind it, and counts in 500 KB that begin with a number and a blank.
    pub(super) fn value_for(&mut self, key: &[u8]) -> Vec<u8> {
        let mut value = self.value();
        if key != BLANK_KEY {
            value.truncate(COUNTED_SIZE_MAX);
        }
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        if value.iter().all(blank) && key != BLANK_KEY {
            b"7".to_vec()
        } else {
            value
        }
    }

    fn bytes(&mut self, bound: usize) -> Vec<u8> {
        let size = self.random.below(bound);
        pattern(size, self.random.next())
    }

    /// Words of a line, with now and then a blank too many and a bare LF.
    pub(super) fn line(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut line = Vec::new();
        for (number, word) in words.iter().enumerate() {
            if number > 0 {
                line.extend_from_slice(if self.random.one_in(40) { b"  " } else { b" " });
            }
            line.extend_from_slice(word);
        }
        if self.random.one_in(30) {
            line.push(b' ');
        }
        line.extend_from_slice(if self.random.one_in(30) { b"\n" } else { b"\r\n" });
        line
    }

    pub(super) fn silence(&mut self) -> &'static [u8] {
        if self.random.one_in(5) { b"noreply" } else { b"" }
    }

    pub(super) fn store(&mut self) -> Step {
        let verb = if self.random.one_in(2) {
            "set"
        } else {
            *self.random.pick(&VERBS)
        };
        let key = self.key();
        let value = self.value_for(&key);
        let (flags, exptime) = (*self.random.pick(&FLAGS), *self.random.pick(&EXPTIMES));
        let (size, silence) = (value.len().to_string(), self.silence());
        let mut words: Vec<&[u8]> = vec![
            verb.as_bytes(),
            &key,
            flags.as_bytes(),
            exptime.as_bytes(),
            size.as_bytes(),
        ];
        if !silence.is_empty() {
            words.push(silence);
        }
        let line = self.line(&words);
        Step::new([&line[..], &value, b"\r\n"].concat())
    }

    pub(super) fn retrieve(&mut self) -> Step {
        let exptime = *self.random.pick(&EXPTIMES_STRICT);
        let mut words: Vec<&[u8]> = match self.random.below(8) {
            0..=3 => vec![b"get"],
            4..=5 => vec![b"gets"],
            6 => vec![b"gat", exptime.as_bytes()],
            _ => vec![b"gats", exptime.as_bytes()],
        };
        // memcached hangs up on a line of more than 2,048 bytes that does not arrive in one piece, unless it is a get.
        let may_be_long = words.len() == 1;
        let count = if may_be_long && self.random.one_in(20) {
            self.random.below(100)
        } else {
            self.random.below(5)
        };
        let keys: Vec<Vec<u8>> = (0..=count).map(|_| self.key()).collect();
        self.read.extend(keys.iter().cloned());
        words.extend(keys.iter().map(|key| &key[..]));
        Step::new(self.line(&words))
    }

    pub(super) fn count(&mut self) -> Step {
        let key = self.counted_key();
        let verb: &[u8] = if self.random.one_in(2) { b"incr" } else { b"decr" };
        let large = verb == b"decr" && self.random.one_in(4);
        let delta = if large {
            *self.random.pick(&DELTAS_DOWN)
        } else {
            *self.random.pick(&DELTAS)
        };
        let silence = self.silence();
        let mut words: Vec<&[u8]> = vec![verb, &key, delta.as_bytes()];
        if !silence.is_empty() {
            words.push(silence);
        }
        let line = self.line(&words);
        Step {
            after_answers: self.read.contains(&key),
            ..Step::new(line)
        }
    }

    /// A look at a key, and a cas with what was seen, with what was seen before, or with a number out of the air.
    fn compare(&mut self) -> Vec<Step> {
        let key = self.key();
        let look = Step::new([b"gets ", &key[..], b"\r\n"].concat());
        self.read.insert(key.clone());
        let value = self.value_for(&key);
        let exptime = *self.random.pick(&EXPTIMES);
        let head = [
            b"cas ",
            &key[..],
            format!(" 5 {exptime} {} ", value.len()).as_bytes(),
        ]
        .concat();
        let silence: &[u8] = if self.random.one_in(6) {
            b" noreply\r\n"
        } else {
            b"\r\n"
        };
        let tail = [silence, &value, b"\r\n"].concat();
        let unique = match self.random.below(8) {
            0..=4 => Part::Cas { key, newest: true },
            5 => Part::Cas { key, newest: false },
            6 => Part::Bytes(b"0".to_vec()),
            _ => Part::Bytes(b"18446744073709551615".to_vec()),
        };
        let parts = vec![Part::Bytes(head), unique, Part::Bytes(tail)];
        vec![
            look,
            Step {
                parts,
                after_answers: true,
                ..Step::new("")
            },
        ]
    }

    pub(super) fn delete(&mut self) -> Step {
        let key = self.key();
        // `delete noreply` is a quirk.
        let words: Vec<&[u8]> = match self.random.below(8) {
            0..=4 if key != b"noreply" => vec![b"delete", &key],
            0..=5 => vec![b"delete", &key, b"0"],
            6 => vec![b"delete", &key, b"noreply"],
            _ => vec![b"delete", &key, b"0", b"noreply"],
        };
        Step::new(self.line(&words))
    }

    pub(super) fn touch(&mut self) -> Step {
        let (key, exptime) = (self.key(), *self.random.pick(&EXPTIMES_STRICT));
        let silence = self.silence();
        let mut words: Vec<&[u8]> = vec![b"touch", &key, exptime.as_bytes()];
        if !silence.is_empty() {
            words.push(silence);
        }
        Step::new(self.line(&words))
    }

    fn server_word(&mut self) -> Step {
        // No flush to come: it would bring back, on memcached, what an earlier flush took and nobody has looked for.
        let (word, versions) = *self.random.pick(&[
            ("verbosity 0", 0),
            ("verbosity 1", 0),
            ("verbosity 0 noreply", 0),
            ("version", 1),
            ("version noreply", 1),
            ("version a b c", 1),
            ("flush_all", 0),
            ("flush_all 0", 0),
            ("flush_all -1", 0),
            ("flush_all noreply", 0),
            ("flush_all 0 noreply", 0),
            ("stats reset", 0),
        ]);
        let line = self.line(&[word.as_bytes()]);
        Step {
            versions,
            ..Step::new(line)
        }
    }

    /// Words about what there is nothing to tune for, or no leave to.
    fn tuning(&mut self) -> Step {
        let word = *self.random.pick(&[
            "slabs",
            "slabs bogus",
            "slabs automove",
            "slabs automove 0",
            "slabs automove x",
            "slabs automove 7",
            "slabs automove ratio",
            "slabs automove ratio x",
            "slabs automove ratio 0.8",
            "slabs automove freeratio 0.01",
            "slabs automove window 10",
            "slabs automove window 2",
            "slabs automove window x",
            "slabs reassign",
            "slabs reassign 1",
            "slabs reassign x 1",
            "slabs reassign 1 2",
            "lru",
            "lru bogus",
            "lru mode",
            "lru mode flat",
            "lru mode segmented",
            "lru mode bogus",
            "lru tune",
            "lru tune 10 25",
            "lru tune 10 25 0.1 2.0",
            "lru tune x 25 0.1 2.0",
            "lru tune 50 50 0.1 2.0",
            "lru tune 10 25 0 2.0",
            "lru temp_ttl",
            "lru temp_ttl x",
            "lru temp_ttl 61",
            "lru temp_ttl -1",
            "lru_crawler",
            "lru_crawler bogus",
            "lru_crawler disable",
            "lru_crawler sleep",
            "lru_crawler sleep 100",
            "lru_crawler sleep x",
            "lru_crawler sleep 1000001",
            "lru_crawler tocrawl",
            "lru_crawler tocrawl 7",
            "lru_crawler tocrawl x",
            "lru_crawler crawl",
            "lru_crawler crawl 1",
            "lru_crawler metadump",
            "lru_crawler mgdump",
            "cache_memlimit",
            "cache_memlimit x",
            "cache_memlimit 7",
            "cache_memlimit 1024",
            "cache_memlimit 4000000000",
            "verbosity 1 2 3",
            "shutdown",
            "shutdown graceful",
            "shutdown bogus",
            "debugtime",
            "debugtime p",
            "debugtime 1",
            "debugtime x",
            "stats bogus",
            "stats detail",
            "stats detail bogus",
            "stats cachedump",
            "stats cachedump 1",
            "stats cachedump x 1",
            "stats cachedump 1 x",
            "stats cachedump 99 1",
            "stats reset",
        ]);
        Step::quirk(format!("{word}\r\n"), "tuning words")
    }

    /// A store whose data does not end where its line says. The block is cut where the server will cut it, and what
    /// follows is a line of its own.
    fn bad_chunk(&mut self) -> Step {
        let key = self.plain_key();
        let verb = *self.random.pick(&VERBS);
        let size = self.random.below(30);
        let silence = if self.random.one_in(5) { " noreply" } else { "" };
        let mut block: Vec<u8> = (0..size + 2).map(|_| *self.random.pick(b"abc \r\nxyz")).collect();
        if block.ends_with(b"\r\n") {
            block[size] = b'!';
        }
        self.read.insert(b"key1".to_vec());
        let after = *self
            .random
            .pick(&["", "bogus\r\n", "get key1\r\n", "set key2 0 0 1\r\nx\r\n"]);
        let head = format!("{verb} {key} 0 0 {size}{silence}\r\n");
        Step::new([head.as_bytes(), &block, after.as_bytes()].concat())
    }

    /// What both memcacheds answer alike.
    fn mistake(&mut self) -> Step {
        let key = self.plain_key();
        let nonsense = *self.random.pick(&NONSENSE);
        let verb = *self.random.pick(&VERBS);
        let large = "v".repeat(1024 * 1024 + 1024 + self.random.below(5000));
        let bytes = match self.random.below(40) {
            0 => format!("{verb} {key} 0 0 {}\r\n{large}\r\n", large.len()),
            1 => format!("{verb} {key} 0 0 {} noreply\r\n{large}\r\n", large.len()),
            2..=6 => format!("incr {key} {nonsense}\r\n"),
            7..=10 => format!("decr {key} {nonsense}\r\n"),
            11..=14 => format!("touch {key} {nonsense}\r\n"),
            15..=18 => format!("gat {nonsense} {key}\r\n"),
            19 => format!("incr {} 1\r\n", "l".repeat(251)),
            20 => format!("delete {}\r\n", "l".repeat(251)),
            21 => format!("touch {} 1\r\n", "l".repeat(300)),
            22..=24 => format!("flush_all {nonsense}\r\n"),
            25..=27 => format!("VERSION\r\nGET {key}\r\nSet {key} 0 0 1\r\n"),
            28..=30 => format!("get\t{key}\r\n"),
            31..=33 => "bogus command line\r\n".to_owned(),
            34..=36 => "config get cluster\r\n".to_owned(),
            _ => format!("{}\r\n", "unknown".repeat(1 + self.random.below(50))),
        };
        let after_answers = bytes.starts_with("incr") && self.read.contains(&key.into_bytes());
        Step {
            after_answers,
            ..Step::new(bytes)
        }
    }

    /// What they do not: each names its row in the table. A step that may leave the two in different states puts that
    /// right itself, so that nothing behind it differs for its sake.
    fn quirk(&mut self) -> Step {
        let nonsense = *self.random.pick(&NONSENSE);
        let verb = *self.random.pick(&VERBS);
        let long = "l".repeat(251 + self.random.below(50));
        let (bytes, name) = match self.random.below(26) {
            0 => (
                (*self.random.pick(&["\r\n", "\n", "a\r\n", "a\n", " \n"])).to_owned(),
                "short line",
            ),
            1 => (
                (*self.random.pick(&["get\r\n", "gets\r\n", "gat\r\n", "gats\r\n"])).to_owned(),
                "too few words",
            ),
            2 => (
                (*self
                    .random
                    .pick(&["incr\r\n", "incr k\r\n", "decr k\r\n", "touch\r\n", "touch k\r\n"]))
                .to_owned(),
                "too few words",
            ),
            3 => (
                format!("{verb} quirk{}\r\n", self.random.pick(&["", " 0", " 0 0"])),
                "too few words",
            ),
            4 => (
                (*self
                    .random
                    .pick(&["verbosity\r\n", "delete\r\n", "cas quirk 0 0 1\r\nx\r\n"]))
                .to_owned(),
                "too few words",
            ),
            5 => (
                (*self.random.pick(&["gat 10\r\n", "gats 10\r\n"])).to_owned(),
                "gat of no key",
            ),
            6 => (
                format!(
                    " {}\r\n",
                    self.random.pick(&["get quirk", "delete quirk", "bogus"])
                ),
                "leading blank",
            ),
            7 => ("bogus noreply\r\n".to_owned(), "unknown command, noreply"),
            8 => (format!("{verb} {long} 0 0 5\r\nbogus\r\n"), "refused store"),
            9 => (
                format!("{verb} quirk {nonsense} 0 5\r\nbogus\r\n"),
                "refused store",
            ),
            10 => (
                format!("{verb} quirk 0 {nonsense} 5\r\nbogus\r\n"),
                "refused store",
            ),
            11 => (
                format!("cas quirk 0 0 5 {nonsense}\r\nbogus\r\n"),
                "refused store",
            ),
            12 => (
                format!(
                    "{verb} quirk 0 0 {}\r\nbogus\r\n",
                    self.random.pick(&["-1", "x", "1x", "4294967296"])
                ),
                "bad size",
            ),
            13 => (
                "set quirk 0 0 1\r\n1\r\nincr quirk +1\r\ndelete quirk\r\n".to_owned(),
                "signed delta",
            ),
            14 => (
                "set quirk 0 0 1\r\n1\r\ndelete quirk 10\r\ndelete quirk noreply\r\n".to_owned(),
                "delete with words",
            ),
            15 => ("delete quirk b c d e\r\n".to_owned(), "delete with words"),
            16 => (format!("get {long}\r\n"), "get of a long key"),
            17 => (format!("get quirk {long}\r\n"), "get of a long key"),
            18 => (
                "set quirk 0 0 1\r\n1\r\ntouch quirk 4294968296\r\ndelete quirk\r\n".to_owned(),
                "exptime beyond 32 bits",
            ),
            19 => ("gat 4294968296 quirk\r\n".to_owned(), "exptime beyond 32 bits"),
            20 => (
                format!(
                    "set quirk 0 0 1 {}\r\nx\r\ndelete quirk noreply\r\n",
                    self.random.pick(&["bogus", "bogus words", "1 2 3"])
                ),
                "words behind a store",
            ),
            21 => (
                (*self.random.pick(&["touch quirk -\r\n", "gat - quirk\r\n"])).to_owned(),
                "lone minus",
            ),
            22 => (
                "set quirk 0 0 1\r\n1\r\nincr quirk 1 2 3 4\r\ndelete quirk\r\n".to_owned(),
                "words behind incr",
            ),
            23 => (
                "set noreply 0 0 1\r\nx\r\ndelete noreply\r\ndelete noreply 0 noreply\r\n".to_owned(),
                "a key named noreply",
            ),
            24 => (
                "set quirk 0 0 20\r\n18446744073709551614\r\nincr quirk 1\r\nincr quirk 1\r\ndelete quirk\r\n".to_owned(),
                "number beyond 63 bits",
            ),
            _ => (
                (*self.random.pick(&[
                    "verbosity x\r\n",
                    "verbosity -1\r\n",
                    "verbosity 0 a b\r\n",
                    "flush_all 0 1 2\r\nflush_all\r\n",
                ]))
                .to_owned(),
                "server words",
            ),
        };
        // 1.6.45 forgets the answers that stand before its refusal of a long key.
        let after_answers = name == "get of a long key";
        Step {
            after_answers,
            ..Step::quirk(bytes, name)
        }
    }

    /// What ends a connection.
    pub(super) fn farewell(&mut self) -> Step {
        let endless = format!("delete {}", "x".repeat(100_000));
        let bytes = match self.random.below(5) {
            0 => "GET / HTTP/1.1\r\nHost: cache\r\n\r\n".to_owned(),
            1 => "quit\r\nget key1\r\n".to_owned(),
            2 => "quit now\r\n".to_owned(),
            3 => endless,
            _ => "set key1 0 0 100\r\ncut".to_owned(),
        };
        Step {
            last: true,
            after_answers: true,
            ..Step::alone(bytes)
        }
    }
}

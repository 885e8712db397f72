//! Random streams of the meta dialect: every verb with every flag, keys in base64, and every way to get a line wrong.
//! Classic lines about the same keys stand between.

use super::stream::{Generator, Part, Step};

/// What the streams ask of time is never near: no answer depends on the second.
const EXPTIMES: [&str; 7] = ["0", "0", "1000", "5000", "2592000", "2000000000", "-1"];
const RECACHE: [&str; 5] = ["0", "500", "2500", "7500", "2147483647"];
const CLIENT_FLAGS: [&str; 4] = ["0", "1", "65536", "4294967295"];
/// Greater than any that a server gives by itself.
const UNIQUES: [&str; 3] = ["1099511627776", "1099511627777", "9223372036854775808"];
const FOREIGN: [&str; 3] = ["0", "18446744073709551615", "1099511627776"];
const DELTAS: [&str; 5] = ["0", "1", "9", "10", "4294967296"];
const DELTAS_DOWN: [&str; 3] = ["9223372036854775808", "18446744073709551615", "1"];
const INITIALS: [&str; 4] = ["0", "13", "99", "4611686018427387904"];
/// Keys in base64, and what they are. Two of them have other names, too.
const ENCODED_KEYS: [(&str, &[u8]); 5] = [
    ("a2V5MA==", b"key0"),
    ("a2V5MQ==", b"key1"),
    ("AAEC", b"\x00\x01\x02"),
    ("/+8=", b"\xff\xef"),
    ("cS8=", b"q/"),
];

/// The key itself, of which a line has this spelling.
pub(super) fn plain(key: &[u8]) -> Vec<u8> {
    let encoded = ENCODED_KEYS.iter().find(|(text, _)| text.as_bytes() == key);
    encoded.map_or(key, |(_, plain)| plain).to_vec()
}

/// A line in the making: its words behind the key, in any order.
#[derive(Default)]
struct Flags(Vec<String>);

impl Flags {
    fn add(&mut self, flag: impl Into<String>) {
        self.0.push(flag.into());
    }

    fn text(&self) -> String {
        self.0.iter().map(|flag| format!(" {flag}")).collect()
    }
}

impl Generator {
    /// A stream of about `commands` commands, from a flush to the last look at every key.
    pub(super) fn meta_stream(&mut self, commands: usize) -> Vec<Step> {
        let mut steps = self.stream_of(commands, Step::alone("flush_all\r\n"), Generator::meta_steps);
        for key in self.keys.clone() {
            steps.push(Step::new([b"mg ", &key[..], b" k s v f t c h l\r\n"].concat()));
        }
        for (key, _) in ENCODED_KEYS {
            steps.push(Step::new(format!("mg {key} b k s v f t c h l\r\n")));
        }
        if self.random.one_in(2) {
            steps.push(self.farewell());
        }
        steps
    }

    fn meta_steps(&mut self) -> Vec<Step> {
        let step = match self.random.below(100) {
            0..=19 => self.meta_get(),
            20..=39 => self.meta_set(),
            40..=47 => self.meta_delete(),
            48..=58 => self.meta_count(),
            59..=72 => return self.meta_compare(),
            73..=75 => self.meta_debug(),
            76 => Step::new(
                *self
                    .random
                    .pick(&["mn\r\n", "mn k\r\n", "mn  \r\n", "mn q O1\r\n"]),
            ),
            77..=86 => self.meta_mistake(),
            87..=88 => self.meta_quirk(),
            89..=91 => self.store(),
            92..=95 => self.retrieve(),
            96 => self.count(),
            97 => self.delete(),
            _ => self.touch(),
        };
        vec![step]
    }

    /// A key and the flags that say how it is spelled: plain, or in base64.
    fn meta_key(&mut self) -> (Vec<u8>, Flags) {
        let mut flags = Flags::default();
        if self.random.one_in(6) {
            flags.add("b");
            return (self.random.pick(&ENCODED_KEYS).0.as_bytes().to_vec(), flags);
        }
        (self.counted_key(), flags)
    }

    fn often(&mut self, flags: &mut Flags, times: usize, choices: &[&str]) {
        if self.random.one_in(times) {
            let choice = *self.random.pick(choices);
            flags.add(choice);
        }
    }

    fn with_token(&mut self, flags: &mut Flags, times: usize, letter: char, tokens: &[&str]) {
        if self.random.one_in(times) {
            let token = *self.random.pick(tokens);
            flags.add(format!("{letter}{token}"));
        }
    }

    /// The flags that every verb has, and some that it ignores.
    fn common(&mut self, flags: &mut Flags) {
        self.often(flags, 2, &["k"]);
        self.often(flags, 6, &["q"]);
        self.with_token(
            flags,
            4,
            'O',
            &["1", "abc", "", "0123456789012345678901234567890"],
        );
        self.often(flags, 12, &["P", "Pxyz", "L", "L1"]);
    }

    fn shuffle(&mut self, flags: &mut Flags) {
        for index in (1..flags.0.len()).rev() {
            let other = self.random.below(index + 1);
            flags.0.swap(index, other);
        }
    }

    fn meta_line(&mut self, verb: &str, key: &[u8], mut flags: Flags) -> Vec<u8> {
        self.shuffle(&mut flags);
        let text = flags.text();
        let blank: &[u8] = if self.random.one_in(40) { b"  " } else { b" " };
        let end = *self
            .random
            .pick(&["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", " \r\n"]);
        [verb.as_bytes(), blank, key, text.as_bytes(), end.as_bytes()].concat()
    }

    fn meta_get(&mut self) -> Step {
        let (key, mut flags) = self.meta_key();
        self.read.insert(plain(&key));
        self.common(&mut flags);
        for flag in ["v", "f", "s", "c", "t", "h", "l"] {
            self.often(&mut flags, 2, &[flag]);
        }
        self.often(&mut flags, 8, &["u"]);
        let expires = self.random.one_in(12);
        if expires && !flags.0.iter().any(|flag| flag == "t") {
            flags.add("T-1");
        } else {
            self.with_token(&mut flags, 6, 'T', &EXPTIMES[..6]);
        }
        // T beside N or R is a quirk: memcached goes by their order.
        if !flags.0.iter().any(|flag| flag.starts_with('T')) {
            self.with_token(&mut flags, 5, 'N', &EXPTIMES[..6]);
            self.with_token(&mut flags, 4, 'R', &RECACHE);
        }
        self.with_token(&mut flags, 12, 'E', &UNIQUES);
        self.with_token(&mut flags, 20, 'C', &FOREIGN);
        Step::new(self.meta_line("mg", &key, flags))
    }

    fn set_flags(&mut self, flags: &mut Flags) {
        self.common(flags);
        self.with_token(flags, 3, 'F', &CLIENT_FLAGS);
        self.with_token(flags, 3, 'T', &EXPTIMES);
        self.with_token(
            flags,
            3,
            'M',
            &["S", "set", "E", "A", "append", "P", "R", "A", "P"],
        );
        self.with_token(flags, 6, 'N', &EXPTIMES);
        self.with_token(flags, 8, 'E', &UNIQUES);
        self.often(flags, 6, &["I"]);
        self.often(flags, 3, &["c"]);
        self.often(flags, 4, &["s"]);
        self.often(flags, 20, &["v", "f", "t", "h", "l", "u", "x"]);
    }

    fn meta_set(&mut self) -> Step {
        let (key, mut flags) = self.meta_key();
        let value = self.value_for(&key);
        self.set_flags(&mut flags);
        self.with_token(&mut flags, 20, 'C', &FOREIGN);
        let head = [&key[..], b" ", value.len().to_string().as_bytes()].concat();
        let line = self.meta_line("ms", &head, flags);
        Step::new([&line[..], &value, b"\r\n"].concat())
    }

    fn delete_flags(&mut self, flags: &mut Flags) {
        self.common(flags);
        self.often(flags, 2, &["I"]);
        self.often(flags, 5, &["x"]);
        self.with_token(flags, 3, 'T', &EXPTIMES);
        self.with_token(flags, 8, 'E', &UNIQUES);
        self.with_token(flags, 8, 'F', &CLIENT_FLAGS);
        self.often(flags, 20, &["v", "f", "t", "h", "l", "u", "c", "s"]);
    }

    fn meta_delete(&mut self) -> Step {
        let (key, mut flags) = self.meta_key();
        self.delete_flags(&mut flags);
        self.with_token(&mut flags, 20, 'C', &FOREIGN);
        Step::new(self.meta_line("md", &key, flags))
    }

    fn count_flags(&mut self, flags: &mut Flags) {
        self.common(flags);
        let down = self.random.one_in(2);
        if down {
            self.with_token(flags, 1, 'M', &["D", "-", "decr"]);
            self.with_token(flags, 2, 'D', &DELTAS_DOWN);
        } else {
            self.with_token(flags, 3, 'M', &["I", "+", "incr"]);
            self.with_token(flags, 2, 'D', &DELTAS);
        }
        self.with_token(flags, 3, 'J', &INITIALS);
        self.with_token(flags, 3, 'N', &EXPTIMES[..6]);
        // No E and no T: memcached loses both where the number becomes longer, which is a quirk.
        for flag in ["v", "c", "t"] {
            self.often(flags, 2, &[flag]);
        }
        self.often(flags, 20, &["s", "f", "h", "l", "u", "x", "I"]);
    }

    fn meta_count(&mut self) -> Step {
        let (key, mut flags) = self.meta_key();
        self.count_flags(&mut flags);
        self.with_token(&mut flags, 20, 'C', &FOREIGN);
        Step {
            after_answers: self.read.contains(&plain(&key)),
            ..Step::new(self.meta_line("ma", &key, flags))
        }
    }

    /// A look at a key, and something with the cas unique that was seen, or with the one before.
    fn meta_compare(&mut self) -> Vec<Step> {
        let (key, mut flags) = self.meta_key();
        self.read.insert(plain(&key));
        let look = [b"mg ", &key[..], flags.text().as_bytes(), b" k c\r\n"].concat();
        let value = self.value_for(&key);
        let (verb, size) = match self.random.below(7) {
            0..=3 => ("ms", format!(" {}", value.len())),
            4 => ("md", String::new()),
            5 => ("ma", String::new()),
            _ => ("mg", String::new()),
        };
        match verb {
            "ms" => self.set_flags(&mut flags),
            "md" => self.delete_flags(&mut flags),
            "ma" => self.count_flags(&mut flags),
            _ => {
                self.often(&mut flags, 1, &["v"]);
                self.often(&mut flags, 2, &["k"]);
            }
        }
        let newest = !self.random.one_in(3);
        let head = [
            verb.as_bytes(),
            b" ",
            &key[..],
            size.as_bytes(),
            flags.text().as_bytes(),
            b" C",
        ]
        .concat();
        let tail = match verb {
            "ms" => [b"\r\n", &value[..], b"\r\n"].concat(),
            _ => b"\r\n".to_vec(),
        };
        let parts = vec![
            Part::Bytes(head),
            Part::Cas {
                key: plain(&key),
                newest,
            },
            Part::Bytes(tail),
        ];
        let after = |step| Step {
            after_answers: true,
            ..step
        };
        let mut steps = vec![
            Step::new(look),
            after(Step {
                parts,
                ..Step::new("")
            }),
        ];
        // It reads the item as well, and whoever counts next must know that this is over.
        if verb == "mg" {
            steps.push(after(Step::new("mn\r\n")));
        }
        steps
    }

    fn meta_debug(&mut self) -> Step {
        let key = self.counted_key();
        let flags = *self.random.pick(&["", "", " k", " q", " v O1", " Z"]);
        Step::new([b"me ", &key[..], flags.as_bytes(), b"\r\n"].concat())
    }

    /// Lines that are refused. Where there is a size that can be read, the data is dropped.
    fn meta_mistake(&mut self) -> Step {
        let key = self.plain_key();
        let verb = *self.random.pick(&["mg", "md", "ma", "ms"]);
        let long = "l".repeat(251 + self.random.below(50));
        let flag = *self.random.pick(&[
            "z",
            "[",
            "A",
            "Z",
            "W",
            "X",
            "v v",
            "k k",
            "O1 O2",
            "Tx",
            "T",
            "T+1",
            "T1x",
            "T2147483648",
            "T-2147483649",
            "Nx",
            "N",
            "Rx",
            "R",
            "Cx",
            "C",
            "C-1",
            "C18446744073709551616",
            "Ex",
            "E",
            "E-1",
            "Fx",
            "F",
            "F-1",
            "F4294967296",
            "Dx",
            "D",
            "D-1",
            "Jx",
            "J",
            "J-1",
            "M",
            "MZ",
            "Mz",
            "Me",
            "Ma",
            "Mi",
            "Md",
            "Mp",
            "Mr",
            "Ms",
            "vv",
            "kfoo",
            "qq",
            "k v f t c s h l u q O1 N0 R0 C0 F0 P L",
            "k v f t c s h l u q O1 N0 R0 T0 C0 E1099511627776 F0 P L",
            "P L k v f t c s h l u q O1 x I N0 R0 T0 C0 E1099511627776 F0 J0 D0 M",
            "b",
            "b b",
        ]);
        let size = *self
            .random
            .pick(&["", " x", " -1", " 1x", " 2147483646", " 4294967296", " T0"]);
        let encoded = *self.random.pick(&[
            "Zm9", "Zm9vZ", "!!!!", "====", "Zg==Zm9v", "Zm!9-v", "Z", "Zm9v====",
        ]);
        let chunk = *self.random.pick(&["abcxy", "abc\n\n", "abc\r\r"]);
        let bytes = match self.random.below(14) {
            0..=6 if verb == "ms" => format!("ms {key} 3 {flag}\r\nabc\r\n"),
            0..=6 => format!("{verb} {key} {flag}\r\n"),
            7 if verb == "ms" => format!("ms {long} 3\r\nabc\r\n"),
            7 => format!("{verb} {long} q\r\n"),
            8 if self.random.one_in(2) => format!(
                "{} {key} {}\r\n",
                &verb.replace("ms", "mg"),
                self.random.pick(&["!", "1", "{", "\u{e9}"])
            ),
            8 => format!("{verb}{}", self.random.pick(&["\r\n", " \r\n", "  \r\n", "\n"])),
            9 => format!("ms {key}{size}\r\nbogus\r\n"),
            10 if verb == "ms" => format!("ms {encoded} 3 b\r\nabc\r\n"),
            10 => format!("{verb} {encoded} b k\r\n"),
            11 => format!(
                "ms {key} 3 {}\r\n{chunk}",
                self.random.pick(&["", "q", "O1 k", "T0"])
            ),
            12 => {
                let large = "v".repeat(1024 * 1024 + 1024 + self.random.below(5000));
                let flags = *self.random.pick(&["", "q", "k O1 s c", "ME", "MA", "MR", "C1"]);
                format!("ms {key} {} {flags}\r\n{large}\r\n", large.len())
            }
            _ => format!(
                "{} {key}\r\n",
                self.random.pick(&["mx", "m", "mgs", "MG", "mm", "me"])
            ),
        };
        // Not all of them are mistakes: an mg may read, and an ma count, so that it looks at what was read.
        self.read.insert(key.as_bytes().to_vec());
        Step {
            after_answers: verb == "ma",
            ..Step::new(bytes)
        }
    }

    /// Known differences, each with a row in the table.
    fn meta_quirk(&mut self) -> Step {
        let set = "ms quirk 1 T0\r\n1\r\n";
        let end = "md quirk q\r\n";
        let long = "O012345678901234567890123456789012";
        let (bytes, name) = match self.random.below(11) {
            9 => (
                format!("ms quirk 1 T0\r\n9\r\nma quirk T5000 D9\r\nmg quirk t\r\n{end}"),
                "T of a number that grows",
            ),
            8 => (
                "ms quirk 5 !\r\nbogus\r\n".to_owned(),
                "ms with a flag that is no letter",
            ),
            7 => ("mg quirk T-\r\n".to_owned(), "lone minus"),
            0 => (
                "ms a2V5 1 b c\r\nx\r\nme a2V5 b\r\nmd a2V5 b q\r\n".to_owned(),
                "me of base64",
            ),
            1 => (format!("{set}mg quirk T-1 t\r\n{end}"), "time left of the past"),
            2 => (format!("{set}ma quirk T-1 t\r\n{end}"), "time left of the past"),
            3 => (
                format!("ms quirk 1 {long}\r\n1\r\nmg quirk v\r\n{end}"),
                "opaque too long",
            ),
            4 => (
                format!("{set}ma quirk {long}\r\nmg quirk v\r\n{end}"),
                "opaque too long",
            ),
            5 => (format!("mg quirk T1000 N5000 t\r\n{end}"), "T before N"),
            6 => (format!("ma quirk N5000 T1000 t\r\n{end}"), "N before T in ma"),
            _ => (
                format!("ms quirk 1 T5000\r\n1\r\nmg quirk T1000 R2500\r\n{end}"),
                "T before R",
            ),
        };
        Step::quirk(bytes, name)
    }
}

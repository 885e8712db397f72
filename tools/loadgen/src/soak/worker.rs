//! A client that behaves: it writes keys that nobody else writes, knows of each what may be read, and checks all it reads.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::ledger::{self, Key, Kind, Ledger, Sums};
use super::reach::Reach;
use super::talk::{Answer, Ask, Dialect, Item, Mode, Op, Talk};
use crate::distribution::Random;

/// Questions sent at once.
const BATCH_MAX: u64 = 16;
/// Bytes of questions sent at once, and of values that they may bring back, at most: more and both sides could wait for
/// the other to read. One larger question goes alone.
const BATCH_SIZE_MAX: usize = 48 * 1024;
/// How long after its exptime a value may still be read: the server's clock counts whole seconds.
const EXPIRY_SLACK: Duration = Duration::from_secs(2);
/// A log of so many stamps is begun anew.
const LOG_MAX: usize = 600;
/// A stale cas unique is kept so often.
const STALE_ONE_IN: u64 = 4;

/// What a worker knows of one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing, after a store that was refused.
    Nothing,
    /// It is not there: deleted, expired, flushed, or forgotten. It must not come back.
    Gone,
    /// If it is there it is this one.
    Stamp(u64),
    Number(u64),
    Stamps(Vec<u64>),
}

#[derive(Clone, Debug)]
struct Held {
    known: Known,
    /// The cas unique of what is known, if it was told.
    cas: Option<u64>,
    /// One that was true once.
    stale_cas: Option<u64>,
    dies_at: Option<Instant>,
}

impl Default for Held {
    fn default() -> Held {
        Held {
            known: Known::Gone,
            cas: None,
            stale_cas: None,
            dies_at: None,
        }
    }
}

/// A question with what must be remembered until its answer comes.
struct Sent {
    ask: Ask,
    /// Of a store: what the key holds afterwards.
    stamp: u64,
    exptime: u32,
    /// The floors of the keys when it was sent, in order.
    floors: Vec<u64>,
    at: Instant,
}

/// See the head of this file.
pub(super) struct Worker<'a> {
    ledger: &'a Ledger,
    reach: &'a Reach,
    dialect: Dialect,
    /// This is the `turn`th of `turns` workers: its keys are those whose index leaves this remainder.
    turn: u64,
    turns: u64,
    random: Random,
    held: HashMap<(u8, u64), Held>,
    flushes: u64,
    sums: Sums,
    largest: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        ledger: &'a Ledger,
        reach: &'a Reach,
        dialect: Dialect,
        (turn, turns): (u64, u64),
        seed: u64,
        largest: usize,
    ) -> Worker<'a> {
        Worker {
            ledger,
            reach,
            dialect,
            turn,
            turns,
            random: Random::new(seed),
            held: HashMap::new(),
            flushes: 0,
            sums: Sums::default(),
            largest,
        }
    }

    /// Talks until the soak stops, or until so many batches are done. Whatever breaks a connection is a lie.
    pub(super) fn run(mut self, batches: Option<u64>, pause: Duration) {
        let mut done = 0;
        while !self.ledger.is_stopping() && batches.is_none_or(|most| done < most) {
            let mut talk = match self.reach.talk(self.dialect) {
                Ok(talk) => talk,
                Err(error) => {
                    self.ledger
                        .lie(|| format!("no connection for one who behaves: {error}"));
                    self.ledger.pause(Duration::from_secs(1));
                    continue;
                }
            };
            // Now and then it leaves in good order and comes back.
            let stay = 50 + self.random.below(1000);
            for _ in 0..stay {
                if self.ledger.is_stopping() || batches.is_some_and(|most| done >= most) {
                    break;
                }
                done += 1;
                if let Err(error) = self.batch(&mut talk) {
                    let dialect = self.dialect.name();
                    self.ledger
                        .lie(|| format!("{dialect}: a conversation has ended: {error}"));
                    // What was under way may yet happen, so nothing is known any more.
                    for held in self.held.values_mut() {
                        *held = Held {
                            known: Known::Nothing,
                            ..Held::default()
                        };
                    }
                    break;
                }
                if !pause.is_zero() {
                    std::thread::sleep(pause.mul_f64(self.random.unit() * 2.0));
                }
            }
            self.sums.add("bytes_read", talk.sent);
            self.sums.add("bytes_written", talk.received);
            self.ledger.count(&std::mem::take(&mut self.sums));
        }
        self.ledger.count(&self.sums);
    }

    /// Sends some questions and judges the answers.
    fn batch(&mut self, talk: &mut Talk) -> io::Result<()> {
        let ledger = self.ledger;
        ledger.between_flushes(|flushes| {
            if flushes != self.flushes {
                self.flushes = flushes;
                self.held.clear();
            }
            let count = 1 + self.random.below(BATCH_MAX);
            let (mut sent, mut size) = (Vec::new(), 0);
            while (sent.len() as u64) < count && size < BATCH_SIZE_MAX {
                let question = self.question();
                size += match &question.ask.op {
                    Op::Store { value, .. } => value.len(),
                    Op::GetMany(others) => 3000 * others.len(),
                    _ => 3000,
                };
                if size > BATCH_SIZE_MAX && !sent.is_empty() {
                    // It goes alone, after the answers to the others.
                    self.exchange(talk, &sent)?;
                    sent.clear();
                }
                sent.push(question);
            }
            self.exchange(talk, &sent)
        })
    }

    fn exchange(&mut self, talk: &mut Talk, sent: &[Sent]) -> io::Result<()> {
        for question in sent {
            talk.write(&question.ask);
        }
        talk.send()?;
        for question in sent {
            let answer = talk.read(&question.ask)?;
            self.judge(question, answer);
        }
        self.ledger
            .answered
            .fetch_add(sent.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn own(&mut self, kind: Kind) -> Key {
        let keys = match kind {
            Kind::Value => self.ledger.keys(),
            _ => self.ledger.keys() / 50,
        };
        // A tenth of the keys gets half of the questions.
        let keys = if self.random.below(2) == 0 {
            keys / 10
        } else {
            keys
        };
        let index = self.random.below((keys / self.turns).max(1)) * self.turns + self.turn;
        Key { kind, index }
    }

    fn foreign(&mut self) -> Key {
        if self.random.below(8) == 0 {
            return Key {
                kind: Kind::Wild,
                index: self.random.below(super::faults::WILD_KEYS),
            };
        }
        let keys = self.ledger.keys();
        let keys = if self.random.below(2) == 0 {
            (keys / 10).max(1)
        } else {
            keys
        };
        Key {
            kind: Kind::Value,
            index: self.random.below(keys),
        }
    }

    fn question(&mut self) -> Sent {
        let (ask, stamp, exptime) = match self.random.below(100) {
            0..35 => (
                Ask {
                    key: self.foreign(),
                    op: Op::Get,
                },
                0,
                0,
            ),
            35..45 => {
                let count = 1 + self.random.below(12);
                let others = (0..count).map(|_| self.foreign()).collect();
                (
                    Ask {
                        key: self.foreign(),
                        op: Op::GetMany(others),
                    },
                    0,
                    0,
                )
            }
            45..60 => (
                Ask {
                    key: self.own(Kind::Value),
                    op: Op::Get,
                },
                0,
                0,
            ),
            60..84 => self.store(),
            84..90 => self.arithmetic(),
            90..95 => self.log(),
            95..97 => (
                Ask {
                    key: self.own(Kind::Value),
                    op: Op::Delete,
                },
                self.ledger.stamp(),
                0,
            ),
            _ => {
                let exptime = self.exptime();
                let op = if self.random.below(2) == 0 {
                    Op::Touch(exptime)
                } else {
                    Op::GetTouch(exptime)
                };
                (
                    Ask {
                        key: self.own(Kind::Value),
                        op,
                    },
                    0,
                    exptime,
                )
            }
        };
        let mut floors = vec![self.ledger.floor(ask.key)];
        if let Op::GetMany(others) = &ask.op {
            floors.extend(others.iter().map(|key| self.ledger.floor(*key)));
        }
        Sent {
            ask,
            stamp,
            exptime,
            floors,
            at: Instant::now(),
        }
    }

    fn exptime(&mut self) -> u32 {
        if self.random.below(4) == 0 {
            1 + self.random.below(20) as u32
        } else {
            0
        }
    }

    fn store(&mut self) -> (Ask, u64, u32) {
        let key = self.own(Kind::Value);
        let stamp = self.ledger.stamp();
        let size = match self.random.below(1000) {
            0..2 => self.largest / 2 + self.random.below(self.largest as u64 / 2) as usize,
            2..20 => 8192 + self.random.below(60_000) as usize,
            20..300 => 500 + self.random.below(4000) as usize,
            _ => 24 + self.random.below(500) as usize,
        };
        let held = self.held.get(&name(key)).cloned().unwrap_or_default();
        let mode = match (self.random.below(10), held.cas, held.stale_cas) {
            (0, ..) => Mode::Add,
            (1, ..) => Mode::Replace,
            (2, _, Some(cas)) => Mode::Cas(cas),
            (3..6, Some(cas), _) => Mode::Cas(cas),
            _ => Mode::Set,
        };
        let exptime = self.exptime();
        let value = ledger::value(key, stamp, size);
        (
            Ask {
                key,
                op: Op::Store {
                    mode,
                    flags: flags_of(stamp),
                    exptime,
                    value,
                },
            },
            stamp,
            exptime,
        )
    }

    fn arithmetic(&mut self) -> (Ask, u64, u32) {
        let key = self.own(Kind::Counter);
        let delta = self.random.below(1000);
        let held = self.held.get(&name(key)).map(|held| held.known.clone());
        let op = match (held, self.random.below(8)) {
            (Some(Known::Number(_)), 0) => Op::Get,
            (Some(Known::Number(_)), 1) => Op::Decr(delta),
            (Some(Known::Number(_)), _) => Op::Incr(delta),
            _ => Op::Store {
                mode: Mode::Set,
                flags: 0,
                exptime: 0,
                value: delta.to_string().into_bytes(),
            },
        };
        (Ask { key, op }, delta, 0)
    }

    fn log(&mut self) -> (Ask, u64, u32) {
        let key = self.own(Kind::Log);
        let stamp = self.ledger.stamp();
        let held = self.held.get(&name(key)).map(|held| held.known.clone());
        let store = |mode| Op::Store {
            mode,
            flags: 0,
            exptime: 0,
            value: format!("{stamp:016x}").into_bytes(),
        };
        let op = match (held, self.random.below(8)) {
            (Some(Known::Stamps(stamps)), 0) if stamps.len() < LOG_MAX => Op::Get,
            (Some(Known::Stamps(stamps)), 1..3) if stamps.len() < LOG_MAX => store(Mode::Prepend),
            (Some(Known::Stamps(stamps)), _) if stamps.len() < LOG_MAX => store(Mode::Append),
            _ => store(Mode::Set),
        };
        (Ask { key, op }, stamp, 0)
    }

    fn judge(&mut self, sent: &Sent, answer: Answer) {
        let dialect = self.dialect.name();
        let said = |answer: &Answer| match answer {
            Answer::Item(item) => format!("an item of {} bytes, flags {}", item.value.len(), item.flags),
            other => format!("{other:?}"),
        };
        if let Answer::Refused(words) = &answer {
            let (key, words) = (sent.ask.key.name(), words.clone());
            self.ledger.lie(|| format!("{dialect}: refused, {key}: {words}"));
            self.held.insert(
                name(sent.ask.key),
                Held {
                    known: Known::Nothing,
                    ..Held::default()
                },
            );
            return;
        }
        self.tally(&sent.ask, &answer);
        let ledger = self.ledger;
        let key = sent.ask.key;
        let lie = |what: String| ledger.lie(|| format!("{dialect}, {}: {what}", key.name()));
        match (&sent.ask.op, &answer) {
            (Op::GetMany(others), Answer::Items(items)) => {
                for ((key, item), floor) in [key].iter().chain(others).zip(items).zip(&sent.floors) {
                    if let Some(item) = item {
                        self.judge_foreign(*key, item, *floor);
                    }
                }
            }
            (Op::Get | Op::GetTouch(_), Answer::Item(item)) => {
                if key.kind == Kind::Value || key.kind == Kind::Wild {
                    self.judge_foreign(key, item, sent.floors[0]);
                }
                if self.is_own(key) {
                    self.judge_own(key, item, sent, lie);
                }
            }
            (Op::Store { mode, .. }, Answer::Done) => self.stored(sent, *mode, lie),
            (Op::Store { mode, .. }, Answer::NotStored | Answer::Missing | Answer::Changed) => {
                self.not_stored(sent, *mode, &answer, lie);
            }
            (Op::Delete, Answer::Done) => {
                if self.held(key).known == Known::Gone {
                    lie("deleted what was not there".into());
                }
                *self.held(key) = Held::default();
                self.ledger.confirmed(key, sent.stamp);
            }
            (Op::Touch(_), Answer::Done) => self.touched(sent, lie),
            (Op::Incr(delta), Answer::Number(number)) => {
                let want = match self.held(key).known {
                    Known::Number(before) => before.wrapping_add(*delta),
                    _ => *number,
                };
                self.counted(key, want, *number, lie);
            }
            (Op::Decr(delta), Answer::Number(number)) => {
                let want = match self.held(key).known {
                    Known::Number(before) => before.saturating_sub(*delta),
                    _ => *number,
                };
                self.counted(key, want, *number, lie);
            }
            (
                Op::Get | Op::GetTouch(_) | Op::Delete | Op::Touch(_) | Op::Incr(_) | Op::Decr(_),
                Answer::Missing,
            ) => {
                if self.is_own(key) {
                    *self.held(key) = Held::default();
                }
            }
            (op, other) => {
                let op = match op {
                    Op::Store { mode, .. } => format!("{mode:?}"),
                    other => format!("{other:?}"),
                };
                lie(format!("{} to {op}", said(other)));
            }
        }
    }

    fn is_own(&self, key: Key) -> bool {
        key.kind != Kind::Wild && key.index % self.turns == self.turn
    }

    fn held(&mut self, key: Key) -> &mut Held {
        self.held.entry(name(key)).or_default()
    }

    /// What anybody can say about a value: it is whole, its key's, and not too old.
    fn judge_foreign(&mut self, key: Key, item: &Item, floor: u64) {
        let dialect = self.dialect.name();
        match ledger::stamp_of(key, &item.value) {
            Err(what) => self.ledger.lie(|| format!("{dialect}, {}: {what}", key.name())),
            Ok(stamp) if stamp < floor => {
                self.ledger.lie(|| {
                    format!(
                        "{dialect}, {}: stamp {stamp} after stamp {floor} was confirmed",
                        key.name()
                    )
                });
            }
            Ok(stamp) if item.flags != flags_of(stamp) => {
                self.ledger
                    .lie(|| format!("{dialect}, {}: flags {} of stamp {stamp}", key.name(), item.flags));
            }
            Ok(_) => {}
        }
    }

    /// What the owner of a key can say about it.
    fn judge_own(&mut self, key: Key, item: &Item, sent: &Sent, lie: impl Fn(String)) {
        let exptime = sent.exptime;
        let is_touch = matches!(sent.ask.op, Op::GetTouch(_));
        let held = self.held(key);
        let text = || String::from_utf8_lossy(&item.value).into_owned();
        match &held.known {
            Known::Nothing => {}
            Known::Gone => lie("a value that was gone has come back".into()),
            Known::Stamp(want) => match ledger::stamp_of(key, &item.value) {
                Ok(stamp) if stamp == *want => {}
                found => lie(format!("{found:?} where stamp {want} was stored")),
            },
            Known::Number(want) => {
                // memcached fills up with blanks what has become shorter.
                if text().trim_end().parse() != Ok(*want) {
                    lie(format!("{:?} where {want} was counted", text()));
                }
            }
            Known::Stamps(stamps) => {
                let want: String = stamps.iter().map(|stamp| format!("{stamp:016x}")).collect();
                if text() != want {
                    lie(format!(
                        "a log of {} bytes, where {} were written",
                        item.value.len(),
                        want.len()
                    ));
                }
            }
        }
        if held.dies_at.is_some_and(|at| sent.at > at + EXPIRY_SLACK) {
            lie("a value that has expired".into());
        }
        if item.cas != 0 && held.known != Known::Nothing {
            if let Some(cas) = held.cas
                && cas != item.cas
            {
                lie(format!("cas unique {} of an item that had {cas}", item.cas));
            }
            held.cas = Some(item.cas);
        }
        if is_touch {
            held.dies_at = dies_at(exptime);
        }
    }

    fn stored(&mut self, sent: &Sent, mode: Mode, lie: impl Fn(String)) {
        let key = sent.ask.key;
        let remember = self.random.below(STALE_ONE_IN) == 0;
        let held = self.held(key);
        match mode {
            Mode::Replace | Mode::Append | Mode::Prepend if held.known == Known::Gone => {
                lie(format!("{mode:?} of what was not there was stored"));
            }
            // Every store of ours forgets the cas unique, so what is not remembered is of an older item.
            Mode::Cas(cas) if held.known != Known::Nothing && held.cas != Some(cas) => {
                lie(format!("cas unique {cas} was taken, {:?} was true", held.cas));
            }
            _ => {}
        }
        let stale = if remember {
            held.cas.or(held.stale_cas)
        } else {
            held.stale_cas
        };
        let known = match (key.kind, mode, &mut held.known) {
            (Kind::Log, Mode::Append, Known::Stamps(stamps)) => {
                stamps.push(sent.stamp);
                Known::Stamps(std::mem::take(stamps))
            }
            (Kind::Log, Mode::Prepend, Known::Stamps(stamps)) => {
                stamps.insert(0, sent.stamp);
                Known::Stamps(std::mem::take(stamps))
            }
            (Kind::Log, Mode::Append | Mode::Prepend, _) => Known::Nothing,
            (Kind::Log, ..) => Known::Stamps(vec![sent.stamp]),
            (Kind::Counter, ..) => Known::Number(sent.stamp),
            _ => Known::Stamp(sent.stamp),
        };
        *held = Held {
            known,
            cas: None,
            stale_cas: stale,
            dies_at: dies_at(sent.exptime),
        };
        self.ledger.confirmed(key, sent.stamp);
    }

    fn not_stored(&mut self, sent: &Sent, mode: Mode, answer: &Answer, lie: impl Fn(String)) {
        let key = sent.ask.key;
        let held = self.held(key);
        match (mode, answer) {
            (Mode::Add, Answer::NotStored) => {
                if held.known == Known::Gone {
                    lie("add met what was gone".into());
                }
            }
            (Mode::Replace | Mode::Append | Mode::Prepend, Answer::NotStored)
            | (Mode::Cas(_), Answer::Missing) => {
                *held = Held::default();
            }
            (Mode::Cas(cas), Answer::Changed) => {
                if held.cas == Some(cas) {
                    lie(format!(
                        "cas unique {cas} was refused, and nobody else writes this key"
                    ));
                }
            }
            _ => lie(format!("{answer:?} to {mode:?}")),
        }
    }

    fn touched(&mut self, sent: &Sent, lie: impl Fn(String)) {
        let held = self.held(sent.ask.key);
        if held.known == Known::Gone {
            lie("touched what was not there".into());
        }
        held.dies_at = dies_at(sent.exptime);
    }

    fn counted(&mut self, key: Key, want: u64, number: u64, lie: impl Fn(String)) {
        let held = self.held(key);
        if held.known == Known::Gone {
            lie(format!("counted to {number} what was not there"));
        } else if want != number {
            lie(format!("counted to {number}, not to {want}"));
        }
        held.known = Known::Number(number);
        held.cas = None;
    }

    /// Counts as `stats` does.
    fn tally(&mut self, ask: &Ask, answer: &Answer) {
        let sums = &mut self.sums;
        sums.add(self.dialect.name(), 1);
        match (&ask.op, answer) {
            (Op::Get, answer) => {
                sums.add("cmd_get", 1);
                sums.add(
                    if *answer == Answer::Missing {
                        "get_misses"
                    } else {
                        "get_hits"
                    },
                    1,
                );
            }
            (Op::GetMany(others), Answer::Items(items)) => {
                let hits = items.iter().flatten().count() as u64;
                sums.add("cmd_get", others.len() as u64 + 1);
                sums.add("get_hits", hits);
                sums.add("get_misses", others.len() as u64 + 1 - hits);
            }
            // A get that was to touch counts as a touch where it hits. Where it misses, meta's counts as a get.
            (Op::Touch(_) | Op::GetTouch(_), Answer::Missing) if self.dialect == Dialect::Meta => {
                sums.add("cmd_get", 1);
                sums.add("get_misses", 1);
            }
            (Op::Delete, Answer::Done) => sums.add("delete_hits", 1),
            (Op::Delete, _) => sums.add("delete_misses", 1),
            (Op::Incr(_), Answer::Number(_)) => sums.add("incr_hits", 1),
            (Op::Incr(_), _) => sums.add("incr_misses", 1),
            (Op::Decr(_), Answer::Number(_)) => sums.add("decr_hits", 1),
            (Op::Decr(_), _) => sums.add("decr_misses", 1),
            _ => {}
        }
        if let Op::Store {
            mode: Mode::Cas(_), ..
        } = ask.op
        {
            let name = match answer {
                Answer::Done => "cas_hits",
                Answer::Changed => "cas_badval",
                _ => "cas_misses",
            };
            sums.add(name, 1);
        }
    }
}

fn name(key: Key) -> (u8, u64) {
    (key.kind as u8, key.index)
}

/// The client flags that are stored with a stamp.
pub(super) fn flags_of(stamp: u64) -> u32 {
    stamp as u32 ^ 0x5a5a_0000
}

fn dies_at(exptime: u32) -> Option<Instant> {
    (exptime > 0).then(|| Instant::now() + Duration::from_secs(u64::from(exptime)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const KEY: Key = Key {
        kind: Kind::Value,
        index: 0,
    };

    /// What becomes of a worker who has these conversations: the lies that it has heard.
    #[track_caller]
    fn check(want: u64, talks: impl FnOnce(&mut Worker<'_>)) {
        let ledger = Arc::new(Ledger::new(10));
        let reach = Reach {
            ledger: ledger.clone(),
            address: ([127, 0, 0, 1], 1).into(),
            tls: None,
        };
        let mut worker = Worker::new(&ledger, &reach, Dialect::Classic, (0, 1), 1, 1000);
        talks(&mut worker);
        assert_eq!(ledger.lies(), want, "{:?}", ledger.complaints());
    }

    fn talk(worker: &mut Worker<'_>, op: Op, stamp: u64, answer: Answer) {
        let exptime = if let Op::Store { exptime, .. } = op {
            exptime
        } else {
            0
        };
        let floors = vec![worker.ledger.floor(KEY)];
        let sent = Sent {
            ask: Ask { key: KEY, op },
            stamp,
            exptime,
            floors,
            at: Instant::now(),
        };
        worker.judge(&sent, answer);
    }

    fn store(worker: &mut Worker<'_>, mode: Mode, stamp: u64, answer: Answer) {
        let op = Op::Store {
            mode,
            flags: flags_of(stamp),
            exptime: 0,
            value: ledger::value(KEY, stamp, 100),
        };
        talk(worker, op, stamp, answer);
    }

    fn read(worker: &mut Worker<'_>, stamp: u64, cas: u64) {
        let item = Item {
            flags: flags_of(stamp),
            cas,
            value: ledger::value(KEY, stamp, 100),
        };
        talk(worker, Op::Get, 0, Answer::Item(item));
    }

    #[test]
    fn what_was_stored_may_be_read_or_forgotten() {
        check(0, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            read(worker, 5, 70);
            read(worker, 5, 70);
            talk(worker, Op::Get, 0, Answer::Missing);
            talk(worker, Op::Get, 0, Answer::Missing);
            store(worker, Mode::Add, 6, Answer::Done);
            read(worker, 6, 71);
        });
    }

    #[test]
    fn an_older_value_is_a_lie_to_the_owner_and_to_others() {
        // It is too old for everybody, and it is not what the owner stored.
        check(2, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            store(worker, Mode::Set, 6, Answer::Done);
            read(worker, 5, 70);
        });
    }

    #[test]
    fn what_was_gone_does_not_come_back() {
        check(1, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            talk(worker, Op::Get, 0, Answer::Missing);
            read(worker, 5, 70);
        });
        check(2, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            talk(worker, Op::Delete, 6, Answer::Done);
            read(worker, 5, 70);
        });
        check(1, |worker| talk(worker, Op::Touch(0), 0, Answer::Done));
    }

    #[test]
    fn a_cas_unique_is_good_for_one_item() {
        check(0, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            read(worker, 5, 70);
            store(worker, Mode::Cas(70), 6, Answer::Done);
            store(worker, Mode::Cas(70), 7, Answer::Changed);
            read(worker, 6, 71);
        });
        check(1, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            read(worker, 5, 70);
            store(worker, Mode::Set, 6, Answer::Done);
            store(worker, Mode::Cas(70), 7, Answer::Done);
        });
        check(1, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            read(worker, 5, 70);
            store(worker, Mode::Cas(70), 6, Answer::Changed);
        });
    }

    #[test]
    fn a_refusal_is_noticed_and_nothing_is_known_after_it() {
        check(1, |worker| {
            store(worker, Mode::Set, 5, Answer::Done);
            store(
                worker,
                Mode::Set,
                6,
                Answer::Refused("SERVER_ERROR out of memory storing object".into()),
            );
            read(worker, 5, 70);
        });
    }
}

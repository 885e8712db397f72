//! Clients who misbehave, each in its own way, over and over. What they do to their own keys nobody knows; what they
//! read is judged as everybody's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::ledger::{self, Key, Kind};
use super::reach::Reach;
use super::talk::{Answer, Ask, Dialect, Mode, Op, Talk};
use super::worker::flags_of;
use crate::distribution::Random;

/// How many keys the misbehaving write.
pub(super) const WILD_KEYS: u64 = 400;
/// How long one who sends garbage waits for the last word.
const LAST_WORD_MAX: Duration = Duration::from_millis(300);

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Asks for megabytes and reads them by the spoonful; leaves in the middle, or at the end.
    SlowReader,
    /// Sends all it will, says so, and wants every answer.
    HalfClosed,
    Garbage,
    /// Values above the largest that are taken: refused, and the conversation goes on.
    Oversized,
    /// Leaves in the middle of a value, in good order or not.
    HalfSent,
    /// Is gone, with a reset, before the answers come.
    Killed,
    /// Comes and goes; or comes and says nothing for a while.
    Silent,
    /// Sends the bytes of its requests one by one.
    Dribble,
    /// To a port of TLS: plaintext, noise, half a handshake, a cut connection.
    TlsNoise,
}

impl Fault {
    pub(super) const ALL: [Fault; 9] = [
        Fault::SlowReader,
        Fault::HalfClosed,
        Fault::Garbage,
        Fault::Oversized,
        Fault::HalfSent,
        Fault::Killed,
        Fault::Silent,
        Fault::Dribble,
        Fault::TlsNoise,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::SlowReader => "slow readers",
            Fault::HalfClosed => "half-closed sockets",
            Fault::Garbage => "garbage",
            Fault::Oversized => "oversized values",
            Fault::HalfSent => "half-sent values",
            Fault::Killed => "killed mid-request",
            Fault::Silent => "silent connections",
            Fault::Dribble => "dribbled requests",
            Fault::TlsNoise => "noise to TLS",
        }
    }
}

/// Misbehaves until the soak stops.
pub(super) fn run(fault: Fault, reach: &Reach, seed: u64, largest: usize) {
    let ledger = &*reach.ledger;
    let mut culprit = Culprit {
        reach,
        random: Random::new(seed),
        largest,
        turn: 0,
    };
    while !ledger.is_stopping() {
        culprit.turn += 1;
        let outcome = match fault {
            Fault::SlowReader => culprit.slow_reader(),
            Fault::HalfClosed => culprit.half_closed(),
            Fault::Garbage => culprit.garbage(),
            Fault::Oversized => culprit.oversized(),
            Fault::HalfSent => culprit.half_sent(),
            Fault::Killed => culprit.killed(),
            Fault::Silent => culprit.silent(),
            Fault::Dribble => culprit.dribble(),
            Fault::TlsNoise => culprit.tls_noise(),
        };
        match outcome {
            Ok(()) => ledger.count_one(fault.name()),
            Err(error) => ledger.lie(|| format!("{}: {error}", fault.name())),
        }
        let pause = culprit.random.below(40);
        ledger.pause(Duration::from_millis(5 + pause));
    }
}

/// What went wrong, and where.
fn at(error: io::Error, place: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

struct Culprit<'a> {
    reach: &'a Reach,
    random: Random,
    largest: usize,
    turn: usize,
}

impl Culprit<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::ALL[self.turn % 3]
    }

    fn key(&mut self) -> Key {
        Key {
            kind: Kind::Wild,
            index: self.random.below(WILD_KEYS),
        }
    }

    fn set(&mut self, size: usize) -> Ask {
        let (key, stamp) = (self.key(), self.reach.ledger.stamp());
        let (mode, flags) = (Mode::Set, flags_of(stamp));
        Ask {
            key,
            op: Op::Store {
                mode,
                flags,
                exptime: 0,
                value: ledger::value(key, stamp, size),
            },
        }
    }

    fn meet(&self) -> io::Result<(Talk, TcpStream)> {
        self.reach.talk_over(self.dialect(), self.reach.socket()?)
    }

    /// Requests of several sizes, with the questions.
    fn some(&mut self, count: usize, talk: &mut Talk) -> Vec<Ask> {
        let mut asks = Vec::new();
        for _ in 0..count {
            let ask = match self.random.below(3) {
                0 => Ask {
                    key: self.key(),
                    op: Op::Get,
                },
                1 => {
                    let others = (0..4).map(|_| self.key()).collect();
                    Ask {
                        key: self.key(),
                        op: Op::GetMany(others),
                    }
                }
                _ => {
                    let size = self.random.below(2000) as usize;
                    self.set(size)
                }
            };
            talk.write(&ask);
            asks.push(ask);
        }
        asks
    }

    fn judge(&self, ask: &Ask, answer: &Answer) {
        let keys = match &ask.op {
            Op::GetMany(others) => [ask.key].iter().chain(others).copied().collect(),
            _ => vec![ask.key],
        };
        let items = match answer {
            Answer::Items(items) => items.clone(),
            Answer::Item(item) => vec![Some(item.clone())],
            Answer::Refused(words) => {
                self.reach
                    .ledger
                    .lie(|| format!("{}: refused: {words}", ask.key.name()));
                return;
            }
            _ => return,
        };
        for (key, item) in keys.iter().zip(items) {
            if let Some(item) = item
                && let Err(what) = ledger::stamp_of(*key, &item.value)
            {
                self.reach.ledger.lie(|| format!("{}: {what}", key.name()));
            }
        }
    }

    fn slow_reader(&mut self) -> io::Result<()> {
        let (mut talk, socket) = self.meet()?;
        // A few large values, several times over: more than all buffers on the way hold.
        let size = (self.largest / 2).min(400_000);
        let large: Vec<Ask> = (0..3).map(|_| self.set(size)).collect();
        for ask in &large {
            let answer = talk.ask(ask).map_err(|error| at(error, "storing"))?;
            self.judge(ask, &answer);
        }
        let asks: Vec<Ask> = (0..15)
            .map(|at| Ask {
                key: large[at % 3].key,
                op: Op::Get,
            })
            .collect();
        for ask in &asks {
            talk.write(ask);
        }
        talk.send().map_err(|error| at(error, "asking"))?;
        let until = Instant::now() + Duration::from_millis(500 + self.random.below(3000));
        let stays = self.turn.is_multiple_of(2);
        if !stays {
            // Beneath the conversation: nobody will understand what is left.
            let mut spoon = [0; 2000];
            while Instant::now() < until && !self.reach.ledger.is_stopping() {
                let mut size = (&socket).read(&mut spoon);
                if size
                    .as_ref()
                    .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
                {
                    // A flush may have left so little that all has been read. Then the next answer comes; if something
                    // was still due, that has had its time.
                    talk.write(&asks[0]);
                    talk.send().map_err(|error| at(error, "asking once more"))?;
                    size = (&socket).read(&mut spoon);
                }
                if size.map_err(|error| at(error, "reading by spoonfuls"))? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            return if self.turn.is_multiple_of(3) {
                reset(&socket)
            } else {
                Ok(())
            };
        }
        for ask in &asks {
            self.reach.ledger.pause(Duration::from_millis(100));
            let answer = talk.read(ask).map_err(|error| at(error, "reading"))?;
            self.judge(ask, &answer);
        }
        Ok(())
    }

    fn half_closed(&mut self) -> io::Result<()> {
        let (mut talk, socket) = self.meet()?;
        let asks = self.some(20, &mut talk);
        talk.send()?;
        if self.reach.tls.is_none() {
            socket.shutdown(Shutdown::Write)?;
        }
        for ask in &asks {
            let answer = talk.read(ask)?;
            self.judge(ask, &answer);
        }
        if self.reach.tls.is_none() {
            match talk.line() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                other => return Err(io::Error::other(format!("{other:?} after the last answer"))),
            }
        }
        Ok(())
    }

    fn garbage(&mut self) -> io::Result<()> {
        let (mut talk, socket) = self.meet()?;
        let size = 1 + self.random.below(20_000) as usize;
        let mut bytes: Vec<u8> = (0..size).map(|_| self.random.word() as u8).collect();
        match self.turn % 4 {
            // Binary, with sizes that make little sense.
            0 => bytes[0] = 0x80,
            1 => bytes.iter_mut().for_each(|byte| *byte = b' ' + *byte % 94),
            // Words of the protocol in no order.
            2 => {
                let words = [
                    "get ",
                    "set ",
                    "mg ",
                    "ms ",
                    "gat ",
                    "me ",
                    "mn",
                    " k",
                    " 0",
                    " 99999999",
                    "\r\n",
                    " noreply",
                    "\n",
                ];
                bytes.clear();
                for _ in 0..500 {
                    let at = self.random.below(words.len() as u64) as usize;
                    bytes.extend_from_slice(words[at].as_bytes());
                }
            }
            _ => {}
        }
        // The server may have closed already: that is its right.
        let _ = (&socket).write_all(&bytes);
        let _ = socket.shutdown(Shutdown::Write);
        socket.set_read_timeout(Some(LAST_WORD_MAX))?;
        let until = Instant::now() + LAST_WORD_MAX;
        while talk.line().is_ok() && Instant::now() < until {}
        Ok(())
    }

    fn oversized(&mut self) -> io::Result<()> {
        let (mut talk, _) = self.meet()?;
        let mut size = self.largest + 1 + self.random.below(3) as usize * self.largest;
        if talk.dialect() != Dialect::Classic {
            size = size.max(self.largest + 4096);
        }
        let large = self.set(size);
        match talk.ask(&large)? {
            Answer::Refused(_) => {}
            other => return Err(io::Error::other(format!("{other:?} to {size} bytes"))),
        }
        let asks = self.some(3, &mut talk);
        talk.send()?;
        for ask in &asks {
            let answer = talk.read(ask)?;
            self.judge(ask, &answer);
        }
        Ok(())
    }

    fn half_sent(&mut self) -> io::Result<()> {
        let (mut talk, mut socket) = self.meet()?;
        let size = [100, 3000, 20_000, self.largest / 2][self.random.below(4) as usize];
        let ask = self.set(size);
        talk.write(&ask);
        let bytes = talk.take_output();
        let cut = 1 + self.random.below(bytes.len() as u64 - 1) as usize;
        // Without TLS even where there is TLS: then it is no record, and the server may hang up before it has all.
        match socket.write_all(&bytes[..cut]) {
            Err(error) if self.reach.tls.is_some() && has_hung_up(&error) => return Ok(()),
            outcome => outcome?,
        }
        match self.random.below(3) {
            0 => reset(&socket),
            1 => {
                // Long enough for the server to have taken the first part in.
                self.reach.ledger.pause(Duration::from_millis(20));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn killed(&mut self) -> io::Result<()> {
        let (mut talk, socket) = self.meet()?;
        self.some(30, &mut talk);
        talk.send()?;
        match self.random.below(3) {
            0 => {}
            1 => std::thread::sleep(Duration::from_micros(self.random.below(500))),
            // With an answer or two read.
            _ => {
                let mut some = [0; 100];
                let _ = (&socket).read(&mut some)?;
            }
        }
        reset(&socket)
    }

    fn silent(&mut self) -> io::Result<()> {
        let socket = self.reach.socket()?;
        if self.random.below(20) == 0 {
            self.reach
                .ledger
                .pause(Duration::from_millis(self.random.below(2000)));
        }
        if self.random.below(2) == 0 {
            reset(&socket)
        } else {
            Ok(())
        }
    }

    fn dribble(&mut self) -> io::Result<()> {
        let (mut talk, mut socket) = self.meet()?;
        if self.reach.tls.is_some() {
            return Ok(());
        }
        let asks = self.some(3, &mut talk);
        let bytes = talk.take_output();
        for piece in bytes.chunks(1 + self.random.below(60) as usize) {
            socket.write_all(piece)?;
            std::thread::sleep(Duration::from_micros(300));
        }
        for ask in &asks {
            let answer = talk.read(ask)?;
            self.judge(ask, &answer);
        }
        Ok(())
    }

    fn tls_noise(&mut self) -> io::Result<()> {
        let mut socket = self.reach.socket()?;
        let mut noise: Vec<u8> = (0..300).map(|_| self.random.word() as u8).collect();
        match self.turn % 5 {
            0 => noise = b"get a\r\nset b 0 0 1\r\nc\r\n".to_vec(),
            // The head of a record of a handshake, and noise in it.
            1 => noise[..5].copy_from_slice(&[22, 3, 1, 1, 0]),
            2 => {}
            // Half a handshake, and then nothing, or the end.
            3 => noise = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
            // A good one, cut within a record.
            _ => {
                let (_talk, mut socket) = self.meet()?;
                socket.write_all(&[23, 3, 3, 1, 0, 1, 2, 3])?;
                return Ok(());
            }
        }
        let _ = socket.write_all(&noise);
        socket.set_read_timeout(Some(LAST_WORD_MAX))?;
        let mut reply = [0; 200];
        let _ = socket.read(&mut reply);
        Ok(())
    }
}

/// Whether nobody listens any more at the other end.
fn has_hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// The connection ends with a reset when the last of its descriptors is closed.
fn reset(socket: &TcpStream) -> io::Result<()> {
    Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
}

//! Those who look at the server while it works, and who flush it from time to time. Each checks that what it is told
//! makes sense.

use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::ledger::{self, Key, Kind, Ledger};
use super::reach::Reach;
use super::sheet::Statistics;
use super::talk::Dialect;
use crate::distribution::Random;

/// What there is besides the general statistics.
const OTHER_STATISTICS: [&str; 5] = ["items", "slabs", "sizes", "conns", "settings"];
/// Datagrams may be lost, so nobody waits longer for one.
const DATAGRAM_MAX: Duration = Duration::from_millis(500);

/// Runs `look` until the soak stops, each time on a new connection; what goes wrong is a lie.
fn until_stopped(ledger: &Ledger, name: &'static str, mut look: impl FnMut(usize) -> io::Result<()>) {
    let mut turn = 0;
    while !ledger.is_stopping() {
        turn += 1;
        match look(turn) {
            Ok(()) => ledger.count_one(name),
            Err(error) => {
                ledger.lie(|| format!("{name}: {error}"));
                ledger.pause(Duration::from_secs(1));
            }
        }
    }
}

/// Reads all statistics, and holds against each other what must agree at any time.
pub(super) fn read_statistics(reach: &Reach) {
    until_stopped(&reach.ledger, "readers of statistics", |turn| {
        let mut talk = reach.talk(Dialect::Classic)?;
        let statistics = Statistics::read(&mut talk)?;
        let of = |name| statistics.number(name);
        if of("get_hits") + of("get_misses") != of("cmd_get") {
            return Err(io::Error::other(format!(
                "{} hits and {} misses of {} gets",
                of("get_hits"),
                of("get_misses"),
                of("cmd_get")
            )));
        }
        if of("bytes") > of("limit_maxbytes") {
            return Err(io::Error::other(format!(
                "{} bytes, {} allowed",
                of("bytes"),
                of("limit_maxbytes")
            )));
        }
        let other = OTHER_STATISTICS[turn % OTHER_STATISTICS.len()];
        let mut line = talk.command(&format!("stats {other}"))?;
        while line != "END" {
            if !line.starts_with("STAT ") {
                return Err(io::Error::other(format!("stats {other}: {line:?}")));
            }
            line = talk.line()?;
        }
        reach.ledger.pause(Duration::from_millis(200));
        Ok(())
    });
}

/// Watches for a while, reading fast, slowly, or not at all.
pub(super) fn watch(reach: &Reach, seed: u64) {
    let mut random = Random::new(seed);
    until_stopped(&reach.ledger, "watchers", |turn| {
        let (mut talk, socket) = reach.talk_over(Dialect::Classic, reach.socket()?)?;
        let said = talk.command("watch fetchers mutations evictions connevents deletions")?;
        if said != "OK" {
            return Err(io::Error::other(said));
        }
        let until = Instant::now() + Duration::from_millis(200 + random.below(2000));
        match turn % 3 {
            0 => reach
                .ledger
                .pause(until.saturating_duration_since(Instant::now())),
            1 => {
                let mut spoon = [0; 1000];
                while Instant::now() < until && !reach.ledger.is_stopping() {
                    if (&socket).read(&mut spoon)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            _ => {
                while Instant::now() < until && !reach.ledger.is_stopping() {
                    let mut line = Vec::new();
                    // memcached ends the lines of its log with a bare line feed.
                    talk.until_line_feed(&mut line)?;
                    if !line.starts_with(b"ts=") && !line.starts_with(b"skipped=") {
                        return Err(io::Error::other(format!(
                            "no line of a log: {:?}",
                            String::from_utf8_lossy(&line)
                        )));
                    }
                }
            }
        }
        Ok(())
    });
}

/// Lists all items, and leaves now and then in the middle of it.
pub(super) fn dump(reach: &Reach, seed: u64) {
    let mut random = Random::new(seed);
    until_stopped(&reach.ledger, "lists of all items", |turn| {
        let mut talk = reach.talk(Dialect::Classic)?;
        talk.say("lru_crawler metadump all")?;
        let leaves_after = if turn.is_multiple_of(4) {
            random.below(500)
        } else {
            u64::MAX
        };
        let mut lines = 0;
        loop {
            let mut line = Vec::new();
            talk.until_line_feed(&mut line)?;
            match line.trim_ascii_end() {
                b"OK" if lines == 0 => {}
                b"END" => break,
                text if text.starts_with(b"BUSY") => break,
                text if text.starts_with(b"key=") => lines += 1,
                text => {
                    let text = String::from_utf8_lossy(text);
                    return Err(io::Error::other(format!("no line of a list: {text:?}")));
                }
            }
            if lines >= leaves_after {
                return Ok(());
            }
        }
        reach
            .ledger
            .pause(Duration::from_millis(1000 + random.below(3000)));
        Ok(())
    });
}

/// Flushes from time to time; from then on nobody may read what was stored before.
pub(super) fn flush(reach: &Reach, seed: u64) {
    let mut random = Random::new(seed);
    until_stopped(&reach.ledger, "flushes", |_| {
        reach
            .ledger
            .pause(Duration::from_millis(10_000 + random.below(20_000)));
        let mut talk = reach.talk(Dialect::Classic)?;
        reach.ledger.flush(|| match talk.command("flush_all") {
            Ok(said) if said == "OK" => Ok(()),
            Ok(said) => Err(io::Error::other(said)),
            Err(error) => Err(error),
        })
    });
}

/// Asks by datagrams, sends some that are nonsense, and checks what comes back.
pub(super) fn datagrams(ledger: &Ledger, address: SocketAddr, seed: u64) {
    let mut random = Random::new(seed);
    let mut number = 0u16;
    until_stopped(ledger, "datagrams", |turn| {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(DATAGRAM_MAX))?;
        for _ in 0..100 {
            if ledger.is_stopping() {
                break;
            }
            number = number.wrapping_add(1);
            let key = Key {
                kind: Kind::Value,
                index: random.below(ledger.keys()),
            };
            let floor = ledger.floor(key);
            let mut datagram = number.to_be_bytes().to_vec();
            datagram.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
            if turn.is_multiple_of(10) && random.below(2) == 0 {
                datagram.extend((0..random.below(200)).map(|_| random.word() as u8));
                socket.send(&datagram)?;
                continue;
            }
            datagram.extend_from_slice(b"get ");
            key.write(&mut datagram);
            datagram.extend_from_slice(b"\r\n");
            socket.send(&datagram)?;
            if let Some(reply) = reply(&socket, number)? {
                judge(ledger, key, floor, &reply);
            }
            ledger.pause(Duration::from_millis(2));
        }
        Ok(())
    });
}

/// The whole reply to the request of this number, unless some of it was lost.
fn reply(socket: &UdpSocket, number: u16) -> io::Result<Option<Vec<u8>>> {
    let mut pieces: Vec<Option<Vec<u8>>> = Vec::new();
    let mut room = vec![0; 65_536];
    loop {
        let size = match socket.recv(&mut room) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let word = |at: usize| u16::from_be_bytes([room[at], room[at + 1]]);
        if size < 8 || word(6) != 0 || word(2) >= word(4) {
            return Err(io::Error::other(format!(
                "a datagram with the head {:?}",
                &room[..size.min(8)]
            )));
        }
        // Late, from an earlier request.
        if word(0) != number {
            continue;
        }
        pieces.resize(usize::from(word(4)), None);
        pieces[usize::from(word(2))] = Some(room[8..size].to_vec());
        if pieces.iter().all(Option::is_some) {
            return Ok(Some(pieces.into_iter().flatten().flatten().collect()));
        }
    }
}

fn judge(ledger: &Ledger, key: Key, floor: u64, reply: &[u8]) {
    if reply == b"END\r\n" {
        return;
    }
    let line_end = reply.windows(2).position(|pair| pair == b"\r\n").unwrap_or(0);
    let value = reply
        .get(line_end + 2..reply.len().saturating_sub(7))
        .unwrap_or_default();
    // A value too large for datagrams is refused.
    if reply.starts_with(b"SERVER_ERROR ") {
        return;
    }
    match ledger::stamp_of(key, value) {
        Ok(stamp) if stamp >= floor => {}
        other => ledger.lie(|| format!("by datagram, {}: {other:?}, the floor is {floor}", key.name())),
    }
}

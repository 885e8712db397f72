//! TLS, between a connection's socket and its session.
//!
//! ```text
//!   socket --> received --> Tls::open --> plaintext, record by record --> Session::receive
//!   socket <-- sealed   <-- Tls::seal <-- Session::output, between turns
//! ```
//!
//! Whatever the loop, it moves sealed bytes, and the session has never heard of a key. Opening happens in a turn, sealing
//! after it, when the core has let go of its shard. Output is sealed only when what was sealed before has gone, so a
//! client who is slow to read finds the session's own limit on output.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use crate::mesh::{ClientCertificate, Entrance};
use crate::session::{Buffers, Counters, Output};
use crate::time::Seconds;

/// Seconds that a handshake may take, however fast its bytes come.
pub(super) const HANDSHAKE_SECONDS_MAX: u32 = 30;

/// Bytes that are sealed and not sent, above which no more are sealed.
const SEALED_SIZE_MAX: usize = 256 * 1024;

/// Bytes of output that are sealed together: rustls makes records of 16 KiB, and keeps them until they are taken.
const SEALED_AT_ONCE: usize = 64 * 1024;

/// What rustls may hold for a connection with half a record or more of either direction: it does not say.
const RECORDS_SIZE: usize = 24 * 1024;

const TO_MEMORY: &str = "writing to memory does not fail";

/// What new connections are met with. It can be exchanged while the server runs.
pub struct TlsConfigs(RwLock<TlsConfigSet>);

/// One for each demand on clients. Sessions can be resumed only where the same is demanded: they share nothing.
pub struct TlsConfigSet {
    pub not_asked: Arc<ServerConfig>,
    pub asked: Arc<ServerConfig>,
    pub required: Arc<ServerConfig>,
}

impl fmt::Debug for TlsConfigs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsConfigs(..)")
    }
}

impl TlsConfigs {
    pub fn new(set: TlsConfigSet) -> TlsConfigs {
        TlsConfigs(RwLock::new(set))
    }

    /// From now on these. Connections that are there keep theirs.
    pub fn replace(&self, set: TlsConfigSet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = set;
    }

    fn current(&self, certificate: ClientCertificate) -> Arc<ServerConfig> {
        let set = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match certificate {
            ClientCertificate::NotAsked => set.not_asked.clone(),
            ClientCertificate::Asked => set.asked.clone(),
            ClientCertificate::Required => set.required.clone(),
        }
    }
}

/// How a connection that has come by an entrance is to be spoken to.
pub(super) enum Met {
    Plain,
    Tls(Box<Tls>),
    /// Not at all.
    Refused,
}

/// One connection's TLS.
pub(super) struct Tls {
    connection: ServerConnection,
    /// What the session has said and is yet to be sealed.
    output: Output,
    /// What the loop may send.
    sealed: Output,
    /// When the connection came.
    since: Seconds,
    /// The handshake is over, and was counted.
    has_met: bool,
    /// The client broke the protocol: an alert is all that he will hear.
    has_failed: bool,
}

/// What became of bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    GoesOn,
    /// The client has said all, or nothing that can be understood.
    Ended,
}

impl Tls {
    /// Begins where the entrance demands it. Without `configs` nobody comes in there.
    pub(super) fn meet(entrance: Entrance, configs: Option<&TlsConfigs>, now: Seconds) -> Met {
        let Entrance::Tls(certificate) = entrance else {
            return Met::Plain;
        };
        let connection = configs.map(|configs| ServerConnection::new(configs.current(certificate)));
        let Some(Ok(mut connection)) = connection else {
            return Met::Refused;
        };
        // Whatever is handed to it is sealed and taken at once.
        connection.set_buffer_limit(None);
        Met::Tls(Box::new(Tls {
            connection,
            output: Output::default(),
            sealed: Output::default(),
            since: now,
            has_met: false,
            has_failed: false,
        }))
    }

    /// Bytes came: hands on the plaintext of every record that is complete.
    pub(super) fn open(
        &mut self,
        bytes: &[u8],
        counters: &mut Counters,
        hand_on: impl FnMut(&[u8]),
    ) -> Opened {
        if self.has_failed {
            return Opened::Ended;
        }
        let opened = self.open_all(bytes, hand_on);
        if opened.is_err() {
            self.has_failed = true;
            if self.has_met {
                counters.ssl_proto_errors += 1;
            } else {
                counters.ssl_handshake_errors += 1;
            }
        } else if !self.has_met && !self.connection.is_handshaking() {
            self.has_met = true;
            let is_new = self.connection.handshake_kind() != Some(HandshakeKind::Resumed);
            counters.ssl_new_sessions += u64::from(is_new);
        }
        opened.unwrap_or(Opened::Ended)
    }

    fn open_all(&mut self, mut bytes: &[u8], mut hand_on: impl FnMut(&[u8])) -> Result<Opened, Broken> {
        while !bytes.is_empty() {
            // Takes none of what comes behind the client's last word.
            if self.connection.read_tls(&mut bytes).map_err(|_| Broken)? == 0 {
                break;
            }
            let state = self.connection.process_new_packets().map_err(|_| Broken)?;
            let mut reader = self.connection.reader();
            while let Ok(plaintext) = reader.fill_buf() {
                if plaintext.is_empty() {
                    break;
                }
                let size = plaintext.len();
                hand_on(plaintext);
                reader.consume(size);
            }
            if state.peer_has_closed() {
                return Ok(Opened::Ended);
            }
        }
        Ok(Opened::GoesOn)
    }

    /// Bytes of memory that it takes, pages of items apart.
    pub(super) fn memory(&self) -> usize {
        RECORDS_SIZE + self.output.memory() + self.sealed.memory()
    }

    /// Of these, what is in use: what is to be sealed, and what is sealed and not read.
    pub(super) fn used(&self) -> usize {
        self.output.used() + self.sealed.used()
    }

    /// Whether the handshake is over.
    pub(super) fn has_met(&self) -> bool {
        self.has_met
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether the client has taken too long to shake hands.
    pub(super) fn is_late(&self, now: Seconds) -> bool {
        !self.has_met && now.since(self.since) > HANDSHAKE_SECONDS_MAX
    }

    /// What the loop may send now.
    pub(super) fn sealed(&self) -> &Output {
        &self.sealed
    }

    pub(super) fn take_sealed(&mut self) -> Output {
        std::mem::take(&mut self.sealed)
    }

    /// Whether some of the output that it took is yet to be sealed.
    pub(super) fn is_sealing(&self) -> bool {
        !self.output.is_empty()
    }

    /// Takes the session's output, when all of the one before has been sealed. After a failure nobody could read it.
    pub(super) fn take_output(&mut self, output: Output) {
        if !self.has_failed {
            self.output = output;
        }
    }

    /// Seals as much of the output as may be under way, and whatever rustls itself has to say. What was sealed before must
    /// have gone.
    pub(super) fn seal(&mut self, buffers: &mut Buffers) {
        if self.output.is_empty() && !self.connection.wants_write() {
            return;
        }
        *self.sealed.bytes() = buffers.take();
        self.take_records();
        while !self.output.is_empty() && self.sealed.bytes().len() < SEALED_SIZE_MAX {
            let piece = self.output.piece();
            let size = piece.len().min(SEALED_AT_ONCE);
            self.connection
                .writer()
                .write_all(&piece[..size])
                .expect(TO_MEMORY);
            self.output.advance(size);
            self.take_records();
        }
        if self.output.is_empty() {
            buffers.give(std::mem::take(&mut self.output).into_buffer());
        }
    }

    /// Says that nothing more will come.
    pub(super) fn say_last_word(&mut self, buffers: &mut Buffers) {
        self.connection.send_close_notify();
        if self.connection.wants_write() && self.sealed.is_empty() {
            *self.sealed.bytes() = buffers.take();
        }
        self.take_records();
    }

    /// Moves what rustls has made to where the loop finds it.
    fn take_records(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(self.sealed.bytes()).expect(TO_MEMORY);
        }
    }
}

/// What came is no TLS, or not ours, or forged: rustls knows which, and has told the client.
struct Broken;

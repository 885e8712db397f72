//! `config get`, `config set` and `config delete`: what a session says about the published ring.
//!
//! A session knows of the ring a number and some bytes. What they mean, who else has them and where they came from is
//! the [`Fleet`]'s affair, which the server brings along.

use std::fmt::Debug;
use std::sync::Arc;

use super::pipeline::Pipeline;
use super::{Desk, Shards, Wire};
use crate::command::{Hit, Reply, Value};
use crate::protocol::{self, CLUSTER, Spelling, Word};

/// The ring in force, as it is told to clients.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    pub version: u32,
    /// Version and nodes, two lines.
    pub payload: Box<[u8]>,
}

/// The server's knowledge of its fleet. Shared by all cores, asked only by words about the ring.
pub trait Fleet: Debug + Send + Sync {
    /// The ring in force. Takes no lock.
    fn ring(&self) -> Option<Arc<Published>>;

    /// Somebody who may offers a ring. Why it is not taken, otherwise.
    fn offer(&self, payload: &[u8]) -> Result<(), String>;

    /// Publishes nothing from now on. Returns whether there was a ring.
    fn withdraw(&self) -> bool;

    /// Calls `line` with the name and value of every figure; never, for a server that is of no fleet.
    fn statistics(&self, line: &mut dyn FnMut(&str, &str));
}

/// Who may set the published ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RingAdmin {
    #[default]
    Nobody,
    /// Clients on this machine: over a unix socket or from a loopback address.
    Local,
    Anyone,
}

/// Answers a word about the ring.
pub(super) fn answer<S: Shards, W: Wire>(
    asked: protocol::Fleet<'_>,
    spelling: Spelling,
    pipeline: &mut Pipeline,
    desk: &mut Desk<'_, S, W>,
) {
    use protocol::Fleet;
    let fleet = &desk.facts.fleet;
    let out = pipeline.writer(desk.buffers);
    let may_set = match desk.rules.ring_admin {
        RingAdmin::Nobody => false,
        RingAdmin::Local => desk.wire.is_local(),
        RingAdmin::Anyone => true,
    };
    let mut reply = |reply: Reply<'_>, key| {
        let left = protocol::write(out, spelling, key, &[], &reply, usize::MAX);
        debug_assert!(left.is_none());
    };
    match (asked, fleet.ring()) {
        (Fleet::Get { name: CLUSTER }, Some(ring)) => {
            protocol::write_config(out, spelling, &ring.payload);
        }
        (Fleet::OldGet { request }, Some(ring)) => reply(Reply::Hit(as_item(&ring)), request.key),
        (Fleet::OldGet { request }, None) => reply(Reply::Miss, request.key),
        (Fleet::Get { name }, Some(_)) => match spelling {
            Spelling::Binary { .. } => reply(Reply::Miss, name),
            _ => reply(Reply::NotFound, name),
        },
        // Without a ring we are a memcached, which has never heard of such words.
        (Fleet::Get { .. }, None) => protocol::say(out, spelling, Word::Unknown),
        (Fleet::Set { .. } | Fleet::Delete { .. }, _) if !may_set => {
            protocol::say(out, spelling, Word::ConfigNotAllowed);
        }
        (
            Fleet::Set {
                name: CLUSTER,
                payload,
            },
            _,
        ) => match fleet.offer(payload) {
            Ok(()) => protocol::say(out, spelling, Word::Stored),
            Err(mistake) => protocol::write_mistake(out, spelling, &mistake),
        },
        (Fleet::Delete { name: CLUSTER }, _) if fleet.withdraw() => reply(Reply::Deleted, CLUSTER),
        (Fleet::Set { name, .. } | Fleet::Delete { name }, _) => reply(Reply::NotFound, name),
    }
}

/// The ring as the value of a get.
fn as_item(ring: &Published) -> Hit<'_> {
    Hit {
        key: protocol::OLD_KEY,
        value: Value::whole(&ring.payload),
        flags: 0,
        cas: ring.version.into(),
        left_before: None,
        left_after: None,
        idle: 0,
        fetched: true,
        key_is_binary: false,
        won: false,
        stale: false,
        token_sent: false,
        vivified: false,
        class: 1,
        item_size: 0,
    }
}

/// A server that is of no fleet.
#[derive(Debug)]
pub struct NoFleet;

impl Fleet for NoFleet {
    fn ring(&self) -> Option<Arc<Published>> {
        None
    }

    fn offer(&self, _payload: &[u8]) -> Result<(), String> {
        Err("this server is of no fleet".to_owned())
    }

    fn withdraw(&self) -> bool {
        false
    }

    fn statistics(&self, _line: &mut dyn FnMut(&str, &str)) {}
}

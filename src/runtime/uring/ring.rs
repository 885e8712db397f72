//! The io_uring instance of one core: set-up, the one system call, and the words for user data.

#![expect(
    unsafe_code,
    reason = "queue entries carry addresses; see each SAFETY comment"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::register::Restriction;
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::BufferRing;
use crate::session::ConnectionId;

/// Entries of the submission queue: one send for each connection served in a turn, and then some. When it is
/// full it is submitted early.
const SUBMISSIONS: u32 = 1024;

/// Entries of the completion queue. Above it the kernel keeps the overflow in its own memory.
const COMPLETIONS: u32 = 8192;

/// `IORING_ENTER_GETEVENTS`: run what the kernel has put off, whether or not we wait.
const GETEVENTS: u32 = 1;

/// All that the loop asks of the kernel: accepting (one or many: the kernel has one code for both), receiving, sending,
/// watching datagrams, being woken and waking.
const OPCODES: [u8; 7] = [
    opcode::AcceptMulti::CODE,
    opcode::RecvMulti::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Send::CODE,
    opcode::Read::CODE,
    opcode::MsgRingData::CODE,
];

/// And how: with buffers of the ring's own, and without a completion where nobody waits for one.
const SQE_FLAGS: squeue::Flags = squeue::Flags::BUFFER_SELECT.union(squeue::Flags::SKIP_SUCCESS);

pub(super) struct Ring {
    /// Dropped before the buffers: the kernel must be gone when they go.
    ring: IoUring,
    /// Completions that had to be taken before the kernel would go on. They come first.
    early: Vec<cqueue::Entry>,
    pub(super) buffers: BufferRing,
}

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Accept(u32),
    Receive(ConnectionId),
    /// A receive could not be made to end.
    Cancel(ConnectionId),
    /// A send that was to finish within the system call and did not.
    SendNow(ConnectionId),
    /// A send that the kernel finishes in its own time.
    SendLater(ConnectionId),
    /// A peer or the main thread wants to be heard.
    Wake,
    /// Nobody waits for it.
    Nothing,
}

/// The generation is cut to 24 bits: a connection's place is free only when no completion is outstanding, so the
/// index alone would do.
impl Token {
    pub(super) fn pack(self) -> u64 {
        let connection = |tag: u64, id: ConnectionId| {
            tag << 56 | u64::from(id.generation & 0xff_ffff) << 32 | u64::from(id.index)
        };
        match self {
            Token::Nothing => 0,
            Token::Accept(listener) => 1 << 56 | u64::from(listener),
            Token::Receive(id) => connection(2, id),
            Token::SendNow(id) => connection(3, id),
            Token::SendLater(id) => connection(4, id),
            Token::Wake => 5 << 56,
            Token::Cancel(id) => connection(6, id),
        }
    }

    /// The inverse of [`Token::pack`], but for the generation's highest 8 bits.
    pub(super) fn unpack(data: u64) -> Token {
        let id = ConnectionId {
            index: data as u32,
            generation: (data >> 32) as u32 & 0xff_ffff,
        };
        match data >> 56 {
            1 => Token::Accept(data as u32),
            2 => Token::Receive(id),
            3 => Token::SendNow(id),
            4 => Token::SendLater(id),
            5 => Token::Wake,
            6 => Token::Cancel(id),
            _ => Token::Nothing,
        }
    }
}

impl Ring {
    /// Sets the ring up on the thread that will use it. If it is confined, the kernel refuses (with EACCES, in a
    /// completion) every entry but those of [`OPCODES`], and whatever else might be registered.
    pub(super) fn new(is_confined: bool) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        if is_confined {
            builder.setup_r_disabled();
        }
        let ring = builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = BufferRing::register(&ring.submitter())?;
        if is_confined {
            let flags = Restriction::sqe_flags_allowed(SQE_FLAGS.bits());
            let mut restrictions: Vec<_> = OPCODES.map(Restriction::sqe_op).into();
            restrictions.push(flags);
            ring.submitter().register_restrictions(&mut restrictions)?;
            ring.submitter().register_enable_rings()?;
        }
        Ok(Ring {
            ring,
            early: Vec::new(),
            buffers,
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Queues an entry whose buffer, if it has one, stays where it is until its completion, or until
    /// [`Ring::enter`] returns for those that finish within it. Submits early when the queue is full.
    ///
    /// # Safety
    ///
    /// - Every address in the entry stays valid and unchanged for that long.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: the caller's contract is the callee's.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.submit_all(0);
        }
    }

    /// Submits everything queued, lets the kernel do what it has put off, and waits for a completion if `wait`. When it
    /// returns, all that was queued has been submitted.
    pub(super) fn enter(&mut self, wait: bool) {
        self.submit_all(u32::from(wait));
    }

    fn submit_all(&mut self, wait: u32) {
        loop {
            let queued = {
                let mut queue = self.ring.submission();
                queue.sync();
                queue.len()
            };
            // Who waits for completions has some if they were taken early.
            let wait = if self.early.is_empty() { wait } else { 0 };
            // SAFETY: no argument structure is passed. The entries' addresses are valid by `push`'s contract.
            let outcome = unsafe {
                self.ring
                    .submitter()
                    .enter::<()>(queued as u32, wait, GETEVENTS, None)
            };
            match outcome {
                Ok(submitted) if submitted >= queued => return,
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    // A signal came.
                    Some(libc::EINTR) if queued == 0 => return,
                    Some(libc::EINTR) => {}
                    // Memory is short, or completions must be taken first.
                    Some(libc::EAGAIN | libc::EBUSY) => self.early.extend(self.ring.completion()),
                    _ => panic!("io_uring_enter: {error}"),
                },
            }
        }
    }

    /// Whether a look at the queues would find something, without a system call.
    pub(super) fn has_news(&mut self) -> bool {
        let put_off = {
            let queue = self.ring.submission();
            queue.taskrun() || queue.cq_overflow()
        };
        put_off || !self.early.is_empty() || !self.ring.completion().is_empty()
    }

    /// Moves all completions to `list`, so that the queue is free while they are worked on.
    pub(super) fn take_completions(&mut self, list: &mut Vec<cqueue::Entry>) {
        list.clear();
        list.append(&mut self.early);
        list.extend(self.ring.completion());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A confined ring does what the loop needs and refuses everything else.
    #[test]
    fn a_confined_ring_does_what_serving_takes() {
        let mut ring = match Ring::new(true) {
            Ok(ring) => ring,
            Err(error) => return eprintln!("SKIP io_uring: {error}"),
        };
        let mut outcome = |entry| {
            // SAFETY: the entries below hold the addresses of constants, or none.
            unsafe { ring.push(entry, Token::Wake) };
            ring.enter(true);
            let mut completions = Vec::new();
            ring.take_completions(&mut completions);
            completions.first().map(cqueue::Entry::result)
        };
        let no_file = io_uring::types::Fd(-1);
        let refused = Some(-libc::EACCES);
        let path = c"/dev/null";
        for (what, entry) in [
            ("open", opcode::OpenAt::new(no_file, path.as_ptr()).build()),
            (
                "socket",
                opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(),
            ),
            (
                "write",
                opcode::Write::new(no_file, path.as_ptr().cast(), 1).build(),
            ),
            ("splice", opcode::Splice::new(no_file, -1, no_file, -1, 1).build()),
            ("nop", opcode::Nop::new().build()),
            (
                "linked",
                opcode::PollAdd::new(no_file, libc::POLLIN as u32)
                    .build()
                    .flags(squeue::Flags::IO_LINK),
            ),
        ] {
            assert_eq!(refused, outcome(entry), "{what}");
        }
        let poll = opcode::PollAdd::new(no_file, libc::POLLIN as u32).build();
        assert_eq!(
            Some(-libc::EBADF),
            outcome(poll),
            "there is no such file, and it was looked for"
        );
        let registered = ring.ring.submitter().register_files(&[-1]);
        let refusal = registered.expect_err("nothing more is registered");
        assert_eq!(Some(libc::EACCES), refusal.raw_os_error());
    }

    #[test]
    fn tokens_survive_packing() {
        let id = ConnectionId {
            index: u32::MAX,
            generation: 0xff_fffe,
        };
        let tokens = [
            Token::Accept(7),
            Token::Receive(id),
            Token::Cancel(id),
            Token::SendNow(id),
            Token::SendLater(id),
            Token::Wake,
            Token::Nothing,
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}

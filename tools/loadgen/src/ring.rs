//! The client's io_uring: many sockets, one `io_uring_enter` per turn.
//!
//! This is the one room of the tool that holds `unsafe`. Everything the kernel may touch lives here and is owned by
//! [`Ring`]: the sockets, one output buffer per connection and the buffers that replies are received into. It knows
//! nothing of the protocol: bytes go out, bytes come in.
//!
//! A turn is `collect` (submit all queued sends, wait, gather completions), then the caller reads the arrivals and
//! writes into outputs, then the next `collect`. Sends are issued with `MSG_DONTWAIT | MSG_WAITALL` and post no
//! completion when they succeed, so an output is free again when the enter has returned. A send that could not
//! go out whole (large values, a slow server) posts a completion; its rest is sent with an ordinary waiting send, and
//! until that completes the output is lent to the kernel and cannot be written to.
#![expect(
    unsafe_code,
    reason = "memory shared with the kernel; every block names what makes it sound"
)]

use std::alloc::{self, Layout};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// How long a `collect` may stay in the kernel when there is nothing to gather.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Look, do not wait (busy polling).
    No,
    /// Until something completes, or this much time has passed.
    AtMost(Duration),
}

/// Group id of the provided buffers; there is one group per ring.
const GROUP: u16 = 0;
/// Entries of the submission queue. When a turn queues more, they are submitted in several enters.
const SUBMISSIONS: u32 = 2048;
/// Distance that keeps the starts of buffers from falling into the same sets of the first cache.
const STAGGER: usize = 192;

const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const SEND_REST: u64 = 2;

/// What the kernel does with an output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    /// Nothing: it belongs to the caller.
    No,
    /// Queued for sending in the next enter; it belongs to the kernel until that has returned.
    Queued,
    /// A waiting send of its rest is under way.
    Rest,
}

struct Lane {
    socket: OwnedFd,
    /// Its receive has ended for good: nothing is written until `renew` brings another socket.
    over: bool,
    output: Vec<u8>,
    /// Bytes of `output` that the kernel has taken. Zero unless `lent` is `Rest`.
    taken: usize,
    lent: Lent,
}

struct Arrival {
    connection: u32,
    buffer: u16,
    /// Bytes received, or 0 or below where the connection has ended: the kernel's word for why.
    result: i32,
}

/// Sockets, their outputs and the arrivals of the current turn.
pub(crate) struct Ring {
    uring: IoUring,
    inputs: Inputs,
    lanes: Vec<Lane>,
    /// Connections whose output is `Lent::Queued`.
    queued: Vec<u32>,
    /// Completions of this turn that bring bytes. Their buffers go back to the kernel at the next `collect`.
    arrivals: Vec<Arrival>,
    /// Connections whose `Lent::Rest` has ended in this turn: they may be written to again.
    writable: Vec<u32>,
    /// Connections whose multishot receive has ended (buffers were short) and must be armed again.
    unarmed: Vec<u32>,
    completions: Vec<cqueue::Entry>,
    /// Sends that did not go out whole at once, since the start.
    partial_sends: u64,
}

impl Ring {
    /// Takes over connected stream sockets; connection `n` is the `n`th of them. Must be called, and used, on one thread.
    /// `input_size` bytes is what one completion can bring at most.
    pub(crate) fn new(sockets: Vec<OwnedFd>, input_size: usize) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag();
        builder.setup_submit_all().setup_cqsize(SUBMISSIONS * 4);
        let uring = builder.build(SUBMISSIONS)?;
        let inputs = Inputs::new(64, input_size);
        // SAFETY: the entries are `inputs.count` (a power of two) ring entries in page-aligned memory that lives until
        // `Ring` is dropped, which ends all receives first (or leaks the memory where it cannot).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                inputs.entries.as_ptr() as u64,
                inputs.count,
                GROUP,
                0,
            )?;
        }
        let count = sockets.len();
        let lanes = sockets
            .into_iter()
            .map(|socket| Lane {
                socket,
                over: false,
                output: Vec::new(),
                taken: 0,
                lent: Lent::No,
            })
            .collect();
        let unarmed = (0..count as u32).collect();
        let mut ring = Ring {
            uring,
            inputs,
            lanes,
            queued: Vec::with_capacity(count),
            arrivals: Vec::with_capacity(1024),
            writable: Vec::with_capacity(count),
            unarmed,
            completions: Vec::with_capacity(1024),
            partial_sends: 0,
        };
        ring.inputs.offer_all();
        Ok(ring)
    }

    /// Number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.lanes.len()
    }

    /// Where requests for a connection are written, or nothing while earlier ones still wait to leave, or when it
    /// has ended.
    pub(crate) fn output(&mut self, connection: usize) -> Option<&mut Vec<u8>> {
        let lane = &mut self.lanes[connection];
        (lane.lent == Lent::No && !lane.over).then_some(&mut lane.output)
    }

    /// True where a connection has ended and the kernel has nothing of it any more: `renew` may follow.
    pub(crate) fn is_over(&self, connection: usize) -> bool {
        let lane = &self.lanes[connection];
        lane.over && lane.lent == Lent::No
    }

    /// Gives a connection that `is_over` another socket.
    pub(crate) fn renew(&mut self, connection: usize, socket: OwnedFd) {
        assert!(self.is_over(connection), "the kernel still uses the old socket");
        let lane = &mut self.lanes[connection];
        (lane.socket, lane.over) = (socket, false);
        lane.output.clear();
        self.unarmed.push(connection as u32);
    }

    /// Queues a connection's output for the next enter. Does nothing when it is empty or already lent.
    pub(crate) fn send(&mut self, connection: usize) {
        let lane = &mut self.lanes[connection];
        if lane.lent == Lent::No && !lane.output.is_empty() {
            lane.lent = Lent::Queued;
            self.queued.push(connection as u32);
        }
    }

    /// Arrivals of this turn.
    pub(crate) fn arrivals(&self) -> usize {
        self.arrivals.len()
    }

    /// The connection and the bytes of an arrival, or how the connection has ended.
    pub(crate) fn arrival(&self, at: usize) -> (usize, io::Result<&[u8]>) {
        let arrival = &self.arrivals[at];
        let connection = arrival.connection as usize;
        if arrival.result <= 0 {
            let closed =
                || io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed a connection");
            let error = || io::Error::from_raw_os_error(-arrival.result);
            return (
                connection,
                Err(if arrival.result == 0 { closed() } else { error() }),
            );
        }
        // SAFETY: this buffer was handed to us by a completion of this turn with `result` bytes filled, and it is
        // offered to the kernel again only by `collect`, which needs `&mut self` and so ends this borrow.
        let bytes = unsafe { self.inputs.filled(arrival.buffer, arrival.result as usize) };
        (connection, Ok(bytes))
    }

    /// Connections whose output was stuck and is free again since this turn.
    pub(crate) fn writable(&self, at: usize) -> Option<usize> {
        self.writable.get(at).map(|&connection| connection as usize)
    }

    /// Sends that did not go out whole at once, since the start.
    pub(crate) fn partial_sends(&self) -> u64 {
        self.partial_sends
    }

    /// Ends the turn and begins the next: gives the arrivals' buffers back, submits what is queued, waits, gathers.
    pub(crate) fn collect(&mut self, wait: Wait) -> io::Result<()> {
        for arrival in self.arrivals.drain(..) {
            if arrival.result > 0 {
                self.inputs.offer(arrival.buffer);
            }
        }
        self.inputs.publish();
        self.writable.clear();
        self.push_receives()?;
        self.push_sends()?;
        self.enter(wait)?;
        self.completions.clear();
        self.completions.extend(self.uring.completion());
        // Sends first: an arrival must not make the caller write into an output whose send has just failed.
        for at in 0..self.completions.len() {
            let (connection, kind) = unpack(self.completions[at].user_data());
            if kind != RECEIVE {
                self.sent(connection, kind, self.completions[at].result())?;
            }
        }
        for connection in self.queued.drain(..) {
            let lane = &mut self.lanes[connection as usize];
            if lane.lent == Lent::Queued {
                lane.lent = Lent::No;
                lane.output.clear();
            }
        }
        for at in 0..self.completions.len() {
            let completion = &self.completions[at];
            let (connection, kind) = unpack(completion.user_data());
            if kind == RECEIVE {
                let (result, flags) = (completion.result(), completion.flags());
                self.received(connection, result, flags)?;
            }
        }
        Ok(())
    }

    fn push_receives(&mut self) -> io::Result<()> {
        while let Some(connection) = self.unarmed.pop() {
            let fd = Fd(self.lanes[connection as usize].socket.as_raw_fd());
            let entry = opcode::RecvMulti::new(fd, GROUP)
                .build()
                .user_data(pack(connection, RECEIVE));
            self.push(&entry)?;
        }
        Ok(())
    }

    fn push_sends(&mut self) -> io::Result<()> {
        for at in 0..self.queued.len() {
            let connection = self.queued[at];
            let lane = &self.lanes[connection as usize];
            let size = u32::try_from(lane.output.len()).map_err(io::Error::other)?;
            let entry = opcode::Send::new(Fd(lane.socket.as_raw_fd()), lane.output.as_ptr(), size)
                .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(pack(connection, SEND));
            self.push(&entry)?;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: receives use the registered buffers; sends use an output that is `Queued` or `Rest`, which
            // `output` does not hand out, and which lives until `drop` has ended all operations.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.uring.submit()?;
        }
    }

    /// Enters the kernel, at least until all queued entries have been submitted.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let mut wait = wait;
        loop {
            let outcome = match wait {
                Wait::No => {
                    let queue = self.uring.submission();
                    if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                        return Ok(());
                    }
                    drop(queue);
                    self.uring.submit()
                }
                Wait::AtMost(limit) => {
                    let limit = Timespec::from(limit);
                    self.uring
                        .submitter()
                        .submit_with_args(1, &SubmitArgs::new().timespec(&limit))
                }
            };
            match outcome {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.uring.submission().is_empty() {
                return Ok(());
            }
            wait = Wait::No;
        }
    }

    /// A send has posted a completion: the first try fell short, or the sending of a rest has ended.
    fn sent(&mut self, connection: u32, kind: u64, result: i32) -> io::Result<()> {
        let lane = &mut self.lanes[connection as usize];
        let shortfall = kind == SEND && matches!(-result, libc::EAGAIN | libc::EINTR);
        if result < 0 && !shortfall {
            // The connection is broken. Its receive says so, too, at the latest when both ways are shut.
            lane.taken = 0;
            lane.lent = Lent::No;
            lane.output.clear();
            return shut(&lane.socket);
        }
        lane.taken += usize::try_from(result).unwrap_or(0);
        if lane.taken < lane.output.len() {
            self.partial_sends += u64::from(kind == SEND);
            lane.lent = Lent::Rest;
            let rest = &lane.output[lane.taken..];
            let size = u32::try_from(rest.len()).map_err(io::Error::other)?;
            let entry = opcode::Send::new(Fd(lane.socket.as_raw_fd()), rest.as_ptr(), size)
                .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build()
                .user_data(pack(connection, SEND_REST));
            return self.push(&entry);
        }
        lane.taken = 0;
        lane.lent = Lent::No;
        lane.output.clear();
        self.writable.push(connection);
        Ok(())
    }

    fn received(&mut self, connection: u32, result: i32, flags: u32) -> io::Result<()> {
        let short_of_buffers = -result == libc::ENOBUFS;
        if !cqueue::more(flags) && (result > 0 || short_of_buffers) {
            self.unarmed.push(connection);
        }
        match result {
            1.. => {
                let buffer = cqueue::buffer_select(flags)
                    .ok_or_else(|| io::Error::other("the kernel received into no buffer"))?;
                self.arrivals.push(Arrival {
                    connection,
                    buffer,
                    result,
                });
            }
            // All buffers are lent to arrivals: armed again at the next `collect`, which offers them.
            _ if short_of_buffers => {}
            _ => {
                let lane = &mut self.lanes[connection as usize];
                lane.over = true;
                // Ends a send that may still wait for room.
                shut(&lane.socket)?;
                self.arrivals.push(Arrival {
                    connection,
                    buffer: 0,
                    result,
                });
            }
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let ended = self
            .uring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        let nothing_left = match ended {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !nothing_left {
            // The kernel may still write or read here: leaking is the only sound answer.
            self.inputs.leaked = true;
            for lane in &mut self.lanes {
                std::mem::forget(std::mem::take(&mut lane.output));
            }
        }
    }
}

/// Ends both ways of a connection, unless they have ended already.
fn shut(socket: &OwnedFd) -> io::Result<()> {
    match rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
        Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn pack(connection: u32, kind: u64) -> u64 {
    u64::from(connection) << 8 | kind
}

fn unpack(user_data: u64) -> (u32, u64) {
    ((user_data >> 8) as u32, user_data & 0xff)
}

/// The buffers that replies are received into, and the ring by which they are offered to the kernel.
struct Inputs {
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    /// A power of two.
    count: u16,
    /// Usable bytes of each buffer.
    size: usize,
    /// The next place in `entries`; the kernel sees it when it is published.
    tail: u16,
    leaked: bool,
}

impl Inputs {
    fn new(count: u16, size: usize) -> Inputs {
        assert!(count.is_power_of_two() && size > 0 && u32::try_from(size).is_ok());
        // SAFETY: both layouts have a size other than zero.
        let (entries, bytes) = unsafe {
            (
                alloc::alloc_zeroed(Self::entries_layout(count)),
                alloc::alloc_zeroed(Self::bytes_layout(count, size)),
            )
        };
        let entries = NonNull::new(entries.cast())
            .unwrap_or_else(|| alloc::handle_alloc_error(Self::entries_layout(count)));
        let bytes =
            NonNull::new(bytes).unwrap_or_else(|| alloc::handle_alloc_error(Self::bytes_layout(count, size)));
        Inputs {
            entries,
            bytes,
            count,
            size,
            tail: 0,
            leaked: false,
        }
    }

    fn entries_layout(count: u16) -> Layout {
        Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(4096))
            .expect("small")
    }

    fn bytes_layout(count: u16, size: usize) -> Layout {
        Layout::from_size_align(usize::from(count) * (size + STAGGER), 4096).expect("a few megabytes")
    }

    fn offer_all(&mut self) {
        for buffer in 0..self.count {
            self.offer(buffer);
        }
        self.publish();
    }

    /// Puts a buffer at the tail; the kernel sees it after `publish`.
    fn offer(&mut self, buffer: u16) {
        assert!(buffer < self.count);
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place < count`, so the entry lies in our allocation, and `buffer < count`, so the address does. The
        // kernel reads an entry only between its head and the published tail; this one is beyond the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(
                self.bytes
                    .as_ptr()
                    .add(usize::from(buffer) * (self.size + STAGGER)) as u64,
            );
            entry.set_len(self.size as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry of our allocation, is aligned, and the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The first `size` bytes of a buffer.
    ///
    /// # Safety
    ///
    /// * The buffer has been handed over by a completion that filled at least `size` bytes of it.
    /// * It is not offered again while the slice lives.
    unsafe fn filled(&self, buffer: u16, size: usize) -> &[u8] {
        assert!(buffer < self.count && size <= self.size);
        // SAFETY: in bounds by the assertion; initialised (allocated zeroed); not written meanwhile by the contract.
        unsafe {
            std::slice::from_raw_parts(
                self.bytes
                    .as_ptr()
                    .add(usize::from(buffer) * (self.size + STAGGER)),
                size,
            )
        }
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: allocated in `new` with these layouts; `Ring::drop` has ended every operation that could use them.
        unsafe {
            alloc::dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.count));
            alloc::dealloc(self.bytes.as_ptr(), Self::bytes_layout(self.count, self.size));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    fn pair() -> (Ring, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        (
            Ring::new(vec![ours.into()], 4096).expect("io_uring works here"),
            theirs,
        )
    }

    fn pattern(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at / 7 + at / 1009) as u8).collect()
    }

    /// Far more than the socket takes at once, twice in a row: all of it arrives, in order, and the output is not
    /// handed out while the kernel still reads it.
    #[test]
    fn a_send_that_does_not_fit_arrives_whole() {
        let (mut ring, mut theirs) = pair();
        let data = pattern(5_000_000);
        let size = data.len();
        ring.output(0)
            .expect("nothing is under way")
            .extend_from_slice(&data);
        ring.send(0);
        ring.collect(Wait::No).expect("submits");
        ring.collect(Wait::No).expect("looks");
        assert_eq!(ring.partial_sends(), 1, "the path under test");
        assert!(ring.output(0).is_none(), "its rest is still lent to the kernel");
        let reader = thread::spawn(move || {
            let mut received = vec![0; size];
            theirs.read_exact(&mut received).expect("all of it");
            (theirs, received)
        });
        while ring.writable(0) != Some(0) {
            ring.collect(Wait::AtMost(Duration::from_secs(1))).expect("waits");
        }
        assert!(ring.output(0).expect("it is free again").is_empty());
        let (mut theirs, received) = reader.join().expect("the reader is well");
        assert!(received == data);
        ring.output(0).expect("free").extend_from_slice(b"more");
        ring.send(0);
        ring.collect(Wait::No).expect("submits");
        let mut more = [0; 4];
        theirs.read_exact(&mut more).expect("the next send");
        assert_eq!(&more, b"more");
    }

    /// More than all provided buffers hold: the receive runs dry, is armed again and misses nothing.
    #[test]
    fn a_flood_is_received_whole_and_in_order() {
        let (mut ring, mut theirs) = pair();
        let data = pattern(3_000_000);
        let sent = data.clone();
        let writer = thread::spawn(move || theirs.write_all(&sent));
        let mut received = Vec::new();
        let mut closed = false;
        while !closed {
            ring.collect(Wait::AtMost(Duration::from_secs(1))).expect("waits");
            for at in 0..ring.arrivals() {
                let (connection, bytes) = ring.arrival(at);
                assert_eq!(connection, 0);
                match bytes {
                    Ok(bytes) => received.extend_from_slice(bytes),
                    Err(error) => closed = error.kind() == io::ErrorKind::UnexpectedEof,
                }
            }
        }
        writer.join().expect("the writer is well").expect("all was taken");
        assert!(received == data);
    }

    /// The other side goes away while a send is stuck: the end is reported once, nothing is written meanwhile, and a
    /// new socket works in the same place.
    #[test]
    fn a_broken_connection_is_renewed() {
        let (mut ring, theirs) = pair();
        ring.output(0)
            .expect("free")
            .extend_from_slice(&pattern(5_000_000));
        ring.send(0);
        ring.collect(Wait::No).expect("submits");
        assert!(!ring.is_over(0));
        drop(theirs);
        let mut ends = 0;
        while !ring.is_over(0) {
            ring.collect(Wait::AtMost(Duration::from_secs(1))).expect("waits");
            ends += (0..ring.arrivals())
                .filter(|&at| ring.arrival(at).1.is_err())
                .count();
        }
        assert_eq!(ends, 1);
        assert!(ring.output(0).is_none());
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ring.renew(0, ours.into());
        ring.output(0).expect("free").extend_from_slice(b"again");
        ring.send(0);
        ring.collect(Wait::No).expect("submits");
        let mut again = [0; 5];
        theirs.read_exact(&mut again).expect("the send");
        assert_eq!(&again, b"again");
        theirs.write_all(b"yes").expect("the reply");
        ring.collect(Wait::AtMost(Duration::from_secs(20)))
            .expect("waits");
        assert_eq!(ring.arrival(0).1.expect("the reply"), b"yes");
    }

    /// The ring may be dropped while a receive and a stuck send are under way.
    #[test]
    fn a_ring_with_operations_under_way_can_be_dropped() {
        let (mut ring, theirs) = pair();
        ring.output(0)
            .expect("free")
            .extend_from_slice(&pattern(5_000_000));
        ring.send(0);
        ring.collect(Wait::No).expect("submits");
        ring.collect(Wait::No).expect("looks");
        assert!(ring.output(0).is_none());
        drop(ring);
        drop(theirs);
    }
}

//! The glommio loop: tasks of one executor a core, over the same sessions and shards as the loops of our own.
//!
//! ```text
//!   executor:    looks at its rings, sleeps                 shard lent out
//!   bytes:       one task a connection receives, to the inbox; sends on what did not go at once
//!   accept:      one task a listener
//!   hear:        one task reads the core's eventfd, which peers and the main thread write
//!   turns:       one task; a turn runs to its end without waiting, and nothing else runs meanwhile:
//!                the inbox > sessions > output              shard in hand
//!                sends, wakes peers, lies down              shard lent out
//! ```
//!
//! **Invariant:** a turn begins and ends within one poll of the turns' task, so the executor never parks, and no other
//! task runs, while the shard is held. All state is in one cell, borrowed within a poll and never across an await.
//!
//! **Asleep** means: the turns' task has nothing to do. The executor alone knows when it parks, so the core lies down
//! ([`Core::lie_down`]) at the end of the turn and not just before the kernel is entered: whoever posts a letter after
//! that writes the eventfd, the ring has a read of it pending at all times, and the read wakes the task. A wake-up too
//! many, while bytes are being received, costs little.
//!
//! **Invariant:** no task wakes itself or waits without having looked at the rings: what is to go on at once does so
//! after [`look_around`]. glommio looks at its rings when no task can run, or when its preemption timer has fired; and
//! when that fires before the first task is picked, it parks though tasks can run. So its timer must not be what
//! others' bytes depend on, and is put off for good.
//!
//! What glommio does with a socket is a poll by the ring and then a plain system call, so this loop costs more than the
//! others (docs/design/01-event-loop.md). It is there for those who want the runtime, and to be measured.

mod refused;
mod socket;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::net::{AcceptedTcpStream, UdpSocket};
use glommio::timer::Timer;
use glommio::{CpuSet, LocalExecutor, LocalExecutorBuilder, Placement, spawn_local};
use log::{debug, warn};

use super::{Arrival, Core, Listener, LoopParts, Plan, Wakers};
use crate::session::ConnectionId;
use socket::Socket;

pub use refused::explain;

/// Bytes taken from one connection at once, at most.
const RECEIVE_SIZE: usize = 32 * 1024;

/// Receives that one turn serves, at most; the others wait for the next.
const RECEIVES_PER_TURN: usize = 64;

/// Connections that one listener hands over between two looks at the rings, at most.
const ACCEPTS_PER_LOOK: usize = 64;

/// Entries of each of glommio's three rings. Completions above twice as many are kept by the kernel.
const RING_DEPTH: usize = 1024;

/// Longer than any turn: see the invariant above.
const PREEMPTION: Duration = Duration::from_secs(3600);

/// Checks that glommio can start.
pub fn probe() -> io::Result<()> {
    executor(Duration::ZERO).map(drop)
}

/// An executor for this thread, which spins for `busy_poll` before it parks.
fn executor(busy_poll: Duration) -> io::Result<LocalExecutor> {
    refused::check()?;
    // It spins only where it has pinned itself; ours is pinned already, to the same CPU.
    let placement = match only_cpu() {
        Some(cpu) if !busy_poll.is_zero() && CpuSet::online().is_ok() => Placement::Fixed(cpu),
        _ => Placement::Unbound,
    };
    LocalExecutorBuilder::new(placement)
        .spin_before_park(busy_poll)
        .preempt_timer(PREEMPTION)
        .ring_depth(RING_DEPTH)
        // For files, which we have none of.
        .io_memory(0)
        .make()
        .map_err(io::Error::from)
}

/// The CPU that this thread is pinned to.
fn only_cpu() -> Option<usize> {
    let cpus = rustix::thread::sched_getaffinity(None).ok()?;
    let mut set = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| cpus.is_set(cpu));
    set.next().filter(|_| set.next().is_none())
}

/// One core's loop.
pub struct Loop {
    executor: LocalExecutor,
    state: State,
}

impl Loop {
    /// Sets up the executor. Must be called on the thread that will run the loop.
    pub fn new(parts: LoopParts) -> io::Result<Loop> {
        let LoopParts {
            core,
            wakers,
            listeners,
            busy_poll,
            is_confined: _,
        } = parts;
        let executor = executor(busy_poll)?;
        let state = State {
            core: Core::new(core),
            wakers,
            accepts: false,
            is_starved: false,
            accepting: listeners.iter().map(|_| None).collect(),
            listeners,
            received: Vec::with_capacity(RECEIVES_PER_TURN),
            inbox: vec![0; RECEIVES_PER_TURN * RECEIVE_SIZE].into_boxed_slice(),
            noted: Vec::new(),
            arrived: Vec::new(),
            is_called: false,
            turns: None,
            again: Vec::new(),
        };
        Ok(Loop { executor, state })
    }

    /// Serves until it is told to stop.
    pub fn run(self) {
        let me = self.state.core.me();
        let listeners = self.state.listeners.len();
        let shared = Shared(Rc::new(RefCell::new(Some(self.state))));
        self.executor.run(async move {
            spawn_local(hear(shared.clone())).detach();
            for index in 0..listeners {
                spawn_local(accept(shared.clone(), index)).detach();
            }
            turns(&shared).await;
            end(shared).await;
        });
        debug!("core {me} has ended");
    }
}

/// What all tasks of a core share; nothing any more once the loop has ended.
#[derive(Clone)]
struct Shared(Rc<RefCell<Option<State>>>);

impl Shared {
    /// Does something with it. No call may be made within another.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> Option<R> {
        self.0.borrow_mut().as_mut().map(work)
    }
}

/// What a connection's receive came to.
#[derive(Debug)]
enum Received {
    /// So many bytes, in the slot of this number.
    Bytes {
        slot: usize,
        size: usize,
    },
    /// There are datagrams; the core takes them itself.
    Datagrams,
    End,
    Broken,
}

/// What is to follow a turn.
enum Next {
    Turn,
    Sleep,
    End,
}

struct State {
    core: Core<Socket>,
    wakers: Arc<Wakers>,
    listeners: Vec<Listener>,
    /// The tasks of the listeners, by their index.
    accepting: Vec<Option<Waker>>,
    /// Whether they may accept, as far as is known.
    accepts: bool,
    /// An accept failed for want of descriptors or memory, and no connection has closed since.
    is_starved: bool,
    /// What was received since the last turn: at most [`RECEIVES_PER_TURN`] that have a slot.
    received: Vec<(ConnectionId, Received)>,
    /// A slot of [`RECEIVE_SIZE`] for each; memory only as far as it was ever filled.
    inbox: Box<[u8]>,
    noted: Vec<ConnectionId>,
    /// Sockets of this turn that have no task yet.
    arrived: Vec<ConnectionId>,
    /// There is something for a turn to do.
    is_called: bool,
    /// The turns' task, while it sleeps.
    turns: Option<Waker>,
    /// Tasks that go on after a look at the rings.
    again: Vec<Waker>,
}

impl State {
    /// Calls for a turn.
    fn call(&mut self) {
        self.is_called = true;
        if let Some(turns) = self.turns.take() {
            turns.wake();
        }
    }

    /// One turn: everything that was received is served, and what that gave is sent.
    fn turn(&mut self) -> Next {
        self.is_called = false;
        self.core.get_up();
        let State {
            core,
            received,
            inbox,
            arrived,
            ..
        } = self;
        let mut turn = core.turn();
        for (id, news) in received.drain(..) {
            match news {
                Received::Bytes { slot, size } => turn.received(id, &inbox[slot * RECEIVE_SIZE..][..size]),
                Received::Datagrams => turn.readable(id),
                Received::End => turn.ended(id),
                Received::Broken => turn.failed(id),
            }
        }
        turn.resume();
        turn.read_letters(|turn, arrival| {
            let id = match arrival {
                Arrival::Connection(socket, entrance) => {
                    turn.open(Socket::of_connection(socket, entrance), entrance)
                }
                Arrival::Datagrams(socket) => turn.open_datagrams(Socket::of_datagrams(socket)),
            };
            arrived.push(id);
            turn.note(id);
        });
        turn.finish();

        let mut noted = std::mem::take(&mut self.noted);
        self.core.take_noted(&mut noted);
        for &id in &noted {
            self.carry_on(id);
        }
        self.noted = noted;
        let ends = self.core.may_end();
        self.mind_listeners();
        let State { core, wakers, .. } = self;
        core.wake_peers(|peer| wakers.wake(peer));
        if ends {
            Next::End
        } else if !self.again.is_empty() || self.core.has_work() || !self.core.lie_down() {
            Next::Turn
        } else {
            Next::Sleep
        }
    }

    /// Does what a connection needs after a turn: sends its output, reads on or stops reading, closes.
    fn carry_on(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        if connection.socket.sending.is_none() && connection.output().is_some() {
            let output = connection.take_output();
            connection.socket.sending = Some(output);
            self.send_on(id);
        }
        let is_stopping = self.core.is_stopping();
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let plan = connection.plan();
        let socket = &connection.socket;
        let is_sending = socket.sending.is_some() || connection.output().is_some();
        let has_more = socket.sending.is_none() && connection.has_unsealed();
        if connection.is_broken || plan == Plan::Close && !is_sending {
            drop(self.core.close(id));
            // A descriptor is free again: the listeners may find one now.
            self.is_starved = false;
            return;
        }
        connection.socket.set_read(plan == Plan::Read && !is_stopping);
        if has_more {
            self.core.note(id);
        }
    }

    /// Sends the next piece of what is under way, as far as it goes: a page at a time, so that one value, however large,
    /// does not keep others waiting. All that is sent goes this way, but for values that go past the output.
    fn send_on(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &mut connection.socket;
        let Some(mut output) = socket.sending.take() else {
            return;
        };
        let outcome = socket.poll_send(output.piece());
        let may_go_on = outcome.is_ready();
        match outcome {
            Poll::Ready(Ok(size)) => output.advance(size),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(_)) => connection.is_broken = true,
            Poll::Pending => {}
        }
        if output.is_empty() || connection.is_broken {
            self.core.sent_apart(id, output);
            return;
        }
        if may_go_on {
            self.again.extend(socket.task.clone());
        }
        socket.sending = Some(output);
    }

    /// A connection's task has been woken: moves bytes.
    fn move_bytes(&mut self, id: ConnectionId, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = self.core.connection(id) else {
            return Poll::Ready(());
        };
        let socket = &mut connection.socket;
        if !socket
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(context.waker()))
        {
            socket.task = Some(context.waker().clone());
        }
        if socket.sending.is_some() {
            self.send_on(id);
            self.core.note(id);
            self.call();
        }
        self.receive(id, context);
        Poll::Pending
    }

    /// Receives what is there, into the inbox.
    fn receive(&mut self, id: ConnectionId, context: &mut Context<'_>) {
        loop {
            let is_stopping = self.core.is_stopping();
            let Some(connection) = self.core.connection(id) else {
                return;
            };
            let socket = &mut connection.socket;
            if !socket.is_read() || is_stopping {
                return;
            }
            let slot = self.received.len();
            if slot >= RECEIVES_PER_TURN {
                // A turn has been called for, and makes room.
                self.again.push(context.waker().clone());
                return;
            }
            let room = &mut self.inbox[slot * RECEIVE_SIZE..][..RECEIVE_SIZE];
            let (news, goes_on) = match socket.poll_receive(context, room) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => (Received::End, false),
                // The next receive finds nothing, as a rule without asking the kernel, and waits.
                Poll::Ready(Ok(size)) => (Received::Bytes { slot, size }, size < RECEIVE_SIZE),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Poll::Ready(Err(_)) => (Received::Broken, false),
            };
            let may_have_more = matches!(news, Received::Bytes { .. });
            socket.set_read(may_have_more);
            self.received.push((id, news));
            self.call();
            if !goes_on {
                if may_have_more {
                    self.again.push(context.waker().clone());
                }
                return;
            }
        }
    }

    /// Lets the listeners accept while connections may be.
    fn mind_listeners(&mut self) {
        let accepts = !self.is_starved && !self.core.is_stopping() && self.core.may_accept();
        if accepts && !self.accepts {
            for waker in self.accepting.iter().flatten() {
                waker.wake_by_ref();
            }
        }
        self.accepts = accepts;
    }

    /// Whether a listener may accept now.
    fn may_accept(&mut self) -> bool {
        if self.accepts && !self.core.accepts_always() {
            self.accepts = self.core.may_accept();
            self.call();
        }
        self.accepts
    }

    fn accepted(&mut self, index: usize, outcome: glommio::Result<AcceptedTcpStream, ()>) {
        let accepted = match outcome {
            Ok(accepted) => socket::take_out(&accepted.bind_to_executor()),
            Err(error) => Err(error.into()),
        };
        match accepted {
            Ok(socket) => self.core.accepted(socket, &self.listeners[index]),
            Err(error) => match error.raw_os_error() {
                // The client is gone again, or glommio has cancelled this in something else's stead.
                Some(libc::EINTR | libc::ECONNABORTED | libc::ECANCELED | libc::EAGAIN) => {}
                _ => {
                    warn!("accept: {error}");
                    // It would say so again at once, and without end.
                    self.is_starved = true;
                    self.accepts = false;
                }
            },
        }
        self.call();
    }
}

/// Turns without end, until the core may end.
async fn turns(shared: &Shared) {
    loop {
        let after = shared.with(|state| (state.turn(), std::mem::take(&mut state.arrived)));
        let Some((next, arrived)) = after else { return };
        for id in arrived {
            let datagrams = shared.with(|state| state.core.connection(id)?.socket.datagrams());
            match datagrams.flatten() {
                Some(socket) => spawn_local(watch_datagrams(shared.clone(), id, socket)).detach(),
                None => spawn_local(serve(shared.clone(), id)).detach(),
            };
        }
        match next {
            Next::End => return,
            Next::Sleep => called(shared).await,
            Next::Turn => {
                look_around().await;
                for waker in shared
                    .with(|state| std::mem::take(&mut state.again))
                    .into_iter()
                    .flatten()
                {
                    waker.wake();
                }
            }
        }
    }
}

/// Waits until somebody has called for a turn.
async fn called(shared: &Shared) {
    std::future::poll_fn(|context| {
        let is_called = shared.with(|state| {
            state.turns = (!state.is_called).then(|| context.waker().clone());
            std::mem::take(&mut state.is_called)
        });
        match is_called {
            Some(false) => Poll::Pending,
            Some(true) | None => Poll::Ready(()),
        }
    })
    .await;
}

/// Gives the executor a look at its rings: every task that can run does so, and then this goes on.
async fn look_around() {
    // A timer that is due before it is waited for does not wait; one that is due when all tasks have run does not sleep.
    let mut pause = Duration::from_nanos(200);
    let mut timer = Timer::new(pause);
    let mut has_waited = false;
    std::future::poll_fn(|context| {
        loop {
            match Pin::new(&mut timer).poll(context) {
                Poll::Pending => {
                    has_waited = true;
                    return Poll::Pending;
                }
                Poll::Ready(_) if has_waited => return Poll::Ready(()),
                Poll::Ready(_) => {
                    pause *= 2;
                    timer = Timer::new(pause);
                }
            }
        }
    })
    .await;
}

/// A connection's task.
async fn serve(shared: Shared, id: ConnectionId) {
    std::future::poll_fn(|context| {
        let moved = shared.with(|state| state.move_bytes(id, context));
        moved.unwrap_or(Poll::Ready(()))
    })
    .await;
}

/// The task of a socket of datagrams: says when there are some, and waits until the core has taken them.
async fn watch_datagrams(shared: Shared, id: ConnectionId, socket: Rc<UdpSocket>) {
    loop {
        let mut first_byte = [0];
        let mut come = pin!(socket.peek_from(&mut first_byte));
        let watched = std::future::poll_fn(|context| {
            let reads = shared.with(|state| {
                let socket = &mut state.core.connection(id)?.socket;
                socket.task = Some(context.waker().clone());
                Some(socket.is_read())
            });
            match reads.flatten() {
                None => Poll::Ready(None),
                Some(false) => Poll::Pending,
                // What has gone wrong, the core hears when it receives.
                Some(true) => come.as_mut().poll(context).map(|_| Some(())),
            }
        });
        if watched.await.is_none() {
            return;
        }
        // However many there are.
        look_around().await;
        shared.with(|state| {
            if let Some(connection) = state.core.connection(id) {
                connection.socket.set_read(false);
                state.received.push((id, Received::Datagrams));
                state.call();
            }
        });
    }
}

/// A listener's task.
async fn accept(shared: Shared, index: usize) {
    let listener = match shared.with(|state| socket::listener(&state.listeners[index].socket)) {
        Some(Ok(listener)) => listener,
        Some(Err(error)) => return warn!("a listener rests: {error}"),
        None => return,
    };
    for count in 1.. {
        let mut accepted = pin!(listener.shared_accept());
        let mut is_under_way = false;
        let outcome = std::future::poll_fn(|context| {
            let may_accept = shared.with(|state| {
                state.accepting[index] = Some(context.waker().clone());
                is_under_way || state.may_accept()
            });
            match may_accept {
                None => Poll::Ready(None),
                Some(false) => Poll::Pending,
                Some(true) => {
                    is_under_way = true;
                    accepted.as_mut().poll(context).map(Some)
                }
            }
        });
        let Some(outcome) = outcome.await else { return };
        shared.with(|state| state.accepted(index, outcome));
        if count % ACCEPTS_PER_LOOK == 0 {
            look_around().await;
        }
    }
}

/// The task that reads the core's eventfd and calls for a turn.
async fn hear(shared: Shared) {
    let opened = shared.with(|state| socket::event(state.wakers.event(state.core.me())));
    let event = match opened {
        Some(Ok(event)) => event,
        Some(Err(error)) => panic!("eventfd: {error}"),
        None => return,
    };
    while shared.with(State::call).is_some() {
        if event.read_at(0, size_of::<u64>()).await.is_err() {
            // Cancelled in something else's stead.
            look_around().await;
        }
    }
    // It is closed when the executor ends at the latest.
    let _ = event.close().await;
}

/// Ends all tasks, and waits until the kernel has let go of their buffers.
async fn end(shared: Shared) {
    let Some(state) = shared.0.borrow_mut().take() else {
        return;
    };
    state.wakers.wake(state.core.me());
    for waker in state.accepting.iter().flatten().chain(&state.again) {
        waker.wake_by_ref();
    }
    // The sockets wake theirs.
    drop(state);
    while Rc::strong_count(&shared.0) > 1 {
        look_around().await;
    }
    // What they were waiting for is cancelled in the first look, and its end is seen in the second at the latest.
    look_around().await;
    look_around().await;
}

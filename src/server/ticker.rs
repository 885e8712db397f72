//! Once a second: wakes the cores that sleep and may have something to do all the same.
//!
//! A core that nobody asks anything would never look for expired items, nor after connections that have been silent for
//! long. It does both in the first turns of every second, so all it needs is to be woken. While there is neither an
//! item nor a connection, nobody is.
//!
//! And it tells the budget for everything what the process really holds, and has the allocator give back what it keeps
//! when that is too much: then it is woken between the seconds, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use log::{debug, error};

use super::resident::{resident, trim_heap};
use crate::memory::Pool;
use crate::mesh::Mesh;
use crate::runtime::Wakers;

const PERIOD: Duration = Duration::from_secs(1);

/// After the allocator was asked to give back, which holds up whoever allocates meanwhile, it is left alone for so long.
const RESPITE: Duration = Duration::from_millis(20);

pub(super) struct Ticker {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// `confine` is what the thread does first.
    pub(super) fn start(
        mesh: Arc<Mesh>,
        wakers: Arc<Wakers>,
        pool: Arc<Pool>,
        confine: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<Ticker> {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_asked_to_end = Arc::clone(&is_over);
        let is_limited = pool.parts().limit > 0;
        let wake_cores = move |pool: &Pool| {
            let has_items = pool.pages_taken() > 0;
            let has_connections = mesh.connections.load(Ordering::Relaxed) > 0;
            if has_items || has_connections {
                (0..mesh.cores())
                    .filter(|&core| mesh.place(core).bell.must_ring())
                    .for_each(|core| wakers.wake(core));
            }
        };
        let thread = Builder::new().name("ticker".to_owned()).spawn(move || {
            if let Err(error) = confine() {
                // The main thread fails at it, too, and says so.
                return debug!("the ticker: {error}");
            }
            pool.wake_when_scarce(thread::current());
            let mut next = Instant::now() + PERIOD;
            while !is_asked_to_end.load(Ordering::Acquire) {
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
                let is_due = Instant::now() >= next;
                if is_limited && (!is_due || pool.measure(resident() as usize)) {
                    // Most of what nobody can see is what the allocator keeps.
                    trim_heap();
                    pool.measure_again(resident() as usize);
                    thread::sleep(RESPITE);
                }
                if is_due {
                    wake_cores(&pool);
                    next = Instant::now() + PERIOD;
                }
            }
        })?;
        Ok(Ticker { is_over, thread })
    }

    pub(super) fn stop(self) {
        self.is_over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            error!("the ticker ended badly");
        }
    }
}

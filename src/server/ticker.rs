//! Once a second: wakes the cores that sleep and may have something to do all the same.
//!
//! A core that nobody asks anything would never look for expired items, nor after connections that have been silent for
//! long. It does both in the first turns of every second, so all it needs is to be woken. While there is neither an
//! item nor a connection, nobody is.
//!
//! And it tells the budget for everything what the process really holds.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, atomic::Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use log::{debug, error};

use super::resident::{resident, trim_heap};
use crate::memory::Pool;
use crate::mesh::Mesh;
use crate::runtime::Wakers;

const PERIOD: Duration = Duration::from_secs(1);

pub(super) struct Ticker {
    /// The thread ends when this does.
    end: mpsc::Sender<()>,
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
        let (end, ended) = mpsc::channel::<()>();
        let is_limited = pool.parts().limit > 0;
        let tick = move || {
            if is_limited && pool.measure(resident() as usize) {
                // Most of what nobody can see is what the allocator keeps.
                trim_heap();
                pool.measure(resident() as usize);
            }
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
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        })?;
        Ok(Ticker { end, thread })
    }

    pub(super) fn stop(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            error!("the ticker ended badly");
        }
    }
}

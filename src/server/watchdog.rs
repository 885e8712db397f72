//! systemd's watchdog, fed only while every core takes turns.
//!
//! Three times in the interval that systemd gives, the roll is called: a letter to each core, which is woken for it. If all
//! have read theirs by the next time, systemd is told that all is well. A core that hangs reads no letters, so the dog
//! goes hungry, and systemd kills and restarts the server (`WatchdogSec=`, `Restart=`). A core that has not answered is
//! sent no second letter. Without a watchdog there is no such thread, and nobody is woken.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, atomic::Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use log::{debug, error};

use super::supervisor::Supervisor;
use crate::mesh::{Letter, Mesh};
use crate::runtime::Wakers;

/// So that one that comes late is not the last.
const ROLL_CALLS_PER_INTERVAL: u32 = 3;

pub(super) struct Watchdog {
    /// The thread ends when this does.
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// `confine` is what the thread does first.
    pub(super) fn start(
        interval: Duration,
        supervisor: Supervisor,
        mesh: Arc<Mesh>,
        wakers: Arc<Wakers>,
        confine: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> io::Result<Watchdog> {
        let (end, ended) = mpsc::channel::<()>();
        let mut roll = Roll {
            mesh,
            wakers,
            was_complete: true,
        };
        let thread = Builder::new().name("watchdog".to_owned()).spawn(move || {
            if let Err(error) = confine() {
                // The main thread fails at it, too, and says so.
                return debug!("the watchdog: {error}");
            }
            roll.call();
            while ended.recv_timeout(interval / ROLL_CALLS_PER_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if roll.is_complete() {
                    supervisor.is_well();
                }
                roll.call();
            }
        })?;
        Ok(Watchdog { end, thread })
    }

    pub(super) fn stop(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            error!("the watchdog ended badly");
        }
    }
}

struct Roll {
    mesh: Arc<Mesh>,
    wakers: Arc<Wakers>,
    was_complete: bool,
}

impl Roll {
    /// Calls those who answered the last time.
    fn call(&self) {
        for core in 0..self.mesh.cores() {
            let place = self.mesh.place(core);
            if place.is_present.swap(false, Ordering::Relaxed) {
                self.mesh.send(core, Letter::RollCall);
                self.wakers.wake(core);
            }
        }
    }

    /// Whether all have answered; says who has not, once.
    fn is_complete(&mut self) -> bool {
        let is_missing = |&core: &usize| !self.mesh.place(core).is_present.load(Ordering::Relaxed);
        let missing: Vec<usize> = (0..self.mesh.cores()).filter(is_missing).collect();
        let is_complete = missing.is_empty();
        if !is_complete && self.was_complete {
            error!("the watchdog is not fed: no turn was taken by cores {missing:?}");
        }
        self.was_complete = is_complete;
        is_complete
    }
}

//! The server's clock: the one place where time is read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::protocol::DebugTime;
use crate::time::{Now, Seconds};

/// Ticks once a second from [`Seconds::START`], steadily, whatever happens to the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    unix_start: u64,
    /// Seconds by which a test has moved it on.
    moved: i64,
    /// What it shows while a test has it stopped, but for `moved`.
    stopped_at: Option<u64>,
}

impl Clock {
    /// Starts now. All cores share one clock, by copy.
    pub fn start() -> Clock {
        let unix = Clock::wall().as_secs();
        Clock {
            started: Instant::now(),
            unix_start: unix.saturating_sub(u64::from(Seconds::START.0)),
            moved: 0,
            stopped_at: None,
        }
    }

    /// The time of day that the machine shows, since 1970.
    pub fn wall() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    pub fn now(&self) -> Now {
        let elapsed = self
            .stopped_at
            .unwrap_or_else(|| self.started.elapsed().as_secs());
        let shown = i64::from(Seconds::START.0) + elapsed as i64 + self.moved;
        let seconds = Seconds(shown.clamp(i64::from(Seconds::START.0), i64::from(u32::MAX)) as u32);
        Now {
            seconds,
            unix_start: self.unix_start,
        }
    }

    /// `debugtime`: moves it, stops it, or lets it go on as if it had never been stopped.
    pub fn change(&mut self, change: DebugTime) {
        match change {
            DebugTime::Advance(seconds) => self.moved += i64::from(seconds),
            DebugTime::Pause => self.stopped_at = Some(self.started.elapsed().as_secs()),
            DebugTime::Resume => self.stopped_at = None,
        }
    }
}

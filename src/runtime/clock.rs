//! The server's clock: the one place where time is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Now, Seconds};

/// Ticks once a second from [`Seconds::START`], steadily, whatever happens to the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    unix_start: u64,
}

impl Clock {
    /// Starts now. All cores share one clock, by copy.
    pub fn start() -> Clock {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Clock {
            started: Instant::now(),
            unix_start: unix.saturating_sub(u64::from(Seconds::START.0)),
        }
    }

    pub fn now(&self) -> Now {
        let seconds = Seconds(
            Seconds::START
                .0
                .saturating_add(self.started.elapsed().as_secs() as u32),
        );
        Now {
            seconds,
            unix_start: self.unix_start,
        }
    }
}

//! Seconds and deadlines, with memcached's rules for exptimes.
//!
//! Time is an argument everywhere below `runtime`: nothing here reads a clock. The server's clock ticks once a
//! second, starts at 2 (so that 1 is always in the past, and uptime is never 0), and an item is gone when its
//! deadline is now or earlier, so a time to live of n seconds lives n-1 to n seconds, as in memcached.

/// A point on the server's own clock, in whole seconds. The server starts at [`Seconds::START`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u32);

impl Seconds {
    /// What the clock shows when the server starts.
    pub const START: Seconds = Seconds(2);

    /// Seconds from `earlier` to here; 0 if `earlier` is later.
    pub fn since(self, earlier: Seconds) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The moment a request is served at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub seconds: Seconds,
    /// Unix time of second 0 of the server's clock.
    pub unix_start: u64,
}

impl Now {
    /// Unix time of this moment, in seconds.
    pub fn unix(self) -> u64 {
        self.unix_start + u64::from(self.seconds.0)
    }

    /// When an item stored now with this exptime ends.
    pub fn deadline(self, exptime: Exptime) -> Deadline {
        const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;
        match exptime.0 {
            0 => Deadline::NEVER,
            ..0 => Deadline::PAST,
            relative @ 1..=RELATIVE_MAX => Deadline::at(i64::from(self.seconds.0) + relative),
            absolute => Deadline::at((absolute - self.unix_start as i64).max(1)),
        }
    }
}

/// An exptime as a client means it: 0 never, negative at once, up to 30 days relative, above that unix time.
/// Text protocols hand in signed 32 bits, binary unsigned 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exptime(pub i64);

impl Exptime {
    pub const NEVER: Exptime = Exptime(0);
}

/// The second in which an item is gone.
///
/// Invariant: at most [`Deadline::LIMIT`] (31 bits), so that an item header may keep a mark in the highest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(u32);

impl Deadline {
    pub const NEVER: Deadline = Deadline(0);
    /// Second 1 is before the server's start.
    pub const PAST: Deadline = Deadline(1);
    /// 68 years of uptime; later deadlines are brought down to it.
    pub const LIMIT: u32 = i32::MAX as u32;

    fn at(second: i64) -> Deadline {
        Deadline(second.clamp(1, i64::from(Deadline::LIMIT)) as u32)
    }

    /// The number as an item header keeps it: 0 for never.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// The inverse of [`Deadline::raw`].
    pub fn from_raw(raw: u32) -> Deadline {
        debug_assert!(raw <= Deadline::LIMIT);
        Deadline(raw)
    }

    pub fn has_passed(self, now: Seconds) -> bool {
        self.0 != 0 && self.0 <= now.0
    }

    /// Seconds left, or `None` for never.
    pub fn left(self, now: Seconds) -> Option<i64> {
        (self.0 != 0).then(|| i64::from(self.0) - i64::from(now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exptimes_follow_memcached() {
        let now = Now {
            seconds: Seconds(100),
            unix_start: 1_700_000_000,
        };
        let deadline = |exptime| now.deadline(Exptime(exptime)).raw();
        assert_eq!(deadline(0), 0);
        assert_eq!(deadline(-1), 1);
        assert_eq!(deadline(1), 101);
        assert_eq!(deadline(2_592_000), 2_592_100);
        assert_eq!(deadline(2_592_001), 1, "absolute and long past");
        assert_eq!(deadline(1_700_000_150), 150);
        assert_eq!(
            deadline(i64::from(u32::MAX)),
            Deadline::LIMIT,
            "binary's year 2106"
        );
        assert!(Deadline::from_raw(100).has_passed(now.seconds));
        assert!(!Deadline::from_raw(101).has_passed(now.seconds));
        assert!(!Deadline::NEVER.has_passed(now.seconds));
    }
}

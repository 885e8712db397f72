//! How long to look before sleeping.
//!
//! Waking a sleeping core costs more than serving a request, on a virtual machine most of all. A core that looks at
//! its queues for some microseconds before it sleeps answers one connection three times as fast, at less CPU per
//! request. But a core that looks in vain wastes that time. So it looks only where looking has paid: as the kernel's
//! halt polling does, it gives up after [`VAIN_MAX`] vain looks in a row and then tries again ever more rarely, until
//! short waits show that the load has changed.

use std::time::Duration;

/// Vain looks in a row after which looking is given up.
const VAIN_MAX: u32 = 4;

/// Waits between two tries while looking is given up: doubled after each vain try, up to this.
const PAUSE_MAX: u32 = 1024;

#[derive(Debug)]
pub struct Patience {
    /// `--busy-poll-us`; zero never looks.
    window: Duration,
    vain: u32,
    /// Waits to sleep through before the next try.
    pause: u32,
    pause_next: u32,
    short_sleeps: u32,
}

impl Patience {
    pub fn new(window: Duration) -> Patience {
        Patience {
            window,
            vain: 0,
            pause: 0,
            pause_next: 1,
            short_sleeps: 0,
        }
    }

    /// How long to look during the wait that begins now.
    pub fn window(&mut self) -> Duration {
        if self.pause > 0 {
            self.pause -= 1;
            return Duration::ZERO;
        }
        self.window
    }

    /// Something came while looking.
    pub fn was_rewarded(&mut self) {
        self.vain = 0;
        self.pause_next = 1;
    }

    /// The look was vain, or there was none, and the core slept: the whole wait took this long.
    pub fn slept(&mut self, looked: bool, waited: Duration) {
        if looked {
            self.vain += 1;
            if self.vain >= VAIN_MAX {
                self.pause = self.pause_next;
                self.pause_next = (self.pause_next * 2).min(PAUSE_MAX);
            }
        }
        // A client that was asleep, too, answers late just because it had to wake up: twice the window still
        // speaks for looking. Only several in a row do, or every chance pair of requests would.
        if waited < self.window * 2 {
            self.short_sleeps += 1;
            if self.short_sleeps >= VAIN_MAX {
                self.pause = 0;
                self.pause_next = 1;
                self.vain = 0;
                self.short_sleeps = 0;
            }
        } else {
            self.short_sleeps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_micros(50);
    const LONG: Duration = Duration::from_millis(5);

    /// Runs waits of one length; returns how many of them were looked through in vain.
    fn vain_looks(patience: &mut Patience, waits: usize, length: Duration) -> usize {
        let mut vain = 0;
        for _ in 0..waits {
            let looked = !patience.window().is_zero();
            if looked && length < WINDOW {
                patience.was_rewarded();
            } else {
                vain += usize::from(looked);
                patience.slept(looked, length);
            }
        }
        vain
    }

    #[test]
    fn looks_where_it_pays() {
        let mut patience = Patience::new(WINDOW);
        assert_eq!(vain_looks(&mut patience, 1000, WINDOW / 2), 0);
        let vain = vain_looks(&mut patience, 10_000, LONG);
        assert!(vain < 30, "{vain} vain looks in 10,000 long waits");
        vain_looks(&mut patience, VAIN_MAX as usize, WINDOW);
        assert!(!patience.window().is_zero(), "short sleeps bring it back");
    }

    #[test]
    fn zero_never_looks() {
        let mut patience = Patience::new(Duration::ZERO);
        assert!((0..100).all(|_| patience.window().is_zero()));
    }
}

//! One budget for all that the server holds (`--max-total-memory`).
//!
//! ```text
//! total | slack | unseen | buffers | connections | tables | headroom | item pages, as far as -m allows |
//!         '------' measured        '----- charged as they grow ------'  what is left, down to `pages_min`
//! ```
//!
//! Item pages give way to everything else. What is charged takes from them at once; of what is given back they get a quarter
//! every second, when the system has said how much the process really holds ([`Pool::measure`]): an allocator keeps some
//! of what was freed, and that is not room. What nobody accounts for comes with what is charged, however fast that grows:
//! so the process is measured after every [`Budget::measure_step`] of growth, too, and then items can only lose. The
//! headroom is for what is charged before the hand has freed a page.
//!
//! When item pages are down to `pages_min`, nothing is left: whoever charges has to do without, and so sessions take
//! fewer bytes of replies ([`Pool::connection_size_max`]), new clients are turned away, and in the end those who hold
//! most are hung up on (`runtime::ledger`).
//!
//! Nobody charges for single bytes: a [`Charge`] tells the budget only when it differs by [`STEP`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use super::Pool;

/// What memory is held for, beside items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Hash tables, ghosts, the bookkeeping of pages.
    Tables,
    /// Connections: what they sent and is not served, what they are to be sent, values that arrive, TLS.
    Connections,
    /// Receive buffers, batches between cores, buffers that are lent to connections and at rest.
    Buffers,
}

/// An account may be wrong by so many bytes for each that charges it.
const STEP: usize = 16 * 1024;

/// Of the bytes that connections could still get, a single one gets a part.
const CONNECTION_PART: usize = 64;

/// The hard limit, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    pub bytes: u64,
    /// Of these, what no account can see: code, stacks, what the allocator keeps for itself.
    pub slack: u64,
    /// What is held for [`Account::Buffers`] as long as the server runs.
    pub fixed_buffers: u64,
    /// What one core may have received at once, and has to keep somewhere.
    pub burst: u64,
}

impl Total {
    /// Code and data of the program, and what the libraries hold: 7 MiB are resident of a release build, 12 of others.
    const PROGRAM_SIZE: u64 = 12 << 20;
    /// Stack and allocator of a thread.
    const THREAD_SIZE: u64 = 384 << 10;
    /// Of the whole, what the allocator may waste: less in practice, and more is measured.
    const WASTE_PART: u64 = 32;
    /// With less than this for items and all that grows there is no use in a server.
    const ROOM_MIN: u64 = 8 << 20;

    /// So many bytes for a server with so many threads, each of which holds `buffers` bytes from the start. `Err` has
    /// the least number of bytes that would do.
    pub fn new(bytes: u64, threads: usize, buffers: usize) -> Result<Total, u64> {
        let threads = threads as u64;
        let total = Total {
            bytes,
            slack: Total::PROGRAM_SIZE + threads * Total::THREAD_SIZE + bytes / Total::WASTE_PART,
            fixed_buffers: threads * buffers as u64,
            burst: buffers as u64,
        };
        let needed = total.slack + total.fixed_buffers + total.burst + Total::ROOM_MIN;
        if bytes < needed {
            return Err(needed);
        }
        Ok(total)
    }

    /// What the accounts and item pages may hold together.
    fn room(&self) -> usize {
        usize::try_from(self.bytes.saturating_sub(self.slack)).unwrap_or(usize::MAX)
    }
}

/// What is held, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// 0: there is no limit.
    pub limit: u64,
    pub slack: u64,
    /// What item pages may come to now.
    pub items_limit: u64,
    pub items: u64,
    pub tables: u64,
    pub connections: u64,
    pub buffers: u64,
    /// What the process holds beyond these and the slack.
    pub unseen: u64,
}

/// The accounts, and what is allowed.
#[derive(Debug)]
pub(super) struct Budget {
    total: Option<Total>,
    accounts: [AtomicUsize; 3],
    unseen: AtomicUsize,
    /// Is woken when the slack is nearly used up between the seconds.
    reliever: OnceLock<Thread>,
    headroom: usize,
    /// Resident bytes of the process, as the system says: asked between the seconds.
    measured_by: Option<fn() -> u64>,
    /// What accounts and pages held when the process was measured last, or less, if they have held less since.
    measured_at: AtomicUsize,
    /// When they have grown by so many bytes, it is measured again.
    measure_step: usize,
}

impl Budget {
    pub(super) fn new(total: Option<Total>) -> Budget {
        let fixed = total.map_or(0, |total| total.fixed_buffers as usize);
        let part = |total: &Total, part: usize| (total.room() / part).clamp(1 << 20, 64 << 20);
        Budget {
            total,
            accounts: [0, 0, fixed].map(AtomicUsize::new),
            unseen: AtomicUsize::new(0),
            reliever: OnceLock::new(),
            headroom: total.map_or(0, |total| part(&total, 32) + total.burst as usize),
            measured_by: None,
            measured_at: AtomicUsize::new(fixed),
            measure_step: total.map_or(0, |total| part(&total, 64)),
        }
    }

    pub(super) fn with_measure(self, resident: fn() -> u64) -> Budget {
        Budget {
            measured_by: Some(resident),
            ..self
        }
    }

    /// The process holds so many bytes, of which accounts and pages explain `held`. Returns what nobody can see.
    fn note_resident(&self, total: Total, held: usize, resident: usize) -> usize {
        let unseen = resident.saturating_sub(held + total.slack as usize);
        self.unseen.store(unseen, Ordering::Relaxed);
        unseen
    }

    fn held(&self, account: Account) -> usize {
        self.accounts[account as usize].load(Ordering::Relaxed)
    }

    /// What is charged.
    fn charged(&self) -> usize {
        let accounts = self.accounts.iter();
        accounts.map(|account| account.load(Ordering::Relaxed)).sum()
    }

    /// All that is not item pages.
    fn others(&self) -> usize {
        self.charged() + self.unseen.load(Ordering::Relaxed)
    }

    /// What item pages may hold, if somebody counts.
    pub(super) fn left_for_items(&self) -> Option<usize> {
        let room = self.total?.room();
        Some(room.saturating_sub(self.others() + self.headroom))
    }
}

/// The budget, as those see it who charge it.
impl Pool {
    fn page_bytes(&self) -> usize {
        self.pages_made() * self.page_size()
    }

    fn charge(&self, account: Account, from: usize, to: usize) {
        let held = &self.budget.accounts[account as usize];
        if to >= from {
            held.fetch_add(to - from, Ordering::Relaxed);
            self.measure_growth();
            self.lower_to_fit();
        } else {
            held.fetch_sub(from - to, Ordering::Relaxed);
            self.measure_growth();
        }
    }

    /// Whether more is held than may be: somebody has to let go.
    pub fn lacks_room(&self) -> bool {
        self.room_missing() > 0
    }

    /// By how many bytes too much is held.
    pub fn room_missing(&self) -> usize {
        let Some(total) = self.budget.total else { return 0 };
        (self.page_bytes() + self.budget.others()).saturating_sub(total.room())
    }

    /// What connections may come to hold beyond what they do, if item pages give all they can.
    fn left_for_connections(&self) -> Option<usize> {
        let total = self.budget.total?;
        let least = self.pages_min() * self.page_size();
        Some(total.room().saturating_sub(self.budget.others() + least))
    }

    /// Bytes of replies that one connection may hold: at most `most`, less as memory gets scarce, never less than `least`.
    pub fn connection_size_max(&self, least: usize, most: usize) -> usize {
        match self.left_for_connections() {
            None => most,
            Some(left) => (left / CONNECTION_PART).clamp(least, most),
        }
    }

    /// Whether there is room for one more client, who will hold about so much.
    pub fn has_room_for(&self, size: usize) -> bool {
        self.left_for_connections().is_none_or(|left| left > size)
    }

    /// Once a second: so many bytes does the process hold, as the system says. What no account explains counts as held,
    /// and item pages get what is left. Returns whether that is less than it could be, because something is held that
    /// nobody can see.
    pub fn measure(&self, resident: usize) -> bool {
        let Some(total) = self.budget.total else {
            return false;
        };
        let held = self.page_bytes() + self.budget.charged();
        self.budget.measured_at.store(held, Ordering::Relaxed);
        let unseen = self.budget.note_resident(total, held, resident);
        self.approach();
        unseen > 0
    }

    /// Between the seconds, when something was done about what nobody can see: items get no more then.
    pub fn measure_again(&self, resident: usize) {
        if let Some(total) = self.budget.total {
            let held = self.page_bytes() + self.budget.charged();
            self.budget.note_resident(total, held, resident);
            self.lower_to_fit();
        }
    }

    /// Has this thread woken when the slack is nearly used up between the seconds.
    pub fn wake_when_scarce(&self, thread: Thread) {
        // There is one such thread, and it is the first.
        let _ = self.budget.reliever.set(thread);
    }

    /// Something has grown or shrunk. After enough growth the process is measured between the seconds, too: items do not
    /// get more then, and whoever measures at the same time does it for all.
    pub(super) fn measure_growth(&self) {
        let Budget {
            total: Some(total),
            measured_by: Some(resident),
            measured_at,
            measure_step,
            ..
        } = &self.budget
        else {
            return;
        };
        let held = self.page_bytes() + self.budget.charged();
        let before = measured_at.fetch_min(held, Ordering::Relaxed);
        if held < before.saturating_add(*measure_step)
            || measured_at
                .compare_exchange(before, held, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let resident = resident() as usize;
        self.budget.note_resident(*total, held, resident);
        if resident + measure_step > held + total.slack as usize
            && let Some(reliever) = self.budget.reliever.get()
        {
            reliever.unpark();
        }
        self.lower_to_fit();
    }

    /// What is held, and for what.
    pub fn parts(&self) -> Parts {
        let Budget { total, unseen, .. } = &self.budget;
        let held = |account| self.budget.held(account) as u64;
        Parts {
            limit: total.map_or(0, |total| total.bytes),
            slack: total.map_or(0, |total| total.slack),
            items_limit: (self.pages_max() * self.page_size()) as u64,
            items: self.page_bytes() as u64,
            tables: held(Account::Tables),
            connections: held(Account::Connections),
            buffers: held(Account::Buffers),
            unseen: unseen.load(Ordering::Relaxed) as u64,
        }
    }
}

/// What one holder has charged an account with; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    account: Account,
    told: usize,
}

impl Charge {
    pub fn new(pool: &Arc<Pool>, account: Account) -> Charge {
        Charge {
            pool: pool.clone(),
            account,
            told: 0,
        }
    }

    /// The holder has so many bytes now. Returns whether the budget was told that they have become more.
    pub fn set(&mut self, size: usize) -> bool {
        if size.abs_diff(self.told) < STEP {
            return false;
        }
        let before = std::mem::replace(&mut self.told, size);
        self.pool.charge(self.account, before, size);
        size > before
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.charge(self.account, self.told, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::Page;
    use super::*;

    const MIB: usize = 1 << 20;
    const PAGE_SIZE: usize = 64 * 1024;

    /// 64 MiB, of which 12 are slack and buffers, and 1.5 headroom.
    fn pool(item_megabytes: u64) -> Arc<Pool> {
        let total = Total {
            bytes: 64 << 20,
            slack: 8 << 20,
            fixed_buffers: 4 << 20,
            burst: 0,
        };
        Arc::new(Pool::within(Some(total), item_megabytes << 20, PAGE_SIZE))
    }

    fn item_mib(pool: &Pool) -> f64 {
        pool.parts().items_limit as f64 / MIB as f64
    }

    #[test]
    fn items_get_what_is_left_down_to_a_quarter_and_more_only_when_it_was_measured() {
        let pool = pool(1024);
        assert_eq!(50.25, item_mib(&pool));
        let mut tables = Charge::new(&pool, Account::Tables);
        assert!(!tables.set(STEP - 1), "not worth telling");
        assert!(tables.set(10 * MIB));
        assert_eq!(40.25, item_mib(&pool));
        let mut connections = Charge::new(&pool, Account::Connections);
        connections.set(200 * MIB);
        assert_eq!(12.5625, item_mib(&pool), "a quarter of what it was");
        assert!(pool.lacks_room() && !pool.has_room_for(0));
        assert_eq!(7, pool.connection_size_max(7, 1000));
        connections.set(0);
        assert!(!pool.lacks_room());
        assert_eq!(
            12.5625,
            item_mib(&pool),
            "the system has not said that it is free"
        );
        assert!(!pool.measure(20 * MIB));
        assert_eq!(19.5, item_mib(&pool), "a quarter of what could be");
        (0..50).for_each(|_| assert!(!pool.measure(20 * MIB)));
        assert_eq!(40.25, item_mib(&pool));
        // Of 30 MiB, 10 are tables, 4 buffers, 8 slack.
        assert!(pool.measure(30 * MIB));
        assert_eq!((8 << 20, 32.25), (pool.parts().unseen, item_mib(&pool)));
        drop(tables);
        assert_eq!(0, pool.parts().tables);
    }

    /// Of 64 MiB, for a process that holds so much.
    fn measured(resident: fn() -> u64) -> Arc<Pool> {
        let total = Total {
            bytes: 64 << 20,
            slack: 8 << 20,
            fixed_buffers: 4 << 20,
            burst: 0,
        };
        Arc::new(Pool::within(Some(total), 1 << 30, PAGE_SIZE).with_measure(resident))
    }

    #[test]
    fn what_grows_fast_is_measured_before_the_second_is_over() {
        let pool = measured(|| 30 << 20);
        let mut connections = Charge::new(&pool, Account::Connections);
        connections.set(MIB / 2);
        assert_eq!(
            (0, 49.75),
            (pool.parts().unseen, item_mib(&pool)),
            "not worth asking"
        );
        connections.set(2 * MIB);
        assert_eq!((16 << 20, 32.25), (pool.parts().unseen, item_mib(&pool)));
        connections.set(0);
        assert_eq!(16 << 20, pool.parts().unseen, "it has not grown");
        connections.set(10 * MIB);
        assert_eq!(
            (8 << 20, 32.25),
            (pool.parts().unseen, item_mib(&pool)),
            "items get no more"
        );
        pool.measure(22 << 20);
        assert_eq!((0, 34.25), (pool.parts().unseen, item_mib(&pool)));
        let pages: Vec<Page> = (0..32).map(|_| pool.take().expect("room")).collect();
        assert_eq!(6 << 20, pool.parts().unseen, "pages are growth, too");
        drop(pages);
    }

    #[test]
    fn help_is_called_when_the_slack_is_nearly_used_up() {
        const LONG: Duration = Duration::from_secs(60);
        // All that accounts and slack explain after the growth.
        let pool = measured(|| 14 << 20);
        pool.wake_when_scarce(thread::current());
        Charge::new(&pool, Account::Connections).set(2 * MIB);
        let began = Instant::now();
        thread::park_timeout(LONG);
        assert!(began.elapsed() < LONG, "woken");
        assert_eq!(0, pool.parts().unseen);
    }

    #[test]
    fn a_budget_of_items_that_fits_is_kept_and_may_change() {
        let pool = pool(16);
        assert_eq!(16.0, item_mib(&pool));
        pool.set_budget(60 << 20);
        assert_eq!(50.25, item_mib(&pool));
        pool.set_budget(1 << 20);
        assert_eq!(1.0, item_mib(&pool));
        pool.set_budget(16 << 20);
        let pages: Vec<Page> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(256, pages.len());
        let mut connections = Charge::new(&pool, Account::Connections);
        connections.set(50 * MIB);
        assert!(pool.is_over_budget() && pool.lacks_room());
        pool.give_all(pages);
        while pool.has_excess() {
            pool.trim();
        }
        assert_eq!(64, pool.pages_made(), "a quarter is the items' own");
        assert!(pool.lacks_room());
        connections.set(40 * MIB);
        assert!(!pool.lacks_room());
    }

    #[test]
    fn without_a_total_nobody_is_held_up() {
        let pool = Arc::new(Pool::new(1 << 20, PAGE_SIZE));
        let mut charge = Charge::new(&pool, Account::Connections);
        charge.set(usize::MAX / 2);
        assert!(!pool.lacks_room() && pool.has_room_for(usize::MAX / 4));
        assert_eq!(1000, pool.connection_size_max(7, 1000));
        assert!(!pool.measure(usize::MAX));
        assert_eq!((1 << 20, 0), (pool.parts().items_limit, pool.parts().limit));
    }

    #[test]
    fn what_is_too_little_says_what_would_do() {
        let least = Total::new(1 << 20, 2, 2 * MIB).unwrap_err();
        assert!(least > 20 << 20 && least < 30 << 20, "{least}");
        let total = Total::new(1 << 30, 2, 2 * MIB).expect("enough");
        assert_eq!(4 << 20, total.fixed_buffers);
        assert!(
            total.slack > 40 << 20 && total.slack < 48 << 20,
            "{}",
            total.slack
        );
    }
}

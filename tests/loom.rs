//! The sleep, wake and lend protocol under the model checker: the interleavings of two or three threads.
//!
//! Run with `RUSTFLAGS="--cfg modelled" cargo test --release --test loom`; `tools/test` does. The bell and the lending are
//! the real ones; the mailbox and the kernel's sleep are stood in for by the simplest things that behave alike.
#![cfg(modelled)]

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use ringcached::mesh::{Bell, Lendable};

/// A core as seen from outside: a mailbox, a bell, a shard, and the kernel where it sleeps.
struct Place {
    mailbox: Mutex<VecDeque<u32>>,
    bell: Bell,
    shard: Lendable<Vec<u32>>,
    /// Wake-ups that have not been slept through: what MSG_RING leaves in the completion queue.
    rings: AtomicUsize,
}

impl Place {
    fn new() -> Arc<Place> {
        Arc::new(Place {
            mailbox: Mutex::new(VecDeque::new()),
            bell: Bell::new(),
            shard: Lendable::new(Vec::new()),
            rings: AtomicUsize::new(0),
        })
    }

    fn post(&self, letter: u32) {
        self.mailbox.lock().unwrap().push_back(letter);
        if self.bell.must_ring() {
            self.rings.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn next_letter(&self) -> Option<u32> {
        self.mailbox.lock().unwrap().pop_front()
    }

    /// What a core does between turns: sleeps unless a letter has come. After a lost wake-up it yields forever, and
    /// loom reports that.
    fn wait(&self) {
        self.bell.lie_down();
        if self.mailbox.lock().unwrap().is_empty() {
            while self.rings.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            self.rings.fetch_sub(1, Ordering::SeqCst);
        }
        self.bell.get_up();
    }
}

/// Explores every interleaving with at most three preemptions: nearly all known bugs of such protocols take two.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

/// The mailbox is a bare counter here: nothing but the bell's fences keeps a letter from being overlooked.
#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let (letters, rings) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let bell = Arc::new(Bell::new());
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let (letters, rings, bell) = (letters.clone(), rings.clone(), bell.clone());
                thread::spawn(move || {
                    letters.fetch_add(1, Ordering::Release);
                    if bell.must_ring() {
                        rings.fetch_add(1, Ordering::Release);
                    }
                })
            })
            .collect();
        let mut rings_heard = 0;
        loop {
            let letters_read = letters.load(Ordering::Acquire);
            if letters_read == 2 {
                break;
            }
            bell.lie_down();
            if letters.load(Ordering::Acquire) == letters_read {
                while rings.load(Ordering::Acquire) == rings_heard {
                    thread::yield_now();
                }
                rings_heard += 1;
            }
            bell.get_up();
        }
        for poster in posters {
            poster.join().unwrap();
        }
    });
}

/// A core has three requests for a peer's shard, in order. It borrows the shard where it can and nothing is under way,
/// else it posts. Whatever the peer does meanwhile, each is executed once, and in order.
#[test]
fn lending_and_posting_keep_the_order() {
    explore(|| {
        const REQUESTS: u32 = 3;
        let owner = Place::new();
        let answers = Place::new();
        let asker = {
            let (owner, answers) = (owner.clone(), answers.clone());
            thread::spawn(move || {
                let mut under_way = 0;
                let mut borrowed = 0;
                for request in 0..REQUESTS {
                    while answers.next_letter().is_some() {
                        under_way -= 1;
                    }
                    let shard = if under_way == 0 {
                        owner.shard.borrow()
                    } else {
                        None
                    };
                    match shard {
                        Some(mut shard) => {
                            shard.push(request);
                            borrowed += 1;
                        }
                        None => {
                            under_way += 1;
                            owner.post(request);
                        }
                    }
                }
                // The owner counts what it executes: the rest was borrowed.
                owner.post(u32::MAX - borrowed);
            })
        };
        let mut executed = 0;
        let borrowed = 'serve: loop {
            {
                let mut shard = owner.shard.take_back();
                while let Some(request) = owner.next_letter() {
                    if request > REQUESTS {
                        break 'serve u32::MAX - request;
                    }
                    shard.push(request);
                    executed += 1;
                    answers.post(request);
                }
            }
            owner.wait();
        };
        asker.join().unwrap();
        assert_eq!(executed + borrowed, REQUESTS, "each is executed once");
        assert_eq!(
            *owner.shard.take_back(),
            (0..REQUESTS).collect::<Vec<_>>(),
            "in order"
        );
    });
}

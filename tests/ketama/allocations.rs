//! Counts what this test program allocates, a thread at a time, to show that looking up a key allocates
//! nothing.
#![expect(unsafe_code, reason = "an allocator can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringcached::cluster::{Preset, Ring, Server};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call goes to `System` unchanged, which keeps the contract; the counter is a plain number
// without a destructor, so counting allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn looking_up_a_key_allocates_nothing() {
    let servers: Vec<_> = (1..=5)
        .map(|n| Server::new(format!("10.0.0.{n}"), 11211).with_name(format!("n{n}")))
        .collect();
    for preset in Preset::all() {
        let mut rules = preset.rules();
        rules.hash_tag = Some(*b"{}");
        let ring = Ring::build(&rules, &servers).unwrap();
        let before = ALLOCATIONS.get();
        let sum: usize = [&b"user:42"[..], b"a{b}c", &[b'x'; 250], b""]
            .iter()
            .map(|key| ring.owner(key))
            .sum();
        assert_eq!(ALLOCATIONS.get(), before, "{}", preset.name());
        assert!(sum < 4 * servers.len());
    }
    let before = ALLOCATIONS.get();
    drop(vec![1u8; 100]);
    assert_eq!(ALLOCATIONS.get(), before + 1, "the counter counts");
}

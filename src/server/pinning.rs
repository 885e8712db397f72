//! Which CPU each core's thread is kept on.
//!
//! A thread that is kept on one CPU finds its shard in that CPU's cache, and nothing moves it away. But servers that share a
//! machine, as containers with a quota do, would all begin with the first CPU, and a thread that is kept cannot step aside
//! for a busy neighbour. So threads are kept only where the CPUs that the process may use are as many as they are: a machine
//! or a cpuset of its own.

use core_affinity::CoreId;

use crate::config::Pin;

/// A CPU for each thread, of those that the process may use; none where the kernel is to choose. `granted` is how many of
/// them its quota comes to.
pub(super) fn cpus(pin: Pin, threads: usize, allowed: &[CoreId], granted: usize) -> Vec<Option<CoreId>> {
    let is_pinned = match pin {
        Pin::Auto => threads == allowed.len() && threads <= granted,
        Pin::Always => threads <= allowed.len(),
        Pin::Never => false,
    };
    let of_thread = |thread: usize| allowed.get(thread).copied().filter(|_| is_pinned);
    (0..threads).map(of_thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pin: Pin, threads: usize, granted: usize, want: &[Option<usize>]) {
        let allowed = [CoreId { id: 2 }, CoreId { id: 5 }];
        let got = cpus(pin, threads, &allowed, granted);
        let got: Vec<_> = got.iter().map(|cpu| cpu.map(|cpu| cpu.id)).collect();
        assert_eq!(got, want, "{pin:?}, {threads}");
    }

    #[test]
    fn threads_are_kept_on_cpus_that_are_all_theirs() {
        check(Pin::Auto, 1, 2, &[None]);
        check(Pin::Auto, 2, 2, &[Some(2), Some(5)]);
        check(Pin::Auto, 2, 1, &[None; 2]);
        check(Pin::Auto, 3, 2, &[None; 3]);
        check(Pin::Always, 1, 2, &[Some(2)]);
        check(Pin::Always, 2, 1, &[Some(2), Some(5)]);
        check(Pin::Always, 3, 2, &[None; 3]);
        check(Pin::Never, 2, 2, &[None; 2]);
    }
}

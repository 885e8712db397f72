//! Jump consistent hash (Lamping and Veach, 2014).
//!
//! No points and no memory: servers are numbered, a new one is added at the end, and only the keys it takes
//! move. A server in the middle cannot leave without renumbering those behind it, which is why rings still
//! exist. Used by Grafana's Loki, Mimir and Tempo over their memcached pods.

/// The bucket, 0 to `buckets - 1`, of a 64-bit hash. `buckets` must be 1 or more.
pub fn jump(hash: u64, buckets: u32) -> u32 {
    assert!(buckets > 0, "jump hash needs a bucket");
    let mut state = hash;
    let mut bucket = 0;
    let mut next = 0;
    while next < i64::from(buckets) {
        bucket = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Both operands are exact in f64: the divisor has 31 bits.
        next = ((bucket + 1) as f64 * ((1u64 << 31) as f64 / ((state >> 33) + 1) as f64)) as i64;
    }
    bucket as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values recorded from the PyPI package jump-consistent-hash, a wrapper of the authors' C++.
    #[test]
    fn agrees_with_the_authors() {
        for (hash, buckets, bucket) in [
            (1, 1, 0),
            (42, 57, 43),
            (0xdead_10cc, 1, 0),
            (0xdead_10cc, 666, 361),
            (256, 1024, 520),
        ] {
            assert_eq!(jump(hash, buckets), bucket, "{hash} over {buckets}");
        }
    }

    #[test]
    fn a_new_bucket_only_takes() {
        for hash in (0..20_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let (before, after) = (jump(hash, 10), jump(hash, 11));
            assert!(
                after == before || after == 10,
                "{hash} went from {before} to {after}"
            );
        }
    }
}

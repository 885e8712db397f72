//! Random numbers that are the same in every run.

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// From 0 to less than 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks from 0, where the rank r is asked for as often as (r + 1) to the power of -exponent, nearly: the sum is
/// taken for an integral, which is exact enough for exponents below 1.
pub(crate) struct Zipf {
    count: f64,
    power: f64,
}

impl Zipf {
    pub(crate) fn new(count: u64, exponent: f64) -> Zipf {
        Zipf {
            count: count as f64,
            power: 1.0 / (1.0 - exponent),
        }
    }

    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        let rank = self.count * random.unit().powf(self.power);
        rank.min(self.count - 1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ranks_are_asked_for_most() {
        let (mut random, zipf) = (Random::new(7), Zipf::new(10_000, 0.9));
        let mut counts = vec![0; 10_000];
        for _ in 0..100_000 {
            counts[zipf.next(&mut random) as usize] += 1;
        }
        let part = |to: usize| f64::from(counts[..to].iter().sum::<u32>()) / 100_000.0;
        // (r / 10,000) to the power of 0.1.
        assert!((part(1) - 0.398).abs() < 0.01, "{}", part(1));
        assert!((part(100) - 0.631).abs() < 0.01, "{}", part(100));
        assert!(counts[9_999] < 20);
    }
}

//! Random numbers and the laws they follow: which key is next, how large a value is, when a request is due.

use std::str::FromStr;

/// Mixes two words into one that looks random (a 64 by 64 bit multiplication, folded).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b ^ 0x8bb8_4b93_962e_acc9);
    let folded = (product as u64) ^ (product >> 64) as u64;
    let product = u128::from(folded ^ 0x4b33_a62e_d433_d4a3) * u128::from(a ^ 0x4d5a_2da5_1de1_aa47);
    (product as u64) ^ (product >> 64) as u64
}

/// A small fast generator (wyrand): a counter that is mixed. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random {
            state: mix(seed, 0x1234_5678_9abc_def1),
        }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.state) * u128::from(self.state ^ 0xe703_7ed1_a0b4_28db);
        (product as u64) ^ (product >> 64) as u64
    }

    /// From 0 to `bound - 1`; the bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// At least 0, below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// What the user wrote after `--distribution`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Popularity {
    Uniform,
    /// The key of rank `r` (from 1) is asked for in proportion to `r^-theta`.
    Zipf(f64),
    /// Meta's kvcache_reg pool: CacheLib's histogram of requests over keys.
    Kvcache,
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Popularity, String> {
        if text == "uniform" {
            return Ok(Popularity::Uniform);
        }
        if text == "kvcache" {
            return Ok(Popularity::Kvcache);
        }
        match text.strip_prefix("zipf:").map(str::parse::<f64>) {
            Some(Ok(theta)) if theta > 0.0 && theta <= 10.0 => Ok(Popularity::Zipf(theta)),
            _ => Err("uniform, kvcache, or zipf:THETA with THETA above 0, at most 10".into()),
        }
    }
}

/// Draws keys.
#[derive(Clone, Debug)]
pub(crate) enum KeyLaw {
    Uniform(u64),
    Zipf(Zipf),
    Kvcache(u64),
}

impl KeyLaw {
    pub(crate) fn new(popularity: Popularity, count: u64) -> KeyLaw {
        match popularity {
            Popularity::Uniform => KeyLaw::Uniform(count),
            Popularity::Zipf(theta) => KeyLaw::Zipf(Zipf::new(count, theta)),
            Popularity::Kvcache => KeyLaw::Kvcache(count),
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        match self {
            KeyLaw::Uniform(count) => random.below(*count),
            KeyLaw::Zipf(zipf) => zipf.draw(random),
            KeyLaw::Kvcache(count) => {
                let unit = random.unit();
                let at = KVCACHE_POPULARITY.partition_point(|&(_, share)| share <= unit);
                let low = at.checked_sub(1).map_or(0, |before| KVCACHE_POPULARITY[before].0);
                let high = KVCACHE_POPULARITY[at].0;
                let place = f64::from(low) + random.unit() * f64::from(high - low);
                let key = place / f64::from(KVCACHE_KEY_COUNT) * *count as f64;
                (key as u64).min(*count - 1)
            }
        }
    }
}

/// Zipf by rejection-inversion (Hörmann and Derflinger 1996): exact, no table, whatever the number of keys.
/// Index 0 is the most popular key.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: f64,
    theta: f64,
    /// Integral of the density at 1.5, less the mass of rank 1, and at `count + 0.5`: the ends of the inversion.
    low: f64,
    high: f64,
    /// Ranks this close to the continuous draw are accepted without looking at the density.
    sure: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Zipf {
        let mut zipf = Zipf {
            count: count as f64,
            theta,
            low: 0.0,
            high: 0.0,
            sure: 0.0,
        };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.count + 0.5);
        zipf.sure = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.high + random.unit() * (self.low - self.high);
            let point = self.integral_inverse(area);
            let rank = (point + 0.5).floor().clamp(1.0, self.count);
            if rank - point <= self.sure || area >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// `(x^(1-theta) - 1) / (1 - theta)`, which is `ln x` at theta 1.
    fn integral(&self, x: f64) -> f64 {
        let (log, power) = (x.ln(), 1.0 - self.theta);
        if power.abs() < 1e-9 {
            log
        } else {
            (power * log).exp_m1() / power
        }
    }

    fn integral_inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 {
            area.exp()
        } else {
            ((area * power).max(-1.0).ln_1p() / power).exp()
        }
    }
}

/// What the user wrote after `--key-size` or `--value-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeLaw {
    Fixed(usize),
    /// Uniform, both ends included.
    Range(usize, usize),
    /// Facebook's ETC pool (Atikoglu et al. 2012), as mutilate codes it.
    Etc,
    /// Meta's kvcache_reg pool: CacheLib's histogram of its values, and keys of 16 to 250 bytes.
    Kvcache,
}

impl FromStr for SizeLaw {
    type Err = String;

    fn from_str(text: &str) -> Result<SizeLaw, String> {
        let refuse = || "a size in bytes, a range A-B, etc or kvcache".to_string();
        match text {
            "etc" => return Ok(SizeLaw::Etc),
            "kvcache" => return Ok(SizeLaw::Kvcache),
            _ => {}
        }
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (
                low.parse().map_err(|_| refuse())?,
                high.parse().map_err(|_| refuse())?,
            );
            return if low <= high {
                Ok(SizeLaw::Range(low, high))
            } else {
                Err(refuse())
            };
        }
        text.parse().map(SizeLaw::Fixed).map_err(|_| refuse())
    }
}

/// Masses of ETC's values of 0 to 14 bytes, 0.44155 together; the rest follows the Pareto law.
const ETC_SMALL_VALUES: [f64; 15] = [
    0.00536, 0.00047, 0.17820, 0.09239, 0.00018, 0.02740, 0.00065, 0.00606, 0.00023, 0.00837, 0.00837,
    0.08989, 0.00092, 0.00326, 0.01980,
];

/// kvcache_reg's values: the largest size of a range, and the share of all values up to there. CacheLib's histogram of
/// 7,520 ranges of 32 bytes (cachelib/cachebench/test_configs, Apache-2.0), joined above 511 bytes to steps of 15 %.
const KVCACHE_VALUES: [(u32, f64); 66] = [
    (31, 0.00069611),
    (63, 0.00075544),
    (95, 0.13251437),
    (127, 0.37264668),
    (159, 0.86408701),
    (191, 0.90661779),
    (223, 0.92262011),
    (255, 0.93100735),
    (287, 0.93914285),
    (319, 0.94620277),
    (351, 0.95132303),
    (383, 0.95577730),
    (415, 0.95816086),
    (447, 0.96043370),
    (479, 0.96237355),
    (511, 0.97033782),
    (575, 0.97527046),
    (671, 0.98079378),
    (767, 0.98712323),
    (895, 0.98932359),
    (1023, 0.99156982),
    (1183, 0.99296997),
    (1375, 0.99415168),
    (1567, 0.99468279),
    (1791, 0.99539688),
    (2079, 0.99581557),
    (2367, 0.99626862),
    (2719, 0.99662881),
    (3135, 0.99697290),
    (3615, 0.99732527),
    (4159, 0.99773351),
    (4767, 0.99805898),
    (5503, 0.99836448),
    (6335, 0.99848636),
    (7263, 0.99859750),
    (8351, 0.99869958),
    (9631, 0.99882622),
    (11_071, 0.99891510),
    (12_735, 0.99899198),
    (14_623, 0.99906059),
    (16_831, 0.99914194),
    (19_359, 0.99921678),
    (22_239, 0.99927399),
    (25_599, 0.99932879),
    (29_407, 0.99936339),
    (33_823, 0.99938941),
    (38_911, 0.99941373),
    (44_703, 0.99944480),
    (51_455, 0.99945855),
    (59_167, 0.99946965),
    (68_063, 0.99948028),
    (78_271, 0.99949097),
    (90_015, 0.99950383),
    (103_487, 0.99951705),
    (119_007, 0.99953238),
    (136_895, 0.99955194),
    (157_407, 0.99957432),
    (180_991, 0.99960551),
    (208_191, 0.99965409),
    (239_391, 0.99972111),
    (275_295, 0.99979107),
    (316_607, 0.99986431),
    (364_095, 0.99990496),
    (418_751, 0.99992975),
    (481_439, 0.99995277),
    (523_487, 1.00000000),
];

/// kvcache_reg's popularity: so many of the most popular keys, and their share of all requests. CacheLib's 805 groups
/// of 10.5 million keys (as above), joined to steps of 35 per cent.
const KVCACHE_POPULARITY: [(u32, f64); 49] = [
    (1, 0.06624331),
    (2, 0.10702595),
    (3, 0.13345598),
    (5, 0.15648879),
    (7, 0.17346245),
    (10, 0.19446913),
    (14, 0.21090572),
    (19, 0.22517734),
    (26, 0.24141564),
    (36, 0.25886270),
    (49, 0.26958487),
    (67, 0.28002957),
    (91, 0.29041053),
    (125, 0.30180277),
    (169, 0.31374704),
    (232, 0.32776625),
    (317, 0.34271527),
    (429, 0.35865715),
    (589, 0.37667456),
    (806, 0.39545668),
    (1095, 0.41442860),
    (1485, 0.43368246),
    (2010, 0.45341433),
    (2743, 0.47418736),
    (3720, 0.49505693),
    (5067, 0.51657966),
    (6892, 0.53818780),
    (9323, 0.55963958),
    (12_718, 0.58177683),
    (17_275, 0.60361874),
    (23_456, 0.62523431),
    (31_963, 0.64666347),
    (43_260, 0.66717418),
    (58_801, 0.68734645),
    (80_113, 0.70706444),
    (108_814, 0.72621922),
    (148_185, 0.74519266),
    (200_995, 0.76362090),
    (272_828, 0.78197112),
    (368_638, 0.80005992),
    (501_876, 0.81894222),
    (690_909, 0.83903733),
    (955_135, 0.85994839),
    (1_340_097, 0.88218897),
    (1_874_691, 0.90423061),
    (2_765_199, 0.92918643),
    (3_815_604, 0.94899857),
    (6_116_096, 0.97540951),
    (10_483_642, 1.00000000),
];

const KVCACHE_KEY_COUNT: u32 = KVCACHE_POPULARITY[KVCACHE_POPULARITY.len() - 1].0;

/// kvcache_reg's smallest key; the largest is the protocol's.
const KVCACHE_KEYS: SizeLaw = SizeLaw::Range(16, 250);

impl SizeLaw {
    pub(crate) fn draw_key(self, random: &mut Random) -> usize {
        match self {
            SizeLaw::Etc => {
                // Generalised extreme value law, by inversion.
                let (location, scale, shape) = (30.7984, 8.20449, 0.078688);
                let unit = random.unit().max(1e-12);
                (location + scale * ((-unit.ln()).powf(-shape) - 1.0) / shape).max(1.0) as usize
            }
            SizeLaw::Kvcache => KVCACHE_KEYS.draw_plain(random),
            plain => plain.draw_plain(random),
        }
    }

    pub(crate) fn draw_value(self, random: &mut Random) -> usize {
        match self {
            SizeLaw::Etc => {
                let mut unit = random.unit();
                for (size, mass) in ETC_SMALL_VALUES.iter().enumerate() {
                    if unit < *mass {
                        return size;
                    }
                    unit -= mass;
                }
                // Generalised Pareto law, by inversion of what remains of the unit.
                let (scale, shape) = (214.476, 0.348238);
                let left = (1.0 - unit / (1.0 - ETC_SMALL_VALUES.iter().sum::<f64>())).max(1e-12);
                15 + (scale * (left.powf(-shape) - 1.0) / shape) as usize
            }
            SizeLaw::Kvcache => {
                let unit = random.unit();
                let at = KVCACHE_VALUES.partition_point(|&(_, share)| share <= unit);
                let low = at.checked_sub(1).map_or(0, |before| KVCACHE_VALUES[before].0) as usize + 1;
                SizeLaw::Range(low, KVCACHE_VALUES[at].0 as usize).draw_plain(random)
            }
            plain => plain.draw_plain(random),
        }
    }

    fn draw_plain(self, random: &mut Random) -> usize {
        match self {
            SizeLaw::Fixed(size) => size,
            SizeLaw::Range(low, high) => low + random.below((high - low) as u64 + 1) as usize,
            SizeLaw::Etc | SizeLaw::Kvcache => unreachable!("the two callers handle them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws follow the law rank by rank, and in the tail as a whole.
    #[test]
    fn zipf_frequencies() {
        for theta in [0.5, 0.99, 1.0, 1.3] {
            let count = 1000;
            let zipf = KeyLaw::new(Popularity::Zipf(theta), count);
            let mut random = Random::new(7);
            let draws = 400_000;
            let mut seen = vec![0u32; count as usize];
            for _ in 0..draws {
                seen[zipf.draw(&mut random) as usize] += 1;
            }
            let total: f64 = (1..=count).map(|rank| (rank as f64).powf(-theta)).sum();
            for rank in [1usize, 2, 3, 10, 50] {
                let want = draws as f64 * (rank as f64).powf(-theta) / total;
                let found = f64::from(seen[rank - 1]);
                // Five standard deviations of a binomial.
                assert!(
                    (found - want).abs() < 5.0 * want.sqrt(),
                    "theta {theta}, rank {rank}: {found}, not {want}"
                );
            }
            let tail: u32 = seen[500..].iter().sum();
            let want: f64 = (501..=count)
                .map(|rank| (rank as f64).powf(-theta) / total)
                .sum::<f64>()
                * draws as f64;
            assert!(
                (f64::from(tail) - want).abs() < 5.0 * want.sqrt(),
                "theta {theta}: tail {tail}, not {want}"
            );
        }
    }

    #[test]
    fn zipf_of_few_keys_stays_in_range() {
        for count in [1, 2, 3] {
            let zipf = KeyLaw::new(Popularity::Zipf(0.99), count);
            let mut random = Random::new(1);
            assert!((0..10_000).all(|_| zipf.draw(&mut random) < count));
        }
    }

    #[test]
    fn uniform_reaches_every_key_evenly() {
        let (law, mut random) = (KeyLaw::new(Popularity::Uniform, 10), Random::new(3));
        let mut seen = [0i32; 10];
        (0..100_000).for_each(|_| seen[law.draw(&mut random) as usize] += 1);
        assert!(seen.iter().all(|&count| (count - 10_000).abs() < 500), "{seen:?}");
    }

    /// Means from the laws' closed forms; the masses from their list.
    #[test]
    fn etc_moments() {
        let (mut random, draws) = (Random::new(11), 400_000);
        let keys: f64 = (0..draws)
            .map(|_| SizeLaw::Etc.draw_key(&mut random) as f64)
            .sum::<f64>()
            / f64::from(draws);
        // location + scale * (gamma(1 - shape) - 1) / shape, less half a byte of truncation; gamma(0.921312) = 1.0523.
        assert!(
            (keys - (30.7984 + 8.20449 * 0.0523 / 0.078688 - 0.5)).abs() < 0.1,
            "mean key size {keys}"
        );
        let values: Vec<usize> = (0..draws).map(|_| SizeLaw::Etc.draw_value(&mut random)).collect();
        let share = |size| values.iter().filter(|&&value| value == size).count() as f64 / f64::from(draws);
        for (size, mass) in [
            (2, 0.1782),
            (3, 0.09239),
            (11, 0.08989),
            (5, 0.0274),
            (14, 0.0198),
        ] {
            assert!((share(size) - mass).abs() < 0.003, "size {size}: {}", share(size));
        }
        let large = values.iter().filter(|&&value| value >= 15).count() as f64;
        assert!((large / f64::from(draws) - 0.55845).abs() < 0.004);
        // Mean of the Pareto part is 15 + scale / (1 - shape); its variance is large.
        let mean = values.iter().filter(|&&value| value >= 15).sum::<usize>() as f64 / large;
        assert!(
            (mean - (15.0 + 214.476 / (1.0 - 0.348238))).abs() < 8.0,
            "mean large value {mean}"
        );
    }

    /// The mean of the original histogram, with sizes spread evenly in its ranges, is 319.7.
    #[test]
    fn kvcache_values_have_the_histograms_mean_and_largest_size() {
        let (mut random, draws) = (Random::new(13), 2_000_000);
        let values = (0..draws).map(|_| SizeLaw::Kvcache.draw_value(&mut random));
        let (sum, max) = values.fold((0, 0), |(sum, max): (usize, usize), value| {
            (sum + value, max.max(value))
        });
        let mean = sum as f64 / f64::from(draws);
        assert!((mean - 319.7).abs() < 20.0, "mean value {mean}");
        assert!(max <= 523_487 && max > 500_000, "largest value {max}");
    }

    /// Shares of the requests as the histogram has them, whatever the number of keys.
    #[test]
    fn kvcache_popularity_is_the_histograms() {
        let count = 1_048_364;
        let law = KeyLaw::new(Popularity::Kvcache, count);
        let (mut random, draws) = (Random::new(17), 400_000);
        let keys: Vec<u64> = (0..draws).map(|_| law.draw(&mut random)).collect();
        assert!(keys.iter().all(|&key| key < count));
        for (first, want) in [(1, 0.1945), (11, 0.2953), (10_881, 0.7262), (187_469, 0.9042)] {
            let found = keys.iter().filter(|&&key| key < first).count() as f64 / f64::from(draws);
            assert!(
                (found - want).abs() < 0.01,
                "the first {first}: {found}, not {want}"
            );
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut random = Random::new(5);
        let mut seen = [false; 6];
        (0..1000).for_each(|_| seen[SizeLaw::Range(2, 5).draw_value(&mut random)] = true);
        assert_eq!(seen, [false, false, true, true, true, true]);
    }

    #[test]
    fn the_words_of_laws() {
        assert_eq!("zipf:0.99".parse(), Ok(Popularity::Zipf(0.99)));
        assert_eq!("kvcache".parse(), Ok(Popularity::Kvcache));
        assert_eq!("10-20".parse(), Ok(SizeLaw::Range(10, 20)));
        assert_eq!("kvcache".parse(), Ok(SizeLaw::Kvcache));
        for wrong in ["zipf", "zipf:0", "zipf:x", "normal"] {
            assert!(wrong.parse::<Popularity>().is_err());
        }
        for wrong in ["", "20-10", "-1", "x"] {
            assert!(wrong.parse::<SizeLaw>().is_err());
        }
    }
}

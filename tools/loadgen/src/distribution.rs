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
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Popularity, String> {
        if text == "uniform" {
            return Ok(Popularity::Uniform);
        }
        match text.strip_prefix("zipf:").map(str::parse::<f64>) {
            Some(Ok(theta)) if theta > 0.0 && theta <= 10.0 => Ok(Popularity::Zipf(theta)),
            _ => Err("uniform, or zipf:THETA with THETA above 0, at most 10".into()),
        }
    }
}

/// Draws keys.
#[derive(Clone, Debug)]
pub(crate) enum KeyLaw {
    Uniform(u64),
    Zipf(Zipf),
}

impl KeyLaw {
    pub(crate) fn new(popularity: Popularity, count: u64) -> KeyLaw {
        match popularity {
            Popularity::Uniform => KeyLaw::Uniform(count),
            Popularity::Zipf(theta) => KeyLaw::Zipf(Zipf::new(count, theta)),
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        match self {
            KeyLaw::Uniform(count) => random.below(*count),
            KeyLaw::Zipf(zipf) => zipf.draw(random),
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
}

impl FromStr for SizeLaw {
    type Err = String;

    fn from_str(text: &str) -> Result<SizeLaw, String> {
        let refuse = || "a size in bytes, a range A-B, or etc".to_string();
        if text == "etc" {
            return Ok(SizeLaw::Etc);
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

impl SizeLaw {
    pub(crate) fn draw_key(self, random: &mut Random) -> usize {
        match self {
            SizeLaw::Etc => {
                // Generalised extreme value law, by inversion.
                let (location, scale, shape) = (30.7984, 8.20449, 0.078688);
                let unit = random.unit().max(1e-12);
                (location + scale * ((-unit.ln()).powf(-shape) - 1.0) / shape).max(1.0) as usize
            }
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
            plain => plain.draw_plain(random),
        }
    }

    fn draw_plain(self, random: &mut Random) -> usize {
        match self {
            SizeLaw::Fixed(size) => size,
            SizeLaw::Range(low, high) => low + random.below((high - low) as u64 + 1) as usize,
            SizeLaw::Etc => unreachable!("the two callers handle it"),
        }
    }
}

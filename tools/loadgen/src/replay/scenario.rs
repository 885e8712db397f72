//! What is replayed: sequences of accesses that are the same for every server, with the sizes of their keys and values.

use std::ops::Range;

use crate::catalogue::Catalogue;
use crate::distribution::{KeyLaw, Popularity, Random, SizeLaw, mix};
use crate::replay::player::Access;
use traces::trace::{Operation, Trace};

/// What an item takes besides key and value when memory is set against what there is to store: memcached's header
/// with a cas unique.
pub(crate) const ITEM_OVERHEAD: u64 = 56;

/// Largest exptime that counts from now; memcached takes more for a date.
const EXPTIME_MAX: f64 = 30.0 * 86_400.0;

/// A sequence of accesses that begins anew for every server.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) catalogue: Catalogue,
    /// Exptime of each key's sets; empty where all are 0.
    pub(crate) exptimes: Vec<u32>,
    /// What the first server is given (-m).
    pub(crate) megabytes: u64,
    pub(crate) requests: u64,
    /// The first of them only fill the cache.
    pub(crate) warm_up: u64,
    source: Source,
}

enum Source {
    /// Drawn from laws.
    Mix { parts: Vec<Part>, seed: u64 },
    /// A trace, played by several tenants at once, each with keys and sizes of its own.
    Trace {
        /// Objects; sets have the highest bit.
        accesses: Vec<u32>,
        objects: u64,
        copies: u64,
    },
}

const SET: u32 = 1 << 31;

/// One population of keys: those that a law draws, and behind them those that come once.
struct Part {
    /// Share of the requests.
    weight: f64,
    law: KeyLaw,
    base: u64,
    keys: u64,
    /// Keys that come once, and the chance that a request is for the next of them.
    singles: u64,
    single_chance: f64,
    set_share: f64,
}

/// A cluster of Twitter's, as the table of 54 clusters beside the paper gives it (Yang, Yue, Rashmi, OSDI 2020; CC BY
/// 4.0). `set_share` is the share of sets in its operations; adds and cas are taken for what follows a miss.
struct Cluster {
    number: u32,
    key_size: f64,
    value_size: f64,
    /// Thousand requests per second.
    rate: f64,
    mean_frequency: f64,
    one_hit_share: f64,
    set_share: f64,
    alpha: f64,
    /// Seconds, and the share of the keys that live so long.
    ttls: &'static [(f64, f64)],
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// Clusters 52, 29, 24, 44, 45, 18, 37 and 12: large and small values, hot and flat, short-lived and not.
#[rustfmt::skip]
const TWITTER: [Cluster; 8] = [
    Cluster { number: 52, key_size: 20.0, value_size: 273.0, rate: 24.25, mean_frequency: 32.6, one_hit_share: 0.1936, set_share: 0.0, alpha: 1.2117,
        ttls: &[(DAY, 0.65), (14.0 * DAY, 0.27), (12.0 * HOUR, 0.08)] },
    Cluster { number: 29, key_size: 36.0, value_size: 799.0, rate: 10.73, mean_frequency: 22.5, one_hit_share: 0.2304, set_share: 0.13, alpha: 1.2323,
        ttls: &[(HOUR, 0.67), (2.0 * HOUR, 0.33)] },
    Cluster { number: 24, key_size: 32.0, value_size: 699.0, rate: 5.29, mean_frequency: 134.8, one_hit_share: 0.0565, set_share: 0.0, alpha: 1.3726,
        ttls: &[(14.0 * DAY, 0.71), (MINUTE, 0.19), (30.0 * DAY, 0.03), (DAY, 0.02), (HOUR, 0.05)] },
    Cluster { number: 44, key_size: 25.0, value_size: 22.0, rate: 9.41, mean_frequency: 60.5, one_hit_share: 0.2024, set_share: 0.0, alpha: 1.4084,
        ttls: &[(30.0 * DAY, 1.0)] },
    Cluster { number: 45, key_size: 10.0, value_size: 120.0, rate: 0.33, mean_frequency: 2.9, one_hit_share: 0.4874, set_share: 0.0, alpha: 0.6372,
        ttls: &[(15.0 * DAY, 1.0)] },
    Cluster { number: 18, key_size: 18.0, value_size: 37.0, rate: 26.40, mean_frequency: 660.5, one_hit_share: 0.0071, set_share: 0.0, alpha: 2.0994,
        ttls: &[(12.0 * HOUR, 1.0)] },
    Cluster { number: 37, key_size: 72.0, value_size: 20_134.0, rate: 4.15, mean_frequency: 3.8, one_hit_share: 0.1488, set_share: 0.37, alpha: 0.4251,
        ttls: &[(20.0, 0.91), (300.0, 0.06), (2.0 * HOUR, 0.02), (600.0, 0.01)] },
    Cluster { number: 12, key_size: 44.0, value_size: 1030.0, rate: 4.36, mean_frequency: 1.3, one_hit_share: 0.8143, set_share: 0.80, alpha: 0.3048,
        ttls: &[(300.0, 1.0)] },
];

/// Spread of the sizes around a cluster's mean: the standard deviation of their logarithm.
const SIZE_SIGMA: f64 = 0.5;

/// Share of a drawn sequence that only fills the cache.
const WARM_UP: f64 = 1.0 / 3.0;

/// How large scenarios are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) megabytes: u64,
    /// Memory over the bytes of everything that is asked for.
    pub(crate) share: f64,
    pub(crate) requests: u64,
    /// Accesses per second: what a cluster's seconds are shortened by.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

impl Extent {
    /// Bytes of everything that is asked for.
    fn footprint(&self) -> f64 {
        (self.megabytes << 20) as f64 / self.share
    }
}

impl Scenario {
    /// Facebook's ETC pool: sizes by Atikoglu, popularity Zipf 0.99, a set for every 30 gets.
    pub(crate) fn etc(extent: &Extent) -> Result<Scenario, String> {
        let keys = keys_for(extent.footprint(), SizeLaw::Etc)?;
        Scenario::pool(
            "etc",
            extent,
            SizeLaw::Etc,
            keys,
            Popularity::Zipf(0.99),
            0.0,
            1.0 / 31.0,
        )
    }

    /// Meta's kvcache_reg: sizes and popularity by CacheLib's histograms, its share of keys that come once.
    pub(crate) fn kvcache(extent: &Extent) -> Result<Scenario, String> {
        let keys = keys_for(extent.footprint(), SizeLaw::Kvcache)?;
        Scenario::pool(
            "kvcache_reg",
            extent,
            SizeLaw::Kvcache,
            keys,
            Popularity::Kvcache,
            0.015_472,
            0.0,
        )
    }

    fn pool(
        name: &str,
        extent: &Extent,
        sizes: SizeLaw,
        keys: u64,
        popularity: Popularity,
        single_chance: f64,
        set_share: f64,
    ) -> Result<Scenario, String> {
        let singles = singles_for(extent.requests as f64 * single_chance);
        let part = Part {
            weight: 1.0,
            law: KeyLaw::new(popularity, keys),
            base: 0,
            keys,
            singles,
            single_chance,
            set_share,
        };
        Ok(Scenario {
            name: name.into(),
            catalogue: Catalogue::new(keys + singles, sizes, sizes)?,
            exptimes: vec![],
            megabytes: extent.megabytes,
            requests: extent.requests,
            warm_up: (extent.requests as f64 * WARM_UP) as u64,
            source: Source::Mix {
                parts: vec![part],
                seed: extent.seed,
            },
        })
    }

    /// Eight of Twitter's clusters in one server, each with its share of the requests. Time runs faster here than
    /// there by what the pace is above the clusters' own rates, and TTLs are as much shorter.
    pub(crate) fn twitter(extent: &Extent) -> Result<Scenario, String> {
        let rate: f64 = TWITTER.iter().map(|cluster| cluster.rate * 1e3).sum();
        let speed = extent.rate / rate;
        let (mut parts, mut sizes, mut exptimes) = (vec![], vec![], vec![]);
        for cluster in &TWITTER {
            let weight = cluster.rate * 1e3 / rate;
            let requests = extent.requests as f64 * weight;
            let objects = requests / cluster.mean_frequency;
            let keys = ((objects * (1.0 - cluster.one_hit_share)) as u64).max(1);
            let singles = singles_for(objects * cluster.one_hit_share);
            let base = sizes.len() as u64;
            for key in base..base + keys + singles {
                let mut random = Random::new(mix(key, extent.seed));
                let key_size = log_normal(cluster.key_size, &mut random);
                let value_size = log_normal(cluster.value_size, &mut random);
                sizes.push((key_size, value_size));
                let seconds = pick(cluster.ttls, random.unit());
                exptimes.push((seconds / speed).round().clamp(1.0, EXPTIME_MAX) as u32);
            }
            parts.push(Part {
                weight,
                law: KeyLaw::new(Popularity::Zipf(cluster.alpha), keys),
                base,
                keys,
                singles,
                single_chance: cluster.one_hit_share / cluster.mean_frequency,
                set_share: cluster.set_share,
            });
        }
        let catalogue = Catalogue::of_sizes(sizes)?;
        Ok(Scenario {
            name: "twitter".into(),
            megabytes: megabytes_for(footprint(&catalogue), extent.share),
            catalogue,
            exptimes,
            requests: extent.requests,
            warm_up: (extent.requests as f64 * WARM_UP) as u64,
            source: Source::Mix {
                parts,
                seed: extent.seed,
            },
        })
    }

    /// A trace, as much of its beginning as `requests` allow, for so many tenants that the memory is the wanted share of what
    /// they ask for. Sizes are ETC's unless the trace tells them. All of it counts: a trace is finite, and the first misses are its own.
    pub(crate) fn of_trace(trace: &Trace, extent: &Extent) -> Result<Scenario, String> {
        let wanted: Vec<_> = trace
            .accesses
            .iter()
            .filter(|access| access.operation != Operation::Delete)
            .collect();
        let mut told = vec![(0, 0); trace.objects];
        for access in &wanted {
            told[access.object as usize] = (usize::from(access.key_size), access.value_size as usize);
        }
        let sizes = |copy: u64, object: usize| {
            if trace.has_sizes {
                return told[object];
            }
            let mut random = Random::new(mix(copy << 32 | object as u64, extent.seed));
            let key_size = SizeLaw::Etc.draw_key(&mut random);
            (key_size, SizeLaw::Etc.draw_value(&mut random))
        };
        // Objects by number are in the order of their first use: a beginning of the trace has a beginning of them.
        let bytes_of = |objects: usize| -> f64 {
            let bytes = (0..objects).map(|object| item_size(sizes(0, object)));
            bytes.sum::<u64>() as f64
        };
        let mut size = wanted.len();
        let (objects, copies) = loop {
            let objects = wanted[..size]
                .iter()
                .map(|access| access.object as usize + 1)
                .max()
                .unwrap_or(0);
            let copies = (extent.footprint() / bytes_of(objects).max(1.0)).round().max(1.0) as u64;
            if copies * size as u64 <= extent.requests || size < 1000 {
                break (objects, copies);
            }
            size -= size / 16;
        };
        let accesses = wanted[..size].iter().map(|access| {
            let set = if access.operation == Operation::Set {
                SET
            } else {
                0
            };
            access.object | set
        });
        let all = (0..copies).flat_map(|copy| (0..objects).map(move |object| (copy, object)));
        let catalogue = Catalogue::of_sizes(all.map(|(copy, object)| sizes(copy, object)).collect())?;
        Ok(Scenario {
            name: trace.name.clone(),
            megabytes: megabytes_for(footprint(&catalogue), extent.share),
            catalogue,
            exptimes: vec![],
            requests: copies * size as u64,
            warm_up: 0,
            source: Source::Trace {
                accesses: accesses.collect(),
                objects: objects as u64,
                copies,
            },
        })
    }

    /// The keys of each population, with its name, where there are several.
    pub(crate) fn populations(&self) -> Vec<(String, Range<u64>)> {
        let Source::Mix { parts, .. } = &self.source else {
            return vec![];
        };
        let range = |part: &Part| part.base..part.base + part.keys + part.singles;
        match parts.len() {
            1 => vec![],
            _ => TWITTER
                .iter()
                .zip(parts)
                .map(|(cluster, part)| (format!("cluster {}", cluster.number), range(part)))
                .collect(),
        }
    }

    /// The sequence from its start.
    pub(crate) fn accesses(&self) -> Box<dyn Iterator<Item = Access> + '_> {
        match &self.source {
            Source::Mix { parts, seed } => {
                let mut random = Random::new(*seed);
                let mut singles = vec![0; parts.len()];
                Box::new((0..self.requests).map(move |_| draw(parts, &mut singles, &mut random)))
            }
            Source::Trace {
                accesses,
                objects,
                copies,
            } => Box::new(accesses.iter().flat_map(move |access| {
                let (object, set) = (u64::from(access & !SET), access & SET != 0);
                (0..*copies).map(move |copy| Access {
                    key: copy * objects + object,
                    set,
                })
            })),
        }
    }

    /// In words, for the table.
    pub(crate) fn describe(&self) -> String {
        let tenants = match &self.source {
            Source::Trace { copies, accesses, .. } => {
                format!(", {copies} tenants with {} requests each", accesses.len())
            }
            Source::Mix { .. } => String::new(),
        };
        format!(
            "{}: {} requests for {} keys of {:.0} MiB in all{tenants}",
            self.name,
            self.requests,
            self.catalogue.count(),
            footprint(&self.catalogue) as f64 / 1_048_576.0
        )
    }
}

fn draw(parts: &[Part], singles: &mut [u64], random: &mut Random) -> Access {
    let mut unit = random.unit();
    let mut at = 0;
    while at + 1 < parts.len() && unit >= parts[at].weight {
        unit -= parts[at].weight;
        at += 1;
    }
    let part = &parts[at];
    let key = if part.singles > 0 && random.unit() < part.single_chance {
        singles[at] += 1;
        part.keys + (singles[at] - 1) % part.singles
    } else {
        part.law.draw(random)
    };
    Access {
        key: part.base + key,
        set: part.set_share > 0.0 && random.unit() < part.set_share,
    }
}

/// Room for more keys that come once than can be expected: six standard deviations.
fn singles_for(expected: f64) -> u64 {
    if expected == 0.0 {
        return 0;
    }
    (expected + 6.0 * expected.sqrt() + 1.0) as u64
}

fn item_size((key_size, value_size): (usize, usize)) -> u64 {
    (key_size + value_size) as u64 + ITEM_OVERHEAD
}

fn footprint(catalogue: &Catalogue) -> u64 {
    let sizes = (0..catalogue.count()).map(|key| (catalogue.key_size(key), catalogue.value_size(key)));
    sizes.map(item_size).sum()
}

fn megabytes_for(footprint: u64, share: f64) -> u64 {
    ((footprint as f64 * share / 1_048_576.0).round() as u64).max(8)
}

/// How many keys of these sizes take so many bytes.
fn keys_for(bytes: f64, sizes: SizeLaw) -> Result<u64, String> {
    let sample = Catalogue::new(50_000, sizes, sizes)?;
    let mean = footprint(&sample) as f64 / sample.count() as f64;
    Ok(((bytes / mean) as u64).max(1))
}

/// Around this mean, by two draws of the unit (Box and Muller).
fn log_normal(mean: f64, random: &mut Random) -> usize {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.unit()).cos();
    (mean * (SIZE_SIGMA * normal - SIZE_SIGMA * SIZE_SIGMA / 2.0).exp())
        .round()
        .max(1.0) as usize
}

/// The one of the choices that this draw of the unit falls to; the last takes what rounding has left.
fn pick(choices: &[(f64, f64)], unit: f64) -> f64 {
    let mut unit = unit;
    for &(choice, share) in choices {
        if unit < share {
            return choice;
        }
        unit -= share;
    }
    choices.last().map_or(0.0, |&(choice, _)| choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent {
        megabytes: 8,
        share: 0.1,
        requests: 60_000,
        rate: 849_200.0,
        seed: 1,
    };

    /// The same from every start, within the catalogue, and as long as it says.
    #[track_caller]
    fn check(scenario: &Scenario) -> Vec<Access> {
        let accesses: Vec<Access> = scenario.accesses().collect();
        assert_eq!(accesses.len() as u64, scenario.requests, "{}", scenario.name);
        assert!(scenario.accesses().eq(accesses.iter().copied()));
        assert!(
            accesses
                .iter()
                .all(|access| access.key < scenario.catalogue.count())
        );
        accesses
    }

    #[test]
    fn drawn_sequences_are_the_same_every_time() {
        let etc = Scenario::etc(&EXTENT).expect("a scenario");
        let sets = check(&etc).iter().filter(|access| access.set).count();
        assert!((1700..2200).contains(&sets), "{sets} sets of 60,000");
        let bytes = footprint(&etc.catalogue) as f64 / EXTENT.footprint();
        assert!((0.95..1.05).contains(&bytes), "{bytes} of the footprint");
        check(&Scenario::kvcache(&EXTENT).expect("a scenario"));
    }

    /// Requests by the clusters' rates, TTLs shortened by the pace, sizes around the clusters' means.
    #[test]
    fn the_mix_is_the_tables() {
        let scenario = Scenario::twitter(&EXTENT).expect("a scenario");
        let accesses = check(&scenario);
        let Source::Mix { parts, .. } = &scenario.source else {
            panic!("drawn");
        };
        for (part, cluster) in parts.iter().zip(&TWITTER) {
            let range = part.base..part.base + part.keys + part.singles;
            let found = accesses
                .iter()
                .filter(|access| range.contains(&access.key))
                .count() as f64;
            let want = EXTENT.requests as f64 * cluster.rate / 84.92;
            assert!((found - want).abs() < 5.0 * want.sqrt(), "{found}, not {want}");
            let last = scenario.exptimes[range.start as usize];
            // Ten times faster than there.
            assert!(
                cluster
                    .ttls
                    .iter()
                    .any(|ttl| (ttl.0 / 10.0).round() as u32 == last)
            );
        }
        let large = parts[6].base..parts[7].base;
        let count = (large.end - large.start) as f64;
        let mean = large.map(|key| scenario.catalogue.value_size(key)).sum::<usize>() as f64 / count;
        assert!((mean / 20_134.0 - 1.0).abs() < 0.15, "mean value {mean}");
    }

    /// Tenants share the trace and nothing else; memory is the wanted share of what they ask for.
    #[test]
    fn a_trace_is_played_by_as_many_tenants_as_fill_the_memory() {
        let trace = Trace::of_keys("loop", (0..4000u64).map(|at| at % 500));
        let extent = Extent {
            requests: 10_000_000,
            ..EXTENT
        };
        let scenario = Scenario::of_trace(&trace, &extent).expect("a scenario");
        let accesses = check(&scenario);
        let Source::Trace { copies, .. } = &scenario.source else {
            panic!("a trace");
        };
        assert!(*copies > 100 && scenario.requests == copies * 4000);
        assert_eq!(scenario.megabytes, 8);
        assert_eq!((accesses[0].key, accesses[1].key), (0, 500));
        // With fewer requests, a beginning of it.
        let extent = Extent {
            requests: 1_000_000,
            ..EXTENT
        };
        let scenario = Scenario::of_trace(&trace, &extent).expect("a scenario");
        assert!(check(&scenario).len() <= 1_000_000);
    }
}

//! The words that describe a workload, on the command line and in the presets of `compare`.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::catalogue::{Catalogue, Verify};
use crate::client::{Storm, Traffic};
use crate::distribution::{KeyLaw, Popularity, SizeLaw};

/// How requests of an open loop are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Independent users: exponential gaps.
    Poisson,
    /// Equal gaps.
    Even,
}

/// Options that describe the traffic.
#[derive(Args, Clone, Debug)]
pub(crate) struct Workload {
    /// Connections, spread evenly over the threads.
    #[arg(long, short = 'c', default_value_t = 50)]
    pub(crate) connections: usize,
    /// Requests sent at once per connection; the next batch follows when all are answered. With --rate: the most that may be in flight.
    #[arg(long, short = 'P', default_value_t = 1)]
    pub(crate) pipeline: usize,
    /// Keep the pipeline full: a new request for every answer, instead of a new batch when the last is answered.
    #[arg(long)]
    pub(crate) sliding: bool,
    /// Keys per get.
    #[arg(long, short = 'm', value_name = "WIDTH", default_value_t = 1)]
    pub(crate) multiget: u32,
    /// Number of different keys.
    #[arg(long, short = 'k', value_name = "COUNT", default_value_t = 100_000)]
    pub(crate) keys: u64,
    /// Bytes per key: N, a range A-B, etc (Facebook's ETC pool) or kvcache (Meta's kvcache_reg).
    #[arg(long, value_name = "SIZE", default_value = "30")]
    pub(crate) key_size: SizeLaw,
    /// Bytes per value: N, a range A-B, etc or kvcache. A key's value always has the same size.
    #[arg(long, short = 'd', value_name = "SIZE", default_value = "100")]
    pub(crate) value_size: SizeLaw,
    /// Which keys are asked for: uniform, zipf:THETA (0.99 is usual) or kvcache (Meta's kvcache_reg).
    #[arg(long, value_name = "LAW", default_value = "uniform")]
    pub(crate) distribution: Popularity,
    /// Share of sets among the requests, from 0 to 1. The rest are gets.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) set_share: f64,
    /// Exptime of every set, in seconds; 0 is never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) ttl: u32,
    /// A key that misses is set by the next request of its connection, as an application does.
    #[arg(long)]
    pub(crate) on_miss_set: bool,
    /// Open loop: this many requests per second in all, whatever the server does. Latency counts from the moment a request was due.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// Besides the requests of an open loop, so many sets per second of other keys, over connections of their own.
    #[arg(long, value_name = "PER_SECOND", requires = "rate")]
    pub(crate) storm_rate: Option<f64>,
    /// Connections of the storm, of each thread's.
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub(crate) storm_connections: usize,
    /// Keys that the storm sets, drawn evenly; they are others than --keys.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub(crate) storm_keys: u64,
    /// How the requests of an open loop are spread in time.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// How much of each value is checked. `ends`: key, flags, length, the first 16 bytes and the last 8 to 15: finds values of other keys, cut, shifted or joined from two sets, but no damage in the middle. `full`: every byte.
    #[arg(long, value_enum, default_value_t = Verify::Ends)]
    pub(crate) verify: Verify,
    /// Seconds of the same traffic before the measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warm_up: f64,
    /// Seconds measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Stop after this many requests instead, without a warm-up.
    #[arg(long, value_name = "COUNT", conflicts_with = "seconds")]
    pub(crate) requests: Option<u64>,
    /// Set every key once before the traffic starts.
    #[arg(long)]
    pub(crate) prefill: bool,
    /// Errors (replies that refuse, and requests lost with their connection) up to which the exit code is 0. Above 0, a connection that ends is opened again. Wrong values are never allowed.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) errors_allowed: u64,
    /// Hits of a multi-get may come in any order, not only in that of their keys: twemproxy mixes them when keys miss.
    #[arg(long)]
    pub(crate) any_order: bool,
    /// Client threads.
    #[arg(long, short = 't', default_value_t = 1)]
    pub(crate) threads: usize,
    /// Look for answers without ever sleeping. Burns the client's core; without it a latency contains the waking of the client.
    #[arg(long)]
    pub(crate) busy_poll: bool,
    /// Start of the random numbers: the same seed asks for the same keys.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Words {
    #[command(flatten)]
    workload: Workload,
}

impl Workload {
    /// From the words of a command line.
    pub(crate) fn parse(words: &str) -> Result<Workload, String> {
        let workload = Words::try_parse_from(words.split_whitespace())
            .map_err(|error| error.to_string())?
            .workload;
        workload.check()?;
        Ok(workload)
    }

    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let refuse = |what: &str| Err(what.to_string());
        if self.threads == 0 || self.connections < self.threads {
            return refuse("there must be a thread, and a connection for each");
        }
        if self.connections > 60_000 {
            return refuse("--connections is at most 60000");
        }
        if self.pipeline == 0 || self.multiget == 0 || self.pipeline > 100_000 || self.multiget > 100_000 {
            return refuse("--pipeline and --multiget are from 1 to 100000");
        }
        if !(0.0..=1.0).contains(&self.set_share) {
            return refuse("--set-share is from 0 to 1");
        }
        if self.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
            return refuse("--rate must be above 0");
        }
        if let Some(rate) = self.storm_rate {
            if rate.is_nan() || rate <= 0.0 || self.storm_connections == 0 || self.storm_keys == 0 {
                return refuse("--storm-rate, --storm-connections and --storm-keys must be above 0");
            }
            if self.connections / self.threads <= self.storm_connections {
                return refuse("a thread needs more --connections than --storm-connections");
            }
        }
        if !(0.0..=1e6).contains(&self.warm_up) || !(0.001..=1e6).contains(&self.seconds) {
            return refuse("--seconds must be above 0, --warm-up not below");
        }
        Ok(())
    }

    /// The keys and values.
    pub(crate) fn catalogue(&self) -> Result<Catalogue, String> {
        let of_storm = self.storm_rate.map_or(0, |_| self.storm_keys);
        Catalogue::new(self.keys + of_storm, self.key_size, self.value_size)
    }

    /// What one thread does.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            pipeline: self.pipeline,
            sliding: self.sliding,
            width: self.multiget,
            keys: KeyLaw::new(self.distribution, self.keys),
            set_share: (self.set_share * (1u64 << 32) as f64) as u64,
            set_middle: format!(" 0 {} ", self.ttl).into_bytes(),
            on_miss_set: self.on_miss_set,
            any_order: self.any_order,
            verify: self.verify,
            busy_poll: self.busy_poll,
            gap: self.rate.map(|rate| 1e9 * self.threads as f64 / rate),
            poisson: self.arrivals == Arrivals::Poisson,
            storm: self.storm_rate.map(|rate| Storm {
                connections: self.storm_connections,
                gap: 1e9 * self.threads as f64 / rate,
                first: self.keys,
                keys: KeyLaw::Uniform(self.storm_keys),
            }),
        }
    }

    /// What sets every key once, quickly, whatever the traffic will be.
    pub(crate) fn prefill_traffic(&self) -> Traffic {
        Traffic {
            pipeline: 16,
            width: 1,
            on_miss_set: false,
            busy_poll: false,
            gap: None,
            storm: None,
            ..self.traffic()
        }
    }

    /// Warm-up and measured time.
    pub(crate) fn times(&self) -> (Duration, Duration) {
        (
            Duration::from_secs_f64(self.warm_up),
            Duration::from_secs_f64(self.seconds),
        )
    }

    /// What must be equal for two workloads to find each other's items in a server.
    pub(crate) fn data(&self) -> (u64, SizeLaw, SizeLaw, u32) {
        (self.keys, self.key_size, self.value_size, self.ttl)
    }
}

/// A workload with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) words: String,
    pub(crate) workload: Workload,
}

impl Named {
    /// From `NAME: OPTIONS`.
    pub(crate) fn parse(text: &str) -> Result<Named, String> {
        let (name, words) = text
            .split_once(':')
            .ok_or("a workload is written NAME: OPTIONS")?;
        // `zipf:0.99` has a colon too; a name has no blanks and no dashes in front.
        let name = name.trim();
        if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
            return Err("a workload is written NAME: OPTIONS".into());
        }
        let workload = Workload::parse(words).map_err(|error| format!("workload {name}: {error}"))?;
        Ok(Named {
            name: name.into(),
            words: words.trim().into(),
            workload,
        })
    }
}

/// The workloads of one suite: the figures that docs/BENCHMARKS.md promises. Gets of 100 bytes unless named otherwise;
/// 16 KiB values over 1,000 keys, which any default memory holds.
pub(crate) const SUITE: [&str; 14] = [
    "p1c1: --connections 1",
    "p1c2: --connections 2",
    "p1c4: --connections 4",
    "p1c50: --connections 50",
    "p1c256: --connections 256",
    "p1c1000: --connections 1000",
    "p16: --connections 50 --pipeline 16",
    "p50: --connections 50 --pipeline 50",
    "p1000: --connections 4 --pipeline 1000",
    "mget50: --connections 50 --multiget 50",
    "set1: --connections 50 --set-share 1",
    "set16: --connections 50 --pipeline 16 --set-share 1",
    "get16k: --connections 50 --keys 1000 --value-size 16384",
    "set16k: --connections 50 --keys 1000 --value-size 16384 --set-share 1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_parses_and_has_a_name_of_its_own() {
        let mut names: Vec<String> = SUITE
            .iter()
            .map(|text| Named::parse(text).expect("a preset parses").name)
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SUITE.len());
    }

    #[test]
    fn a_workload_is_a_command_line() {
        let named = Named::parse("z: -c 3 -P 7 --distribution zipf:0.99 --value-size 1-1024 --set-share 0.1")
            .expect("parses");
        assert_eq!((named.workload.connections, named.workload.pipeline), (3, 7));
        assert_eq!(named.workload.distribution, Popularity::Zipf(0.99));
        assert_eq!(named.workload.value_size, SizeLaw::Range(1, 1024));
        for wrong in [
            "--connections 3",
            "a b: -c 3",
            "a: --set-share 2",
            "a: -c 1 -t 2",
            "a: --nonsense",
            "a: --rate 0",
            "a: --storm-rate 5",
            "a: --rate 5 --storm-rate 5 -c 8",
        ] {
            assert!(Named::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! `cachesim shift`: how soon a cache full of small values serves larger ones.

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use ringcached::shard::Settings;

use crate::cache::{Real, Sizing};
use crate::random::Random;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Memory of the cache in MiB.
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    memory: u64,
    /// Value sizes, one after the other.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100,1000,10240",
        value_name = "LIST"
    )]
    values: Vec<u32>,
    /// The bytes of each working set, in per cent of the memory.
    #[arg(long, default_value_t = 70, value_name = "PERCENT")]
    working_set: u64,
    /// The bytes written in each phase, as a multiple of the memory.
    #[arg(long, default_value_t = 3.0, value_name = "TIMES")]
    writes: f64,
    /// Shards that share the memory.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    shards: usize,
    /// Every get that misses is followed by a set, and every so many-th get besides.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    overwrite: u64,
}

/// The steps in which a phase is reported, per memory written.
const STEPS: u64 = 4;

const KEY_SIZE: usize = 30;

/// A hit ratio at a moment of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) value_size: u32,
    /// Bytes written since the phase began, in memories.
    pub(crate) written: f64,
    pub(crate) hit_ratio: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{:>10} {:>10} {:>10}", "value", "written", "hit ratio");
    for step in simulate(args)? {
        println!(
            "{:>10} {:>9.2}x {:>9.1}%",
            step.value_size,
            step.written,
            step.hit_ratio * 100.0
        );
    }
    Ok(())
}

pub(crate) fn simulate(args: &Args) -> Result<Vec<Step>> {
    ensure!(args.shards > 0, "a cache has a shard at least");
    let settings = Settings {
        shards: args.shards,
        ..Settings::default()
    };
    let memory = args.memory << 20;
    let mut cache = Real::new(&settings, Sizing::Bytes { overhead: 0 }, memory)?;
    let mut random = Random::new(1);
    let mut steps = Vec::new();
    for (phase, &value_size) in args.values.iter().enumerate() {
        let item_size = u64::from(value_size) + KEY_SIZE as u64 + 16;
        let objects = (memory * args.working_set / 100 / item_size).max(1);
        let first = (phase as u64) << 40;
        let step_size = memory / STEPS;
        for step in 1..=(args.writes * STEPS as f64) as u64 {
            let (mut written, mut hits, mut gets) = (0, 0u64, 0u64);
            while written < step_size {
                let object = first + random.below(objects);
                let is_there = cache.read(object, KEY_SIZE);
                hits += u64::from(is_there);
                gets += 1;
                if !is_there || gets.is_multiple_of(args.overwrite) {
                    cache.store(object, KEY_SIZE, value_size as usize, 0);
                    written += item_size;
                }
            }
            steps.push(Step {
                value_size,
                written: step as f64 / STEPS as f64,
                hit_ratio: hits as f64 / gets as f64,
            });
        }
    }
    Ok(steps)
}

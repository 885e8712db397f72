//! Where keys come from: arguments, standard input, a file, or a generator.
//!
//! Keys are bytes. A line of a file is a key without its line end; an empty line is none.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

/// Keys to measure a whole ring with.
#[derive(Args)]
pub(crate) struct SampleArgs {
    /// Measure with this many generated keys, key:0, key:1, ...
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 100_000,
        conflicts_with = "keys_from"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    keys: u32,
    /// Measure with the keys of this file, one a line (`-` for standard input): your own keys tell more than
    /// generated ones, most of all under hashes that clump
    #[arg(long, value_name = "FILE")]
    keys_from: Option<OsString>,
}

impl SampleArgs {
    /// Calls `take` with every key and says how many there were. Generated keys are not kept: a hundred
    /// million of them need no memory.
    pub(crate) fn for_each(&self, mut take: impl FnMut(&[u8])) -> Result<usize> {
        let Some(file) = &self.keys_from else {
            let mut key = Vec::new();
            for index in 0..self.keys {
                key.clear();
                key.extend_from_slice(format!("key:{index}").as_bytes());
                take(&key);
            }
            return Ok(self.keys as usize);
        };
        let bytes = match file.as_bytes() {
            b"-" => standard_input()?,
            _ => std::fs::read(file)
                .with_context(|| format!("cannot read keys from {}", Path::new(file).display()))?,
        };
        let count = lines(&bytes).inspect(|key| take(key)).count();
        anyhow::ensure!(count > 0, "{} holds no keys", Path::new(file).display());
        Ok(count)
    }
}

/// The keys of `place`: the arguments themselves, or standard input where the only one is `-`.
pub(crate) fn named(arguments: &[OsString]) -> Result<Vec<Vec<u8>>> {
    match arguments {
        [dash] if dash == "-" => Ok(lines(&standard_input()?).map(<[u8]>::to_vec).collect()),
        _ => Ok(arguments
            .iter()
            .map(|argument| argument.as_bytes().to_vec())
            .collect()),
    }
}

fn standard_input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .context("cannot read keys from standard input")?;
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

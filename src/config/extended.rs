//! memcached's extended options: `-o key,key=value,...`.
//!
//! Every one that memcached knows is accepted, with its value checked as memcached checks it, because start scripts
//! carry them. Few have a meaning here: there are no slab classes to rebalance, no LRU segments and no crawler thread
//! to tune. Those are shown by `stats settings` as they were given, and nothing else comes of them.

use super::{EX_FAILURE, EX_USAGE, Misuse, Tls, words};

/// What the extended options say, with memcached's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Extended {
    pub maxconns_fast: bool,
    pub hashpower_init: u32,
    pub hash_algorithm: &'static str,
    pub slab_reassign: bool,
    pub slab_automove: u32,
    pub slab_automove_ratio: f64,
    pub slab_automove_window: u32,
    pub slab_automove_freeratio: f64,
    /// In bytes; 0 is the default.
    pub slab_chunk_max: u64,
    /// As it was given.
    pub slab_sizes: Option<String>,
    pub lru_crawler: bool,
    pub lru_crawler_sleep: u32,
    pub lru_crawler_tocrawl: u32,
    pub lru_maintainer: bool,
    pub lru_segmented: bool,
    pub hot_lru_pct: u32,
    pub warm_lru_pct: u32,
    pub hot_max_factor: f64,
    pub warm_max_factor: f64,
    pub temp_lru: bool,
    pub temporary_ttl: u32,
    pub tail_repair_time: u32,
    pub idle_timeout: u32,
    /// In bytes.
    pub watcher_logbuf_size: u64,
    /// In bytes.
    pub worker_logbuf_size: u64,
    pub read_buf_mem_limit: u64,
    pub track_sizes: bool,
    /// Threads are confined to the system calls that they need.
    pub drop_privileges: bool,
    /// `debugtime` is obeyed: for tests.
    pub relaxed_privileges: bool,
    pub tls: Tls,
}

impl Default for Extended {
    fn default() -> Extended {
        Extended {
            maxconns_fast: true,
            hashpower_init: 0,
            hash_algorithm: "murmur3",
            slab_reassign: true,
            slab_automove: 1,
            slab_automove_ratio: 0.8,
            slab_automove_window: 10,
            slab_automove_freeratio: 0.01,
            slab_chunk_max: 512 << 10,
            slab_sizes: None,
            lru_crawler: true,
            lru_crawler_sleep: 100,
            lru_crawler_tocrawl: 0,
            lru_maintainer: true,
            lru_segmented: true,
            hot_lru_pct: 20,
            warm_lru_pct: 40,
            hot_max_factor: 0.2,
            warm_max_factor: 2.0,
            temp_lru: false,
            temporary_ttl: 61,
            tail_repair_time: 0,
            idle_timeout: 0,
            watcher_logbuf_size: 256 << 10,
            worker_logbuf_size: 64 << 10,
            read_buf_mem_limit: 0,
            track_sizes: false,
            drop_privileges: false,
            relaxed_privileges: false,
            tls: Tls::default(),
        }
    }
}

/// Accepted with any value and of no consequence: deprecated, or of machinery that we do not have.
const WITHOUT_MEANING: [&str; 4] = ["modern", "no_hashexpand", "no_chunked_items", "sock_cookie_id"];

/// What changes anything here, and what changes nothing in memcached either.
const OBEYED: [&str; 11] = [
    "watcher_logbuf_size",
    "worker_logbuf_size",
    "modern",
    "no_modern",
    "maxconns_fast",
    "no_maxconns_fast",
    "idle_timeout",
    "track_sizes",
    "drop_privileges",
    "no_drop_privileges",
    "relaxed_privileges",
];

/// Of external storage, which start scripts of some charts ask for: accepted and said to have no effect.
const EXTERNAL: [&str; 14] = [
    "ext_path",
    "ext_page_size",
    "ext_wbuf_size",
    "ext_threads",
    "ext_io_depth",
    "ext_item_size",
    "ext_item_age",
    "ext_low_ttl",
    "ext_recache_rate",
    "ext_compact_under",
    "ext_drop_under",
    "ext_max_sleep",
    "ext_max_frag",
    "ext_drop_unread",
];

/// Accepted, and said to be dead, as memcached says it.
const DEPRECATED: [&str; 3] = ["inline_ascii_resp", "no_inline_ascii_resp", "resp_obj_mem_limit"];

impl Extended {
    /// Reads the lists of all `-o` options in order. What has no effect is added to `notes`.
    pub(super) fn parse(lists: &[String], notes: &mut Vec<String>) -> Result<Extended, Misuse> {
        let mut extended = Extended::default();
        let mut without_effect: Vec<&str> = Vec::new();
        for option in lists
            .iter()
            .flat_map(|list| list.split(','))
            .filter(|option| !option.is_empty())
        {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let is_known = OBEYED.contains(&name) || Tls::has(name);
            if DEPRECATED.contains(&name) {
                notes.push(format!("-o {name} is DEPRECATED and has no effect"));
            } else if !is_known && !without_effect.contains(&name) {
                without_effect.push(name);
            }
            extended
                .take(name, value)
                .map_err(|message| Misuse::new(EX_FAILURE, message))?;
        }
        if extended.hot_lru_pct + extended.warm_lru_pct > 80 {
            let message = "hot_lru_pct + warm_lru_pct cannot be more than 80% combined";
            return Err(Misuse::new(EX_USAGE, message));
        }
        if extended.temp_lru && !extended.lru_maintainer {
            let message = "temporary_ttl requires lru_maintainer to be enabled";
            return Err(Misuse::new(EX_USAGE, message));
        }
        if !without_effect.is_empty() {
            notes.push(format!("-o {} has no effect", without_effect.join(",")));
        }
        Ok(extended)
    }

    /// Whether the list of `slab_sizes` could be one: sizes that grow, from that of the smallest chunk.
    pub(super) fn check_slab_sizes(&self, smallest: u64) -> Result<(), Misuse> {
        /// The sizes of two classes differ by more than this.
        const STEP: u64 = 8;
        /// Classes that may be named.
        const CLASSES_MAX: usize = 62;
        let refused = |message: String| Err(Misuse::new(EX_USAGE, message));
        let Some(list) = &self.slab_sizes else {
            return Ok(());
        };
        let mut last = None;
        for (number, word) in list.split('-').enumerate() {
            match word.parse::<u64>() {
                Ok(size) if (smallest..=self.slab_chunk_max).contains(&size) && number < CLASSES_MAX => {
                    if last.is_some_and(|last| size <= last + STEP) {
                        return refused(format!(
                            "-o slab_sizes: slab size {size} must be at least {STEP} bytes larger than previous class"
                        ));
                    }
                    last = Some(size);
                }
                _ => return refused(format!("-o slab_sizes: slab size {word} is out of valid range")),
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        if let Some(taken) = self.tls.take(name, value) {
            return taken;
        }
        let given = || value.ok_or_else(|| format!("Missing numeric argument for {name}"));
        let within = |number: Option<i64>, from: u32, to: u32| {
            let number = number.and_then(|number| u32::try_from(number).ok());
            number
                .filter(|number| (from..=to).contains(number))
                .ok_or_else(|| {
                    format!("could not parse argument to {name}: it is a number from {from} to {to}")
                })
        };
        // Most are read as atoi reads them; some must be numbers to their end.
        let number =
            |from: u32, to: u32| within(Some(words::leading_number(given()?, 10).unwrap_or(0)), from, to);
        let strict = |from: u32, to: u32| within(given()?.trim_ascii().parse().ok(), from, to);
        let fraction = |below: f64| -> Result<f64, String> {
            let Ok(fraction) = words::factor(given()?);
            match fraction {
                _ if fraction > 0.0 && fraction <= below => Ok(fraction),
                _ => Err(format!(
                    "could not parse argument to {name}: it is a fraction above 0"
                )),
            }
        };
        let kibibytes = |number: u32| u64::from(number) << 10;
        match name {
            "no_modern" => {
                self.slab_chunk_max = 1 << 20;
                self.slab_reassign = false;
                self.slab_automove = 0;
                self.maxconns_fast = false;
                self.lru_segmented = false;
                self.hash_algorithm = "jenkins";
                self.lru_crawler = false;
                self.lru_maintainer = false;
            }
            "maxconns_fast" => self.maxconns_fast = true,
            "no_maxconns_fast" => self.maxconns_fast = false,
            "hashpower" => self.hashpower_init = number(12, 32)?,
            "hash_algorithm" => {
                self.hash_algorithm = ["jenkins", "murmur3", "xxh3"]
                    .into_iter()
                    .find(|known| value == Some(known))
                    .ok_or("Unknown hash_algorithm option (jenkins, murmur3, xxh3)")?;
            }
            "slab_reassign" => self.slab_reassign = true,
            "no_slab_reassign" => self.slab_reassign = false,
            "slab_automove" => self.slab_automove = if value.is_some() { number(0, 2)? } else { 1 },
            "no_slab_automove" => self.slab_automove = 0,
            "slab_automove_ratio" => self.slab_automove_ratio = fraction(1.0)?,
            "slab_automove_window" => self.slab_automove_window = number(3, 1800)?,
            // Any number will do.
            "slab_automove_freeratio" => {
                let number = given()?.trim_ascii().parse();
                self.slab_automove_freeratio =
                    number.map_err(|_| format!("could not parse argument to {name}"))?;
            }
            "slab_chunk_max" => self.slab_chunk_max = kibibytes(strict(1, 1024)?),
            "lru_crawler" => self.lru_crawler = true,
            "no_lru_crawler" => self.lru_crawler = false,
            "lru_crawler_sleep" => self.lru_crawler_sleep = number(0, 1_000_000)?,
            "lru_crawler_tocrawl" => self.lru_crawler_tocrawl = strict(0, u32::MAX)?,
            "lru_maintainer" => {
                self.lru_maintainer = true;
                self.lru_segmented = true;
            }
            "no_lru_maintainer" => {
                self.lru_maintainer = false;
                self.lru_segmented = false;
            }
            "hot_lru_pct" => self.hot_lru_pct = number(1, 79)?,
            "warm_lru_pct" => self.warm_lru_pct = number(1, 79)?,
            "hot_max_factor" => self.hot_max_factor = fraction(f64::MAX)?,
            "warm_max_factor" => self.warm_max_factor = fraction(f64::MAX)?,
            "temporary_ttl" => {
                self.temp_lru = true;
                self.temporary_ttl = number(0, u32::MAX)?;
            }
            "tail_repair_time" => self.tail_repair_time = number(10, u32::MAX)?,
            "idle_timeout" => self.idle_timeout = number(0, u32::MAX)?,
            "watcher_logbuf_size" => self.watcher_logbuf_size = kibibytes(strict(0, 1 << 20)?),
            "worker_logbuf_size" => self.worker_logbuf_size = kibibytes(strict(0, 1 << 20)?),
            "read_buf_mem_limit" => self.read_buf_mem_limit = u64::from(strict(0, u32::MAX)?) << 20,
            "track_sizes" => self.track_sizes = true,
            "drop_privileges" => self.drop_privileges = true,
            "no_drop_privileges" => self.drop_privileges = false,
            "relaxed_privileges" => self.relaxed_privileges = true,
            _ if WITHOUT_MEANING.contains(&name) => {}
            _ if EXTERNAL.contains(&name) => {}
            _ if DEPRECATED.contains(&name) => {}
            "slab_sizes" => {
                let list = value.ok_or("Missing slab_sizes argument")?;
                self.slab_sizes = Some(list.to_owned());
            }
            _ => {
                let value = value.map_or_else(String::new, |value| format!("={value}"));
                return Err(format!("Illegal suboption \"{name}{value}\""));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Extended, Misuse> {
        Extended::parse(&[list.to_owned()], &mut Vec::new())
    }

    #[test]
    fn lists_as_start_scripts_have_them() {
        let extended = parse("modern,track_sizes,slab_chunk_max=16,hashpower=18,no_lru_crawler").unwrap();
        assert!(extended.track_sizes && !extended.lru_crawler);
        assert_eq!((extended.slab_chunk_max, extended.hashpower_init), (16 << 10, 18));
        let lists = [
            "idle_timeout=3s".to_owned(),
            String::new(),
            "hot_lru_pct=30,warm_lru_pct=50".to_owned(),
        ];
        let extended = Extended::parse(&lists, &mut Vec::new()).unwrap();
        assert_eq!(
            (extended.idle_timeout, extended.hot_lru_pct, extended.warm_lru_pct),
            (3, 30, 50)
        );
        assert_eq!(
            Extended::parse(&[], &mut Vec::new()).unwrap(),
            Extended::default()
        );
    }

    #[test]
    fn what_memcached_refuses_is_refused() {
        for list in [
            "hashpower=11",
            "hashpower",
            "slab_automove=3",
            "slab_automove_window=2",
            "slab_automove_ratio=1.5",
            "slab_chunk_max=1025",
            "lru_crawler_sleep=1000001",
            "hot_lru_pct=41,warm_lru_pct=40",
            "hash_algorithm=md5",
            "tail_repair_time=9",
            "watcher_logbuf_size=x",
            "temporary_ttl=61,no_lru_maintainer",
        ] {
            assert!(parse(list).is_err(), "{list}");
        }
        assert_eq!(
            parse("modern,nonsense=1"),
            Err(Misuse::new(1, "Illegal suboption \"nonsense=1\""))
        );
    }
}

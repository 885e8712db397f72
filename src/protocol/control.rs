//! Words to the server as a whole, and how the classic dialect spells them.
//!
//! What can be judged from the line alone is judged here and answered with a [`Word`]; what depends on the server's
//! settings (is shutdown enabled, are dumps) is left to the one who has them. Sub-command words are matched
//! whole.

use super::fleet::Fleet;
use super::lex::Tokens;
use super::number;
use super::words::Word;
use crate::time::Exptime;

/// A word to the server as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Control<'a> {
    FlushAll {
        delay: Exptime,
    },
    Stats {
        what: Stats,
    },
    Version,
    /// At most 2, which is the most that has a meaning.
    Verbosity(u32),
    /// 8 to 1,000,000,000.
    CacheMemlimit {
        megabytes: u64,
    },
    Shutdown {
        mode: ShutdownMode,
    },
    RefreshCerts,
    Slabs(Slabs),
    Lru(Lru),
    LruCrawler(LruCrawler),
    Watch {
        streams: Streams,
    },
    Extstore {
        name: &'a [u8],
        number: u32,
    },
    /// Moves the server's clock, for tests: refuse with [`Word::Error`] unless it was allowed at start.
    DebugTime(DebugTime),
    /// Binary only.
    Sasl(Sasl<'a>),
    /// About the ring that this server publishes.
    Fleet(Fleet<'a>),
}

/// What `stats` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    General,
    Settings,
    Items,
    Slabs,
    Sizes,
    Conns,
    Extstore,
    /// The published ring: ours only.
    Cluster,
    /// What memory is held for: ours only.
    Memory,
    Reset,
    DetailOn,
    DetailOff,
    DetailDump,
    /// `class` is below 64; a `limit` of 0 is none.
    Cachedump {
        class: u8,
        limit: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    Now,
    Graceful,
    /// To be refused with [`Word::InvalidShutdownMode`], after it was checked that shutdown is enabled at all.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slabs {
    Reassign {
        source: i32,
        target: i32,
    },
    /// To be refused with [`Word::BadLine`], after it was checked that reassignment is enabled at all.
    ReassignUnreadable,
    /// 0 to 2.
    Automove(u32),
    AutomoveRatio(f64),
    AutomoveFreeratio(f64),
    /// 3 to 1800.
    AutomoveWindow(u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lru {
    Tune {
        hot_percent: u32,
        warm_percent: u32,
        hot_factor: f64,
        warm_factor: f64,
    },
    ModeFlat,
    ModeSegmented,
    /// Negative is off.
    TempTtl(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LruCrawler {
    Enable,
    Disable,
    /// Microseconds, at most a million.
    Sleep(u32),
    Tocrawl(u32),
    Crawl(Classes),
    /// `key=... exp=...` lines.
    Metadump(Classes),
    /// `mg ...` lines.
    Mgdump(Classes),
}

/// A set of slab classes, 1 to 63, one bit each. `all` and `hash` are every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(pub u64);

impl Classes {
    pub const ALL: Classes = Classes(!1);

    pub fn contains(self, class: u8) -> bool {
        class < 64 && self.0 & (1 << class) != 0
    }

    /// `all`, or numbers with commas between them.
    fn parse(token: &[u8]) -> Option<Classes> {
        if token == b"all" {
            return Some(Classes::ALL);
        }
        let mut classes = Classes(0);
        for id in token.split(|&byte| byte == b',') {
            match number::strict_u32(id)? {
                class @ 1..=63 => classes.0 |= 1 << class,
                _ => return None,
            }
        }
        Some(classes)
    }
}

/// The streams that a watcher sees, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams(pub u16);

impl Streams {
    pub const FETCHERS: Streams = Streams(1 << 0);
    pub const MUTATIONS: Streams = Streams(1 << 1);
    pub const EVICTIONS: Streams = Streams(1 << 2);
    pub const CONNEVENTS: Streams = Streams(1 << 3);
    pub const DELETIONS: Streams = Streams(1 << 4);
    pub const SYSEVENTS: Streams = Streams(1 << 5);
    pub const RAWCMDS: Streams = Streams(1 << 6);
    pub const PROXYREQS: Streams = Streams(1 << 7);
    pub const PROXYEVENTS: Streams = Streams(1 << 8);
    pub const PROXYUSER: Streams = Streams(1 << 9);

    /// How many there are.
    pub const COUNT: usize = 10;

    /// The stream of this index, below [`Streams::COUNT`].
    pub fn at(index: usize) -> Streams {
        Streams(1 << index)
    }

    /// The index of a single stream.
    pub fn index(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    pub fn contains(self, other: Streams) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of either.
    pub fn and(self, other: Streams) -> Streams {
        Streams(self.0 | other.0)
    }

    fn parse(token: &[u8]) -> Option<Streams> {
        Some(match token {
            b"fetchers" => Streams::FETCHERS,
            b"mutations" => Streams::MUTATIONS,
            b"evictions" => Streams::EVICTIONS,
            b"connevents" => Streams::CONNEVENTS,
            b"deletions" => Streams::DELETIONS,
            b"sysevents" => Streams::SYSEVENTS,
            b"rawcmds" => Streams::RAWCMDS,
            b"proxyreqs" => Streams::PROXYREQS,
            b"proxyevents" => Streams::PROXYEVENTS,
            b"proxyuser" => Streams::PROXYUSER,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugTime {
    /// Seconds forward (or back).
    Advance(i32),
    Pause,
    Resume,
}

/// SASL over the binary dialect. Without SASL, answer [`Word::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl<'a> {
    ListMechanisms,
    /// `mechanism` is at most 32 bytes.
    Auth {
        mechanism: &'a [u8],
        data: &'a [u8],
    },
    Step {
        mechanism: &'a [u8],
        data: &'a [u8],
    },
}

/// `flush_all [<exptime>] [noreply]`
pub(super) fn flush_all<'a>(mut tokens: Tokens<'a>, silent: bool) -> Result<Control<'a>, Word> {
    let delay = match tokens.next() {
        None => Exptime::NEVER,
        Some(b"noreply") if silent && tokens.next().is_none() => Exptime::NEVER,
        Some(token) => Exptime(number::strict_i32(token).ok_or(Word::InvalidExptime)?.into()),
    };
    Ok(Control::FlushAll { delay })
}

/// `verbosity <level> [noreply]`
pub(super) fn verbosity(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let level = tokens.next().and_then(number::strict_u32).ok_or(Word::BadLine)?;
    Ok(Control::Verbosity(level.min(2)))
}

/// `cache_memlimit <megabytes> [noreply]`
pub(super) fn cache_memlimit(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    match tokens.next().and_then(number::strict_u32).ok_or(Word::Error)? {
        ..8 => Err(Word::MemlimitTooSmall),
        1_000_000_001.. => Err(Word::MemlimitNotBytes),
        megabytes => Ok(Control::CacheMemlimit {
            megabytes: megabytes.into(),
        }),
    }
}

/// `shutdown [graceful]`
pub(super) fn shutdown(mut tokens: Tokens<'_>) -> Control<'_> {
    let mode = match tokens.next() {
        None | Some(b"noreply") => ShutdownMode::Now,
        Some(b"graceful") => ShutdownMode::Graceful,
        Some(_) => ShutdownMode::Unknown,
    };
    Control::Shutdown { mode }
}

/// `stats [settings|items|slabs|sizes|conns|extstore|cluster|memory|reset|detail on|off|dump|cachedump <class> <limit>]`
pub(super) fn stats(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let what = match tokens.next() {
        None => Stats::General,
        Some(b"settings") => Stats::Settings,
        Some(b"items") => Stats::Items,
        Some(b"slabs") => Stats::Slabs,
        Some(b"sizes") => Stats::Sizes,
        Some(b"conns") => Stats::Conns,
        Some(b"extstore") => Stats::Extstore,
        Some(b"cluster") => Stats::Cluster,
        Some(b"memory") => Stats::Memory,
        Some(b"reset") => Stats::Reset,
        Some(b"detail") => match tokens.next() {
            Some(b"on") => Stats::DetailOn,
            Some(b"off") => Stats::DetailOff,
            Some(b"dump") => Stats::DetailDump,
            _ => return Err(Word::DetailUsage),
        },
        Some(b"cachedump") => {
            let (Some(class), Some(limit)) = (tokens.next(), tokens.next()) else {
                return Err(Word::BadCachedump);
            };
            let class = number::strict_u32(class).ok_or(Word::BadLine)?;
            let limit = number::strict_u32(limit).ok_or(Word::BadLine)?;
            match class {
                0..64 => Stats::Cachedump {
                    class: class as u8,
                    limit,
                },
                _ => return Err(Word::IllegalSlabId),
            }
        }
        Some(_) => return Err(Word::NoSuchStats),
    };
    Ok(Control::Stats { what })
}

/// `slabs reassign <source> <target>` or
/// `slabs automove <0|1|2> | ratio <f> | freeratio <f> | window <n>`
pub(super) fn slabs(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let slabs = match (tokens.next(), tokens.next(), tokens.next()) {
        (Some(b"reassign"), Some(source), Some(target)) if tokens.next().is_none() => {
            match (number::strict_i32(source), number::strict_i32(target)) {
                (Some(source), Some(target)) => Slabs::Reassign { source, target },
                _ => Slabs::ReassignUnreadable,
            }
        }
        (Some(b"automove"), Some(b"ratio"), token) => {
            Slabs::AutomoveRatio(token.and_then(number::fraction).ok_or(Word::Error)?)
        }
        (Some(b"automove"), Some(b"freeratio"), token) => {
            Slabs::AutomoveFreeratio(token.and_then(number::fraction).ok_or(Word::Error)?)
        }
        (Some(b"automove"), Some(b"window"), token) => {
            match token.and_then(number::strict_u32).ok_or(Word::BadLine)? {
                window @ 3..=1800 => Slabs::AutomoveWindow(window),
                _ => return Err(Word::AutomoveWindow),
            }
        }
        (Some(b"automove"), Some(level), _) => match number::strict_u32(level).ok_or(Word::BadLine)? {
            level @ 0..=2 => Slabs::Automove(level),
            _ => return Err(Word::Error),
        },
        _ => return Err(Word::Error),
    };
    Ok(Control::Slabs(slabs))
}

/// `lru tune <hot%> <warm%> <hot factor> <warm factor>`, `lru mode flat|segmented` or `lru temp_ttl <n>`
pub(super) fn lru(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let lru = match (tokens.next(), tokens.next()) {
        (Some(b"tune"), Some(hot_percent)) => {
            let percent = |token: Option<_>| token.and_then(number::strict_u32).ok_or(Word::Error);
            let hot_percent = percent(Some(hot_percent))?;
            let warm_percent = percent(tokens.next())?;
            let mut factor = || tokens.next().and_then(number::fraction).ok_or(Word::Error);
            let (hot_factor, warm_factor) = (factor()?, factor()?);
            if u64::from(hot_percent) + u64::from(warm_percent) > 80 {
                return Err(Word::LruPercents);
            }
            if hot_factor <= 0.0 || warm_factor <= 0.0 {
                return Err(Word::LruFactors);
            }
            Lru::Tune {
                hot_percent,
                warm_percent,
                hot_factor,
                warm_factor,
            }
        }
        (Some(b"mode"), Some(b"flat")) => Lru::ModeFlat,
        (Some(b"mode"), Some(b"segmented")) => Lru::ModeSegmented,
        (Some(b"temp_ttl"), Some(token)) => Lru::TempTtl(number::strict_i32(token).ok_or(Word::Error)?),
        _ => return Err(Word::Error),
    };
    Ok(Control::Lru(lru))
}

/// `lru_crawler enable|disable|sleep <us>|tocrawl <n>|crawl <classes>|metadump <classes>|mgdump <classes>`
pub(super) fn lru_crawler(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let word = tokens.next().ok_or(Word::Error)?;
    let argument = tokens.next().filter(|&token| token != b"noreply");
    let number = || argument.and_then(number::strict_u32).ok_or(Word::BadLine);
    let classes = |hash: bool| match argument {
        None => Err(Word::Error),
        Some(b"hash") if hash => Ok(Classes::ALL),
        Some(token) => Classes::parse(token).ok_or(Word::BadClass),
    };
    let crawler = match word {
        b"enable" => LruCrawler::Enable,
        b"disable" => LruCrawler::Disable,
        b"sleep" if argument.is_some() => match number()? {
            micros @ 0..=1_000_000 => LruCrawler::Sleep(micros),
            _ => return Err(Word::CrawlerSleep),
        },
        b"tocrawl" if argument.is_some() => LruCrawler::Tocrawl(number()?),
        b"crawl" => LruCrawler::Crawl(classes(false)?),
        b"metadump" => LruCrawler::Metadump(classes(true)?),
        b"mgdump" => LruCrawler::Mgdump(classes(true)?),
        _ => return Err(Word::Error),
    };
    Ok(Control::LruCrawler(crawler))
}

/// `watch [<stream>...]`
pub(super) fn watch(tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let mut streams = Streams::default();
    for token in tokens {
        streams.0 |= Streams::parse(token).ok_or(Word::Error)?.0;
    }
    if streams == Streams::default() {
        streams = Streams::FETCHERS;
    }
    Ok(Control::Watch { streams })
}

/// `extstore <name> <number>`
pub(super) fn extstore(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    const NAMES: [&[u8]; 10] = [
        b"free_memchunks",
        b"item_size",
        b"item_age",
        b"low_ttl",
        b"recache_rate",
        b"compact_under",
        b"drop_under",
        b"max_sleep",
        b"max_frag",
        b"drop_unread",
    ];
    let name = tokens
        .next()
        .filter(|name| NAMES.contains(name))
        .ok_or(Word::Error)?;
    // The fraction of max_frag is not for us to weigh: its whole part stands for it.
    let number = tokens.next().and_then(number::fraction).ok_or(Word::Error)?;
    Ok(Control::Extstore {
        name,
        number: number as u32,
    })
}

/// `debugtime <seconds>|p|r`
pub(super) fn debugtime(mut tokens: Tokens<'_>) -> Result<Control<'_>, Word> {
    let debugtime = match tokens.next() {
        Some(b"p") => DebugTime::Pause,
        Some(b"r") => DebugTime::Resume,
        Some(token) => DebugTime::Advance(number::strict_i32(token).ok_or(Word::Error)?),
        None => return Err(Word::Error),
    };
    Ok(Control::DebugTime(debugtime))
}

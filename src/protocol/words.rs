//! The fixed things that a server says, and how the classic and the binary dialect say them.
//!
//! Clients match these strings (libmemcached tells a value too large from memory gone by them), so they are
//! memcached's, byte for byte. No cache is asked for any of them: they answer mistakes, close multi-gets, refuse
//! what the settings forbid.

use super::binary;
use super::spelling::Spelling;

/// A fixed thing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A command did what it should.
    Ok,
    /// The end of a multi-get or of statistics.
    End,
    /// `mn` and binary Noop.
    Noop,
    /// `stats reset` is done.
    Reset,
    /// A word that we do not know.
    Error,
    /// Binary: an opcode that we do not know, or SASL where there is none.
    Unknown,
    BadLine,
    /// A value that does not end in `\r\n`.
    BadDataChunk,
    /// `delete` with more than a key, a 0 and noreply.
    DeleteUsage,
    InvalidExptime,
    InvalidDelta,
    NotNumeric,
    TooLarge,
    NoMemoryStoring,
    /// To incr, decr and ma.
    NoMemoryCounting,
    NoMemoryWritingGet,
    /// To be followed by closing.
    NoMemoryReadingRequest,
    NoMemoryDuringRead,
    NoMemoryWritingStats,
    LineTooLong,
    /// On accept above the limit, before closing.
    TooManyConnections,
    FlushNotAllowed,
    /// Statistics of a name that we do not know.
    NoSuchStats,
    DetailUsage,
    DetailNotAllowed,
    /// `stats cachedump` without class and limit.
    BadCachedump,
    IllegalSlabId,
    CachedumpNotAllowed,
    MemlimitTooSmall,
    MemlimitNotBytes,
    MemlimitFailed,
    /// The colon is memcached's.
    ShutdownNotEnabled,
    InvalidShutdownMode,
    /// To refresh_certs.
    TlsNotEnabled,
    SlabReassignDisabled,
    SlabsBusy,
    SlabsBadClass,
    SlabsNoSpare,
    SlabsSame,
    AutomoveWindow,
    LruPercents,
    LruFactors,
    CrawlerDisabled,
    /// `lru_crawler enable` when it is.
    CrawlerStart,
    CrawlerSleep,
    CrawlerBusy,
    BadClass,
    CrawlerNotStarted,
    MetadumpNotAllowed,
    MgdumpNotAllowed,
    MetadumpPipelined,
    MgdumpPipelined,
    DumpLocked,
    /// The end of `lru_crawler mgdump`.
    MgdumpEnd,
    /// `config set` and `config delete` from one who may not.
    ConfigNotAllowed,
    WatchNotAllowed,
    WatchPipelined,
    WatchersTooMany,
    WatcherFailed,
    /// To a classic authentication that succeeded.
    Stored,
    Unauthenticated,
    AuthFailure,
    AuthBadToken,
    AuthBadTermination,
    AuthTooLong,
    /// To who has logged in and may not do this.
    Unauthorized,
    DuplicateFlag,
    InvalidFlag,
    /// All that ma says about its flags.
    InvalidOrDuplicateFlag,
    /// More than 20 tokens.
    FlagsTooLong,
    BadToken,
    InvalidInitial,
    InvalidMetaDelta,
    OpaqueTooLong,
    InvalidStoreMode,
    InvalidCountMode,
    BadKeyEncoding,
    /// Binary: a header that contradicts itself or its opcode.
    InvalidArguments,
}

impl Word {
    /// The classic and meta line, with its end.
    pub fn line(self) -> &'static str {
        match self {
            Word::Ok => "OK\r\n",
            Word::End => "END\r\n",
            Word::Noop => "MN\r\n",
            Word::Reset => "RESET\r\n",
            Word::Error => "ERROR\r\n",
            Word::Unknown => "ERROR\r\n",
            Word::BadLine => "CLIENT_ERROR bad command line format\r\n",
            Word::BadDataChunk => "CLIENT_ERROR bad data chunk\r\n",
            Word::DeleteUsage => "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
            Word::InvalidExptime => "CLIENT_ERROR invalid exptime argument\r\n",
            Word::InvalidDelta => "CLIENT_ERROR invalid numeric delta argument\r\n",
            Word::NotNumeric => "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            Word::TooLarge => "SERVER_ERROR object too large for cache\r\n",
            Word::NoMemoryStoring => "SERVER_ERROR out of memory storing object\r\n",
            Word::NoMemoryCounting => "SERVER_ERROR out of memory\r\n",
            Word::NoMemoryWritingGet => "SERVER_ERROR out of memory writing get response\r\n",
            Word::NoMemoryReadingRequest => "SERVER_ERROR out of memory reading request\r\n",
            Word::NoMemoryDuringRead => "SERVER_ERROR Out of memory during read\r\n",
            Word::NoMemoryWritingStats => "SERVER_ERROR out of memory writing stats\r\n",
            Word::LineTooLong => "SERVER_ERROR output line too long\r\n",
            Word::TooManyConnections => "ERROR Too many open connections\r\n",
            Word::FlushNotAllowed => "CLIENT_ERROR flush_all not allowed\r\n",
            Word::NoSuchStats => "ERROR\r\n",
            Word::DetailUsage => "CLIENT_ERROR usage: stats detail on|off|dump\r\n",
            Word::DetailNotAllowed => "CLIENT_ERROR stats detail not allowed\r\n",
            Word::BadCachedump => "CLIENT_ERROR bad command line\r\n",
            Word::IllegalSlabId => "CLIENT_ERROR Illegal slab id\r\n",
            Word::CachedumpNotAllowed => "CLIENT_ERROR stats cachedump not allowed\r\n",
            Word::MemlimitTooSmall => "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
            Word::MemlimitNotBytes => "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
            Word::MemlimitFailed => "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
            Word::ShutdownNotEnabled => "SERVER_ERROR: shutdown not enabled\r\n",
            Word::InvalidShutdownMode => "CLIENT_ERROR invalid shutdown mode\r\n",
            Word::TlsNotEnabled => "Error TLS not enabled\r\n",
            Word::SlabReassignDisabled => "CLIENT_ERROR slab reassignment disabled\r\n",
            Word::SlabsBusy => "BUSY currently processing reassign request\r\n",
            Word::SlabsBadClass => "BADCLASS invalid src or dst class id\r\n",
            Word::SlabsNoSpare => "NOSPARE source class has no spare pages\r\n",
            Word::SlabsSame => "SAME src and dst class are identical\r\n",
            Word::AutomoveWindow => "CLIENT_ERROR automove window too low or too high\r\n",
            Word::LruPercents => "ERROR hot and warm pcts must not exceed 80\r\n",
            Word::LruFactors => "ERROR hot/warm age factors must be greater than 0\r\n",
            Word::CrawlerDisabled => "CLIENT_ERROR lru crawler disabled\r\n",
            Word::CrawlerStart => "ERROR failed to start lru crawler thread\r\n",
            Word::CrawlerSleep => "CLIENT_ERROR sleep must be one second or less\r\n",
            Word::CrawlerBusy => "BUSY currently processing crawler request\r\n",
            Word::BadClass => "BADCLASS invalid class id\r\n",
            Word::CrawlerNotStarted => "NOTSTARTED no items to crawl\r\n",
            Word::MetadumpNotAllowed => "ERROR metadump not allowed\r\n",
            Word::MgdumpNotAllowed => "ERROR key dump not allowed\r\n",
            Word::MetadumpPipelined => "ERROR cannot pipeline other commands before metadump\r\n",
            Word::MgdumpPipelined => "ERROR cannot pipeline other commands before mgdump\r\n",
            Word::DumpLocked => "ERROR locked try again later\r\n",
            Word::MgdumpEnd => "EN\r\n",
            Word::ConfigNotAllowed => "CLIENT_ERROR config set and delete not allowed\r\n",
            Word::WatchNotAllowed => "CLIENT_ERROR watch commands not allowed\r\n",
            Word::WatchPipelined => "ERROR cannot pipeline other commands before watch\r\n",
            Word::WatchersTooMany => "WATCHER_TOO_MANY log watcher limit reached\r\n",
            Word::WatcherFailed => "WATCHER_FAILED failed to add log watcher\r\n",
            Word::Stored => "STORED\r\n",
            Word::Unauthenticated => "CLIENT_ERROR unauthenticated\r\n",
            Word::AuthFailure => "CLIENT_ERROR authentication failure\r\n",
            Word::AuthBadToken => "CLIENT_ERROR bad authentication token format\r\n",
            Word::AuthBadTermination => "CLIENT_ERROR bad command line termination\r\n",
            Word::AuthTooLong => "CLIENT_ERROR auth token too long\r\n",
            Word::Unauthorized => "CLIENT_ERROR unauthorized\r\n",
            Word::DuplicateFlag => "CLIENT_ERROR duplicate flag\r\n",
            Word::InvalidFlag => "CLIENT_ERROR invalid flag\r\n",
            Word::InvalidOrDuplicateFlag => "CLIENT_ERROR invalid or duplicate flag\r\n",
            Word::FlagsTooLong => "CLIENT_ERROR options flags are too long\r\n",
            Word::BadToken => "CLIENT_ERROR bad token in command line format\r\n",
            Word::InvalidInitial => "CLIENT_ERROR invalid numeric initial value\r\n",
            Word::InvalidMetaDelta => "CLIENT_ERROR invalid numeric delta value\r\n",
            Word::OpaqueTooLong => "CLIENT_ERROR opaque token too long\r\n",
            Word::InvalidStoreMode => "CLIENT_ERROR invalid mode for ms M token\r\n",
            Word::InvalidCountMode => "CLIENT_ERROR invalid mode for ma M token\r\n",
            Word::BadKeyEncoding => "CLIENT_ERROR error decoding key\r\n",
            Word::InvalidArguments => "CLIENT_ERROR bad command line format\r\n",
        }
    }

    /// The binary status.
    pub fn status(self) -> u16 {
        use binary::status;
        match self {
            Word::Ok | Word::End | Word::Noop | Word::Reset | Word::MgdumpEnd | Word::Stored => {
                status::NO_ERROR
            }
            Word::Error
            | Word::Unknown
            | Word::TooManyConnections
            | Word::ShutdownNotEnabled
            | Word::TlsNotEnabled => status::UNKNOWN_COMMAND,
            Word::NotNumeric => status::DELTA_BAD_VALUE,
            Word::TooLarge => status::TOO_LARGE,
            Word::NoMemoryStoring
            | Word::NoMemoryCounting
            | Word::NoMemoryWritingGet
            | Word::NoMemoryReadingRequest
            | Word::NoMemoryDuringRead
            | Word::NoMemoryWritingStats
            | Word::LineTooLong => status::OUT_OF_MEMORY,
            Word::FlushNotAllowed
            | Word::ConfigNotAllowed
            | Word::Unauthenticated
            | Word::AuthFailure
            | Word::AuthBadToken
            | Word::AuthBadTermination
            | Word::AuthTooLong
            | Word::Unauthorized => status::AUTH_ERROR,
            Word::NoSuchStats
            | Word::DetailUsage
            | Word::DetailNotAllowed
            | Word::BadCachedump
            | Word::IllegalSlabId
            | Word::CachedumpNotAllowed => status::NOT_FOUND,
            _ => status::INVALID_ARGUMENTS,
        }
    }
}

/// Says `word` in the spelling of the request that it answers. Silence is kept where that asked for it: a classic
/// noreply silences everything, binary quiet opcodes only success.
pub fn say(out: &mut Vec<u8>, spelling: Spelling, word: Word) {
    match spelling {
        Spelling::Classic { silent: true, .. } => {}
        Spelling::Classic { .. } | Spelling::Meta { .. } => out.extend_from_slice(word.line().as_bytes()),
        Spelling::Binary { opcode, opaque } => binary::say(out, opcode, opaque, word),
    }
}

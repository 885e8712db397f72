//! What was typed, as it is meant: memcached's options, and a few of our own.
//!
//! Only `server` and `main` know this. Numbers are in the units of the options' documentation; sizes are in bytes once
//! they are in [`Config`].

mod extended;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

pub use extended::Extended;

/// What `version` answers: the memcached whose protocol we speak. Clients choose features by it, and read three
/// numbers of at most 255, the first at least 1, and nothing else.
pub const PROTOCOL_VERSION: &str = "1.6.45";

/// A memcached-protocol cache server: thread per core, shared nothing.
#[derive(Debug, Parser)]
#[command(name = "ringcached", version = PROTOCOL_VERSION, disable_version_flag = true, args_override_self = true)]
#[command(
    after_help = "Options that memcached knows and that are not listed here come with a later version."
)]
struct Options {
    /// TCP port to listen on; 0 for none, -1 for any that is free
    #[arg(
        short,
        long,
        value_name = "NUM",
        default_value_t = 11211,
        allow_negative_numbers = true
    )]
    port: i32,
    /// UDP port; only 0 (off) is served
    #[arg(
        short = 'U',
        long,
        value_name = "NUM",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    udp_port: i32,
    /// unix-socket to listen on, instead of any network
    #[arg(short = 's', long, value_name = "FILE")]
    unix_socket: Option<PathBuf>,
    /// Permissions of the unix socket, in octal
    #[arg(short = 'a', long, value_name = "MASK", default_value = "0700", value_parser = octal)]
    unix_mask: u32,
    /// Addresses to listen on, separated by commas; default all
    #[arg(short, long, value_name = "ADDR", value_delimiter = ',')]
    listen: Vec<String>,
    /// Ignored unless root is to be dropped, which a later version does
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Item memory in megabytes
    #[arg(short, long, value_name = "MB", default_value_t = 64)]
    memory_limit: u64,
    /// Refuse stores when memory is full, instead of evicting
    #[arg(short = 'M', long)]
    disable_evictions: bool,
    /// Most connections at a time
    #[arg(short, long, value_name = "NUM", default_value_t = 1024)]
    conn_limit: usize,
    /// Write a pid file
    #[arg(short = 'P', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Threads, each with its own core and shard; default as many as the CPUs this process may use
    #[arg(short, long, value_name = "NUM")]
    threads: Option<usize>,
    /// Requests of one connection before the others get a turn; default: as many as fit in one receive buffer
    #[arg(short = 'R', long, value_name = "NUM")]
    max_reqs_per_event: Option<usize>,
    /// No cas uniques
    #[arg(short = 'C', long)]
    disable_cas: bool,
    /// Length of the queue of connections that wait to be accepted
    #[arg(short = 'b', long, value_name = "NUM", default_value_t = 1024)]
    listen_backlog: i32,
    /// Protocol of all connections; auto decides by the first byte
    #[arg(short = 'B', long, value_name = "NAME", default_value = "auto")]
    protocol: Protocol,
    /// Largest item, in bytes or with k or m
    #[arg(short = 'I', long, value_name = "SIZE", default_value = "1m", value_parser = item_size)]
    max_item_size: usize,
    /// Refuse flush_all
    #[arg(short = 'F', long)]
    disable_flush_all: bool,
    /// Say more; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Run in the background
    #[arg(short, long)]
    daemon: bool,
    /// Obey the shutdown command
    #[arg(short = 'A', long)]
    enable_shutdown: bool,
    /// Character between a key's prefix and the rest; turns stats detail on
    #[arg(short = 'D', value_name = "CHAR")]
    prefix_delimiter: Option<char>,
    /// Refuse to list keys: stats cachedump, stats detail, lru_crawler metadump and mgdump
    #[arg(short = 'X', long)]
    disable_dumping: bool,
    /// Refuse the watch command
    #[arg(short = 'W', long)]
    disable_watch: bool,
    /// Slab growth factor: accepted and shown, sizes of chunks are chosen by themselves
    #[arg(short = 'f', long, value_name = "FACTOR", default_value_t = 1.25)]
    slab_growth_factor: f64,
    /// Smallest chunk: accepted and shown, sizes of chunks are chosen by themselves
    #[arg(short = 'n', long, value_name = "BYTES", default_value_t = 48)]
    slab_min_size: u32,
    /// memcached's extended options, by commas; those without a meaning here are accepted and shown
    #[arg(short = 'o', long, value_name = "LIST")]
    extended: Vec<String>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    /// Each core also listens on a port of its own: this one, the next, and so on
    #[arg(long, value_name = "BASE", help_heading = "Own options")]
    core_ports: Option<u16>,
    /// Microseconds to look for work before sleeping, where that has paid lately; 0 never
    #[arg(long, value_name = "US", default_value_t = 50, help_heading = "Own options")]
    busy_poll_us: u64,
    /// What to forget when memory is full
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "s3fifo",
        help_heading = "Own options"
    )]
    eviction: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Auto,
    Ascii,
    Binary,
}

/// What a full cache forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// A CLOCK ring behind a probation ring, with ghosts
    S3fifo,
    /// One plain CLOCK ring
    Clock,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Port 0 is any free one.
    Tcp(IpAddr, u16),
    Unix(PathBuf, u32),
}

/// What is meant.
#[derive(Clone, Debug)]
pub struct Config {
    pub addresses: Vec<Address>,
    /// Whether one of the default addresses (all of IPv4, all of IPv6) may be missing.
    pub addresses_are_default: bool,
    pub core_ports: Option<u16>,
    pub threads: usize,
    /// CPUs that the process may use, by affinity mask and cgroup quota.
    pub cpus: usize,
    pub memory_limit: u64,
    pub evict: bool,
    pub policy: Policy,
    pub connections_max: usize,
    pub backlog: i32,
    pub requests_per_turn: usize,
    pub cas_enabled: bool,
    pub protocol: Protocol,
    pub item_size_max: usize,
    pub flush_refused: bool,
    pub verbosity: u8,
    pub busy_poll: Duration,
    pub pidfile: Option<PathBuf>,
    pub port: i32,
    /// -d
    pub daemon: bool,
    pub shutdown_enabled: bool,
    /// -D: the delimiter, and that stats detail is on from the start.
    pub prefix_delimiter: Option<u8>,
    pub dump_refused: bool,
    pub watch_refused: bool,
    pub growth_factor: f64,
    pub chunk_size: u32,
    /// What was typed behind -l, for `stats settings`.
    pub listen: Option<String>,
    pub extended: Extended,
}

/// A command line that makes no sense, and the process's exit code, as memcached has it.
#[derive(Debug, PartialEq)]
struct Misuse {
    message: String,
    code: i32,
}

impl From<String> for Misuse {
    fn from(message: String) -> Misuse {
        Misuse { message, code: 64 }
    }
}

/// Reads the command line; prints help, version or an error and ends the process where that is what it says.
pub fn from_command_line() -> Config {
    let options = Options::try_parse().unwrap_or_else(|error| {
        // memcached's code for bad usage, for those who look.
        let code = if error.use_stderr() { 64 } else { 0 };
        let _ = error.print();
        std::process::exit(code);
    });
    meaning(options).unwrap_or_else(|misuse| {
        eprintln!("{}", misuse.message);
        std::process::exit(misuse.code);
    })
}

fn meaning(options: Options) -> Result<Config, Misuse> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if options.threads == Some(0) {
        return Err(Misuse::from(
            "Number of threads must be greater than 0".to_owned(),
        ));
    }
    if options.conn_limit == 0 {
        return Err(Misuse::from(
            "Maximum connections must be greater than 0".to_owned(),
        ));
    }
    if options.max_reqs_per_event == Some(0) {
        return Err(Misuse::from(
            "Number of requests per event must be greater than 0".to_owned(),
        ));
    }
    let extended = Extended::parse(&options.extended).map_err(|message| Misuse { message, code: 1 })?;
    if options.udp_port != 0 && !extended.relaxed_privileges {
        return Err(Misuse::from(format!(
            "-U {}: UDP is not served yet, only -U 0",
            options.udp_port
        )));
    }
    if options.udp_port != 0 {
        // memcached's test library asks for a UDP port whenever it wants a TCP port, and uses it in one test.
        eprintln!("-U {}: UDP is not served yet", options.udp_port);
    }
    if options.slab_growth_factor <= 1.0 || options.slab_min_size == 0 {
        return Err(Misuse {
            message: "Factor must be greater than 1, chunk size greater than 0".to_owned(),
            code: 1,
        });
    }
    let prefix_delimiter = match options.prefix_delimiter.map(u8::try_from) {
        None => None,
        Some(Ok(delimiter)) => Some(delimiter),
        Some(Err(_)) => return Err(Misuse::from("-D takes one character of one byte".to_owned())),
    };
    let memory_limit = options.memory_limit << 20;
    if options.max_item_size < ITEM_SIZE_MAX_LEAST {
        return Err(Misuse::from(
            "Item max size cannot be less than 1024 bytes.".to_owned(),
        ));
    }
    if options.max_item_size as u64 > memory_limit / 2 {
        return Err(Misuse::from(
            "Cannot set item size limit higher than 1/2 of memory max.".to_owned(),
        ));
    }
    if options.max_item_size > ITEM_SIZE_MAX_MOST {
        return Err(Misuse::from(
            "Cannot set item size limit higher than a gigabyte.".to_owned(),
        ));
    }
    let addresses_are_default = options.listen.is_empty();
    let addresses = match &options.unix_socket {
        Some(path) => vec![Address::Unix(path.clone(), options.unix_mask)],
        None => tcp_addresses(&options.listen, options.port)?,
    };
    Ok(Config {
        addresses,
        addresses_are_default,
        core_ports: options.core_ports,
        threads: options.threads.unwrap_or(cpus),
        cpus,
        memory_limit,
        evict: !options.disable_evictions,
        policy: options.eviction,
        connections_max: options.conn_limit,
        backlog: options.listen_backlog,
        requests_per_turn: options.max_reqs_per_event.unwrap_or(usize::MAX),
        cas_enabled: !options.disable_cas,
        protocol: options.protocol,
        item_size_max: options.max_item_size,
        flush_refused: options.disable_flush_all,
        verbosity: options.verbose,
        busy_poll: Duration::from_micros(options.busy_poll_us),
        pidfile: options.pidfile,
        port: options.port,
        daemon: options.daemon,
        shutdown_enabled: options.enable_shutdown,
        prefix_delimiter,
        dump_refused: options.disable_dumping,
        watch_refused: options.disable_watch,
        growth_factor: options.slab_growth_factor,
        chunk_size: options.slab_min_size,
        listen: Some(options.listen.join(",")).filter(|listen| !listen.is_empty()),
        extended,
    })
}

/// The addresses of `-l`, with the port of `-p` where they name none.
fn tcp_addresses(listen: &[String], port: i32) -> Result<Vec<Address>, String> {
    let port = match port {
        -1 => 0,
        0 => return Ok(Vec::new()),
        1..=65535 => port as u16,
        _ => return Err("ERROR: Invalid port number".to_owned()),
    };
    if listen.is_empty() {
        let all = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])];
        return Ok(all.map(|ip| Address::Tcp(ip, port)).into());
    }
    let mut addresses = Vec::new();
    for text in listen {
        for found in resolve(text, port)? {
            if !addresses.contains(&found) {
                addresses.push(found);
            }
        }
    }
    Ok(addresses)
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`, `V6` or `*`: every address it stands for.
fn resolve(text: &str, port: u16) -> Result<Vec<Address>, String> {
    use std::net::ToSocketAddrs;
    if text == "*" {
        return Ok(vec![Address::Tcp(IpAddr::from([0, 0, 0, 0]), port)]);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![Address::Tcp(ip, port)]);
    }
    let with_port = if text.contains(':') {
        text.to_owned()
    } else {
        format!("{text}:{port}")
    };
    let found = with_port
        .to_socket_addrs()
        .map_err(|error| format!("-l {text}: {error}"))?;
    Ok(found
        .map(|address| Address::Tcp(address.ip(), address.port()))
        .collect())
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|error| error.to_string())
}

/// What -I may say, as memcached has it.
const ITEM_SIZE_MAX_LEAST: usize = 1024;
const ITEM_SIZE_MAX_MOST: usize = 1 << 30;

/// `N`, `Nk` or `Nm`.
fn item_size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let size = digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| "not a size".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = std::iter::once("ringcached").chain(line.split_whitespace());
        let options = Options::try_parse_from(words).map_err(|error| error.to_string())?;
        meaning(options).map_err(|misuse| misuse.message)
    }

    #[test]
    fn options_as_memcached_users_type_them() {
        let config = config("-p 11212 -m64 -c 100 -t 2 -vv -I 5m -l 127.0.0.1,::1 -U 0 -o modern").unwrap();
        assert_eq!(config.memory_limit, 64 << 20);
        assert_eq!(config.verbosity, 2);
        assert_eq!(config.item_size_max, 5 << 20);
        let expected = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        assert_eq!(config.addresses, expected.map(|ip| Address::Tcp(ip, 11212)));
    }

    #[test]
    fn item_sizes_have_memcacheds_limits_and_words() {
        assert_eq!(config("-I 1024m -m 2048").unwrap().item_size_max, 1 << 30);
        for (line, words) in [
            ("-I 1023", "Item max size cannot be less than 1024 bytes."),
            (
                "-I 33m -m 64",
                "Cannot set item size limit higher than 1/2 of memory max.",
            ),
            (
                "-I 1025m -m 4096",
                "Cannot set item size limit higher than a gigabyte.",
            ),
        ] {
            assert_eq!(config(line).unwrap_err(), words);
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for line in [
            "-t 0", "-c 0", "-R 0", "-I 100", "-I 1x", "-p 65536", "-m 1", "-B http", "-U 11211",
        ] {
            assert!(config(line).is_err(), "{line}");
        }
    }
}

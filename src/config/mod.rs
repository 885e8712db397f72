//! What was typed, as it is meant: memcached's options, and a few of our own.
//!
//! Only `server` and `main` know this. Numbers are in the units of the options' documentation; sizes are in bytes once
//! they are in [`Config`].

mod extended;
mod file;
mod fleet;
mod listen;
mod tls;
mod words;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use ipnet::IpNet;

pub use extended::Extended;
pub use fleet::{Admin, DnsName, Fleet};
pub use tls::{Entrance, Tls};
use words::{factor, number, octal, path, text};

/// What `version` answers: the memcached whose protocol we speak. Clients choose features by it, and read three
/// numbers of at most 255, the first at least 1, and nothing else.
pub const PROTOCOL_VERSION: &str = "1.6.45";

/// The options, spelled as memcached's. Values are read as memcached reads them (`words`): what makes no sense is
/// refused by [`meaning`], in memcached's words and with its exit codes.
#[derive(Debug, Parser)]
#[command(
    name = "ringcached",
    about = "A memcached-protocol cache server: thread per core, shared nothing"
)]
#[command(version = PROTOCOL_VERSION, disable_version_flag = true)]
#[command(args_override_self = true, infer_long_args = true)]
struct Options {
    /// TCP port to listen on; 0 for none, -1 for any that is free
    #[arg(short, long, value_name = "NUM", value_parser = number)]
    port: Option<i32>,
    /// UDP port to listen on, the TCP port too unless -p is given; 0 for none, -1 for any that is free
    #[arg(short = 'U', long, value_name = "NUM", default_value = "0", value_parser = number)]
    udp_port: i32,
    /// unix-socket to listen on, instead of any network
    #[arg(short = 's', long, value_name = "FILE", value_parser = path)]
    unix_socket: Option<PathBuf>,
    /// Permissions of the unix socket, in octal
    #[arg(short = 'a', long, value_name = "MASK", default_value = "0700", value_parser = octal)]
    unix_mask: u32,
    /// Obey the shutdown command
    #[arg(short = 'A', long)]
    enable_shutdown: bool,
    /// Addresses to listen on, each with a port of its own or that of -p, separated by commas; default all
    #[arg(short, long, value_name = "ADDR", value_parser = text)]
    listen: Vec<String>,
    /// Run in the background
    #[arg(short, long)]
    daemon: bool,
    /// Let the process leave a core file, of any size
    #[arg(short = 'r', long)]
    enable_coredumps: bool,
    /// The user to become; root must name one, and nobody else can become another
    #[arg(short, long, value_name = "USER", value_parser = text)]
    user: Option<String>,
    /// Item memory in megabytes
    #[arg(short, long, value_name = "MB", default_value = "64", value_parser = number)]
    memory_limit: i32,
    /// Refuse stores when memory is full, instead of evicting
    #[arg(short = 'M', long)]
    disable_evictions: bool,
    /// Most connections at a time
    #[arg(short, long, value_name = "NUM", default_value = "1024", value_parser = number)]
    conn_limit: i32,
    /// Lock all memory, so that none is swapped out
    #[arg(short = 'k', long)]
    lock_memory: bool,
    /// Say more; twice: what clients ask, too; three times: everything
    #[arg(short, long, value_name = "ANY", num_args = 0..=1, require_equals = true, action = ArgAction::Append)]
    #[arg(default_missing_value = "", value_parser = text)]
    verbose: Vec<String>,
    /// Print the licence
    #[arg(short = 'i', long)]
    license: bool,
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
    /// Write a pid file
    #[arg(short = 'P', long, value_name = "FILE", value_parser = path)]
    pidfile: Option<PathBuf>,
    /// Slab growth factor: accepted and shown, sizes of chunks are chosen by themselves
    #[arg(short = 'f', long, value_name = "FACTOR", default_value = "1.25", value_parser = factor)]
    slab_growth_factor: f64,
    /// Smallest chunk: accepted and shown, sizes of chunks are chosen by themselves
    #[arg(short = 'n', long, value_name = "BYTES", default_value = "48", value_parser = number)]
    slab_min_size: i32,
    /// Large pages for item memory, where the system gives them (transparent_hugepage: madvise or always)
    #[arg(short = 'L', long)]
    enable_largepages: bool,
    /// Character between a key's prefix and the rest; turns stats detail on
    #[arg(short = 'D', value_name = "CHAR", value_parser = text)]
    prefix_delimiter: Option<String>,
    /// Threads, each with its own core and shard; default as many as the CPUs this process may use
    #[arg(short, long, value_name = "NUM", value_parser = number)]
    threads: Option<i32>,
    /// Requests of one connection before the others get a turn; default: as many as fit in one receive buffer
    #[arg(short = 'R', long, value_name = "NUM", value_parser = number)]
    max_reqs_per_event: Option<i32>,
    /// No cas uniques
    #[arg(short = 'C', long)]
    disable_cas: bool,
    /// Length of the queue of connections that wait to be accepted
    #[arg(short = 'b', long, value_name = "NUM", default_value = "1024", value_parser = number)]
    listen_backlog: i32,
    /// Protocol of all connections: ascii, binary, or auto, which decides by the first byte; default auto
    #[arg(short = 'B', long, value_name = "NAME", value_parser = text)]
    protocol: Option<String>,
    /// Largest item, in bytes or with k or m
    #[arg(short = 'I', long, value_name = "SIZE", default_value = "1m", value_parser = words::size)]
    max_item_size: i64,
    /// SASL PLAIN; the file MEMCACHED_SASL_PWDB says who may log in, a line USER:PASSWORD each; clients speak binary
    #[arg(short = 'S', long)]
    enable_sasl: bool,
    /// Refuse flush_all
    #[arg(short = 'F', long)]
    disable_flush_all: bool,
    /// Refuse to list keys: stats cachedump, stats detail, lru_crawler metadump and mgdump
    #[arg(short = 'X', long)]
    disable_dumping: bool,
    /// Refuse the watch command
    #[arg(short = 'W', long)]
    disable_watch: bool,
    /// Users and passwords, a line USER:PASSWORD each; clients log in by a set, and speak ascii
    #[arg(short = 'Y', long, value_name = "FILE", value_parser = path)]
    auth_file: Option<PathBuf>,
    #[arg(short = 'e', long, value_name = "FILE", value_parser = path, hide = true)]
    memory_file: Option<PathBuf>,
    /// TLS on all TCP ports but those of -l notls:..., with certificate and key of -o ssl_chain_cert, ssl_key; see
    /// also ssl_verify_mode (0 none, 1 request, 2 require, 3 once), ssl_ca_cert, ssl_keyformat (1 PEM, 2 DER),
    /// ssl_ciphers, ssl_session_cache, ssl_min_version (2 or 3), and -l btls:... (no client's certificate), mtls:...
    #[arg(short = 'Z', long)]
    enable_ssl: bool,
    #[arg(short = 'N', long, value_name = "NUM", value_parser = number, hide = true)]
    napi_ids: Option<i32>,
    /// memcached's extended options, by commas; those without a meaning here are accepted and shown.
    /// drop_privileges confines every thread to the system calls that it needs (default: no_drop_privileges)
    #[arg(short = 'o', long, value_name = "LIST", value_parser = text)]
    extended: Vec<String>,
    // Whatever is no option is ignored, as getopt's users do.
    #[arg(hide = true)]
    ignored: Vec<std::ffi::OsString>,

    /// More options from a file, one a line, as Debian's memcached.conf has them; # begins a comment
    #[arg(long, value_name = "FILE", value_parser = path, help_heading = "Own options")]
    config: Option<PathBuf>,
    /// Each core also listens on a port of its own: this one, the next, and so on
    #[arg(long, value_name = "BASE", help_heading = "Own options")]
    core_ports: Option<u16>,
    /// Whether each thread is kept on a CPU of its own
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Own options"
    )]
    pin: Pin,
    /// Microseconds to look for work before sleeping, where that has paid lately; 0 never
    #[arg(long, value_name = "US", default_value_t = 50, help_heading = "Own options")]
    busy_poll_us: u64,
    /// Megabytes (or bytes with k, m or g) for all that the server holds: items, tables, connections, buffers, code. Item
    /// memory gives way to the rest; 0 is no limit. Default: what the control group allows, less a sixteenth
    #[arg(long, value_name = "MB", value_parser = words::megabytes, help_heading = "Own options")]
    max_total_memory: Option<u64>,
    /// What to forget when memory is full
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "s3fifo",
        help_heading = "Own options"
    )]
    eviction: Policy,
    /// How to talk to the kernel
    #[arg(
        long,
        value_name = "LOOP",
        default_value = "auto",
        help_heading = "Own options"
    )]
    io: Io,
    /// Form of what is said on stderr: lines for people (and for systemd's journal), or an object of JSON a line
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        help_heading = "Own options"
    )]
    log_format: LogFormat,
    /// Networks (10.0.0.0/8,...) to which a reply by UDP may be longer than its request; default: this machine and private ones
    #[arg(
        long,
        value_name = "NETS",
        value_delimiter = ',',
        help_heading = "Own options"
    )]
    amplify_to: Vec<IpNet>,
    #[command(flatten)]
    fleet: fleet::FleetOptions,
}

/// Which event loop serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// io_uring where the kernel grants it, else epoll
    Auto,
    /// io_uring or nothing
    Uring,
    /// epoll
    Epoll,
    /// The runtime glommio
    #[cfg_attr(not(feature = "glommio"), value(hide = true))]
    Glommio,
}

/// When threads are kept on CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pin {
    /// If there are as many threads as CPUs that the process may use
    Auto,
    /// If there are as many such CPUs, or more
    Always,
    /// The kernel chooses
    Never,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// As people read it, or as systemd's journal does where stderr is that
    Text,
    /// An object of JSON
    Json,
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
    Tcp(IpAddr, u16, Entrance),
    Unix(PathBuf, u32),
}

/// What is meant.
#[derive(Clone, Debug)]
pub struct Config {
    pub addresses: Vec<Address>,
    /// Where to take datagrams: none unless -U says so.
    pub udp_addresses: Vec<Address>,
    /// To whom a reply by UDP may be longer than its request.
    pub udp_trust: Vec<IpNet>,
    /// Whether one of the default addresses (all of IPv4, all of IPv6) may be missing.
    pub addresses_are_default: bool,
    pub core_ports: Option<u16>,
    pub threads: usize,
    /// CPUs that the process may use, by affinity mask and cgroup quota.
    pub cpus: usize,
    pub memory_limit: u64,
    /// --max-total-memory in bytes; 0 is no limit, and none typed is what the system says.
    pub total_memory: Option<u64>,
    /// -L
    pub large_pages: bool,
    pub evict: bool,
    pub policy: Policy,
    pub io: Io,
    pub connections_max: usize,
    pub backlog: i32,
    pub requests_per_turn: usize,
    pub cas_enabled: bool,
    pub protocol: Protocol,
    pub item_size_max: usize,
    pub flush_refused: bool,
    pub verbosity: u8,
    pub log_format: LogFormat,
    pub pin: Pin,
    pub busy_poll: Duration,
    pub pidfile: Option<PathBuf>,
    pub port: i32,
    pub udp_port: i32,
    /// -d
    pub daemon: bool,
    /// -r
    pub core_files: bool,
    /// -k
    pub lock_memory: bool,
    /// -u: whom root becomes.
    pub user: Option<String>,
    /// -Y, or the file of -S
    pub auth_file: Option<PathBuf>,
    /// -S
    pub sasl: bool,
    pub shutdown_enabled: bool,
    /// -D: the delimiter, and that stats detail is on from the start.
    pub prefix_delimiter: Option<u8>,
    pub dump_refused: bool,
    pub watch_refused: bool,
    pub growth_factor: f64,
    pub chunk_size: u32,
    /// What was typed behind -l, for `stats settings`.
    pub listen: Option<String>,
    /// -Z
    pub tls_enabled: bool,
    pub extended: Extended,
    pub fleet: Fleet,
    /// What was accepted and has no effect: to be said once, when there is a log.
    pub notes: Vec<String>,
}

/// A command line that makes no sense, and the process's exit code, as memcached has it.
#[derive(Debug, PartialEq)]
struct Misuse {
    message: String,
    code: i32,
}

/// sysexits.h's code for a wrong command line.
pub const EX_USAGE: i32 = 64;
/// What memcached answers to most wrong values.
const EX_FAILURE: i32 = 1;
/// The system said no.
const EX_OSERR: i32 = 71;

impl Misuse {
    fn new(code: i32, message: impl Into<String>) -> Misuse {
        Misuse {
            message: message.into(),
            code,
        }
    }
}

/// Reads the command line; prints help, version or an error and ends the process where that is what it says.
pub fn from_command_line() -> Config {
    let words: Vec<_> = std::env::args_os().collect();
    let options = file::with_options_of(words).and_then(Options::read);
    options.and_then(meaning).unwrap_or_else(|misuse| {
        if misuse.code == 0 {
            print!("{}", misuse.message);
        } else {
            eprintln!("{}", misuse.message.trim_end());
        }
        std::process::exit(misuse.code);
    })
}

/// Whether the program goes by memcached's name, as where it takes its place by a link.
fn is_called_memcached(name: &std::ffi::OsStr) -> bool {
    std::path::Path::new(name)
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"memcached"))
}

impl Options {
    /// Reads the words, the program's name first. What only asks for a text is a misuse of code 0.
    fn read(words: Vec<std::ffi::OsString>) -> Result<Options, Misuse> {
        let is_memcached = words.first().is_some_and(|name| is_called_memcached(name));
        // getopt gives an option the next word, whatever that looks like: `-p -1`.
        let command = Options::command().mut_args(|argument| {
            let takes_word = argument.get_action().takes_values() && !argument.is_positional();
            argument.allow_hyphen_values(takes_word)
        });
        let matches = command.try_get_matches_from(words);
        let options = matches.and_then(|matches| Options::from_arg_matches(&matches));
        let options = options.map_err(|error| match error.use_stderr() {
            true => Misuse::new(
                EX_FAILURE,
                format!("{}Illegal argument \"?\"", first_paragraph(&error.to_string())),
            ),
            false => Misuse::new(0, error.to_string()),
        })?;
        if options.version {
            return Err(Misuse::new(
                0,
                match is_memcached {
                    true => format!("memcached {PROTOCOL_VERSION}\n"),
                    false => format!(
                        "ringcached {} (as memcached {PROTOCOL_VERSION})\n",
                        env!("CARGO_PKG_VERSION")
                    ),
                },
            ));
        }
        if options.license {
            return Err(Misuse::new(0, include_str!("../../LICENSE-MIT")));
        }
        Ok(options)
    }
}

/// What is wrong, without the usage that clap puts behind it.
fn first_paragraph(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

fn meaning(options: Options) -> Result<Config, Misuse> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let above_0 = |value: i32, message: &str| {
        usize::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| Misuse::new(EX_FAILURE, message))
    };
    let connections_max = above_0(
        options.conn_limit,
        "-c: Maximum connections must be greater than 0",
    )?;
    let requests_per_turn = above_0(
        options.max_reqs_per_event.unwrap_or(i32::MAX),
        "-R: Number of requests per event must be greater than 0",
    )?;
    let threads = match options.threads {
        Some(threads) => above_0(threads, "-t: Number of threads must be greater than 0")?,
        None => cpus,
    };
    if options.slab_growth_factor.partial_cmp(&1.0) != Some(std::cmp::Ordering::Greater) {
        return Err(Misuse::new(EX_FAILURE, "-f: Factor must be greater than 1"));
    }
    let chunk_size = above_0(options.slab_min_size, "-n: Chunk size must be greater than 0")?;
    let prefix_delimiter = match options.prefix_delimiter.map(|word| word.bytes().next()) {
        Some(None) => return Err(Misuse::new(EX_FAILURE, "-D: No delimiter specified")),
        first => first.flatten(),
    };
    let napi_ids = match options.napi_ids {
        Some(count) => above_0(count, "-N: Maximum number of NAPI IDs must be greater than 0")?,
        None => 0,
    };
    if napi_ids > threads {
        let message =
            format!("-N: Number of napi_ids({napi_ids}) cannot be greater than number of threads({threads})");
        return Err(Misuse::new(EX_USAGE, message));
    }
    let protocol = match options.protocol.as_deref() {
        None | Some("auto") => Protocol::Auto,
        Some("ascii") => Protocol::Ascii,
        Some("binary") => Protocol::Binary,
        Some(other) => {
            let message = format!(
                "-B: Invalid value for binding protocol: {other}\n -- should be one of auto, binary, or ascii"
            );
            return Err(Misuse::new(EX_USAGE, message));
        }
    };
    let mut notes = Vec::new();
    let extended = Extended::parse(&options.extended, &mut notes)?;
    extended.check_slab_sizes(chunk_size as u64)?;
    let memory_limit = u64::try_from(options.memory_limit).unwrap_or(0) << 20;
    let item_size_max = item_size(options.max_item_size, memory_limit)?;
    if options.auth_file.is_some() {
        if options.protocol.is_some() && protocol != Protocol::Ascii {
            let message =
                "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.";
            return Err(Misuse::new(EX_USAGE, message));
        }
        if options.udp_port != 0 {
            let message = "Cannot use UDP with ascii authentication enabled (-U 0 to disable)";
            return Err(Misuse::new(EX_USAGE, message));
        }
    }
    let mut auth_file = options.auth_file;
    if options.enable_sasl {
        let refused = |message: &str| Err(Misuse::new(EX_USAGE, message));
        if options.protocol.is_some() && protocol != Protocol::Binary {
            return refused("ERROR: You cannot allow the ASCII protocol while using SASL.");
        }
        if options.udp_port != 0 {
            return refused("ERROR: Cannot enable UDP while using binary SASL authentication.");
        }
        if auth_file.is_some() {
            return refused("ERROR: You cannot use -Y together with SASL.");
        }
        auth_file = std::env::var_os("MEMCACHED_SASL_PWDB").map(PathBuf::from);
        if auth_file.is_none() {
            return refused("-S needs MEMCACHED_SASL_PWDB, which names a file of user:password lines");
        }
    }
    // -U names both ports where there is no -p.
    let port = match (options.port, options.udp_port) {
        (Some(port), _) => port,
        (None, 0) => 11211,
        (None, udp_port) => udp_port,
    };
    if port > i32::from(u16::MAX) {
        return Err(Misuse::new(
            EX_USAGE,
            format!("ERROR: Invalid port number {port}."),
        ));
    }
    if options.enable_ssl && port == 0 {
        let message = "ERROR: You cannot enable SSL without a TCP port.";
        return Err(Misuse::new(EX_USAGE, message));
    }
    extended.tls.note(options.enable_ssl, &mut notes);
    let mut without_meaning = |asked: bool, note: &str| {
        if asked {
            notes.push(note.to_owned());
        }
    };
    without_meaning(
        options.slab_growth_factor != 1.25 || chunk_size != 48,
        "-f and -n have no effect: sizes of chunks are chosen by themselves",
    );
    without_meaning(
        napi_ids > 0,
        "-N has no effect: connections are dealt to the cores in turn",
    );
    without_meaning(
        options.memory_file.is_some(),
        "-e has no effect yet: the cache begins empty, and nothing of it is kept",
    );
    let addresses_are_default = options.listen.is_empty() && options.unix_socket.is_none();
    let (addresses, udp_addresses) = match options.unix_socket {
        Some(path) => (vec![Address::Unix(path, options.unix_mask)], Vec::new()),
        None => (
            listen::addresses(&options.listen, port, options.enable_ssl, &mut notes)?,
            listen::addresses(
                &options.listen,
                options.udp_port,
                options.enable_ssl,
                &mut Vec::new(),
            )?,
        ),
    };
    Ok(Config {
        addresses,
        udp_addresses,
        udp_trust: match options.amplify_to.is_empty() {
            true => listen::private_networks(),
            false => options.amplify_to,
        },
        addresses_are_default,
        core_ports: options.core_ports,
        threads,
        cpus,
        memory_limit,
        total_memory: options.max_total_memory,
        large_pages: options.enable_largepages,
        evict: !options.disable_evictions,
        policy: options.eviction,
        io: options.io,
        connections_max,
        backlog: options.listen_backlog,
        requests_per_turn: options
            .max_reqs_per_event
            .map_or(usize::MAX, |_| requests_per_turn),
        cas_enabled: !options.disable_cas,
        protocol: match auth_file {
            _ if options.enable_sasl => Protocol::Binary,
            Some(_) => Protocol::Ascii,
            None => protocol,
        },
        sasl: options.enable_sasl,
        item_size_max,
        flush_refused: options.disable_flush_all,
        verbosity: options.verbose.len().min(usize::from(u8::MAX)) as u8,
        log_format: options.log_format,
        pin: options.pin,
        busy_poll: Duration::from_micros(options.busy_poll_us),
        pidfile: options.pidfile,
        port,
        udp_port: options.udp_port,
        daemon: options.daemon,
        core_files: options.enable_coredumps,
        lock_memory: options.lock_memory,
        user: options.user,
        auth_file,
        shutdown_enabled: options.enable_shutdown,
        prefix_delimiter,
        dump_refused: options.disable_dumping,
        watch_refused: options.disable_watch,
        growth_factor: options.slab_growth_factor,
        chunk_size: chunk_size as u32,
        listen: Some(options.listen.join(",")).filter(|listen| !listen.is_empty()),
        tls_enabled: options.enable_ssl,
        extended,
        fleet: options
            .fleet
            .meaning()
            .map_err(|message| Misuse::new(EX_USAGE, message))?,
        notes,
    })
}

/// `-I`, from 1024 bytes to 1 GiB and to half of the memory.
fn item_size(size: i64, memory_limit: u64) -> Result<usize, Misuse> {
    let message = match size {
        ..1024 => "-I: Item max size cannot be less than 1024 bytes.",
        _ if size as u64 > memory_limit / 2 => {
            "-I, -m: Cannot set item size limit higher than 1/2 of memory max."
        }
        0x4000_0001.. => "-I: Cannot set item size limit higher than a gigabyte.",
        _ => return Ok(size as usize),
    };
    Err(Misuse::new(EX_USAGE, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Result<Config, Misuse> {
        let words = ["ringcached"]
            .iter()
            .chain(words)
            .map(|word| (*word).into())
            .collect();
        file::with_options_of(words)
            .and_then(Options::read)
            .and_then(meaning)
    }

    #[test]
    fn options_as_memcached_users_type_them() {
        let line = "-p 11212 -m64 -c 100 -t 2 -vv -I 5m -l 127.0.0.1,::1 -U 0 -o modern";
        let config = config(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(config.memory_limit, 64 << 20);
        assert_eq!(config.verbosity, 2);
        assert_eq!(config.item_size_max, 5 << 20);
        let expected = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        let expected = expected.map(|ip| Address::Tcp(ip, 11212, Entrance::Plain));
        assert_eq!(config.addresses, expected);
    }

    #[test]
    fn every_spelling_of_getopt() {
        for words in [
            &["-m 8192", "-p", " 11212", "--verbose=x", "-v"][..],
            &["-m", "8192k", "-vp11212", "--verb"],
            &["junk", "--memory-l=8192", "-vv", "more junk", "--port", "+11212"],
            &[
                "-m1", "-I", "1k", "-m", "8192", "-vdv", "-U", "0", "-I1m", "-p11212",
            ],
            &["-vv", "-p", "11212", "-m", "8192", "--", "-p", "1"],
        ] {
            let config = config(words).unwrap_or_else(|misuse| panic!("{words:?}: {misuse:?}"));
            assert_eq!(
                (8192 << 20, 2, 11212),
                (config.memory_limit, config.verbosity, config.port),
                "{words:?}"
            );
        }
        let config = config(&["-p", "-1", "-U", "-1", "-l", "-v"]);
        // getaddrinfo has the last word on the name `-v`.
        assert_eq!(EX_OSERR, config.unwrap_err().code);
    }

    #[test]
    fn bad_values_are_refused() {
        for (line, code) in [
            ("-t 0", 1),
            ("-c 0", 1),
            ("-R 0", 1),
            ("-I 100", 64),
            ("-I x", 64),
            ("-p 65536", 64),
            ("-m 1", 64),
            ("--max-total-memory x", 1),
            ("--max-total-memory -1", 1),
            ("-B http", 64),
            ("-f 1", 1),
            ("-n 0", 1),
            ("-N 0", 1),
            ("-t 1 -N 2", 64),
            ("-Q", 1),
            ("-p", 1),
            ("--nonsense", 1),
            ("--disable", 1),
            ("-o nonsense", 1),
            ("-Z -p 0", 64),
            ("-o ssl_verify_mode=4", 1),
            ("-S -B auto", 64),
            ("-S -B ascii", 64),
            ("-S -U 1", 64),
            ("-S -Y f", 64),
            ("-S", 64),
            ("-Y f -B auto", 64),
            ("-Y f -U 1", 64),
            ("-l notls:127.0.0.1", 71),
            ("-l tag_toolongname_:127.0.0.1", 71),
            ("-l [::1", 71),
            ("-l 127.0.0.1:x", 71),
            ("-U 65536 -p 1", 71),
        ] {
            let refused = config(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(
                Some(code),
                refused.as_ref().err().map(|misuse| misuse.code),
                "{line}: {refused:?}"
            );
        }
        assert_eq!(1, config(&["-D", " "]).unwrap_err().code);
    }
}

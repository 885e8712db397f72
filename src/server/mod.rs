//! Puts it together: listeners, one thread for each core, signals, the end.

mod auth_file;
mod budget;
mod certificates;
mod cgroup;
mod ciphers;
mod confinement;
mod daemon;
mod facts;
mod fleet;
mod identity;
mod inherited;
mod listen;
mod logging;
mod pid_file;
mod pinning;
mod port_file;
mod resident;
mod supervisor;
mod taken;
mod ticker;
mod watchdog;

use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use log::{error, info, warn};

use crate::config::{Address, Admin, Config, Io, PROTOCOL_VERSION, Policy, Protocol};
use crate::hash::KeySeed;
use crate::memory::Pool;
use crate::mesh::{Letter, Mesh};
use crate::protocol::Dialects;
use crate::runtime::{
    self, Clock, CoreParts, Kind, Limits, Listener, LoopParts, REPLY_SIZE_MAX, Wakers, uring,
};
use crate::session::Rules;
use crate::session::credentials::Credentials;
use crate::session::fleet::RingAdmin;
use crate::session::statistics::{Certificates as _, Facts};
use crate::shard::{self, Shard};
use certificates::Certificates;
use confinement::{Confinement, Duty};
use listen::Listening;
use supervisor::Supervisor;
use ticker::Ticker;
use watchdog::Watchdog;

pub use logging::{say, start as start_log};

/// Why a server did not start: what to say, and the process's exit code (sysexits.h, as memcached has it).
pub struct Refusal {
    pub message: String,
    pub code: u8,
}

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// The third is memcached's graceful stop; every stop is graceful here.
const SIGNALS: [i32; 4] = [SIGINT, SIGTERM, SIGUSR1, SIGHUP];

/// The command line asks for what is not there.
const EX_USAGE: u8 = 64;

/// The operating system said no.
const EX_OSERR: u8 = 71;

impl Refusal {
    fn os(message: String) -> Refusal {
        Refusal {
            message,
            code: EX_OSERR,
        }
    }
}

/// Bytes of a page of item memory.
const PAGE_SIZE: usize = 64 * 1024;

/// Serves until a signal tells it to stop.
pub fn run(config: &Config) -> Result<(), Refusal> {
    for note in &config.notes {
        warn!("{note}");
    }
    let supervisor = Supervisor::of_environment();
    let watchdog_interval = supervisor::watchdog_interval();
    let inherited = inherited::take(config)?;
    raise_descriptor_limit(config)?;
    if config.core_files {
        identity::allow_core_files()?;
    }
    // As memcached has it: the key may be one that only root can read. Whoever wants it read anew sees to that.
    let certificates = match config.tls_enabled {
        true => Some(Arc::new(Certificates::read(&config.extended.tls)?)),
        false => None,
    };
    identity::become_user(config.user.as_deref())?;
    let credentials = match &config.auth_file {
        Some(file) => Some(Arc::new(Credentials::new(auth_file::read(file, config.sasl)?))),
        None => None,
    };
    let kind = event_loop(config.io)?;
    let listening = match inherited {
        Some(inherited) => inherited,
        None => listen::open(config).map_err(Refusal::os)?,
    };
    let mut listeners: Vec<Vec<Listener>> = (0..config.threads)
        .map(|me| core_listeners(config, me))
        .collect::<Result<_, _>>()?;
    let Listening {
        sockets,
        datagrams,
        taken,
    } = listening;
    // The first core accepts and deals to all: that is even, whatever the number of connections.
    listeners[0].extend(sockets.into_iter().map(|(socket, entrance)| Listener {
        socket,
        shared: true,
        entrance,
    }));
    if config.daemon {
        // Core files are left in the working directory.
        daemon::daemonize(config.verbosity > 0, !config.core_files)
            .map_err(|error| Refusal::os(format!("failed to daemonize: {error}")))?;
    }
    if config.lock_memory {
        identity::lock_memory();
    }
    // Before any thread is: a signal that comes now waits for us.
    let mut signals = signal_hook::iterator::Signals::new(SIGNALS)
        .map_err(|error| Refusal::os(format!("signals: {error}")))?;

    let member = member(config, &taken);
    let pool = budget::pool(config)?;
    let fleet = member.for_sessions();
    let facts = facts::gather(config, &listeners, fleet, certificates.clone(), pool.clone());
    let confinement = Confinement::of(config, kind);
    let nudge = member
        .start(move || confinement.confine(Duty::Fleet))
        .map_err(Refusal::os)?;
    let cores = Cores::start(
        config,
        confinement,
        pool,
        listeners,
        datagrams,
        (credentials.clone(), certificates.clone()),
        facts,
    )?;
    let watchdog = watchdog_interval
        .map(|interval| {
            let (mesh, wakers) = (cores.mesh.clone(), cores.wakers.clone());
            let confine = move || confinement.confine(Duty::Ticker);
            Watchdog::start(interval, supervisor.clone(), mesh, wakers, confine)
        })
        .transpose()
        .map_err(|error| Refusal::os(format!("thread: {error}")))?;
    // Whoever waits for these files finds a server that listens on every port; starters wait for the last.
    if let Some(path) = &config.pidfile
        && let Err(error) = pid_file::write(path)
    {
        warn!(
            "Could not open the pid file {} for writing: {error}",
            path.display()
        );
    }
    if let Err(error) = port_file::write(&taken) {
        warn!("the port file could not be written: {error}");
    }
    for (transport, address) in &taken {
        info!("listening on {transport} {address}, {} cores", config.threads);
        if *transport == "UDP" && !address.ip().is_loopback() {
            let networks: Vec<String> = config.udp_trust.iter().map(ToString::to_string).collect();
            warn!(
                "whoever can reach UDP {address} can have replies sent to others: keep it behind a firewall; outside of \
                 {} none is longer than its request (--amplify-to)",
                networks.join(",")
            );
        }
    }
    // Last: the cores have confined themselves, and whatever is written has been.
    confinement.confine(Duty::Main).map_err(Refusal::os)?;
    if confinement.is_wanted {
        info!("every thread is confined to the system calls that it needs");
    }
    let status = status(config, kind, &taken);
    supervisor.ready(&status);
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                supervisor.reloading();
                nudge.nudge();
                if let (Some(file), Some(credentials)) = (&config.auth_file, &credentials) {
                    read_passwords_anew(file, config.sasl, credentials);
                }
                if let Some(certificates) = &certificates {
                    read_certificates_anew(certificates);
                }
                supervisor.ready(&status);
            }
            _ => {
                say_goodbye(signal);
                break;
            }
        }
    }
    supervisor.stopping();
    if let Some(watchdog) = watchdog {
        watchdog.stop();
    }
    cores.stop();
    if let Some(path) = config.pidfile.as_ref().filter(|_| config.daemon) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The event loop for `--io`; says in one line why it is not io_uring where that was refused.
fn event_loop(io: Io) -> Result<Kind, Refusal> {
    match (io, uring::probe()) {
        (Io::Epoll, _) => Ok(Kind::Epoll),
        (Io::Glommio, _) => glommio_loop(),
        (_, Ok(())) => Ok(Kind::Uring),
        (Io::Uring, Err(error)) => Err(Refusal::os(uring::explain(&error))),
        (Io::Auto, Err(error)) => {
            warn!("serving by epoll: {}", uring::explain(&error));
            Ok(Kind::Epoll)
        }
    }
}

#[cfg(feature = "glommio")]
fn glommio_loop() -> Result<Kind, Refusal> {
    match runtime::glommio::probe() {
        Ok(()) => Ok(Kind::Glommio),
        Err(error) => Err(Refusal::os(runtime::glommio::explain(&error))),
    }
}

#[cfg(not(feature = "glommio"))]
fn glommio_loop() -> Result<Kind, Refusal> {
    Err(Refusal {
        message: "--io glommio: this build has no glommio; build it with `cargo build --features glommio`"
            .to_owned(),
        code: EX_USAGE,
    })
}

/// One line for `systemctl status`.
fn status(config: &Config, kind: Kind, taken: &[(&'static str, std::net::SocketAddr)]) -> String {
    let ports: Vec<String> = taken
        .iter()
        .map(|(transport, address)| format!("{transport} {address}"))
        .collect();
    let ports = match ports.is_empty() {
        true => "a unix socket".to_owned(),
        false => ports.join(", "),
    };
    format!("{} cores serve by {} on {ports}", config.threads, kind.name())
}

/// Takes what the file says now; if it makes no sense, what it said before still holds.
fn read_passwords_anew(file: &std::path::Path, is_sasl: bool, credentials: &Credentials) {
    match auth_file::read(file, is_sasl) {
        Ok(list) => {
            info!("{}: {} users may log in", file.display(), list.len());
            credentials.replace(list);
        }
        Err(refusal) => error!("{}: nothing changes", refusal.message),
    }
}

fn read_certificates_anew(certificates: &Certificates) {
    match certificates.refresh() {
        Ok(()) => info!("TLS certificates were read anew"),
        Err(why) => error!("Could not reload TLS certificates on SIGHUP: {why}: nothing changes"),
    }
}

/// In memcached's words.
fn say_goodbye(signal: i32) {
    match signal {
        SIGUSR1 => say(log::Level::Info, "Gracefully stopping"),
        SIGINT => info!("Signal handled: Interrupt."),
        _ => info!("Signal handled: Terminated."),
    }
}

/// The threads that serve.
struct Cores {
    mesh: Arc<Mesh>,
    wakers: Arc<Wakers>,
    threads: Vec<std::thread::JoinHandle<()>>,
    ticker: Ticker,
}

impl Cores {
    fn start(
        config: &Config,
        confinement: Confinement,
        pool: Arc<Pool>,
        listeners: Vec<Vec<Listener>>,
        datagrams: Vec<OwnedFd>,
        (credentials, certificates): (Option<Arc<Credentials>>, Option<Arc<Certificates>>),
        facts: Facts,
    ) -> Result<Cores, Refusal> {
        let kind = confinement.kind;
        let seed = KeySeed::random();
        let clock = Clock::start();
        let owners = shard::shards_for(pool.pages_max(), config.threads);
        if owners < config.threads {
            info!(
                "{owners} of {} cores own keys: memory has no shards for the others, which serve connections",
                config.threads
            );
        }
        let shards = (0..config.threads)
            .map(|number| Shard::new(&shard_settings(config, owners, number), seed, pool.clone()))
            .collect();
        let (mesh, mailboxes) = Mesh::new(shards, owners);
        let mesh = Arc::new(mesh);
        // One core each: a socket that several cores wait for wakes them all.
        for (number, socket) in datagrams.into_iter().enumerate() {
            mesh.send(number % config.threads, Letter::Datagrams(socket));
        }
        let wakers = Wakers::new(config.threads).map_err(|error| Refusal::os(format!("eventfd: {error}")))?;
        let wakers = Arc::new(wakers);
        let facts = Arc::new(facts);
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let is_crowded = config.threads > allowed.len().min(config.cpus);
        if is_crowded {
            warn!(
                "{} threads share {} CPUs: they do not poll",
                config.threads, config.cpus
            );
        }
        let busy_poll = match is_crowded {
            true => Duration::ZERO,
            false => config.busy_poll,
        };
        let cpus = pinning::cpus(config.pin, config.threads, &allowed, config.cpus);

        let (started, starts) = mpsc::channel();
        let mut threads = Vec::new();
        for (me, ((mailbox, own), cpu)) in mailboxes.into_iter().zip(listeners).zip(cpus).enumerate() {
            let core = CoreParts {
                me,
                mesh: mesh.clone(),
                mailbox,
                pool: pool.clone(),
                seed,
                clock,
                rules: rules(config, credentials.clone()),
                datagram_rules: Rules {
                    dialects: Dialects::Any,
                    requests_per_turn: usize::MAX,
                    reply_size_max: Some(REPLY_SIZE_MAX),
                    ..rules(config, credentials.clone())
                },
                limits: limits(config),
                facts: facts.clone(),
                tls: certificates.as_ref().map(|certificates| certificates.configs()),
                udp_trust: config.udp_trust.clone().into(),
            };
            let parts = LoopParts {
                core,
                wakers: wakers.clone(),
                listeners: own,
                busy_poll,
                is_confined: confinement.is_wanted,
            };
            let started = started.clone();
            let serve = move || {
                if let Some(cpu) = cpu
                    && !core_affinity::set_for_current(cpu)
                {
                    warn!("core {me} could not be pinned to CPU {}", cpu.id);
                }
                runtime::serve(kind, parts, |outcome| {
                    let outcome = outcome.map_err(|error| match kind {
                        Kind::Uring => uring::explain(&error),
                        Kind::Epoll => format!("epoll: {error}"),
                        #[cfg(feature = "glommio")]
                        Kind::Glommio => runtime::glommio::explain(&error),
                    });
                    let outcome = outcome.and_then(|()| confinement.confine(Duty::Core));
                    // Nobody listens any more if another core has failed.
                    let _ = started.send(outcome);
                });
            };
            let thread = std::thread::Builder::new()
                .name(format!("core {me}"))
                .spawn(serve)
                .map_err(|error| Refusal::os(format!("thread: {error}")))?;
            threads.push(thread);
        }
        for _ in 0..config.threads {
            if let Ok(Err(why)) = starts.recv() {
                return Err(Refusal::os(why));
            }
        }
        let confine = move || confinement.confine(Duty::Ticker);
        let ticker = Ticker::start(mesh.clone(), wakers.clone(), pool, confine)
            .map_err(|error| Refusal::os(format!("thread: {error}")))?;
        Ok(Cores {
            mesh,
            wakers,
            threads,
            ticker,
        })
    }

    /// Lets every core finish what is under way, and waits for it.
    fn stop(self) {
        self.ticker.stop();
        for core in 0..self.mesh.cores() {
            self.mesh.send(core, Letter::Stop);
            self.wakers.wake(core);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a core ended badly");
            }
        }
    }
}

/// The fleet, of which this server is what listens here.
fn member(config: &Config, taken: &[(&'static str, std::net::SocketAddr)]) -> fleet::Member {
    let shared: Vec<_> = taken
        .iter()
        .filter(|(transport, _)| *transport == "TCP")
        .map(|&(_, address)| address)
        .collect();
    // That each fits was found when the core's listeners were opened.
    let core_ports: Vec<u16> = config.core_ports.map_or(Vec::new(), |base| {
        (0..config.threads)
            .filter_map(|core| base.checked_add(u16::try_from(core).ok()?))
            .collect()
    });
    fleet::Member::new(&config.fleet, &shared, &core_ports)
}

/// What core `me` listens on alone, with `--core-ports`.
fn core_listeners(config: &Config, me: usize) -> Result<Vec<Listener>, Refusal> {
    let Some(base) = config.core_ports else {
        return Ok(Vec::new());
    };
    let port = u16::try_from(usize::from(base) + me)
        .map_err(|_| Refusal::os(format!("--core-ports {base}: there is no port for core {me}")))?;
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in &config.addresses {
        let Address::Tcp(ip, _, entrance) = address else {
            continue;
        };
        match listen::tcp(*ip, port, config.backlog) {
            Ok(socket) => listeners.push(Listener {
                socket,
                shared: false,
                entrance: listen::entrance_of(config, *entrance),
            }),
            Err(error) => failure = Some(format!("--core-ports: port {port}: {error}")),
        }
    }
    match failure {
        Some(failure) if !config.addresses_are_default || listeners.is_empty() => Err(Refusal::os(failure)),
        _ => Ok(listeners),
    }
}

fn shard_settings(config: &Config, owners: usize, number: usize) -> shard::Settings {
    shard::Settings {
        item_size_max: config.item_size_max,
        cas_enabled: config.cas_enabled,
        evict: config.evict,
        eviction: match config.policy {
            Policy::S3fifo => shard::Eviction::default(),
            Policy::Clock => shard::Eviction::Clock,
        },
        shards: owners,
        number,
        prefix_delimiter: config.prefix_delimiter.unwrap_or(b':'),
        detail: config.prefix_delimiter.is_some(),
    }
}

fn rules(config: &Config, credentials: Option<Arc<Credentials>>) -> Rules {
    Rules {
        dialects: match config.protocol {
            Protocol::Auto => Dialects::Any,
            Protocol::Ascii => Dialects::Classic,
            Protocol::Binary => Dialects::Binary,
        },
        flush_refused: config.flush_refused,
        requests_per_turn: config.requests_per_turn,
        shutdown_enabled: config.shutdown_enabled,
        dump_refused: config.dump_refused,
        watch_refused: config.watch_refused,
        watcher_size_max: config.extended.watcher_logbuf_size as usize,
        lines_size_max: config.extended.worker_logbuf_size as usize,
        sizes_tracked: config.extended.track_sizes,
        ring_admin: match config.fleet.admin {
            Admin::Nobody => RingAdmin::Nobody,
            Admin::Local => RingAdmin::Local,
            Admin::Anyone => RingAdmin::Anyone,
        },
        clock_may_be_moved: config.extended.relaxed_privileges,
        reply_size_max: None,
        credentials,
        version: PROTOCOL_VERSION,
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.connections_max,
        turns_away: config.extended.maxconns_fast,
        idle_timeout: config.extended.idle_timeout,
    }
}

/// Asks for as many descriptors as the connections need, and insists on one for each connection.
fn raise_descriptor_limit(config: &Config) -> Result<(), Refusal> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Listeners, rings, eventfds, the standard streams, and room.
    const OTHERS: u64 = 64;
    let connections = config.connections_max as u64;
    let wanted = connections + 4 * config.threads as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raise = |current, maximum| setrlimit(Resource::Nofile, Rlimit { current, maximum });
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = raise(Some(wanted), maximum).or_else(|_| raise(limit.maximum, limit.maximum));
    let current = getrlimit(Resource::Nofile).current;
    if current.is_some_and(|current| current < connections) {
        let message = "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns \
                       value.";
        return Err(Refusal::os(format!("-c {connections}: {message}")));
    }
    if raised.is_err() || current.is_some_and(|current| current < wanted) {
        warn!("-c {connections} needs {wanted} file descriptors, and fewer are allowed");
    }
    Ok(())
}

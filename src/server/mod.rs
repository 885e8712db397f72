//! Puts it together: listeners, one thread for each core, signals, the end.

mod daemon;
mod facts;
mod listen;
mod port_file;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use log::{error, info, warn};

use crate::config::{Config, PROTOCOL_VERSION, Policy, Protocol};
use crate::hash::KeySeed;
use crate::memory::Pool;
use crate::mesh::{Letter, Mesh};
use crate::protocol::Dialects;
use crate::runtime::uring::{self, Loop, Wakers};
use crate::runtime::{Clock, CoreParts, Listener};
use crate::session::Rules;
use crate::session::statistics::Facts;
use crate::shard::{self, Shard};

/// Why a server did not start: what to say, and the process's exit code (sysexits.h, as memcached has it).
pub struct Refusal {
    pub message: String,
    pub code: u8,
}

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// The third is memcached's graceful stop; every stop is graceful here.
const SIGNALS: [i32; 4] = [SIGINT, SIGTERM, SIGUSR1, SIGHUP];

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
    raise_descriptor_limit(config);
    uring::probe().map_err(|error| Refusal::os(uring::explain(&error)))?;
    let listening = listen::open(config).map_err(Refusal::os)?;
    let mut listeners: Vec<Vec<Listener>> = (0..config.threads)
        .map(|me| core_listeners(config, me))
        .collect::<Result<_, _>>()?;
    // The first core accepts and deals to all: that is even, whatever the number of connections.
    listeners[0].extend(
        listening
            .sockets
            .into_iter()
            .map(|socket| Listener { socket, shared: true }),
    );
    if config.daemon {
        daemon::daemonize(config.verbosity > 0)
            .map_err(|error| Refusal::os(format!("failed to daemonize: {error}")))?;
    }
    // Before any thread is: a signal that comes now waits for us.
    let mut signals = signal_hook::iterator::Signals::new(SIGNALS)
        .map_err(|error| Refusal::os(format!("signals: {error}")))?;

    if config.extended.idle_timeout > 0 {
        warn!("-o idle_timeout is shown and not obeyed yet: idle connections stay open");
    }
    let facts = facts::gather(config, &listeners);
    let cores = Cores::start(config, listeners, facts)?;
    // Whoever waits for these files finds a server that listens on every port.
    port_file::write(&listening.taken).map_err(|error| Refusal::os(format!("port file: {error}")))?;
    if let Some(path) = &config.pidfile {
        port_file::write_whole(path, &format!("{}\n", std::process::id())).map_err(|error| {
            Refusal::os(format!(
                "could not write the pid file {}: {error}",
                path.display()
            ))
        })?;
    }
    for address in &listening.taken {
        info!("listening on {address}, {} cores", config.threads);
    }
    for signal in signals.forever() {
        // Where memcached reads certificates and passwords anew: we have neither.
        if signal != SIGHUP {
            info!("Signal {signal}: stopping");
            break;
        }
    }
    cores.stop();
    if let Some(path) = config.pidfile.as_ref().filter(|_| config.daemon) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The threads that serve.
struct Cores {
    mesh: Arc<Mesh>,
    wakers: Arc<Wakers>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Cores {
    fn start(config: &Config, listeners: Vec<Vec<Listener>>, facts: Facts) -> Result<Cores, Refusal> {
        let seed = KeySeed::random();
        let clock = Clock::start();
        let pool = Arc::new(Pool::new(config.memory_limit, PAGE_SIZE));
        let shards = (0..config.threads)
            .map(|number| Shard::new(&shard_settings(config, number), seed, pool.clone()))
            .collect();
        let (mesh, mailboxes) = Mesh::new(shards);
        let mesh = Arc::new(mesh);
        let wakers = Wakers::new(config.threads).map_err(|error| Refusal::os(format!("eventfd: {error}")))?;
        let wakers = Arc::new(wakers);
        let facts = Arc::new(facts);
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let pinned = config.threads <= cpus.len().min(config.cpus);
        if !pinned {
            warn!(
                "{} threads share {} CPUs: they are not pinned and do not poll",
                config.threads, config.cpus
            );
        }
        let busy_poll = if pinned { config.busy_poll } else { Duration::ZERO };

        let (started, starts) = mpsc::channel();
        let mut threads = Vec::new();
        for (me, (mailbox, own)) in mailboxes.into_iter().zip(listeners).enumerate() {
            let parts = CoreParts {
                me,
                mesh: mesh.clone(),
                mailbox,
                seed,
                clock,
                rules: rules(config),
                facts: facts.clone(),
            };
            let (wakers, started) = (wakers.clone(), started.clone());
            let cpu = if pinned { cpus.get(me).copied() } else { None };
            let connections_max = config.connections_max;
            let serve = move || {
                if let Some(cpu) = cpu
                    && !core_affinity::set_for_current(cpu)
                {
                    warn!("core {me} could not be pinned to CPU {}", cpu.id);
                }
                match Loop::new(parts, wakers, own, connections_max, busy_poll) {
                    Ok(looping) => {
                        let _ = started.send(Ok(()));
                        looping.run();
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("core {me}"))
                .spawn(serve)
                .map_err(|error| Refusal::os(format!("thread: {error}")))?;
            threads.push(thread);
        }
        for _ in 0..config.threads {
            if let Ok(Err(error)) = starts.recv() {
                return Err(Refusal::os(uring::explain(&error)));
            }
        }
        Ok(Cores {
            mesh,
            wakers,
            threads,
        })
    }

    /// Lets every core finish what is under way, and waits for it.
    fn stop(self) {
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
        let crate::config::Address::Tcp(ip, _) = address else {
            continue;
        };
        match listen::tcp(*ip, port, config.backlog) {
            Ok(socket) => listeners.push(Listener {
                socket,
                shared: false,
            }),
            Err(error) => failure = Some(format!("--core-ports: port {port}: {error}")),
        }
    }
    match failure {
        Some(failure) if !config.addresses_are_default || listeners.is_empty() => Err(Refusal::os(failure)),
        _ => Ok(listeners),
    }
}

fn shard_settings(config: &Config, number: usize) -> shard::Settings {
    shard::Settings {
        item_size_max: config.item_size_max,
        cas_enabled: config.cas_enabled,
        evict: config.evict,
        eviction: match config.policy {
            Policy::S3fifo => shard::Eviction::default(),
            Policy::Clock => shard::Eviction::Clock,
        },
        shards: config.threads,
        number,
        prefix_delimiter: config.prefix_delimiter.unwrap_or(b':'),
        detail: config.prefix_delimiter.is_some(),
    }
}

fn rules(config: &Config) -> Rules {
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
        sizes_tracked: config.extended.track_sizes,
        clock_may_be_moved: config.extended.relaxed_privileges,
        version: PROTOCOL_VERSION,
    }
}

/// Asks for as many descriptors as the connections need. Where that is refused the limit stays and is said.
fn raise_descriptor_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Listeners, rings, eventfds, the standard streams, and room.
    const OTHERS: u64 = 64;
    let wanted = config.connections_max as u64 + 4 * config.threads as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    )
    .or_else(|_| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )
    });
    if raised.is_err()
        || getrlimit(Resource::Nofile)
            .current
            .is_some_and(|current| current < wanted)
    {
        warn!(
            "-c {} needs {wanted} file descriptors, and fewer are allowed",
            config.connections_max
        );
    }
}

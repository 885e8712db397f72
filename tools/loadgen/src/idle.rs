//! The weight of connections that do nothing.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde::Serialize;

use crate::process::{self, Memory};
use crate::target::{Target, ask_version};

/// Ports of one source address that are used before the next address is taken. From some five thousand on the kernel takes
/// milliseconds to find one more.
const PORTS_PER_ADDRESS: usize = 4_000;

#[derive(Args)]
pub(crate) struct IdleArgs {
    /// Where the server listens.
    #[arg(long, short = 's', value_name = "ADDRESS")]
    server: Target,
    /// The server's process; found from the address where /proc allows it.
    #[arg(long)]
    pid: Option<u32>,
    /// Connections to open.
    #[arg(long, short = 'c', default_value_t = 10_000)]
    connections: usize,
    /// Seconds of idleness over which CPU time is counted.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Weight {
    connections: usize,
    before: Memory,
    /// After all have been accepted, and after each has asked for the version once.
    connected: Memory,
    used: Memory,
    /// Growth of private memory in bytes per connection.
    bytes_per_connected: f64,
    bytes_per_used: f64,
    /// CPU time of the server in one idle second, in microseconds, without and with the connections.
    idle_us_per_second_before: f64,
    idle_us_per_second: f64,
}

pub(crate) fn idle(args: &IdleArgs) -> Result<bool, String> {
    let say = |error: io::Error| error.to_string();
    if !(0.01..=600.0).contains(&args.seconds) || args.connections == 0 || args.connections > 100_000 {
        return Err("--seconds is from 0.01 to 600, --connections from 1 to 100000".into());
    }
    crate::raise_file_limit();
    let pid = args
        .pid
        .or_else(|| process::listener(&args.server))
        .ok_or("give --pid: the server was not found")?;
    // One connection first, so that what the server allocates once is not counted to the thousands.
    args.server.version(None).map_err(say)?;
    settle(pid).map_err(say)?;
    let idle_before = idle_time(pid, args.seconds).map_err(say)?;
    let before = process::memory(pid).map_err(say)?;
    let mut sockets = Vec::with_capacity(args.connections);
    for at in 0..args.connections {
        let opened = open(&args.server, at).map_err(|error| format!("connection {at}: {error}"))?;
        sockets.push(opened);
    }
    settle(pid).map_err(say)?;
    let connected = process::memory(pid).map_err(say)?;
    for socket in &mut sockets {
        ask_version(socket).map_err(say)?;
    }
    settle(pid).map_err(say)?;
    let used = process::memory(pid).map_err(say)?;
    let idle = idle_time(pid, args.seconds).map_err(say)?;
    let count = sockets.len() as f64;
    let growth = |memory: Memory| (memory.private as f64 - before.private as f64) / count;
    let weight = Weight {
        connections: sockets.len(),
        before,
        connected,
        used,
        bytes_per_connected: growth(connected),
        bytes_per_used: growth(used),
        idle_us_per_second_before: idle_before,
        idle_us_per_second: idle,
    };
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&weight).map_err(|error| error.to_string())?
        );
    } else {
        print_weight(&weight);
    }
    Ok(true)
}

fn print_weight(weight: &Weight) {
    let mib = |bytes: u64| bytes as f64 / 1048576.0;
    println!(
        "{:<34} {:>10} {:>10} {:>10}",
        "server memory, MiB", "private", "Pss", "Rss"
    );
    for (name, memory) in [
        ("before", weight.before),
        ("connected", weight.connected),
        ("used once", weight.used),
    ] {
        println!(
            "{name:<34} {:>10.2} {:>10.2} {:>10.2}",
            mib(memory.private),
            mib(memory.pss),
            mib(memory.rss)
        );
    }
    println!(
        "user memory per idle connection    {:>10.0} bytes when connected",
        weight.bytes_per_connected
    );
    println!(
        "                                   {:>10.0} bytes after one request",
        weight.bytes_per_used
    );
    println!(
        "CPU time in an idle second         {:>10.1} us before",
        weight.idle_us_per_second_before
    );
    println!(
        "                                   {:>10.1} us with {} connections",
        weight.idle_us_per_second, weight.connections
    );
}

/// A stream of either family.
trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A connection; a loopback server is reached from 127.0.0.1, 127.0.0.2, ... so that source ports do not run out.
fn open(server: &Target, at: usize) -> io::Result<Box<dyn Stream>> {
    let limit = Some(Duration::from_secs(5));
    let stream = match server {
        Target::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(limit)?;
            return Ok(Box::new(stream));
        }
        Target::Tcp(SocketAddr::V4(address)) if address.ip().is_loopback() => {
            let host = (at / PORTS_PER_ADDRESS) as u8 + 1;
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0))?;
            connect(&socket, address)?;
            TcpStream::from(socket)
        }
        Target::Tcp(address) => TcpStream::connect(address)?,
    };
    stream.set_read_timeout(limit)?;
    Ok(Box::new(stream))
}

/// Waits until the server has used no CPU time worth speaking of for a fifth of a second, for ten seconds at most.
fn settle(pid: u32) -> io::Result<()> {
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        if idle_time(pid, 0.2)? < 2000.0 {
            return Ok(());
        }
    }
    Ok(())
}

/// CPU time of a process in microseconds per second, over some seconds.
fn idle_time(pid: u32, seconds: f64) -> io::Result<f64> {
    let start = process::cpu_time(pid)?.run;
    thread::sleep(Duration::from_secs_f64(seconds));
    Ok(process::cpu_time(pid)?.run.saturating_sub(start) as f64 / 1e3 / seconds)
}

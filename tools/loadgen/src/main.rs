//! loadgen: the project's measuring instrument for memcached-protocol servers.
//!
//! `run` measures one server, `compare` starts several in turn and measures them side by side, `idle` weighs
//! connections that do nothing, `density` counts items per memory. README.md beside the sources says how a figure is made and what it cannot tell.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod catalogue;
mod client;
mod compare;
mod connection;
mod density;
mod distribution;
mod eviction;
mod idle;
mod measure;
mod process;
mod replay;
mod report;
mod ring;
mod set_storm;
mod shift;
mod soak;
mod storm;
mod tally;
mod target;
mod tls;
mod workload;

/// Measures memcached-protocol servers. Exit code: 0, 1 when the server answered wrongly or with errors, 2 when the
/// measurement could not be made.
#[derive(Parser)]
#[command(version, about, max_term_width = 120)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure one running server.
    Run(RunArgs),
    /// Start several servers in turn, measure them round robin, print medians and ratios.
    Compare(compare::CompareArgs),
    /// Open idle connections and weigh the server's memory and CPU time.
    Idle(idle::IdleArgs),
    /// Start several servers in turn, fill them, and count the items they hold per GiB of their memory.
    Density(density::DensityArgs),
    /// Start several servers in turn, replay the same requests with the same resident memory, and count what they miss.
    Replay(replay::ReplayArgs),
    /// Start several servers in turn, and compare sets into full memory with sets into free memory.
    Eviction(eviction::EvictionArgs),
    /// Fill servers with small values, then write larger ones, and see how soon those hit.
    Shift(shift::ShiftArgs),
    /// Start several servers in turn, and time gets in quiet and in storms of sets.
    SetStorm(set_storm::SetStormArgs),
    /// Load a server with everything at once for minutes, faults included, check every value, and draw the balance.
    Soak(soak::SoakArgs),
    /// Thousands of connections, and thousands of connects a second: what those who were there before notice of it.
    Storm(storm::StormArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Where the server listens: HOST:PORT or unix:PATH. Given several times, connections go to them in turn.
    #[arg(long = "server", short = 's', required = true, value_name = "ADDRESS")]
    servers: Vec<target::Target>,
    /// The server's process, for its CPU time per request. Found from the first address where /proc allows it.
    #[arg(long)]
    pid: Option<u32>,
    /// CPUs for the client itself, as 1 or 0,2 or 4-7.
    #[arg(long, default_value = "", value_parser = parse_cpus, value_name = "LIST")]
    cpus: Cpus,
    /// Speak TLS with the servers, whoever vouches for them.
    #[arg(long)]
    tls: bool,
    /// Speak TLS, and only with servers for which a certificate of this PEM file vouches.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<std::path::PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workload: workload::Workload,
}

/// A list of CPUs; empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cpus(Vec<usize>);

fn parse_cpus(text: &str) -> Result<Cpus, String> {
    let refuse = |_| format!("{text:?} is no list of CPUs, such as 1 or 0,2 or 4-7");
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) = (low.parse().map_err(refuse)?, high.parse().map_err(refuse)?);
        cpus.extend(low..=high.min(low + 4096));
    }
    Ok(Cpus(cpus))
}

fn main() -> ExitCode {
    let line = Line::parse();
    let outcome = match line.command {
        Command::Run(args) => run(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Idle(args) => idle::idle(&args),
        Command::Density(args) => density::density(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Eviction(args) => eviction::eviction(&args),
        Command::Shift(args) => shift::shift(&args),
        Command::SetStorm(args) => set_storm::set_storm(&args),
        Command::Soak(args) => soak::soak(&args),
        Command::Storm(args) => storm::storm(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &RunArgs) -> Result<bool, String> {
    args.workload.check()?;
    let say = |error: std::io::Error| error.to_string();
    let catalogue = args.workload.catalogue()?;
    raise_file_limit();
    measure::pin(&args.cpus.0).map_err(say)?;
    let pid = args.pid.or_else(|| process::listener(&args.servers[0]));
    let speaks_tls = args.tls || args.tls_ca.is_some();
    let tls = speaks_tls
        .then(|| tls::config(args.tls_ca.as_deref()))
        .transpose()?;
    let bench = measure::Bench {
        targets: &args.servers,
        pid,
        cpus: &args.cpus.0,
        progress: true,
        tls: tls.as_ref(),
    };
    if args.workload.prefill {
        bench.prefill(&args.workload, &catalogue).map_err(say)?;
    }
    let report = bench.run(&args.workload, &catalogue).map_err(say)?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
        );
    } else {
        print!("{}", report.table());
    }
    Ok(report.is_clean(args.workload.errors_allowed))
}

/// Every connection is a descriptor: takes as many as the system grants.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = 1 << 17;
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum.map(|maximum| maximum.max(wanted)),
    };
    if now.current.is_some_and(|current| current < wanted) && setrlimit(Resource::Nofile, raised).is_err() {
        // Not privileged: what the hard limit allows. A limit too low shows itself when connecting.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: now.maximum,
                maximum: now.maximum,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus(""), Ok(Cpus(vec![])));
        assert_eq!(parse_cpus("1,3-5"), Ok(Cpus(vec![1, 3, 4, 5])));
        assert!(parse_cpus("x").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }
}

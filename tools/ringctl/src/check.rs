//! `ringctl check`: do the nodes publish the ring that a client believes in?
//!
//! Every node is asked `config get cluster` at the same time, each with the same patience, so that one dead
//! node costs its timeout once; only looking up host names is the system's, with a patience of its own. A node
//! that refuses the question is asked the older one. No answer, a strange answer and a different answer are
//! findings, not failures of this program.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use ringcached::cluster::{FleetReply, PublishedRing, Server, find_fleet_reply};

use crate::fleet::{ServerArgs, parse_list};
use crate::output;

#[derive(clap::Args)]
#[command(after_help = "\
A client's view is --servers, --file, or with --discover what one node tells a client that asks it. The \
order of servers counts, because modula and jump place keys by it.

Examples:
  ringctl check --file ring.conf
  ringctl check --discover cache.cfg.example.com:11211 --timeout 500 --json")]
pub(crate) struct Args {
    #[command(flatten)]
    servers: ServerArgs,
    /// Ask this node for the servers, as a client does that discovers them
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["servers", "file"])]
    discover: Option<Server>,
    /// Patience with each node, in milliseconds: connecting, asking and answering together
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout: u64,
    /// Print JSON: an object a node, then one with the verdict
    #[arg(long)]
    json: bool,
}

/// What became of asking one node.
enum Answer {
    Ring(PublishedRing),
    /// It answers, but publishes nothing.
    NoRing(String),
    /// It answers what no node should.
    Strange(String),
    /// It does not answer.
    Silent(String),
}

/// A node's line.
#[derive(Serialize)]
struct Finding {
    node: String,
    /// agrees, differs, no-ring, strange or unreachable
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// In the client's view but not in the node's ring.
    missing: Vec<String>,
    /// In the node's ring but not in the client's view.
    extra: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    remark: String,
}

#[derive(Serialize)]
struct Verdict {
    nodes: usize,
    agreeing: usize,
    /// The highest version seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    ok: bool,
}

/// Nodes asked at the same time.
const AT_ONCE: usize = 64;
/// Most bytes of a reply that are read: more than the longest there is.
const REPLY_SIZE_MAX: usize = 4 << 20;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let timeout = Duration::from_millis(args.timeout);
    let view = match &args.discover {
        None => args.servers.needed()?,
        Some(seed) => match ask(seed, timeout) {
            Answer::Ring(ring) => ring.servers(),
            Answer::NoRing(why) | Answer::Strange(why) | Answer::Silent(why) => {
                bail!("{} names no servers: {why}", seed.address())
            }
        },
    };
    // The view is compared by addresses; this refuses one that no client could hold.
    parse_list(
        "the servers",
        &view.iter().map(Server::address).collect::<Vec<_>>().join(","),
    )?;
    let answers = ask_all(&view, timeout);
    let newest = answers.iter().filter_map(Answer::version).max();
    let findings: Vec<_> = view
        .iter()
        .zip(&answers)
        .map(|(node, answer)| finding(node, answer, &view, newest))
        .collect();
    let agreeing = findings
        .iter()
        .filter(|finding| finding.state == "agrees")
        .count();
    let verdict = Verdict {
        nodes: view.len(),
        agreeing,
        version: newest,
        ok: agreeing == view.len(),
    };
    let mut text = String::new();
    if args.json {
        for finding in &findings {
            output::json_line(&mut text, finding)?;
        }
        output::json_line(&mut text, &verdict)?;
    } else {
        text = drawn(&findings, &verdict);
    }
    output::print(text.as_bytes())?;
    Ok(if verdict.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Answer {
    fn version(&self) -> Option<u32> {
        match self {
            Answer::Ring(ring) => Some(ring.version().get()),
            _ => None,
        }
    }
}

/// Asks all nodes, a bounded number at a time; the answers are in the order of the nodes.
fn ask_all(nodes: &[Server], timeout: Duration) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(nodes.len());
    for group in nodes.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = group
                .iter()
                .map(|node| scope.spawn(|| ask(node, timeout)))
                .collect();
            answers.extend(threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Answer::Strange("the question itself failed".to_owned()))
            }));
        });
    }
    answers
}

/// Asks one node, in the newer words and, if it refuses them, in the older.
fn ask(node: &Server, timeout: Duration) -> Answer {
    let deadline = Instant::now() + timeout;
    match question(node, "config get cluster\r\n", deadline) {
        Ok(Answer::NoRing(why)) => match question(node, "get AmazonElastiCache:cluster\r\n", deadline) {
            Ok(Answer::Ring(ring)) => Answer::Ring(ring),
            _ => Answer::NoRing(why),
        },
        Ok(answer) => answer,
        Err(error) => Answer::Silent(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no answer within {} ms", timeout.as_millis())
            }
            ErrorKind::UnexpectedEof => "closed the connection without an answer".to_owned(),
            _ => error.to_string(),
        }),
    }
}

/// One question on a connection of its own.
fn question(node: &Server, words: &str, deadline: Instant) -> std::io::Result<Answer> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero means "for ever" to a socket.
        if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    };
    let mut stream = connect(node, left)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(words.as_bytes())?;
    let mut received = Vec::new();
    let mut piece = [0; 16 << 10];
    while received.len() <= REPLY_SIZE_MAX {
        stream.set_read_timeout(Some(left()?))?;
        let size = match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            size => size?,
        };
        received.extend_from_slice(&piece[..size]);
        match find_fleet_reply(&received) {
            FleetReply::Partial if size == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            FleetReply::Partial => {}
            FleetReply::Payload(payload) => {
                return Ok(match PublishedRing::parse(payload) {
                    Ok(ring) => Answer::Ring(ring),
                    Err(error) => Answer::Strange(format!("its ring is damaged: {error}")),
                });
            }
            FleetReply::Empty => return Ok(Answer::NoRing("it has none to publish".to_owned())),
            FleetReply::Refused(line) => {
                return Ok(Answer::NoRing(format!(
                    "it answered {:?}",
                    String::from_utf8_lossy(line)
                )));
            }
            FleetReply::Garbage => break,
        }
    }
    let shown = String::from_utf8_lossy(&received[..received.len().min(40)]).into_owned();
    Ok(Answer::Strange(format!("no memcached answers {shown:?}")))
}

/// Connects to the first of the host's addresses that lets us, within what is left of the time.
fn connect(node: &Server, left: impl Fn() -> std::io::Result<Duration>) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn finding(node: &Server, answer: &Answer, view: &[Server], newest: Option<u32>) -> Finding {
    let mut finding = Finding {
        node: node.address(),
        state: "unreachable",
        version: answer.version(),
        missing: Vec::new(),
        extra: Vec::new(),
        remark: String::new(),
    };
    match answer {
        Answer::Silent(why) => finding.remark.clone_from(why),
        Answer::NoRing(why) => {
            finding.state = "no-ring";
            finding.remark.clone_from(why);
        }
        Answer::Strange(why) => {
            finding.state = "strange";
            finding.remark.clone_from(why);
        }
        Answer::Ring(ring) => {
            let theirs: Vec<_> = ring.servers().iter().map(Server::address).collect();
            let ours: Vec<_> = view.iter().map(Server::address).collect();
            let lacking = |from: &[String], of: &[String]| {
                of.iter()
                    .filter(|address| !from.contains(address))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            finding.missing = lacking(&theirs, &ours);
            finding.extra = lacking(&ours, &theirs);
            let behind = newest.filter(|newest| *newest > ring.version().get());
            if let Some(newest) = behind {
                finding.remark = format!("others are at version {newest}");
            } else if finding.missing.is_empty() && finding.extra.is_empty() && theirs != ours {
                finding.remark =
                    "the same servers in another order, which modula and jump place by".to_owned();
            }
            let agrees = theirs == ours && behind.is_none();
            finding.state = if agrees { "agrees" } else { "differs" };
        }
    }
    finding
}

fn drawn(findings: &[Finding], verdict: &Verdict) -> String {
    let mut lines = vec![["node", "state", "version", ""].map(str::to_owned).to_vec()];
    for finding in findings {
        let mut remarks = Vec::new();
        if !finding.missing.is_empty() {
            remarks.push(format!("lacks {}", finding.missing.join(", ")));
        }
        if !finding.extra.is_empty() {
            remarks.push(format!("adds {}", finding.extra.join(", ")));
        }
        if !finding.remark.is_empty() {
            remarks.push(finding.remark.clone());
        }
        let version = finding
            .version
            .map_or("-".to_owned(), |version| version.to_string());
        lines.push(vec![
            finding.node.clone(),
            finding.state.to_owned(),
            version,
            remarks.join("; "),
        ]);
    }
    let Verdict { nodes, agreeing, .. } = verdict;
    format!(
        "{}\n{agreeing} of {nodes} nodes publish the ring that the client sees\n",
        output::table(&lines)
    )
}

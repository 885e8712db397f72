//! The tool as a whole against servers that are honest, and servers that are not.
//!
//! The servers are threads of this test (or, for `compare`, this test binary started again): a map behind the text
//! protocol, with one way each of doing wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How a server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Conduct {
    Honest,
    /// Every 50th hit is the value of another key.
    Foreign,
    /// Every 50th hit is joined from the value before the last set and the value of the last set.
    Torn,
    /// Every 50th hit has one byte changed in the middle.
    Damaged,
    /// Every set is refused.
    Full,
    /// Closes the connection after a hundred requests.
    Quitting,
    /// Closes a connection at every hundredth request, unanswered.
    Dropping,
    /// Takes this long over every request, and does one at a time.
    Slow(Duration),
    /// Holds this many items, and forgets any of them for a new one.
    Small(usize),
}

#[derive(Default)]
struct Store {
    /// The value of the last set and of the one before it.
    items: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    hits: u64,
    requests: u64,
    evictions: u64,
}

fn start(conduct: Conduct) -> SocketAddr {
    start_as(move |listener| serve(listener, conduct))
}

fn start_as(serve: impl FnOnce(&TcpListener) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(&listener));
    address
}

/// An honest server that speaks nothing but TLS.
fn serve_tls(listener: &TcpListener, config: &Arc<ServerConfig>) {
    let store = Arc::new(Mutex::new(Store::default()));
    for stream in listener.incoming() {
        let (stream, store) = (stream.expect("accepted"), Arc::clone(&store));
        let tls = ServerConnection::new(Arc::clone(config)).expect("a good configuration");
        thread::spawn(move || drop(converse(StreamOwned::new(tls, stream), &store, Conduct::Honest)));
    }
}

fn serve(listener: &TcpListener, conduct: Conduct) {
    let store = Arc::new(Mutex::new(Store::default()));
    for stream in listener.incoming() {
        let (stream, store) = (stream.expect("accepted"), Arc::clone(&store));
        stream.set_nodelay(true).expect("a TCP socket");
        // A client that goes away in the middle is no failure of the server.
        thread::spawn(move || drop(converse(stream, &store, conduct)));
    }
}

fn converse(stream: impl Read + Write, store: &Mutex<Store>, conduct: Conduct) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    while {
        line.clear();
        input.read_until(b'\n', &mut line)? > 0
    } {
        let words: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
        let mut reply = Vec::new();
        let mut store = store.lock().expect("no panics");
        store.requests += 1;
        if conduct == Conduct::Quitting && store.requests > 100 {
            return Ok(());
        }
        if conduct == Conduct::Dropping && store.requests.is_multiple_of(100) {
            return Ok(());
        }
        if let Conduct::Slow(time) = conduct {
            let start = Instant::now();
            while start.elapsed() < time {
                std::hint::spin_loop();
            }
        }
        match words[0] {
            b"version" => reply.extend_from_slice(b"VERSION test\r\n"),
            b"set" => {
                let size: usize = String::from_utf8_lossy(words[4]).parse().expect("a size");
                let mut value = vec![0; size + 2];
                input.read_exact(&mut value)?;
                value.truncate(size);
                if let Conduct::Small(count) = conduct
                    && store.items.len() >= count
                    && !store.items.contains_key(words[1])
                {
                    let any = store.items.keys().next().expect("not empty").clone();
                    store.items.remove(&any);
                    store.evictions += 1;
                }
                if conduct == Conduct::Full {
                    reply.extend_from_slice(b"SERVER_ERROR out of memory storing object\r\n");
                } else {
                    let item = store.items.entry(words[1].to_vec()).or_default();
                    item.0 = std::mem::replace(&mut item.1, value);
                    reply.extend_from_slice(b"STORED\r\n");
                }
            }
            b"stats" => {
                reply.extend_from_slice(format!("STAT evictions {}\r\nEND\r\n", store.evictions).as_bytes());
            }
            b"get" => {
                for key in &words[1..] {
                    let Some((before, mut value)) = store.items.get(*key).cloned() else {
                        continue;
                    };
                    store.hits += 1;
                    if store.hits.is_multiple_of(50) {
                        let middle = value.len() / 2;
                        match conduct {
                            Conduct::Foreign => {
                                value = store.items.values().next().expect("not empty").1.clone()
                            }
                            Conduct::Torn if before.len() == value.len() => {
                                value[middle..].copy_from_slice(&before[middle..])
                            }
                            Conduct::Damaged => value[middle] ^= 1,
                            _ => {}
                        }
                    }
                    reply.extend_from_slice(b"VALUE ");
                    reply.extend_from_slice(key);
                    reply.extend_from_slice(format!(" 0 {}\r\n", value.len()).as_bytes());
                    reply.extend_from_slice(&value);
                    reply.extend_from_slice(b"\r\n");
                }
                reply.extend_from_slice(b"END\r\n");
            }
            _ => reply.extend_from_slice(b"ERROR\r\n"),
        }
        drop(store);
        input.get_mut().write_all(&reply)?;
        input.get_mut().flush()?;
    }
    Ok(())
}

/// Runs the tool; its exit code, and the field of its JSON report that is asked for by name.
fn run(conduct: Conduct, words: &str) -> (i32, serde_json::Value) {
    run_against(start(conduct), words)
}

fn run_against(server: SocketAddr, words: &str) -> (i32, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--json", "--server", &server.to_string()])
        .args(words.split_whitespace())
        .output()
        .expect("the tool starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().expect("it ends by itself"), report)
}

#[track_caller]
fn count(report: &serde_json::Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn an_honest_server_passes_in_every_shape_of_traffic() {
    for words in [
        "--connections 1",
        "--connections 5 --pipeline 7 --set-share 0.3",
        "--connections 3 --pipeline 4 --multiget 9 --sliding",
        "--connections 4 --threads 2 --key-size etc --value-size etc --distribution zipf:0.99 --set-share 0.1",
        "--connections 2 --value-size 0-40 --set-share 0.5",
        "--connections 2 --rate 20000 --pipeline 2",
        "--connections 2 --busy-poll",
    ] {
        let (code, report) = run(
            Conduct::Honest,
            &format!("{words} --verify full --keys 300 --prefill --requests 2000"),
        );
        assert_eq!(code, 0, "{words}: {report}");
        assert_eq!(
            (count(&report, "requests"), count(&report, "misses")),
            (2000, 0),
            "{words}"
        );
        let width = if words.contains("multiget") { 9 } else { 1 };
        assert_eq!(count(&report, "hits"), count(&report, "gets") * width, "{words}");
        assert_eq!(report["latency_us"]["count"].as_u64(), Some(2000), "{words}");
    }
}

#[test]
fn misses_are_misses_and_are_set_when_asked() {
    let (code, report) = run(Conduct::Honest, "--connections 2 --keys 100 --requests 1000");
    assert_eq!((code, count(&report, "misses")), (0, 1000));
    let (code, report) = run(
        Conduct::Honest,
        "--connections 2 --keys 100 --requests 2000 --on-miss-set",
    );
    assert_eq!(code, 0);
    let (misses, sets) = (count(&report, "misses"), count(&report, "sets"));
    assert!((100..=110).contains(&sets) && misses >= sets, "{report}");
}

#[test]
fn values_of_other_keys_and_torn_values_are_found_by_their_ends() {
    for conduct in [Conduct::Foreign, Conduct::Torn] {
        let words = "--connections 2 --keys 20 --prefill --requests 4000 --set-share 0.5 --value-size 1000";
        let (code, report) = run(conduct, words);
        assert_eq!(code, 1, "{report}");
        assert!(count(&report, "mismatches") > 5, "{report}");
    }
}

#[test]
fn damage_in_the_middle_is_found_by_the_full_check() {
    let (code, report) = run(
        Conduct::Damaged,
        "--keys 20 --prefill --requests 1000 --verify full",
    );
    assert_eq!((code, count(&report, "mismatches")), (1, 20));
}

#[test]
fn refusals_are_errors_and_a_closed_connection_ends_the_run() {
    let (code, report) = run(Conduct::Full, "--connections 2 --set-share 1 --requests 100");
    assert_eq!((code, count(&report, "errors")), (1, 100));
    assert_eq!(run(Conduct::Full, "--prefill --keys 100 --requests 100").0, 2);
    assert_eq!(run(Conduct::Quitting, "--connections 2 --requests 1000").0, 2);
}

/// What a dropped connection loses is counted, request for request; what comes after goes over a new one.
#[test]
fn dropped_connections_are_opened_again_where_errors_are_allowed() {
    for words in ["", "--sliding", "--rate 20000", "--threads 2 --multiget 3"] {
        let words = format!("--connections 4 --pipeline 4 --set-share 0.2 --keys 50 --requests 1000 {words}");
        assert_eq!(run(Conduct::Dropping, &words).0, 2, "{words}");
        let (code, report) = run(Conduct::Dropping, &format!("{words} --errors-allowed 1000"));
        assert_eq!(code, 0, "{words}: {report}");
        let (errors, reconnects) = (count(&report, "errors"), count(&report, "reconnects"));
        assert_eq!(count(&report, "requests") + errors, 1000, "{words}: {report}");
        assert!(
            errors > 0 && errors <= reconnects.max(1) * 4 + 4,
            "{words}: {report}"
        );
        assert_eq!(
            run(Conduct::Dropping, &format!("{words} --errors-allowed 1")).0,
            1,
            "{words}"
        );
    }
}

#[test]
fn large_values_arrive_whole_in_both_directions() {
    let words = "--connections 2 --pipeline 8 --keys 20 --value-size 900000 --set-share 0.7 --prefill --verify full --requests 200";
    let (code, report) = run(Conduct::Honest, words);
    assert_eq!((code, count(&report, "requests")), (0, 200), "{report}");
}

/// Small batches, large ones and values of many records, by TLS; and a client who wants to know whom it talks to does not
/// take anybody.
#[test]
fn tls_carries_the_same_traffic() {
    let authority = || {
        let pair = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_string()]).expect("a name");
        (params.self_signed(&pair).expect("a certificate"), pair)
    };
    let ((certificate, pair), (stranger, _)) = (authority(), authority());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(pair.serialize_der().into()),
        )
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let server = start_as(move |listener| serve_tls(listener, &config));
    for words in [
        "--connections 3 --pipeline 9 --set-share 0.3 --requests 2000",
        "--connections 2 --pipeline 4 --value-size 50000 --set-share 0.5 --requests 200",
        "--connections 2 --rate 20000 --pipeline 4 --requests 2000",
    ] {
        let words = format!("{words} --tls --verify full --keys 100 --prefill");
        let (code, report) = run_against(server, &words);
        assert_eq!((code, count(&report, "misses")), (0, 0), "{words}: {report}");
    }
    let file = |name: &str, pem: String| {
        let path = std::env::temp_dir().join(format!("loadgen-test-{}-{name}", std::process::id()));
        std::fs::write(&path, pem).expect("a file");
        path
    };
    let (right, wrong) = (
        file("right.pem", certificate.pem()),
        file("wrong.pem", stranger.pem()),
    );
    let with = |ca: &std::path::Path| {
        run_against(
            server,
            &format!("--tls-ca {} --keys 100 --requests 100", ca.display()),
        )
        .0
    };
    assert_eq!((with(&right), with(&wrong)), (0, 2));
    assert_eq!(
        run_against(server, "--requests 10").0,
        2,
        "plaintext to a server of TLS"
    );
    for path in [right, wrong] {
        std::fs::remove_file(path).expect("it was written");
    }
}

/// A closed loop asks a slow server rarely and calls each answer quick; the open loop says what users would wait.
#[test]
fn open_loop_latency_counts_from_when_a_request_was_due() {
    let slow = Conduct::Slow(Duration::from_millis(2));
    let (_, report) = run(slow, "--connections 1 --requests 100");
    let closed = report["latency_us"]["p50"].as_f64().expect("a number");
    let (_, report) = run(slow, "--connections 1 --requests 100 --rate 5000 --arrivals even");
    let open = report["latency_us"]["max"].as_f64().expect("a number");
    // 100 requests due within 20 ms need 200 ms: the last one waits for about 180 ms.
    assert!(
        closed >= 2_000.0 && open >= 170_000.0,
        "closed {closed} us, open {open} us"
    );
}

/// Not a test of its own: the server that tests start as a process.
#[test]
fn server_process() {
    if let Ok(port) = std::env::var("LOADGEN_TEST_PORT") {
        let items = std::env::var("LOADGEN_TEST_ITEMS").ok();
        let conduct = items.map_or(Conduct::Honest, |items| {
            Conduct::Small(items.parse().expect("a number"))
        });
        serve(
            &TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free"),
            conduct,
        );
    }
}

/// Starts that server with these settings, as words of a command line.
fn server_command(name: &str, settings: &str) -> String {
    let this = std::env::current_exe().expect("this test");
    format!(
        "{name}=env LOADGEN_TEST_PORT={{port}} {settings} {} --exact server_process --nocapture",
        this.display()
    )
}

/// Runs a command that starts its servers itself; its JSON.
#[track_caller]
fn run_servers(words: &str, servers: &[String]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(words.split_whitespace()).arg("--json");
    for server in servers {
        command.args(["--server", server]);
    }
    let output = command.output().expect("the tool starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A server that forgets nothing misses every key once and never again, however the requests are cut into windows; one
/// that holds little misses more.
#[test]
fn a_replay_counts_each_first_request_as_a_miss_and_no_other() {
    let folder = std::env::temp_dir().join(format!("loadgen-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let trace = folder.join("loop.trace");
    // Every key twice in a row, and again after all the others.
    let keys: Vec<String> = (0..900).map(|at| (at / 2 % 150).to_string()).collect();
    std::fs::write(&trace, keys.join("\n")).expect("a trace");
    let words = format!(
        "replay --trace {} --megabytes 1 --share 0.5 --rate 1e9 --requests 1000000",
        trace.display()
    );
    let servers = [
        server_command("all", ""),
        server_command("few", "LOADGEN_TEST_ITEMS=20"),
    ];
    let result = run_servers(&words, &servers);
    std::fs::remove_dir_all(&folder).expect("it is there");
    let [all, few] = [0, 1].map(|at| &result["figures"][at]);
    let tenants = count(all, "gets") / 900;
    assert!(tenants > 20, "{all}");
    assert_eq!(count(all, "gets"), tenants * 900);
    assert_eq!(count(all, "misses"), tenants * 150, "{all}");
    assert_eq!(count(all, "first_gets"), tenants * 150, "{all}");
    assert_eq!(count(all, "sets"), tenants * 150, "{all}");
    assert_eq!(count(few, "gets"), tenants * 900);
    assert!(count(few, "misses") > tenants * 300, "{few}");
    assert_eq!(count(all, "mismatches") + count(few, "mismatches"), 0);
    // Sequences of laws with a warm-up, TTLs and sets of their own arrive whole, too.
    let words = "replay --scenarios etc,twitter,kvcache_reg --megabytes 1 --rate 1e9 --requests 3000";
    let result = run_servers(words, &servers[..1]);
    for figure in result["figures"].as_array().expect("a list") {
        assert_eq!(
            count(figure, "mismatches") + count(figure, "refused"),
            0,
            "{figure}"
        );
        assert!(count(figure, "gets") > 1000, "{figure}");
    }
}

#[test]
fn a_shift_sees_the_working_set_come_in() {
    let words = "shift --megabytes 1 --values 100,1000 --writes 3 --points 4 --pace 1000";
    let result = run_servers(words, &[server_command("all", "")]);
    for curve in result.as_array().expect("a list") {
        let points = curve["points"].as_array().expect("a list");
        let ratio = |at: usize| points[at]["hit_ratio"].as_f64().expect("a number");
        assert_eq!(points.len(), 12);
        assert!(ratio(0) < 0.6 && ratio(11) > 0.99, "{curve}");
        let written = points[11]["written"].as_f64().expect("a number");
        assert!((3.0..3.2).contains(&written), "{curve}");
    }
}

/// Evictions are where they are said to be: in full memory, and in the storm that is named after them.
#[test]
fn sets_evict_in_full_memory_and_in_its_storm() {
    let alone = "--rounds 1 --share-cpus --server-cpus 0 --client-cpus 0 --megabytes 1";
    let servers = [server_command("few", "LOADGEN_TEST_ITEMS=8000")];
    let result = run_servers(&format!("eviction {alone}"), &servers);
    let round = &result[0]["rounds"][0];
    let per_set = |kind: &str| round[kind]["evictions_per_set"].as_f64().expect("a number");
    assert_eq!(
        (per_set("free"), per_set("again"), per_set("full")),
        (0.0, 0.0, 1.0)
    );
    let servers = [server_command("few", "LOADGEN_TEST_ITEMS=20000")];
    let words = format!("set-storm {alone} --seconds 1 --gets 1000 --sets 2000 --connections 2");
    let result = run_servers(&words, &servers);
    let round = &result[0]["rounds"][0];
    for kind in ["quiet", "overwriting", "quiet_full", "evicting"] {
        let figure = |name: &str| round[kind][name].as_f64().expect("a number");
        let storms = matches!(kind, "overwriting" | "evicting");
        assert_eq!(figure("sets_per_second") > 0.0, storms, "{round}");
        assert_eq!(figure("evictions_per_set") > 0.1, kind == "evicting", "{round}");
        assert!(figure("p50") > 0.0 && figure("hit_ratio") > 0.5, "{round}");
    }
}

#[test]
fn compare_starts_measures_and_stops_its_servers() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "compare",
            "--json",
            "--rounds",
            "2",
            "--seconds",
            "0.1",
            "--warm-up",
            "0.05",
        ])
        .args(["--server-cpus", "0", "--client-cpus", "0", "--share-cpus"])
        .args([
            "--server",
            &server_command("one", ""),
            "--server",
            &server_command("two", ""),
        ])
        .args([
            "--workload",
            "small: -c 2 --keys 50",
            "--workload",
            "sets: -c 2 --keys 50 --set-share 1",
        ])
        .output()
        .expect("the tool starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["workloads"].as_array().map(Vec::len), Some(2));
    for workload in result["workloads"].as_array().expect("a list") {
        for server in workload["servers"].as_array().expect("a list") {
            assert_eq!(server["rounds"].as_array().map(Vec::len), Some(2));
            let median = &server["median"];
            assert!(median["requests_per_second"].as_f64().expect("a number") > 0.0);
            assert!(median["server_us_per_request"].as_f64().expect("a number") > 0.0);
            assert_eq!(
                (median["misses"].as_u64(), median["mismatches"].as_u64()),
                (Some(0), Some(0))
            );
        }
        assert_eq!(workload["servers"][0]["ratio"]["p99"].as_f64(), Some(1.0));
    }
    let version = &result["servers"][1]["version"];
    assert_eq!(version.as_str(), Some("test"));
}

/// The server of this workspace, if it has been built beside the tool, on a free port.
fn ringcached(words: &str) -> Option<(std::process::Child, SocketAddr)> {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("ringcached");
    if !program.exists() {
        println!("SKIP: ringcached has not been built");
        return None;
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let child = Command::new(program)
        .args([
            "-l",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
            "-u",
            "nobody",
        ])
        .args(words.split_whitespace())
        .spawn()
        .expect("the server starts");
    let limit = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < limit, "the server does not listen");
        thread::yield_now();
    }
    Some((child, address))
}

/// A storm in a teacup: all are served up to the limit, those above it are turned away, and the sums agree.
#[test]
fn a_storm_counts_everybody_who_came() {
    let Some((mut server, address)) = ringcached("-t 2 -c 400") else {
        return;
    };
    let words = "--idle 300 --steady 5 --rate 100 --connects 40 --seconds 2 --quiet-seconds 1 --p99-factor 1e9 --memory-slack 64";
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "storm",
            "--json",
            "--server",
            &address.to_string(),
            "--pid",
            &server.id().to_string(),
        ])
        .args(words.split_whitespace())
        .output();
    server
        .kill()
        .and_then(|()| server.wait())
        .expect("the server ends");
    let output = output.expect("the tool starts");
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let comers = &outcome["comers"];
    let came = count(comers, "answered") + count(comers, "aborted");
    assert_eq!(came, count(comers, "connected"), "{outcome}");
    assert_eq!(
        (count(&outcome, "above_limit"), count(&outcome, "turned_away")),
        (200, 200)
    );
    let (before, after) = (&outcome["before"], &outcome["after"]);
    assert_eq!(
        count(before, "descriptors"),
        count(after, "descriptors"),
        "{outcome}"
    );
    assert_eq!(
        (count(before, "connections"), count(after, "connections")),
        (1, 1),
        "{outcome}"
    );
    assert!(
        count(comers, "aborted") > 0 && count(&outcome["storm"], "gets") > 0,
        "{outcome}"
    );
}

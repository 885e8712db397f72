//! ringcached behind twemproxy, with the configurations of docs/FLEET.md: where keys land, and what clients see while a
//! server dies, hangs and returns. Values are functions of their keys, so a wrong one shows itself.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::clients::python_with;
use crate::fleet::{Fleet, Network, Script, answer, php_with_memcached, recorded_keys, workspace_tool};
use crate::harness::{Client, binary_under_test, find_program, skip, until};
use crate::nutcracker::{self, Nutcracker, documented};

/// The server that dies.
const VICTIM: usize = 1;
/// Requests that a load has under way at most.
const UNDER_WAY_MAX: u64 = 16;
/// Milliseconds until a server that hangs is given up.
const PATIENCE: u32 = 3_000;
/// Keys set or asked for in one piece: fewer than fill the proxy's buffers.
const PIECE: usize = 200;

/// Three servers behind a proxy that never gives up one for being slow, or nothing where there is no proxy.
fn behind(pool: &str) -> Option<(Fleet, Nutcracker, String)> {
    behind_with(pool, 60_000)
}

fn behind_with(pool: &str, patience: u32) -> Option<(Fleet, Nutcracker, String)> {
    let binary = nutcracker::binary()?;
    let network = Network::new();
    let fleet = Fleet::start(&binary_under_test(), network, 3);
    let configuration = documented(pool, network, patience);
    let proxy = Nutcracker::start(&binary, network, &configuration);
    Some((fleet, proxy, configuration))
}

/// Stores each key, with itself as its value.
fn store(client: &mut Client, keys: &[Vec<u8>]) {
    for keys in keys.chunks(PIECE) {
        let requests: Vec<u8> = keys
            .iter()
            .flat_map(|key| {
                let head = format!(" 0 0 {}\r\n", key.len());
                [b"set ", &key[..], head.as_bytes(), key, b"\r\n"].concat()
            })
            .collect();
        client.send(requests);
        for key in keys {
            assert_eq!("STORED", client.line(), "set {}", key.escape_ascii());
        }
    }
}

/// The keys of these that a server has.
fn held(client: &mut Client, keys: &[Vec<u8>]) -> HashSet<Vec<u8>> {
    let mut held = HashSet::new();
    for keys in keys.chunks(PIECE) {
        client.send([b"get ", &keys.join(&b' ')[..], b"\r\n"].concat());
        let wanted: HashSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        while let Some((_, value)) = client.value() {
            assert!(
                wanted.contains(&value[..]),
                "not asked for: {}",
                value.escape_ascii()
            );
            held.insert(value);
        }
    }
    held
}

/// Where `ringctl place` says that keys are: the place of the owner among the addresses.
fn placed(arguments: &[&str], addresses: &[String], keys: &[Vec<u8>]) -> Option<Vec<usize>> {
    let ringctl = workspace_tool("ringctl")?;
    let input = [&keys.join(&b'\n')[..], b"\n"].concat();
    let said = answer(&ringctl, &[&["place"], arguments, &["-"]].concat(), &input);
    let place = |line: &str| {
        let owner = line.rsplit('\t').next().expect("an owner");
        addresses
            .iter()
            .position(|address| address == owner)
            .expect("a server of the fleet")
    };
    Some(said.lines().map(place).collect())
}

/// 10,000 keys, among them long ones and UTF-8, through both documented pools.
#[test]
fn keys_land_where_ringctl_says() {
    for (pool, options) in [
        (
            "behind",
            &["--preset", "twemproxy-fnv1a_64", "--hash-tag", "{}"][..],
        ),
        ("beside", &["--preset", "twemproxy-md5"]),
    ] {
        let Some((fleet, proxy, configuration)) = behind(pool) else {
            return;
        };
        let keys = recorded_keys();
        store(&mut proxy.connect(), &keys);
        let servers = nutcracker::servers(&configuration);
        let arguments = [options, &["--servers", &servers]].concat();
        let Some(placed) = placed(&arguments, &fleet.addresses(), &keys) else {
            return;
        };
        assert_eq!(keys.len(), placed.len());
        for (index, server) in fleet.alive().enumerate() {
            let mine = keys.iter().zip(&placed).filter(|(_, place)| **place == index);
            let mine: HashSet<Vec<u8>> = mine.map(|(key, _)| key.clone()).collect();
            let held = held(&mut server.connect(), &keys);
            assert!(!mine.is_empty(), "{pool}: no key for server {index}");
            assert_eq!(
                0,
                mine.symmetric_difference(&held).count(),
                "{pool}, server {index}"
            );
        }
    }
}

#[test]
fn keys_with_one_tag_land_together() {
    let Some((fleet, proxy, _)) = behind("behind") else {
        return;
    };
    let tagged = |user: usize| -> Vec<Vec<u8>> {
        // The default hash clumps numbered tags: their first digits must differ.
        let user = user.wrapping_mul(0x9e37_79b9) % (1 << 32);
        let keys = (0..20).map(|part| format!("{part}{{{user:08x}}}:{}", part * 7919).into_bytes());
        keys.collect()
    };
    let mut client = proxy.connect();
    (0..100).for_each(|user| store(&mut client, &tagged(user)));
    let mut used = HashSet::new();
    for user in 0..100 {
        let counts: Vec<usize> = fleet
            .alive()
            .map(|server| held(&mut server.connect(), &tagged(user)).len())
            .collect();
        let home = counts.iter().position(|count| *count == 20);
        used.insert(home.unwrap_or_else(|| panic!("user{user} is spread: {counts:?}")));
    }
    assert_eq!(3, used.len(), "all tags on one server");
}

/// pylibmc and php-memcached go to the servers themselves, and share each item with those who go through the proxy.
#[test]
fn clients_beside_the_proxy_share_its_items() {
    let clients = [
        (python_with("pylibmc"), "pylibmc_failover.py"),
        (php_with_memcached(), "php_failover.php"),
    ];
    for (interpreter, script) in clients {
        let (Some(interpreter), Some((fleet, proxy, configuration))) = (interpreter, behind("beside")) else {
            continue;
        };
        let servers = nutcracker::servers(&configuration);
        let arguments: Vec<String> = ["kept"]
            .into_iter()
            .chain(servers.split(','))
            .map(str::to_owned)
            .collect();
        let mut script = Script::start(&interpreter, script, &arguments);
        // The script's own keys and values.
        let keys: Vec<String> = (0..200).map(|number| format!("key:{}", number * 7919)).collect();
        let value = |key: &str| format!("value of {key}").into_bytes();
        assert!(script.order("sets").starts_with("True a"));
        let mut client = proxy.connect();
        for key in &keys {
            assert_eq!(Some(value(key)), client.get(key));
        }
        assert!(
            fleet
                .alive()
                .all(|server| server.connect().stat("curr_items") > 0)
        );
        for server in fleet.alive() {
            assert_eq!("OK", server.connect().ask("flush_all"));
        }
        assert!(script.order("gets").starts_with("miss a"));
        keys.iter().for_each(|key| client.set(key, &value(key)));
        for order in ["gets", "multi"] {
            let said = script.order(order);
            assert!(said.starts_with("hit a"), "{said}");
        }
        script.finish();
    }
}

/// Without failures nothing is lost anywhere: client, proxy and servers have counted the same.
#[test]
fn counters_balance() {
    let Some(loadgen) = workspace_tool("loadgen") else {
        return;
    };
    let Some((fleet, proxy, _)) = behind("behind") else {
        return;
    };
    let report = load(
        &loadgen,
        &proxy,
        "--prefill --keys 2000 --multiget 20 --set-share 0.2 --requests 5000",
    );
    let figure = |name: &str| report[name].as_u64().expect("a figure");
    assert_eq!(
        (5000, 0, 0),
        (figure("requests"), figure("errors"), figure("misses"))
    );
    // The sets of the prefill are not in the report.
    let (sets, hits) = (figure("sets") + 2000, figure("hits"));
    assert_eq!((sets, hits), (fleet.sum("cmd_set"), fleet.sum("get_hits")));
    assert_eq!((hits, 0), (fleet.sum("cmd_get"), fleet.sum("get_misses")));
    assert_eq!(2000, fleet.sum("curr_items"));
    until("all is answered", || {
        proxy.sum("requests") == proxy.sum("responses") && proxy.sum("responses") >= sets + figure("gets")
    });
    assert_eq!(
        (0, 0),
        (proxy.figure("forward_error"), proxy.figure("server_ejects"))
    );
    // A set is one request of one server; a multi-get is one of each server that has some of its keys.
    let (requests, gets) = (proxy.sum("requests"), figure("gets"));
    assert!(
        requests > sets + gets && requests <= sets + 3 * gets,
        "{requests} requests for {gets} gets"
    );
}

/// Waits until nothing is under way and the proxy's figures say so: of the servers that did not die everything that was
/// asked has been answered.
#[track_caller]
fn settled(proxy: &Nutcracker) {
    until("the proxy's figures balance", || {
        let servers = proxy.servers();
        let quiet = |server: &Value| server["in_queue"] == 0 && server["out_queue"] == 0;
        let balanced = |server: &Value| server["requests"] == server["responses"];
        servers.iter().all(quiet)
            && servers
                .iter()
                .enumerate()
                .all(|(index, it)| index == VICTIM || balanced(it))
    });
}

/// One run of loadgen through the proxy, which must have seen no wrong value.
fn load(loadgen: &Path, proxy: &Nutcracker, words: &str) -> Value {
    let server = proxy.address().to_string();
    let base = [
        "run",
        "--json",
        "--any-order",
        "--verify",
        "full",
        "--connections",
        "4",
        "--server",
        &server,
    ];
    let words: Vec<&str> = words.split_whitespace().collect();
    let said = answer(loadgen, &[&base[..], &words].concat(), b"");
    serde_json::from_str(&said).expect("a report in JSON")
}

/// Kills a server in the middle of the traffic that `run` makes again and again, and restarts it. `run` says how many
/// errors its client has seen: there are none while all servers are well.
fn die_and_return(fleet: &mut Fleet, proxy: &Nutcracker, run: impl Fn() -> u64 + Sync) {
    let (unwell, done) = (AtomicBool::new(false), AtomicBool::new(false));
    assert_eq!(0, run(), "errors before anything has happened");
    let errors = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut errors = 0;
            while !done.load(Ordering::SeqCst) {
                let seen = run();
                assert!(
                    seen == 0 || unwell.load(Ordering::SeqCst),
                    "{seen} errors while all is well"
                );
                errors += seen;
            }
            errors
        });
        let _end = Raise(&done);
        let busy = fleet.server(VICTIM).connect().stat("cmd_get");
        until("traffic is under way", || {
            traffic.is_finished() || fleet.server(VICTIM).connect().stat("cmd_get") > busy
        });
        unwell.store(true, Ordering::SeqCst);
        fleet.kill(VICTIM);
        until("the dead server is ejected", || proxy.figure("server_ejects") > 0);
        let others = fleet.sum("cmd_set");
        until("its keys are served by the others", || {
            fleet.sum("cmd_set") > others
        });
        fleet.revive(VICTIM);
        until("it has keys again", || {
            fleet.server(VICTIM).connect().stat("get_hits") > 0
        });
        done.store(true, Ordering::SeqCst);
        traffic.join().expect("the traffic")
    });
    // It is back, and the proxy knows it.
    assert_eq!(0, run(), "errors after its return");
    settled(proxy);
    // Each time that the server fails, it is ejected. That costs what was under way, and what was sent meanwhile on the
    // connections that the proxy closes for the sake of broken multi-gets.
    let ejects = proxy.figure("server_ejects");
    assert!(
        errors <= ejects * 2 * UNDER_WAY_MAX,
        "{errors} errors of {ejects} failures"
    );
}

/// Sets a flag when it goes, also when a test fails on the way.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// loadgen checks every byte that it reads; its errors are those of the requests that were under way.
#[test]
fn a_server_dies_and_returns_under_load() {
    let Some(loadgen) = workspace_tool("loadgen") else {
        return;
    };
    let Some((mut fleet, proxy, _)) = behind("behind") else {
        return;
    };
    load(&loadgen, &proxy, "--prefill --keys 2000 --requests 1");
    die_and_return(&mut fleet, &proxy, || {
        let words = "--pipeline 4 --keys 2000 --multiget 10 --set-share 0.2 --on-miss-set --requests 3000";
        let report = load(&loadgen, &proxy, &format!("{words} --errors-allowed 3000"));
        assert_eq!(Some(0), report["mismatches"].as_u64(), "{report}");
        report["errors"].as_u64().expect("a figure")
    });
}

/// memtier_benchmark does not know error replies and waits for ever behind one, so the server dies between two runs.
#[test]
fn memtier_benchmark_before_a_death_and_after_the_return() {
    let Some(memtier) = find_program("memtier_benchmark") else {
        return skip("memtier_benchmark", "not installed");
    };
    let Some((mut fleet, proxy, _)) = behind("behind") else {
        return;
    };
    let address = proxy.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let run = |words: &str| {
        let base = "-P memcache_text --hide-histogram -t 1 -c 4 -n 2000 --key-maximum 2000";
        let words = base.split(' ').chain(words.split(' '));
        let words: Vec<&str> = ["-s", &host, "-p", &port].into_iter().chain(words).collect();
        let said = answer(&memtier, &words, b"");
        let complaint = ["error", "failed", "reset", "dropped"]
            .iter()
            .find(|word| said.contains(**word));
        assert!(
            said.contains("Totals") && complaint.is_none(),
            "{words:?}: {complaint:?}"
        );
    };
    let loads = || {
        run("--ratio 1:4 --pipeline 4");
        run("--ratio 0:1 --multi-key-get 20");
    };
    loads();
    assert_eq!(8_000 + 8_000, fleet.sum("cmd_set") + fleet.sum("cmd_get"));
    fleet.kill(VICTIM);
    let keys = recorded_keys();
    let probe = |key: &[u8]| {
        let mut client = proxy.connect();
        client.send([b"get ", key, b"\r\n"].concat());
        client.line() == "END"
    };
    let mut next = keys.iter().cycle();
    let mut probe_next = || probe(next.next().expect("it does not end"));
    until("the dead server is ejected", || {
        !probe_next() && proxy.figure("server_ejects") > 0
    });
    fleet.revive(VICTIM);
    until("it is asked again", || {
        probe_next() && fleet.server(VICTIM).connect().stat("cmd_get") > 0
    });
    loads();
    settled(&proxy);
}

/// In lockstep: a server dies or hangs between two rounds, so what each round sees is known.
#[test]
fn pymemcache_sees_errors_only_until_the_server_is_ejected() {
    let Some(python) = python_with("pymemcache") else {
        return;
    };
    for signal in [Signal::KILL, Signal::STOP] {
        let Some((mut fleet, proxy, _)) = behind_with("behind", PATIENCE) else {
            return;
        };
        let address = [
            proxy.address().ip().to_string(),
            proxy.address().port().to_string(),
        ];
        let mut script = Script::start(&python, "pymemcache_proxy.py", &address);
        let mut round = || -> [u64; 4] {
            let said = script.order("round");
            let figures: Vec<u64> = said
                .split(' ')
                .map(|word| word.parse().expect("a figure"))
                .collect();
            figures.try_into().expect("four figures")
        };
        let [_, errors, ..] = round();
        assert_eq!(0, errors, "the first round");
        assert_eq!([20, 0, 600, 0], round(), "a round of hits");
        if signal == Signal::KILL {
            fleet.kill(VICTIM);
        } else {
            fleet.server(VICTIM).signal(signal);
        }
        // Of a death an idle proxy may hear before any request; what hangs is met by one, which fails in its time.
        let [requests, errors, hits, _] = round();
        let noticed = errors > 0 || signal == Signal::KILL;
        assert!(noticed && hits > 0, "{signal:?}: {errors} errors, {hits} hits");
        assert!(
            errors < requests / 2,
            "{signal:?}: {errors} errors of {requests} requests"
        );
        until("the proxy says so", || {
            let timed_out = signal == Signal::KILL || proxy.sum("server_timedout") > 0;
            timed_out && proxy.figure("server_ejects") > 0
        });
        until("a whole round of hits without the server", || {
            round()[1..] == [0, 600, 0]
        });
        if signal == Signal::KILL {
            fleet.revive(VICTIM);
            until("it is asked again", || {
                round();
                fleet.server(VICTIM).connect().stat("get_hits") > 0
            });
        } else {
            fleet.server(VICTIM).signal(Signal::CONT);
            let before = fleet.server(VICTIM).connect().stat("get_hits");
            until("it is asked again", || {
                round();
                fleet.server(VICTIM).connect().stat("get_hits") > before
            });
        }
        until("a whole round of hits with all servers", || {
            round()[1..] == [0, 600, 0]
        });
        assert_eq!([20, 0, 600, 0], round(), "{signal:?}: the last round");
        script.finish();
        settled(&proxy);
    }
}

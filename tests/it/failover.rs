//! Rings in the client, of which a server dies: with ringcached each step comes to what it comes to with memcached.
//!
//! The same orders go to the same script with three memcacheds and then with three ringcacheds at the same addresses,
//! and every outcome of every key must be equal. Nothing is timed: while outcomes are recorded, no timeout of the client
//! ends.

use std::path::Path;

use crate::clients::python_with;
use crate::fleet::{Fleet, Network, Script, php_with_memcached};
use crate::harness::{binary_under_test, memcached_binary, testing_memcached, until};

/// The server that dies.
const VICTIM: usize = 1;
/// What is asked in a round: gets before sets, so that it is seen who is met first.
const ROUND: [&str; 5] = ["gets", "multi", "sets", "gets", "multi"];

#[test]
fn pylibmc() {
    if let Some(python) = python_with("pylibmc") {
        compare(&python, "pylibmc_failover.py");
    }
}

#[test]
fn php_memcached() {
    if let Some(php) = php_with_memcached() {
        compare(&php, "php_failover.php");
    }
}

fn compare(interpreter: &Path, script: &str) {
    let Some(memcached) = memcached_binary().filter(|_| !testing_memcached()) else {
        return;
    };
    let network = Network::new();
    for settings in ["kept", "removed"] {
        let want = dead_for_good(&memcached, network, interpreter, script, settings);
        // The transcript has something to say: all is well at first, later some keys are not.
        assert!(
            want[0].starts_with("True a") && want[1].starts_with("hit a"),
            "{want:#?}"
        );
        assert!(
            want[2].contains(','),
            "{settings}: nobody has noticed the death: {want:#?}"
        );
        // Removed, its keys are served by the others; kept, they are not.
        let end = &want[want.len() - 1];
        assert_eq!(settings == "removed", end.starts_with("hit a"), "{end}");
        let got = dead_for_good(&binary_under_test(), network, interpreter, script, settings);
        assert_eq!(want, got, "{settings}");
    }
    for binary in [memcached, binary_under_test()] {
        comes_back(&binary, network, interpreter, script);
    }
}

/// Three servers and the script that has its ring over them; the keys are set.
fn set_up(
    binary: &Path,
    network: Network,
    interpreter: &Path,
    script: &str,
    settings: &str,
) -> (Fleet, Script) {
    let fleet = Fleet::start(binary, network, 3);
    let arguments: Vec<String> = [settings.to_owned()]
        .into_iter()
        .chain(fleet.addresses())
        .collect();
    (fleet, Script::start(interpreter, script, &arguments))
}

/// What each order comes to before and after a server has died.
fn dead_for_good(
    binary: &Path,
    network: Network,
    interpreter: &Path,
    script: &str,
    settings: &str,
) -> Vec<String> {
    let (mut fleet, mut script) = set_up(binary, network, interpreter, script, settings);
    let mut outcomes: Vec<String> = ["sets", "gets"].map(|order| script.order(order)).into();
    fleet.kill(VICTIM);
    for order in ROUND.iter().chain(&ROUND) {
        outcomes.push(script.order(order));
    }
    script.finish();
    outcomes
}

/// A server that dies leaves the ring, and is in it again some time after its return.
fn comes_back(binary: &Path, network: Network, interpreter: &Path, script: &str) {
    let (mut fleet, mut script) = set_up(binary, network, interpreter, script, "returns");
    assert!(script.order("sets").starts_with("True a"));
    fleet.kill(VICTIM);
    until("the others take its keys", || {
        script.order("sets").starts_with("True a") && script.order("gets").starts_with("hit a")
    });
    fleet.revive(VICTIM);
    until("it is asked again", || {
        script.order("sets");
        fleet.server(VICTIM).connect().stat("curr_items") > 0
    });
    until("all is well again", || {
        script.order("sets").starts_with("True a") && script.order("gets").starts_with("hit a")
    });
    script.finish();
}

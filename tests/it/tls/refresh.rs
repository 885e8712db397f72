//! `refresh_certs` and SIGHUP: new certificates for new connections, and the old ones if the new make no sense.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use super::{Authority, Secure, VERSIONS, is_der_of, without_memory};
use crate::harness::{DEADLINE, Server, check};

#[test]
fn new_connections_get_the_new_certificates() {
    let authority = Authority::new("refresh");
    let (first, second) = (authority.server(), authority.server());
    authority.install(&first);
    let server = authority.start(&["-t", "4", "-o", "ssl_session_cache"]);
    let config = without_memory(authority.client(&VERSIONS, None));
    let mut old = Secure::connect(server.address(), &config);
    assert!(is_der_of(&first, &old.shown()));
    authority.install(&second);
    assert!(
        is_der_of(&first, &Secure::connect(server.address(), &config).shown()),
        "nobody has asked yet"
    );
    assert_eq!("OK", old.ask("refresh_certs"));
    // Every core deals in the new ones.
    for _ in 0..8 {
        assert!(is_der_of(
            &second,
            &Secure::connect(server.address(), &config).shown()
        ));
    }
    assert!(old.ask("mn").starts_with("MN"), "who is there stays");
    let age: u64 = old
        .stat("", "time_since_server_cert_refresh")
        .expect("an age")
        .parse()
        .expect("a number");
    assert!(age <= DEADLINE.as_secs(), "{age}");
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let authority = Authority::new("no sense");
    let first = authority.server();
    authority.install(&first);
    let server = authority.start(&[]);
    let config = without_memory(authority.client(&VERSIONS, None));
    let mut client = Secure::connect(server.address(), &config);
    let (chain, key, ca) = (
        authority.file("chain.pem"),
        authority.file("key.pem"),
        authority.file("ca.pem"),
    );
    let good_ca = fs::read(&ca).expect("ca.pem");
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\n!\n").expect("ca.pem");
    let said = client.ask("refresh_certs");
    assert!(
        said.starts_with(&format!("Error loading the CA certificate: {ca} : ")),
        "{said}"
    );
    fs::write(&ca, good_ca).expect("ca.pem");
    fs::write(&key, authority.server().key).expect("key.pem");
    let said = client.ask("refresh_certs");
    assert!(said.starts_with("Error validating the certificate: "), "{said}");
    fs::write(&key, "nothing").expect("key.pem");
    let said = client.ask("refresh_certs");
    assert!(
        said.starts_with(&format!("Error loading the key: {key} : ")),
        "{said}"
    );
    fs::remove_file(&chain).expect("chain.pem");
    let said = client.ask("refresh_certs");
    assert!(
        said.starts_with(&format!("Error loading the certificate chain: {chain} : ")),
        "{said}"
    );
    assert!(is_der_of(
        &first,
        &Secure::connect(server.address(), &config).shown()
    ));
    authority.install(&first);
    assert_eq!("OK", client.ask("refresh_certs"));
}

#[test]
fn sighup_reads_the_files_anew() {
    let authority = Authority::new("signal");
    let (first, second) = (authority.server(), authority.server());
    authority.install(&first);
    let server = authority.start(&["-t", "2"]);
    let config = without_memory(authority.client(&VERSIONS, None));
    authority.install(&second);
    server.signal(Signal::HUP);
    let asked = Instant::now();
    while !is_der_of(&second, &Secure::connect(server.address(), &config).shown()) {
        assert!(asked.elapsed() < DEADLINE, "the old certificate is still shown");
    }
    fs::remove_file(authority.file("key.pem")).expect("key.pem");
    server.signal(Signal::HUP);
    while !server
        .said()
        .contains("Could not reload TLS certificates on SIGHUP: Error loading the key: ")
    {
        assert!(asked.elapsed() < 2 * DEADLINE, "{}", server.said());
        std::thread::yield_now();
    }
    assert!(is_der_of(
        &second,
        &Secure::connect(server.address(), &config).shown()
    ));
}

#[test]
fn without_tls_there_is_nothing_to_refresh() {
    check("refresh_certs\n", "Error TLS not enabled\n");
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("stats\r\n");
    loop {
        let line = client.line();
        assert!(!line.contains("ssl_"), "{line}");
        if line == "END" {
            break;
        }
    }
}

//! Clients that were not written with this server in mind: OpenSSL's own, and libraries over other TLS than rustls.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Authority;
use crate::clients::{python_with, root};
use crate::harness::{find_program, skip};

/// `openssl s_client` of this version, with these options: what it prints of a short conversation.
fn s_client(openssl: &Path, address: &str, options: &[&str]) -> (bool, String) {
    let mut client = Command::new("timeout");
    client.arg("60").arg(openssl);
    client.args([
        "s_client",
        "-connect",
        address,
        "-ign_eof",
        "-verify_return_error",
    ]);
    client.args(options);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().expect("openssl");
    let mut input = client.stdin.take().expect("its input");
    // It may have ended already.
    let _ = input.write_all(b"set key 0 0 5\r\nvalue\r\nget key\r\nquit\r\n");
    let output = client.wait_with_output().expect("its output");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn openssl_s_client() {
    let Some(openssl) = find_program("openssl") else {
        return skip("openssl", "not installed");
    };
    let authority = Authority::new("openssl");
    let client = authority.vouch(Authority::client_params());
    let (certificate, key) = (authority.file("client.pem"), authority.file("client_key.pem"));
    std::fs::write(&certificate, &client.certificate).expect("client.pem");
    std::fs::write(&key, &client.key).expect("client_key.pem");
    let ca = authority.file("ca.pem");
    let server = authority.start(&["-o", "ssl_verify_mode=2"]);
    let address = server.address().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let known = ["-CAfile", &ca, "-cert", &certificate, "-key", &key, version];
        let (is_well, said) = s_client(&openssl, &address, &known);
        assert!(
            is_well && said.contains("STORED") && said.contains("VALUE key 0 5"),
            "{version}: {said}"
        );
        let (_, said) = s_client(&openssl, &address, &["-CAfile", &ca, version]);
        assert!(
            !said.contains("STORED"),
            "without a certificate, {version}: {said}"
        );
    }
    let old = [
        "-CAfile",
        &ca,
        "-cert",
        &certificate,
        "-key",
        &key,
        "-tls1_1",
        "-cipher",
        "ALL@SECLEVEL=0",
    ];
    let (_, said) = s_client(&openssl, &address, &old);
    assert!(!said.contains("STORED"), "TLS 1.1: {said}");
}

/// Runs a script with the server's address, the authority's file and the client's.
#[track_caller]
fn run(name: &str, mut command: Command) {
    let authority = Authority::new(name);
    let client = authority.vouch(Authority::client_params());
    let file = authority.file("client.pem");
    std::fs::write(&file, client.certificate + &client.key).expect("client.pem");
    let server = authority.start(&["-t", "2", "-o", "ssl_verify_mode=2"]);
    command.current_dir(root().join("tests/clients"));
    command.args([
        "127.0.0.1",
        &server.port().to_string(),
        &authority.file("ca.pem"),
        &file,
    ]);
    let output = command.output().expect("the script");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The interpreter with its script, which has a minute or two.
fn script(interpreter: &Path, script: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(interpreter).arg(script);
    command
}

#[test]
fn pymemcache_over_tls() {
    if let Some(python) = python_with("pymemcache") {
        run("pymemcache", script(&python, "pymemcache_tls.py"));
    }
}

#[test]
fn dalli_over_tls() {
    let has_dalli = |ruby: &PathBuf| {
        let probe = Command::new(ruby).args(["-e", "require 'dalli'"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    match find_program("ruby").filter(has_dalli) {
        Some(ruby) => run("dalli", script(&ruby, "dalli_tls.rb")),
        None => skip("dalli", "not installed"),
    }
}

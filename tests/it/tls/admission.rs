//! Who is let in, and who is not: certificates, versions, what is no TLS, and handshakes without an end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::{Authority, Identity, Secure, VERSIONS, at, connect, path_of, without_memory};
use crate::harness::{Client, Server, as_whoever_runs_this, binary_under_test, testing_memcached};
use crate::supervision::{activate, copy};

/// On 127.0.0.1 what the options say, on 2 no TLS, on 3 without clients' certificates, on 4 with them.
const ALL_ENTRANCES: [&str; 2] = ["-l", "notls:127.0.0.2,btls:127.0.0.3,mtls:127.0.0.4"];

#[track_caller]
fn admission(authority: &Authority, address: SocketAddr, identity: Option<&Identity>, is_welcome: bool) {
    for version in VERSIONS {
        let config = without_memory(authority.client(&[version], identity));
        let outcome = Secure::try_connect(address, &config).map(|_| ());
        assert_eq!(is_welcome, outcome.is_ok(), "{address}, {version:?}: {outcome:?}");
    }
}

#[test]
fn each_entrance_asks_for_what_it_says() {
    let authority = Authority::new("entrances");
    let others = Authority::new("others");
    let good = authority.vouch(Authority::client_params());
    let foreign = others.vouch(Authority::client_params());
    let mut params = Authority::client_params();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let expired = authority.vouch(params);
    let all = [None, Some(&good), Some(&foreign), Some(&expired)];
    for (mode, welcome) in [
        ("0", [true, true, true, true]),
        ("1", [true, true, false, false]),
        ("2", [false, true, false, false]),
        ("3", [false, true, false, false]),
    ] {
        let mode = format!("ssl_verify_mode={mode}");
        let server = authority.start(&[&ALL_ENTRANCES[..], &["-o", &mode]].concat());
        for (identity, welcome) in all.into_iter().zip(welcome) {
            admission(&authority, server.address(), identity, welcome);
            admission(&authority, at(&server, 3), identity, true);
            admission(
                &authority,
                at(&server, 4),
                identity,
                std::ptr::eq(identity.unwrap_or(&foreign), &good),
            );
        }
        let mut plain = Client::connect(at(&server, 2));
        assert!(plain.ask("version").starts_with("VERSION "));
        assert!(plain.stat("ssl_handshake_errors") >= 6, "those of mtls");
    }
}

/// A socket of systemd's says by its name what a prefix of -l says.
#[test]
fn a_socket_that_is_handed_over_has_its_entrance_by_its_name() {
    if testing_memcached() {
        return;
    }
    let authority = Authority::new("handed-over");
    authority.install(&authority.server());
    let [named, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = [&named, &other].map(|socket| socket.local_addr().expect("address"));
    let options = authority.options();
    let options = options.each_ref().map(String::as_str);
    let names = |command: &mut std::process::Command| {
        command.env("LISTEN_FDNAMES", "notls:ringcached.socket");
    };
    let _server = activate([copy(Ok(named)), copy(Ok(other))], &options, names).expect("start");
    assert!(
        Client::connect(addresses[0])
            .ask("version")
            .starts_with("VERSION ")
    );
    admission(&authority, addresses[1], None, true);
}

/// The client has a word in it, too.
#[test]
fn a_client_who_trusts_another_is_not_served() {
    let authority = Authority::new("trusted");
    let server = authority.start(&ALL_ENTRANCES);
    admission(&Authority::new("another"), server.address(), None, false);
    let mut plain = Client::connect(at(&server, 2));
    assert!(plain.stat("ssl_handshake_errors") >= 1);
}

/// A server whose certificate has expired starts, for it may be refreshed; and its clients refuse it.
#[test]
fn an_expired_certificate_is_refused_by_its_clients() {
    let authority = Authority::new("expired");
    let names = ["127.0.0.1".to_owned(), "127.0.0.2".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    authority.install(&authority.vouch(params));
    let server = authority.start(&ALL_ENTRANCES);
    admission(&authority, server.address(), None, false);
    // Others are not harmed, and a good one is shown from the next connection on.
    let mut plain = Client::connect(at(&server, 2));
    assert!(plain.stat("ssl_handshake_errors") >= 1);
    authority.install(&authority.server());
    assert_eq!("OK", plain.ask("refresh_certs"));
    admission(&authority, server.address(), None, true);
}

/// Nobody vouches for anybody where no authority is named.
#[test]
fn without_an_authority_no_client_certificate_will_do() {
    let authority = Authority::new("nobody");
    let good = authority.vouch(Authority::client_params());
    authority.install(&authority.server());
    let [enable, option, files] = authority.options();
    let files = files.split(",ssl_ca_cert").next().expect("files");
    let server = Server::start(&[
        &enable,
        &option,
        files,
        ALL_ENTRANCES[0],
        ALL_ENTRANCES[1],
        "-o",
        "ssl_verify_mode=1",
    ]);
    admission(&authority, server.address(), None, true);
    admission(&authority, server.address(), Some(&good), false);
    admission(&authority, at(&server, 4), Some(&good), false);
    admission(&authority, at(&server, 4), None, false);
}

#[test]
fn what_is_no_tls_hears_an_alert_and_nothing_else() {
    let authority = Authority::new("plaintext");
    let server = authority.start(&ALL_ENTRANCES);
    for nonsense in [
        &b"version\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        &[0x80; 4000],
    ] {
        let mut socket = connect(server.address());
        socket.write_all(nonsense).expect("send");
        let mut rest = Vec::new();
        // An end or a reset: not all that was sent is read.
        let outcome = socket.read_to_end(&mut rest);
        assert!(
            !matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "it stays open"
        );
        // An alert: type 21, two bytes of version, a length of 2, fatal.
        assert!(
            rest.len() == 7 && rest[0] == 21 && rest[5] == 2,
            "{nonsense:?}: {rest:?}"
        );
    }
    let mut plain = Client::connect(at(&server, 2));
    assert_eq!(4, plain.stat("ssl_handshake_errors"));
    assert_eq!(0, plain.stat("ssl_proto_errors"));
}

#[test]
fn tls_at_a_plain_port_is_an_error_like_any_other() {
    let authority = Authority::new("plain");
    let server = authority.start(&ALL_ENTRANCES);
    admission(&authority, at(&server, 2), None, false);
    admission(&authority, server.address(), None, true);
}

/// A ClientHello of TLS 1.1, and one of 1.0: the answer is the alert protocol_version.
#[test]
fn versions_below_1_2_are_not_offered_whatever_is_asked() {
    let authority = Authority::new("old");
    let server = authority.start(&["-o", "ssl_min_version=0"]);
    for minor in [1, 2] {
        let mut hello = vec![3, minor];
        hello.extend_from_slice(&[7; 32]);
        // No session, two suites, no compression.
        hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x13, 0xc0, 0x14, 1, 0]);
        // supported_groups, ec_point_formats and signature_algorithms.
        hello.extend_from_slice(&[0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
        hello.extend_from_slice(&[0, 13, 0, 4, 0, 2, 4, 3]);
        let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
        record.extend_from_slice(&hello);
        let mut socket = connect(server.address());
        socket.write_all(&record).expect("send");
        let mut alert = [0; 7];
        socket.read_exact(&mut alert).expect("an alert");
        assert_eq!([21, 2, 70], [alert[0], alert[5], alert[6]], "3.{minor}");
    }
    assert!(
        server.said().contains("TLS below 1.2 is never offered"),
        "{}",
        server.said()
    );
    let server = authority.start(&["-o", "ssl_min_version=3"]);
    for (version, is_welcome) in VERSIONS.into_iter().zip([false, true]) {
        let config = without_memory(authority.client(&[version], None));
        assert_eq!(
            is_welcome,
            Secure::try_connect(server.address(), &config).is_ok(),
            "{version:?}"
        );
    }
}

/// Whoever does not come to an end with his handshake is not waited for, and whoever does is.
#[test]
fn a_handshake_must_come_to_its_end() {
    let authority = Authority::new("unfinished");
    let server = authority.start(&[&ALL_ENTRANCES[..], &["-t", "2", "-o", "relaxed_privileges"]].concat());
    let config = without_memory(authority.client(&VERSIONS, None));
    let mut done = Secure::connect(server.address(), &config);
    let mut hello = Vec::new();
    let name = ServerName::from(server.address().ip());
    let mut connection = ClientConnection::new(config.clone(), name).expect("a client");
    connection.write_tls(&mut hello).expect("memory");
    let mut waiting = Vec::new();
    for size in [0, 1, 40, hello.len()] {
        let mut socket = connect(server.address());
        socket.write_all(&hello[..size]).expect("send");
        waiting.push(socket);
    }
    // Its hello has been answered, so those before it have been read, or will be before the clock is moved.
    let mut byte = [0];
    waiting[3].read_exact(&mut byte).expect("an answer");
    let mut plain = Client::connect(at(&server, 2));
    assert_eq!(0, plain.stat("ssl_handshake_errors"));
    assert_eq!("OK", plain.ask("debugtime 31"));
    for socket in &mut waiting {
        let mut rest = Vec::new();
        let outcome = socket.read_to_end(&mut rest);
        assert!(
            !matches!(outcome, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "it stays open"
        );
    }
    assert_eq!(4, plain.stat("ssl_handshake_errors"));
    assert!(done.ask("version").starts_with("VERSION "));
}

#[test]
fn a_forged_record_ends_the_connection() {
    let authority = Authority::new("forged");
    let server = authority.start(&ALL_ENTRANCES);
    for version in VERSIONS {
        let mut client = Secure::connect(
            server.address(),
            &without_memory(authority.client(&[version], None)),
        );
        let socket = &mut client.stream.get_mut().sock;
        let forged = [&[23, 3, 3, 0, 32][..], &[9; 32]].concat();
        socket.write_all(&forged).expect("send");
        let error = client.rest().expect_err("an alert");
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
    let mut plain = Client::connect(at(&server, 2));
    assert_eq!(2, plain.stat("ssl_proto_errors"));
    assert_eq!(0, plain.stat("ssl_handshake_errors"));
}

fn kinds_of_handshakes(config: &Arc<ClientConfig>, address: SocketAddr) -> [HandshakeKind; 3] {
    [(); 3].map(|()| {
        let client = Secure::connect(address, config);
        client.connection().handshake_kind().expect("a handshake")
    })
}

#[test]
fn sessions_are_resumed_where_there_is_a_cache() {
    use HandshakeKind::{Full, Resumed};
    let authority = Authority::new("sessions");
    let server = authority.start(&[]);
    for version in VERSIONS {
        let config = Arc::new(authority.client(&[version], None));
        assert_eq!(
            [Full; 3],
            kinds_of_handshakes(&config, server.address()),
            "{version:?}"
        );
    }
    let mut client = Secure::connect(
        server.address(),
        &without_memory(authority.client(&VERSIONS, None)),
    );
    assert_eq!(None, client.stat("", "ssl_new_sessions"));

    let server = authority.start(&["-o", "ssl_session_cache", "-t", "4"]);
    for version in VERSIONS {
        let config = Arc::new(authority.client(&[version], None));
        let kinds = kinds_of_handshakes(&config, server.address());
        assert_eq!([Full, Resumed, Resumed], kinds, "{version:?}");
    }
    // Two, and this one.
    let mut client = Secure::connect(
        server.address(),
        &without_memory(authority.client(&VERSIONS, None)),
    );
    assert_eq!(Some("3".to_owned()), client.stat("", "ssl_new_sessions"));
}

/// Whoever came in without a certificate does not come in elsewhere by showing the session of that.
#[test]
fn a_session_is_worth_nothing_at_another_entrance() {
    let authority = Authority::new("elsewhere");
    let server = authority.start(&[&ALL_ENTRANCES[..], &["-o", "ssl_session_cache"]].concat());
    for version in VERSIONS {
        let config = Arc::new(authority.client(&[version], None));
        // A client knows sessions by the server's name: the same for both.
        let talk = |address: SocketAddr| -> io::Result<(String, Option<HandshakeKind>)> {
            let name = ServerName::try_from("127.0.0.3").expect("a name");
            let connection = ClientConnection::new(config.clone(), name).expect("a client");
            let mut stream = StreamOwned::new(connection, connect(address));
            stream.write_all(b"version\r\nquit\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok((text, stream.conn.handshake_kind()))
        };
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (text, found) = talk(at(&server, 3)).expect("the first entrance");
            assert!(text.starts_with("VERSION "), "{text}");
            assert_eq!(Some(kind), found, "{version:?}");
        }
        let outcome = talk(at(&server, 4));
        assert!(outcome.is_err(), "{version:?}: {outcome:?}");
    }
}

#[test]
fn settings_show_what_was_asked_for() {
    let authority = Authority::new("settings");
    let server = authority.start(&[
        "-o",
        "ssl_wbuf_size=64,ssl_verify_mode=1,ssl_session_cache,ssl_kernel_tls",
    ]);
    let mut client = Secure::connect(server.address(), &Arc::new(authority.client(&VERSIONS, None)));
    for (name, want) in [
        ("ssl_enabled", "yes"),
        ("ssl_chain_cert", &authority.file("chain.pem")[..]),
        ("ssl_key", &authority.file("key.pem")),
        ("ssl_verify_mode", "1"),
        ("ssl_keyformat", "1"),
        ("ssl_ciphers", "NULL"),
        ("ssl_ca_cert", &authority.file("ca.pem")),
        ("ssl_wbuf_size", "65536"),
        ("ssl_session_cache", "yes"),
        ("ssl_kernel_tls", "no"),
        ("ssl_min_version", "tlsv1.2"),
    ] {
        assert_eq!(Some(want.to_owned()), client.stat(" settings", name), "{name}");
    }
    assert!(
        server.said().contains("ssl_kernel_tls has no effect"),
        "{}",
        server.said()
    );
}

#[test]
fn ciphers_are_those_of_the_list() {
    let authority = Authority::new("ciphers");
    let server = authority.start(&["-o", "ssl_ciphers=ECDHE+CHACHA20:!aNULL"]);
    let config = without_memory(authority.client(&[&rustls::version::TLS12], None));
    let client = Secure::connect(server.address(), &config);
    let suite = client
        .connection()
        .negotiated_cipher_suite()
        .expect("a suite")
        .suite();
    assert_eq!(
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite
    );
}

/// Refused starts: one line each, and memcached's exit code.
#[test]
fn files_that_make_no_sense_are_refused_at_the_start() {
    let authority = Authority::new("refused");
    authority.install(&authority.server());
    std::fs::write(path_of(&authority.file("nonsense")), "nonsense").expect("a file");
    std::fs::write(path_of(&authority.file("other_key.pem")), authority.server().key).expect("a file");
    let (chain, key) = (authority.file("chain.pem"), authority.file("key.pem"));
    let (nonsense, other) = (authority.file("nonsense"), authority.file("other_key.pem"));
    for (options, want) in [
        (
            String::new(),
            "Error loading the certificate chain: (null) : ".to_owned(),
        ),
        (
            format!("ssl_chain_cert={nonsense},ssl_key={key}"),
            format!("Error loading the certificate chain: {nonsense} : "),
        ),
        (
            format!("ssl_chain_cert={chain}"),
            "Error loading the key: (null) : ".to_owned(),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={nonsense}"),
            format!("Error loading the key: {nonsense} : "),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=2"),
            format!("Error loading the key: {key} : "),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={other}"),
            "Error validating the certificate: ".to_owned(),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={key},ssl_ca_cert=/nowhere"),
            "Error loading the CA certificate: /nowhere : ".to_owned(),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={key},ssl_ciphers=RC4"),
            "Error setting the provided cipher(s): RC4".to_owned(),
        ),
    ] {
        let mut command = std::process::Command::new(binary_under_test());
        command.args(["-l", "127.0.0.1", "-p", "-1", "-Z", "-o", &options]);
        as_whoever_runs_this(&mut command);
        let output = command.output().expect("the server");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(Some(64), output.status.code(), "{options}: {said}");
        assert!(
            said.lines().count() == 1 && said.starts_with(&want),
            "{options}: {said}"
        );
    }
}

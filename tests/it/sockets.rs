//! Sockets: where the server listens, how many it serves, and for how long.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};

use crate::harness::{
    self, Client, DEADLINE, Server, binary_under_test, connect_unix, nothing_within, scratch_folder, skip,
};
use crate::statistics::stats;

fn value(all: &[(String, String)], name: &str) -> u64 {
    let found = all.iter().find(|(known, _)| known == name);
    let (_, value) = found.unwrap_or_else(|| panic!("no {name}"));
    value.parse().expect("a number")
}

/// Asks for the general statistics until one of them is as wanted.
fn until(client: &mut Client, name: &str, want: u64) {
    harness::until(&format!("{name} is {want}"), || client.stat(name) == want);
}

#[test]
fn several_addresses_with_ports() {
    let free = std::net::TcpListener::bind("127.0.0.4:0").expect("a port");
    let port = free.local_addr().expect("address").port();
    drop(free);
    let lists = format!("127.0.0.2;127.0.0.3,127.0.0.4:{port}");
    let mut options = vec!["-l", &lists];
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    if has_ipv6 {
        options.extend(["-l", "[::1]"]);
    } else {
        skip("[::1]", "no IPv6 here");
    }
    let server = Server::start(&options);
    let ports = server.ports();
    let kinds: Vec<&str> = ports.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(["TCP INET"; 4], kinds[..4]);
    assert_eq!(has_ipv6.then_some(&"TCP INET6"), kinds.get(4));
    server.connect().set("key", b"value");
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"];
    for (host, (_, port)) in hosts.iter().zip(&ports) {
        let ip: std::net::IpAddr = host.parse().expect("an address");
        let mut client = Client::connect(SocketAddr::new(ip, *port));
        assert_eq!(Some(b"value".to_vec()), client.get("key"), "{host}");
    }
    assert_eq!(port, ports[3].1, "a port of its own");
}

#[test]
fn without_a_port_it_listens_nowhere() {
    // A server that says where it listens says so here, too: nowhere.
    let folder = scratch_folder();
    let mut command = crate::harness::server_command(&binary_under_test(), &folder, "127.0.0.1", "0");
    let mut process = command.spawn().expect("the server");
    let deadline = Instant::now() + DEADLINE;
    let file = folder.join("port");
    while !file.exists() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let text = std::fs::read_to_string(&file);
    process.kill().expect("kill");
    process.wait().expect("wait");
    std::fs::remove_dir_all(folder).expect("folder");
    assert_eq!("", text.expect("port file"));
}

#[test]
fn accepted_sockets_have_memcacheds_options() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    let own = client.socket().local_addr().expect("address");
    let conns = stats(&mut client, "conns");
    let mine = format!("tcp:{own}");
    let (name, _) = conns
        .iter()
        .find(|(_, value)| *value == mine)
        .expect("this connection");
    let number = name
        .strip_suffix(":addr")
        .and_then(|fd| fd.parse().ok())
        .expect("a descriptor");
    let pid = Pid::from_raw(server.pid() as i32).expect("a process id");
    let life = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("pidfd");
    let Ok(socket) = rustix::process::pidfd_getfd(&life, number, PidfdGetfdFlags::empty()) else {
        return skip("socket options", "another process's sockets cannot be had here");
    };
    assert!(sockopt::socket_keepalive(socket.as_fd()).expect("keepalive"));
    assert!(sockopt::tcp_nodelay(socket.as_fd()).expect("nodelay"));
    assert_eq!(None, sockopt::socket_linger(socket.as_fd()).expect("linger"));
}

#[test]
fn as_many_may_wait_as_was_asked_for() {
    let Some(ss) = crate::harness::find_program("ss") else {
        return skip("-b", "no ss, which shows the queue of a listener");
    };
    for (options, want) in [(&[][..], "1024"), (&["-b", "77"], "77")] {
        let server = Server::start(options);
        let mut command = std::process::Command::new(&ss);
        command.args(["-Hltn", &format!("sport = :{}", server.port())]);
        let output = command.output().expect("ss");
        let text = String::from_utf8_lossy(&output.stdout);
        // LISTEN, those who wait, and how many may.
        assert_eq!(Some(want), text.split_whitespace().nth(2), "{options:?}: {text}");
    }
}

/// Some kernels do not tell a multishot receive of an end that comes with data.
#[test]
fn a_unix_client_who_ends_right_behind_his_words_hears_the_end() {
    let folder = scratch_folder();
    let path = folder.join("socket");
    let mut command = std::process::Command::new(binary_under_test());
    crate::harness::as_whoever_runs_this(&mut command);
    let mut process = command.arg("-s").arg(&path).spawn().expect("the server");
    drop(connect_unix(&path).expect("nobody listens"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut client = connect_unix(&path).expect("connect");
                    client.write_all(b"mn\r\nset key 0 0 100\r\nabc").expect("send");
                    client.shutdown(Shutdown::Write).expect("shutdown");
                    let mut answer = String::new();
                    client
                        .read_to_string(&mut answer)
                        .expect("the answer and the end");
                    assert_eq!("MN\r\n", answer);
                }
            });
        }
    });
    process.kill().expect("kill");
    process.wait().expect("wait");
    std::fs::remove_dir_all(&folder).expect("scratch folder");
}

#[test]
fn a_unix_socket_with_a_mode() {
    let folder = scratch_folder();
    let path = folder.join("socket");
    // One that an earlier server left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let mut command = std::process::Command::new(binary_under_test());
    crate::harness::as_whoever_runs_this(&mut command);
    let path_text = path.to_str().expect("path");
    let options = [
        "-s",
        path_text,
        "-a",
        "0770",
        "-o",
        "idle_timeout=5,relaxed_privileges",
        "-U",
        "-1",
    ];
    let mut process = command.args(options).spawn().expect("the server");
    let client = connect_unix(&path).expect("nobody listens");
    let mode = std::fs::symlink_metadata(&path)
        .expect("socket")
        .permissions()
        .mode();
    let mut lines = BufReader::new(client);
    let mut ask = |words: &str| -> Vec<String> {
        lines
            .get_mut()
            .write_all(format!("{words}\r\nmn\r\n").as_bytes())
            .expect("send");
        let lines = lines.by_ref().lines().map(|line| line.expect("a line"));
        lines.take_while(|line| line != "MN").collect()
    };
    assert_eq!(["STORED"], ask("set a 0 0 1\r\nx")[..]);
    let conns = ask("stats conns");
    // Who comes by a file is never idle for too long, whatever the clock says.
    let moved = ask("debugtime +20");
    let later = ask("get a");
    let kicks = ask("stats");
    rustix::process::kill_process(Pid::from_child(&process), Signal::TERM).expect("signal");
    process.wait().expect("wait");
    assert_eq!(0o770, mode & 0o777);
    assert!(
        !conns
            .iter()
            .any(|line| line.contains("tcp") || line.contains("udp")),
        "{conns:?}"
    );
    assert!(
        conns
            .iter()
            .any(|line| line.ends_with(&format!("addr unix:{path_text}"))),
        "{conns:?}"
    );
    if moved == ["OK"] {
        assert_eq!(["VALUE a 0 1", "x", "END"], later[..]);
    }
    assert!(kicks.contains(&"STAT idle_kicks 0".to_owned()), "{kicks:?}");
    let left = std::fs::symlink_metadata(&path).expect("it is left behind");
    assert!(left.file_type().is_socket());
    std::fs::remove_dir_all(folder).expect("folder");
}

/// `-c` counts more than clients in memcached: its own descriptors, too.
fn with_room_for(clients: usize, options: &[&str]) -> Server {
    let count = clients.to_string();
    Server::start(&[&["-t", "2", "-c", &count], options].concat())
}

#[test]
fn above_the_limit_clients_are_told_so() {
    if crate::harness::testing_memcached() {
        return;
    }
    let server = with_room_for(3, &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.check("mn\n", "MN\n"));
    for _ in 0..2 {
        let refused = server.connect().rest();
        assert_eq!(
            "ERROR Too many open connections\r\n",
            String::from_utf8_lossy(&refused)
        );
    }
    let all = stats(&mut clients[0], "");
    for (name, want) in [
        ("rejected_connections", 2),
        ("curr_connections", 3),
        ("accepting_conns", 1),
        ("listen_disabled_num", 0),
    ] {
        assert_eq!(want, value(&all, name), "{name}");
    }
    clients.pop();
    until(&mut clients[0], "curr_connections", 2);
    server.connect().check("mn\n", "MN\n");
}

#[test]
fn above_the_limit_clients_wait_where_that_is_wanted() {
    if crate::harness::testing_memcached() {
        return;
    }
    let server = with_room_for(3, &["-o", "no_maxconns_fast"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.check("mn\n", "MN\n"));
    assert_eq!(1, clients[0].stat("accepting_conns"));
    let mut waiting: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send("mn\r\n"));
    until(&mut clients[0], "accepting_conns", 0);
    assert_eq!(
        (1, 3),
        (
            clients[0].stat("listen_disabled_num"),
            clients[0].stat("curr_connections")
        )
    );
    assert!(
        waiting
            .iter()
            .all(|client| nothing_within(client, Duration::from_millis(20)))
    );
    // Each who leaves lets in the next, in order.
    for _ in 0..2 {
        clients.pop();
        let mut next = waiting.remove(0);
        assert_eq!("MN", next.line());
        assert!(
            waiting
                .iter()
                .all(|client| nothing_within(client, Duration::from_millis(20)))
        );
        clients.insert(1, next);
    }
    // Who gives up waiting is in nobody's way.
    waiting.pop();
    clients.truncate(1);
    assert_eq!("MN", waiting[0].line());
    until(&mut clients[0], "accepting_conns", 1);
    server.connect().check("mn\n", "MN\n");
    let all = stats(&mut clients[0], "");
    assert!(value(&all, "time_in_listen_disabled_us") > 0);
    assert!(
        !all.iter().any(|(name, _)| name == "rejected_connections"),
        "as in memcached"
    );
}

#[test]
fn the_limit_holds_under_a_storm() {
    if crate::harness::testing_memcached() {
        return;
    }
    let server = with_room_for(8, &["-o", "no_maxconns_fast"]);
    let address = server.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut burst: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
                    // One after another: the first is served before the last can be.
                    while let Some(mut client) = burst.pop() {
                        client.send("mn\r\nquit\r\n");
                        burst.iter_mut().for_each(|other| other.send("mn\r\nquit\r\n"));
                        for mut client in burst.drain(..).chain([client]) {
                            assert_eq!(b"MN\r\n", &client.rest()[..]);
                        }
                    }
                }
            });
        }
    });
    let mut client = server.connect();
    until(&mut client, "curr_connections", 1);
    assert_eq!(1, client.stat("accepting_conns"));
}

#[test]
fn who_is_silent_for_too_long_is_hung_up_on() {
    let server = Server::start(&["-t", "2", "-o", "idle_timeout=1"]);
    // Silent as long as the others, in the middle of something: it is left alone.
    let mut halfway = server.connect();
    halfway.send("set a 0 0 6\r\nabc");
    let mut idle: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    idle[0].set("b", b"1");
    idle[1].send("get b");
    // Nobody asks anything meanwhile.
    for client in &mut idle {
        assert!(client.rest().is_empty(), "closed without a word");
    }
    halfway.send("def\r\nget a\r\n");
    assert_eq!("STORED", halfway.line());
    assert_eq!(Some(("a".into(), b"abcdef".to_vec())), halfway.value());
    let all = stats(&mut server.connect(), "");
    assert_eq!(4, value(&all, "idle_kicks"));
    assert!(
        value(&all, "curr_connections") <= 3,
        "memcached counts its listeners"
    );
}

#[test]
fn a_core_that_nobody_asks_forgets_what_has_expired() {
    let server = Server::start(&["-t", "2", "-m", "64"]);
    let mut client = server.connect();
    // What is counted is what was found before the question came: that very question wakes the cores. A busy machine
    // may need longer than a patient one.
    for patience in [3, 6, 12] {
        for number in 0..1000 {
            client.send(format!("set key{number} 0 1 1\r\nv\r\n"));
        }
        (0..1000).for_each(|_| assert_eq!("STORED", client.line()));
        assert!(nothing_within(&client, Duration::from_secs(patience)));
        if client.stat("curr_items") == 0 {
            return;
        }
    }
    panic!("expired items stay");
}

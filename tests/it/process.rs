//! The process: how it starts, what its options mean, how it ends, and what it costs when nobody asks.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Signal};

use crate::classic::pattern;
use crate::harness::{
    Client, DEADLINE, Server, as_whoever_runs_this, binary_under_test, connect_unix, nothing_within,
    read_port, scratch_folder, server_command, skip, spell, testing_memcached, until,
};
use crate::sandbox;

/// Whether the server ends within a second when it is told to. A machine that is busy with something else may keep it
/// from that once; three times, and it is the server.
fn ends_within_a_second(mut end: impl FnMut() -> Duration) {
    let took: Vec<Duration> = (0..3)
        .map(|_| end())
        .take_while(|took| *took >= Duration::from_secs(1))
        .collect();
    assert!(took.len() < 3, "took {took:?}");
}

#[test]
fn a_signal_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        for threads in ["1", "4"] {
            ends_within_a_second(|| {
                let server = Server::start(&["-t", threads]);
                let mut busy = server.connect();
                busy.set("a", &pattern(10_000, 1));
                let idle: Vec<Client> = (0..50).map(|_| server.connect()).collect();
                let mut cut = server.connect();
                cut.send("set a 0 0 10000\r\nhalf");
                busy.send("get a\r\n".repeat(100));
                busy.exact(10);
                let (status, took) = server.stop(signal);
                assert_eq!(Some(0), status.code(), "{signal:?}");
                drop(idle);
                took
            });
        }
    }
}

/// Nobody can connect to a server that has ended: whoever comes is refused, and not accepted by a kernel that has yet to
/// clear up, and then reset.
#[test]
fn who_comes_after_its_end_is_refused() {
    let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, 7, 1), 11411);
    for round in 0..40 {
        let threads = ["1", "2"][round % 2];
        let signal = [Signal::TERM, Signal::INT, Signal::USR1][round % 3];
        let server = Server::launch_at(&binary_under_test(), address, &["-t", threads]).expect("start");
        server.connect().check("mn\n", "MN\n");
        let (status, _) = server.stop(signal);
        assert_eq!(Some(0), status.code());
        let refusal = TcpStream::connect(address).expect_err("nobody is there");
        assert_eq!(ErrorKind::ConnectionRefused, refusal.kind());
    }
}

/// What a watcher is told last goes out when all else is over.
#[test]
fn a_signal_ends_it_while_somebody_watches() {
    for _ in 0..10 {
        let server = Server::start(&["-t", "2"]);
        let mut watcher = server.connect();
        assert_eq!("OK", watcher.ask("watch connevents fetchers"));
        let clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        let (status, _) = std::thread::scope(|scope| {
            scope.spawn(|| clients.into_iter().for_each(drop));
            server.stop(Signal::TERM)
        });
        assert_eq!(Some(0), status.code());
    }
}

#[test]
fn in_the_background_it_ends_when_told() {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let pid_file = folder.join("pid");
    let path = pid_file.to_str().expect("path");
    let mut command = std::process::Command::new(binary_under_test());
    as_whoever_runs_this(&mut command);
    let started = command
        .args(["-d", "-P", path, "-t", "1", "-l", "127.0.0.1", "-p", "-1"])
        .env("MEMCACHED_PORT_FILENAME", folder.join("port"))
        .status()
        .expect("start");
    assert!(started.success(), "who starts it is not kept waiting");
    // Its first process may be gone before the files are written, the one with the port last.
    let port_file = folder.join("port");
    let mut port = None;
    until("the port is told", || {
        port = read_port(&port_file);
        port.is_some()
    });
    let port = port.expect("a port");
    let pid = std::fs::read_to_string(&pid_file).expect("pid file");
    let pid = pid.trim().parse().expect("a process id");
    let pid = Pid::from_raw(pid).expect("a process id");
    let life = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(pid.as_raw_nonzero().get() as u64, client.stat("pid"));
    rustix::process::pidfd_send_signal(&life, Signal::HUP).expect("signal");
    client.check("mn\n", "MN\n");
    rustix::process::pidfd_send_signal(&life, Signal::TERM).expect("signal");
    let mut end = [PollFd::new(&life, PollFlags::IN)];
    let ended = poll(&mut end, Some(&Timespec::try_from(DEADLINE).expect("short"))).expect("poll");
    assert_eq!((1, false), (ended, pid_file.exists()), "the file goes with it");
    std::fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn a_signal_ends_it_under_load() {
    ends_within_a_second(end_under_load);
}

fn end_under_load() -> Duration {
    let server = Server::start(&["-t", "4", "-m", "64"]);
    let address = server.address();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let requests: String = (0..100)
                    .map(|key| {
                        format!("set k{number}-{key} 0 0 5\r\nvalue\r\nget k{number}-{key} k1-{key}\r\n")
                    })
                    .collect();
                // Until the server ends: then the socket says so, one way or another.
                while client.socket().write_all(requests.as_bytes()).is_ok()
                    && client.some().is_some_and(|bytes| bytes > 0)
                {}
            });
        }
        let mut observer = server.connect();
        while observer.stat("cmd_set") < 20_000 {}
        let (status, took) = server.stop(Signal::TERM);
        assert_eq!(Some(0), status.code(), "{status}");
        took
    })
}

#[test]
fn a_connection_that_is_ended_was_answered_rightly() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    let requests: String = (0..2000)
        .map(|n| format!("set k{n} 0 0 4\r\n{n:04}\r\nget k{n}\r\n"))
        .collect();
    let answers: String = (0..2000)
        .map(|n| format!("STORED\nVALUE k{n} 0 4\n{n:04}\nEND\n"))
        .collect();
    client.send(requests);
    assert_eq!("STORED", client.line());
    let (status, _) = server.stop(Signal::TERM);
    assert_eq!(Some(0), status.code());
    let got = [b"STORED\r\n", &client.rest()[..]].concat();
    assert!(
        spell(&answers).as_bytes().starts_with(&got),
        "{:?}",
        String::from_utf8_lossy(&got)
    );
}

#[test]
fn an_idle_server_uses_no_cpu() {
    let server = Server::start(&["-t", "4"]);
    let clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for _ in 0..100 {
        server.connect().set("a", b"x");
    }
    // Adaptive polling may go on for a moment; a quiet second after a quiet tenth must be free.
    assert!(nothing_within(&clients[0], Duration::from_millis(100)));
    let before = server.cpu_time();
    assert!(nothing_within(&clients[0], Duration::from_secs(1)));
    let used = server.cpu_time() - before;
    assert!(
        used < Duration::from_millis(20),
        "{used:?} of CPU in an idle second"
    );
}

#[test]
fn each_core_has_a_port_of_its_own() {
    if testing_memcached() {
        return skip("--core-ports", "only ringcached has it");
    }
    // The kernel says which ports are free; another process may take one before the server does, hence the rounds.
    for _ in 0..20 {
        let Some(base) = four_free_ports() else { continue };
        let Ok(server) = Server::launch(
            &binary_under_test(),
            &["-t", "4", "--core-ports", &base.to_string()],
        ) else {
            continue;
        };
        let mut clients: Vec<Client> = (0..4)
            .map(|core| Client::connect((std::net::Ipv4Addr::LOCALHOST, base + core).into()))
            .chain([server.connect()])
            .collect();
        for number in 0..500 {
            let key = format!("key{number}");
            clients[number % 5].set(&key, key.as_bytes());
            assert_eq!(
                Some(key.clone().into_bytes()),
                clients[(number + 1) % 5].get(&key)
            );
        }
        return;
    }
    panic!("no four free ports in a row");
}

#[test]
fn without_io_uring_it_serves_by_epoll_and_says_so() {
    if testing_memcached() {
        return skip("io_uring refused", "memcached has no use for io_uring");
    }
    let options = ["-t", "2", "--io", "auto"];
    let server = Server::launch_with(&binary_under_test(), &options, sandbox::deny_io_uring)
        .expect("it does not start without io_uring");
    let said = server.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(1, lines.len(), "one clear line, not {said:?}");
    assert!(
        lines[0].contains("epoll") && lines[0].contains("seccomp"),
        "{said:?}"
    );
    server
        .connect()
        .check("set a 0 0 1\n1\nget a\n", "STORED\nVALUE a 0 1\n1\nEND\n");
}

#[test]
fn without_the_io_uring_that_it_must_use_it_says_so_and_ends() {
    if testing_memcached() {
        return skip("io_uring refused", "memcached has no use for io_uring");
    }
    let options = ["-t", "2", "--io", "uring"];
    let refused = Server::launch_with(&binary_under_test(), &options, sandbox::deny_io_uring);
    let said = refused.err().expect("it started without io_uring");
    let (status, words) = said.split_once(": ").expect("status and words");
    assert!(
        status.contains("exit status") && !status.ends_with(" 0"),
        "{status}"
    );
    assert_eq!(
        1,
        words.trim_end().lines().count(),
        "one clear line, not {words:?}"
    );
    assert!(
        words.contains("io_uring") && words.contains("seccomp"),
        "{words:?}"
    );
}

/// What the server said in its one line before it ended with this code.
#[track_caller]
fn refused_in_one_line(refused: Result<Server, String>, code: u8) -> String {
    let said = refused.err().expect("it started");
    let words = said.strip_prefix(&format!("exit status: {code}: "));
    let words = words.unwrap_or_else(|| panic!("not {code}: {said}"));
    assert_eq!(
        1,
        words.trim_end().lines().count(),
        "one clear line, not {words:?}"
    );
    words.to_owned()
}

#[cfg(not(feature = "glommio"))]
#[test]
fn without_its_feature_glommio_is_refused_in_one_line() {
    if testing_memcached() {
        return skip("glommio", "memcached has no use for it");
    }
    let refused = Server::launch(&binary_under_test(), &["-t", "2", "--io", "glommio"]);
    let words = refused_in_one_line(refused, 64);
    assert!(words.contains("--features glommio"), "{words:?}");
}

#[cfg(feature = "glommio")]
#[test]
fn without_what_glommio_needs_it_says_so_and_ends() {
    if testing_memcached() {
        return skip("glommio refused", "memcached has no use for it");
    }
    let options = ["-t", "2", "--io", "glommio"];
    let refused = Server::launch_with(&binary_under_test(), &options, sandbox::deny_io_uring);
    let words = refused_in_one_line(refused, 71);
    assert!(
        words.contains("glommio") && words.contains("seccomp"),
        "{words:?}"
    );
    let refused = Server::launch_with(&binary_under_test(), &options, |command| {
        sandbox::limit(command, &[(Resource::Memlock, 64 << 10)]);
    });
    let words = refused_in_one_line(refused, 71);
    assert!(
        words.contains("glommio") && words.contains("64 KiB") && words.contains("ulimit -l"),
        "{words:?}"
    );
}

/// Whether servers are started with `--io glommio`, which has wants of its own.
fn by_glommio() -> bool {
    std::env::var_os("RINGCACHED_IO").is_some_and(|io| io == "glommio")
}

/// The limits of a shell that nobody has tuned, and of `-c` by itself: the rings fit, and `-k` is a warning.
#[test]
fn small_limits_are_survived() {
    if testing_memcached() {
        return skip("small limits", "memcached has no use for io_uring");
    }
    if by_glommio() {
        return skip(
            "small limits",
            "glommio wants 512 KiB of locked memory for each core",
        );
    }
    const LIMITS: &[(Resource, u64)] = &[(Resource::Memlock, 64 << 10), (Resource::Nofile, 1024)];
    for options in [&["-t", "4"][..], &["-t", "4", "-k", "-c", "1000"]] {
        let small = |command: &mut std::process::Command| sandbox::limit(command, LIMITS);
        let server = Server::launch_with(&binary_under_test(), options, small).expect("it does not start");
        server
            .connect()
            .check("set a 0 0 1\n1\nget a\n", "STORED\nVALUE a 0 1\n1\nEND\n");
        let said = server.said();
        let about: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("share") && !line.contains("serving by epoll"))
            .collect();
        assert_eq!(
            options.len() / 2,
            about.len(),
            "one clear line for each limit, not {said}"
        );
        assert!(about[0].contains("file descriptors"), "{said}");
        assert_eq!(
            options.contains(&"-k"),
            said.contains("-k invalid, mlockall() failed"),
            "{said}"
        );
    }
}

#[test]
fn more_connections_than_descriptors_are_refused_as_memcached_refuses_them() {
    const LIMITS: &[(Resource, u64)] = &[(Resource::Memlock, 64 << 10), (Resource::Nofile, 1024)];
    let small = |command: &mut std::process::Command| sandbox::limit(command, LIMITS);
    let refused = Server::launch_with(&binary_under_test(), &["-c", "4096"], small);
    let said = refused
        .err()
        .expect("it started with fewer descriptors than connections");
    assert!(said.starts_with("exit status: 71: "), "{said}");
    assert_eq!(1, said.trim_end().lines().count(), "one clear line, not {said}");
    assert!(said.contains("failed to set rlimit for open files"), "{said}");
}

/// Whoever comes when there are no descriptors waits; he is served when others have gone, and nobody else is harmed.
#[test]
fn it_lives_without_descriptors() {
    if testing_memcached() {
        return;
    }
    if by_glommio() {
        return skip("few descriptors", "glommio opens more than these for itself");
    }
    const LIMITS: &[(Resource, u64)] = &[(Resource::Nofile, 64)];
    let small = |command: &mut std::process::Command| sandbox::limit(command, LIMITS);
    let server = Server::launch_with(&binary_under_test(), &["-t", "2", "-c", "64"], small).expect("start");
    let mut first = server.connect();
    first.set("a", b"1");
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("mn\r\n"));
    for _ in 0..100 {
        assert_eq!(Some(b"1".to_vec()), first.get("a"), "who was there is served");
    }
    // Of those who go, each makes room for one.
    while !clients.is_empty() {
        let mut client = clients.remove(0);
        let answer = String::from_utf8(client.exact(4)).expect("text");
        assert!(["MN\r\n", "ERRO"].contains(&&*answer), "{answer}");
    }
    server.connect().check("get a\n", "VALUE a 0 1\n1\nEND\n");
}

#[test]
fn a_port_that_is_taken_ends_it() {
    let first = Server::start(&[]);
    let port = first.port().to_string();
    // The last -p counts.
    let second = Server::launch(&binary_under_test(), &["-p", &port]);
    let said = second.err().expect("two servers on one port");
    assert!(said.to_lowercase().contains("address already in use"), "{said}");
    assert!(said.starts_with("exit status: 71: "), "{said}");
    // It is a process's, so there is nothing to wait for.
    assert_eq!(1, said.trim_end().lines().count(), "{said}");
    first.connect().check("mn\n", "MN\n");
}

/// As behind a server that was killed: the kernel clears up in its own time, and meanwhile the port is nobody's.
#[test]
fn a_port_that_is_nobodys_is_waited_for() {
    use std::io::{BufRead, BufReader};
    if testing_memcached() {
        return skip("a port that is nobody's", "memcached does not wait");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    // Under way in a message, it is listening and no process has it.
    let (sender, receiver) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let sockets = [listener.as_fd()];
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut room);
    assert!(message.push(SendAncillaryMessage::ScmRights(&sockets)));
    let bytes = [std::io::IoSlice::new(b"x")];
    rustix::net::sendmsg(&sender, &bytes, &mut message, SendFlags::empty()).expect("a message");
    drop(listener);
    let folder = scratch_folder();
    let mut command = server_command(&binary_under_test(), &folder, "127.0.0.1", &port.to_string());
    let mut process = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the server");
    let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
    let is_about_it = |line: &String| line.contains("is taken, by no process that shows");
    let said = lines.by_ref().map(|line| line.expect("a line")).find(is_about_it);
    drop((sender, receiver));
    let arrived = said.is_some().then(|| {
        let deadline = std::time::Instant::now() + DEADLINE;
        while !folder.join("port").exists() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).check("mn\n", "MN\n");
    });
    process.kill().expect("kill");
    process.wait().expect("wait");
    std::fs::remove_dir_all(folder).expect("folder");
    arrived.expect("it says that it waits");
}

#[test]
fn a_killed_server_is_in_nobodys_way() {
    let mut server = Server::start(&["-t", "2", "-c", "2000"]);
    for round in 0..10 {
        // The more there is to clear up, the longer the kernel takes.
        let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, server.port());
        drop(server);
        server = Server::launch_at(&binary_under_test(), address, &["-t", "2", "-c", "2000"])
            .unwrap_or_else(|said| panic!("round {round}: {said}"));
        server.connect().check("mn\n", "MN\n");
        drop(clients);
    }
}

#[test]
fn a_unix_socket() {
    use std::io::Read;
    use std::process::Stdio;

    let folder = scratch_folder();
    let path = folder.join("socket");
    let mut command = std::process::Command::new(binary_under_test());
    command
        .arg("-s")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    as_whoever_runs_this(&mut command);
    let mut process = command.spawn().expect("the server");
    let talk = || -> std::io::Result<String> {
        let mut client = connect_unix(&path)?;
        client.write_all(b"set a 0 0 1\r\nx\r\nget a\r\nquit\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = talk();
    process.kill().expect("kill");
    process.wait().expect("wait");
    std::fs::remove_dir_all(&folder).expect("scratch folder");
    let answer = answer.expect("the answer");
    assert_eq!(spell("STORED\nVALUE a 0 1\nx\nEND\n"), answer);
}

#[test]
fn a_full_memory_forgets_the_old() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads, "-m", "64"]);
        let mut client = server.connect();
        let value = pattern(8000, 9);
        for number in 0..40_000 {
            client.set(&format!("key{number}"), &value);
        }
        assert_eq!(Some(value), client.get("key39999"));
        assert_eq!(None, client.get("key0"));
        assert!(client.stat("evictions") > 20_000);
        let items = client.stat("curr_items");
        assert!((3000..9000).contains(&items), "{items} items of 8 KB in 64 MB");
        let memory = server.memory("VmRSS");
        assert!(memory < 128 * 1024 * 1024, "{memory} bytes for -m 64");
    }
}

#[test]
fn a_full_memory_may_refuse_instead() {
    let server = Server::start(&["-t", "2", "-m", "32", "-M"]);
    let mut client = server.connect();
    let value = pattern(4000, 9);
    let request = |number: usize| {
        [
            format!("set key{number} 0 0 4000\r\n").as_bytes(),
            &value,
            b"\r\n",
        ]
        .concat()
    };
    let mut stored = 0;
    loop {
        client.send(request(stored));
        match client.line().as_str() {
            "STORED" => stored += 1,
            "SERVER_ERROR out of memory storing object" => break,
            other => panic!("{other}"),
        }
        assert!(stored < 40_000, "-M refuses nothing");
    }
    assert!(stored > 3000, "{stored} items of 4 KB in 32 MB");
    for number in 0..stored {
        assert!(
            client.get(&format!("key{number}")).as_ref() == Some(&value),
            "key{number} of {stored} is gone"
        );
    }
    assert_eq!(0, client.stat("evictions"));
    assert!(client.stat("store_no_memory") >= 1);
}

#[test]
fn the_largest_item_is_an_option() {
    let server = Server::start(&["-I", "2m", "-m", "128"]);
    let mut client = server.connect();
    let value = pattern(2 * 1024 * 1024 - 2048, 4);
    client.set("a", &value);
    assert!(client.get("a") == Some(value));
    let refused = "v".repeat(2 * 1024 * 1024 + 1024);
    client.check(
        &format!("set a 0 0 {}\n{refused}\nget a\n", refused.len()),
        "SERVER_ERROR object too large for cache\nEND\n",
    );
}

/// The first of four consecutive ports of which none is taken right now. They are below those that the kernel hands out,
/// of which a busy machine has few in a row, and others with every call.
pub(crate) fn four_free_ports() -> Option<u16> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let base = 16_000 + u16::try_from((std::process::id() * 31 + calls) % 4_000 * 4).ok()?;
    let taken: Vec<_> = (base..base + 4)
        .map_while(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    (taken.len() == 4).then_some(base)
}

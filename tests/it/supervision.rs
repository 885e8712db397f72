//! Under systemd: what it is told, the sockets that it hands over, and its watchdog. Its side is played by the tests, but
//! for the one that has the real `systemd-socket-activate`.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::{ptrace, wait};
use rustix::process::Signal;

use crate::harness::{
    Client, DEADLINE, Server, binary_under_test, find_program, scratch_folder, skip, testing_memcached,
};

/// systemd's end of the socket for notices.
struct Notices(UnixDatagram);

impl Notices {
    fn at(path: &Path) -> Notices {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
        Notices(socket)
    }

    /// The next notice, line by line; `None` if none comes within this time.
    fn within(&self, time: Duration) -> Option<Vec<String>> {
        self.0.set_read_timeout(Some(time)).expect("timeout");
        let mut bytes = [0; 4096];
        match self.0.recv(&mut bytes) {
            Ok(size) => {
                let text = std::str::from_utf8(&bytes[..size]).expect("text");
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn expect(&self, first_line: &str) -> Vec<String> {
        let notice = self.within(DEADLINE).expect("a notice");
        assert_eq!(first_line, notice[0], "{notice:?}");
        notice
    }
}

fn launch(options: &[&str], adjust: impl FnOnce(&mut Command)) -> Result<Server, String> {
    Server::launch_with(&binary_under_test(), options, adjust)
}

#[test]
fn systemd_is_told_of_start_reload_and_stop() {
    if testing_memcached() {
        return skip("sd_notify", "only ringcached has it");
    }
    let folder = scratch_folder();
    let path = folder.join("notify");
    let notices = Notices::at(&path);
    let server = launch(&["-t", "2"], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let server = server.expect("start");
    let ready = notices.expect("READY=1");
    let port = format!("127.0.0.1:{}", server.port());
    assert!(
        ready[1].starts_with("STATUS=2 cores serve by ") && ready[1].ends_with(&port),
        "{ready:?}"
    );
    server.connect().check("mn\n", "MN\n");
    let before = monotonic_microseconds();
    server.signal(Signal::HUP);
    let reloading = notices.expect("RELOADING=1");
    let time = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time");
    let time: i64 = time.parse().expect("a number");
    assert!(
        (before..=monotonic_microseconds()).contains(&time),
        "{before} {time}"
    );
    assert_eq!(ready, notices.expect("READY=1"));
    let (status, _) = server.stop(Signal::TERM);
    assert_eq!(Some(0), status.code());
    notices.expect("STOPPING=1");
    fs::remove_dir_all(folder).expect("folder");
}

fn monotonic_microseconds() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn systemd_may_be_where_no_file_is_or_be_gone() {
    if testing_memcached() {
        return;
    }
    let name = format!("ringcached-it-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let notices = Notices(UnixDatagram::bind_addr(&address).expect("a socket"));
    let named = |name: String| {
        move |command: &mut Command| {
            command.env("NOTIFY_SOCKET", name);
        }
    };
    let _server = launch(&[], named(format!("@{name}"))).expect("start");
    notices.expect("READY=1");
    let server = launch(&[], named("/no/such/socket".to_owned())).expect("start");
    server.connect().check("mn\n", "MN\n");
    assert!(
        server.said().contains("NOTIFY_SOCKET /no/such/socket"),
        "{}",
        server.said()
    );
}

#[test]
fn the_watchdog_is_fed_while_every_core_takes_turns() {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let path = folder.join("notify");
    let notices = Notices::at(&path);
    let server = launch(&["-t", "2"], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    });
    let server = server.expect("start");
    notices.expect("READY=1");
    for _ in 0..3 {
        notices.expect("WATCHDOG=1");
    }
    // One core hangs, as in an endless loop; the others go on.
    let hung = nix::unistd::Pid::from_raw(server.thread("core 1").as_raw_pid());
    if let Err(error) = ptrace::seize(hung, ptrace::Options::empty()) {
        return skip(
            "a core that hangs",
            &format!("a thread cannot be stopped here: {error}"),
        );
    }
    let hung = Traced(hung);
    ptrace::interrupt(hung.0).expect("interrupt");
    wait::waitpid(hung.0, Some(wait::WaitPidFlag::__WALL)).expect("it stops");
    let mut fed = 0;
    while notices.within(Duration::from_millis(900)).is_some() {
        fed += 1;
        assert!(fed < 4, "a core hangs and nobody is told");
    }
    assert!(
        server.said().contains("no turn was taken by cores [1]"),
        "{}",
        server.said()
    );
    drop(hung);
    notices.expect("WATCHDOG=1");
    fs::remove_dir_all(folder).expect("folder");
}

/// A thread that we may stop. Let go of in any case: a process cannot end before.
struct Traced(nix::unistd::Pid);

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// Starts the server as systemd does that has opened these sockets for it.
pub(crate) fn activate(
    sockets: [Option<OwnedFd>; 2],
    options: &[&str],
    adjust: impl FnOnce(&mut Command),
) -> Result<Server, String> {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/activated");
    let count = sockets.iter().flatten().count();
    let [first, second] = sockets.map(|socket| socket.map_or_else(Stdio::null, Stdio::from));
    Server::launch_with(&starter, options, |command| {
        command.stdin(first).stdout(second);
        command
            .env("ACTIVATED", binary_under_test())
            .env("LISTEN_FDS", count.to_string());
        adjust(command);
    })
}

pub(crate) fn copy<S: Into<OwnedFd>>(socket: std::io::Result<S>) -> Option<OwnedFd> {
    Some(socket.expect("a copy").into())
}

#[test]
fn sockets_handed_over_take_the_place_of_all_others() {
    if testing_memcached() {
        return skip("socket activation", "only ringcached has it");
    }
    let folder = scratch_folder();
    let path = folder.join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("address").port();
    let unix = UnixListener::bind(&path).expect("a socket");
    // Those of systemd's sockets that nobody is to wait for; the rings would find nobody there.
    tcp.set_nonblocking(true).expect("nonblocking");
    let sockets = [copy(tcp.try_clone()), copy(unix.try_clone())];
    let server = activate(
        sockets,
        &["-t", "2", "-p", "1", "-U", "1", "-s", "/no/such/place"],
        |_| (),
    );
    let server = server.expect("start");
    assert_eq!(vec![("TCP INET".to_owned(), port)], server.ports());
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    client.set("a", b"1");
    use std::io::{Read, Write};
    let mut local = UnixStream::connect(&path).expect("connect");
    local.set_read_timeout(Some(DEADLINE)).expect("timeout");
    local.write_all(b"get a\r\nquit\r\n").expect("send");
    let mut answer = String::new();
    local.read_to_string(&mut answer).expect("an answer");
    assert_eq!("VALUE a 0 1\r\n1\r\nEND\r\n", answer);

    // Killed: whoever comes meanwhile waits for the next, in the socket's queue.
    drop((client, server));
    let mut patient = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    patient.send("mn\r\n");
    let _server = activate([copy(tcp.try_clone()), None], &[], |_| ()).expect("start");
    assert_eq!("MN", patient.line());
    fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn datagrams_come_by_a_socket_that_is_handed_over() {
    if testing_memcached() {
        return;
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = udp.local_addr().expect("address").port();
    let server = activate([copy(udp.try_clone()), copy(Ok(tcp))], &["-t", "2"], |_| ()).expect("start");
    assert!(
        server.ports().contains(&("UDP INET".to_owned(), port)),
        "{:?}",
        server.ports()
    );
    let asker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    asker.set_read_timeout(Some(DEADLINE)).expect("timeout");
    asker
        .send_to(b"\0\x07\0\0\0\x01\0\0mn\r\n", ("127.0.0.1", port))
        .expect("send");
    let mut answer = [0; 100];
    let size = asker.recv(&mut answer).expect("an answer");
    assert_eq!(b"\0\x07\0\0\0\x01\0\0MN\r\n", &answer[..size]);
    server.connect().check("mn\n", "MN\n");

    // Who logs in by TCP is not served by UDP without.
    let users = scratch_folder().join("users");
    fs::write(&users, "user:password\n").expect("file");
    let options = ["-Y", users.to_str().expect("path")];
    let refused = activate([copy(udp.try_clone()), None], &options, |_| ());
    let said = refused.err().expect("it serves datagrams to anybody");
    assert!(
        said.starts_with("exit status: 64: ") && said.contains("Cannot use UDP"),
        "{said}"
    );
    fs::remove_dir_all(users.parent().expect("folder")).expect("folder");
}

#[test]
fn what_is_no_listener_is_refused() {
    if testing_memcached() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connection = TcpStream::connect(listener.local_addr().expect("address"));
    let datagrams = UnixDatagram::unbound();
    let null = fs::File::open("/dev/null");
    for (socket, want) in [
        (copy(connection), "a connection, where a listener is wanted"),
        (copy(datagrams), "neither TCP nor UDP nor a unix socket"),
        (copy(null), "neither TCP nor UDP nor a unix socket"),
    ] {
        let refused = activate([socket, None], &[], |_| ());
        let said = refused.err().expect("it listens where it cannot");
        assert!(
            said.starts_with("exit status: 71: ") && said.contains(want),
            "{said}"
        );
    }
    // A name by which TLS is asked for, of a server that has none.
    let names = |command: &mut Command| {
        command.env("LISTEN_FDNAMES", "mtls");
    };
    let refused = activate([copy(listener.try_clone()), None], &[], names);
    let said = refused.err().expect("it forgoes TLS");
    assert!(
        said.contains("'mtls' option is valid only when SSL is enabled"),
        "{said}"
    );
    // Handed over to another process: no business of ours.
    let another = |command: &mut Command| {
        command.env("LISTEN_PID", "1");
    };
    let server = activate([copy(listener.try_clone()), None], &[], another).expect("start");
    assert_ne!(listener.local_addr().expect("address"), server.address());
    server.connect().check("mn\n", "MN\n");
}

#[test]
fn the_real_socket_activation() {
    if testing_memcached() {
        return;
    }
    let Some(starter) = find_program("systemd-socket-activate") else {
        return skip("systemd-socket-activate", "not installed");
    };
    let folder = scratch_folder();
    let path = folder.join("socket");
    let mut command = Command::new(starter);
    command.arg("-l").arg(&path).arg(binary_under_test());
    crate::harness::as_whoever_runs_this(&mut command);
    command
        .args(["-t", "1"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut process = command.spawn().expect("systemd-socket-activate");
    // It starts the server when the first client comes, in its own place.
    let deadline = std::time::Instant::now() + DEADLINE;
    let client = loop {
        match UnixStream::connect(&path) {
            Ok(client) => break client,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    use std::io::{Read, Write};
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let answer = (&client).write_all(b"mn\r\nquit\r\n").and_then(|()| {
        let mut answer = String::new();
        (&client).read_to_string(&mut answer).map(|_| answer)
    });
    process.kill().expect("kill");
    process.wait().expect("wait");
    fs::remove_dir_all(folder).expect("folder");
    assert_eq!("MN\r\n", answer.expect("an answer"));
}

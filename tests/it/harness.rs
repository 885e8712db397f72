//! Starts servers and talks to them.
//!
//! A [`Server`] is a process on a loopback port of the kernel's choosing, ready when `start` returns and gone when
//! it is dropped. A [`Client`] is a socket with deadlines. Nothing here sleeps: a server is ready when it has
//! written its port file, gone when its pidfd says so, and every read has a deadline that fails the test.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, Signal};

/// How long anything may take that should take no time at all. Generous: a machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A server process.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    /// Holds the port file and what the server said; removed with the server.
    folder: PathBuf,
}

impl Server {
    /// The server under test, with `options` beside `-l` and `-p`.
    pub(crate) fn start(options: &[&str]) -> Server {
        Server::launch(&binary_under_test(), options).expect("the server under test does not start")
    }

    /// Debian's memcached, or the one that `MEMCACHED_BIN` names; skipped by name where there is none.
    pub(crate) fn memcached(options: &[&str]) -> Option<Server> {
        Some(Server::launch(&memcached_binary()?, options).expect("memcached does not start"))
    }

    /// Starts `binary` and waits until it listens. `Err` holds what it said if it gave up instead.
    pub(crate) fn launch(binary: &Path, options: &[&str]) -> Result<Server, String> {
        Server::launch_with(binary, options, |_| ())
    }

    /// As `launch`, with a last word on the command before it runs.
    pub(crate) fn launch_with(
        binary: &Path,
        options: &[&str],
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Server, String> {
        let anywhere = (Ipv4Addr::LOCALHOST, "-1");
        Server::launch_there(binary, anywhere, options, adjust)
    }

    /// At this address, where nobody else may listen: for servers that return to where they were.
    pub(crate) fn launch_at(
        binary: &Path,
        address: SocketAddrV4,
        options: &[&str],
    ) -> Result<Server, String> {
        Server::launch_there(
            binary,
            (*address.ip(), &address.port().to_string()),
            options,
            |_| (),
        )
    }

    fn launch_there(
        binary: &Path,
        (host, port): (Ipv4Addr, &str),
        options: &[&str],
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Server, String> {
        let folder = scratch_folder();
        let mut command = server_command(binary, &folder, &host.to_string(), port);
        command.args(options);
        adjust(&mut command);
        let port_file = folder.join("port");
        let arrival = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
        let renamed = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&arrival, &folder, renamed).expect("inotify watch");
        let mut process = command
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let life = pidfd(&process);
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(port) = read_port(&port_file) {
                let address = SocketAddr::from((host, port));
                return Ok(Server {
                    process,
                    address,
                    folder,
                });
            }
            let mut events = [
                PollFd::new(&arrival, PollFlags::IN),
                PollFd::new(&life, PollFlags::IN),
            ];
            let left = deadline.saturating_duration_since(Instant::now());
            let woken = poll(&mut events, Some(&timespec(left))).expect("poll");
            let died = !events[1].revents().is_empty();
            if woken == 0 || died {
                let _ = process.kill();
                let status = process.wait().expect("wait");
                let said = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
                let _ = fs::remove_dir_all(&folder);
                return Err(format!("{status}: {said}"));
            }
            let mut names = [0; 4096];
            let _ = rustix::io::read(&arrival, &mut names);
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to its port file: `TCP INET`, `UDP INET6` and the like, and ports.
    pub(crate) fn ports(&self) -> Vec<(String, u16)> {
        let text = fs::read_to_string(self.folder.join("port")).expect("port file");
        text.lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(kind, port)| (kind.to_owned(), port.parse().expect("a port")))
            .collect()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(pidfd(&self.process), signal).expect("signal");
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// What it has written to stderr so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).expect("stderr file")
    }

    /// A figure of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("field");
        let kibibytes = line.split_whitespace().nth(1).expect("figure");
        kibibytes.parse::<u64>().expect("number") * 1024
    }

    /// How many files and sockets it holds.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .expect("descriptors")
            .count()
    }

    /// The number of the thread of this name.
    pub(crate) fn thread(&self, name: &str) -> Pid {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("tasks");
        let tasks: Vec<PathBuf> = tasks.map(|task| task.expect("a task").path()).collect();
        let is_named =
            |task: &&PathBuf| fs::read_to_string(task.join("comm")).expect("comm").trim_end() == name;
        let task = tasks.iter().find(is_named).expect("the thread");
        let number = task.file_name().and_then(|name| name.to_str()).expect("a number");
        Pid::from_raw(number.parse().expect("a number")).expect("not 0")
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("tasks");
        let nanoseconds = tasks.filter_map(|task| {
            let schedstat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Sends a signal and waits for the end: how it ended, and how long that took.
    pub(crate) fn stop(mut self, signal: Signal) -> (ExitStatus, Duration) {
        self.end(signal)
    }

    /// As `stop`: how it ended, and all it has said.
    pub(crate) fn last_words(mut self, signal: Signal) -> (ExitStatus, String) {
        let (status, _) = self.end(signal);
        (status, self.said())
    }

    fn end(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(signal);
        let status = self.wait_for_end();
        (status, asked.elapsed())
    }

    /// Waits for the end, which has been brought about in another way: how it ended.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.wait_for_end()
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let life = pidfd(&self.process);
        let mut end = [PollFd::new(&life, PollFlags::IN)];
        let ended = poll(&mut end, Some(&timespec(DEADLINE))).expect("poll");
        assert_eq!(1, ended, "still there after {DEADLINE:?}");
        self.process.wait().expect("wait")
    }

    /// True while the process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().expect("wait").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.process.try_wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            if let Ok(Some(status)) = ended {
                eprintln!("server: had ended by itself, {status}");
            }
            let said = fs::read_to_string(self.folder.join("stderr")).unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(20).collect();
            for line in tail.iter().rev() {
                eprintln!("server: {line}");
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How long nobody looks after a look in vain.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until `holds`, for what no event tells: counters, what the system says of a process, figures of a proxy.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A connection. Every read has a deadline; a reply that does not come fails the test.
pub(crate) struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        socket.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("write timeout");
        Client {
            input: BufReader::with_capacity(64 * 1024, socket),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.input.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket().write_all(bytes.as_ref()).expect("send");
    }

    /// The next line, without its line end, which must be CR LF.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).expect("a line");
        assert!(
            line.ends_with(b"\r\n"),
            "not a line: {:?}",
            line.escape_ascii().to_string()
        );
        line.truncate(line.len() - 2);
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The next line, whatever it ends with.
    pub(crate) fn line_or_lf(&mut self) -> String {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).expect("a line");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// The next `count` bytes.
    pub(crate) fn exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.input.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// Sends one line and gives the first line of the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    /// Stores a value and insists on `STORED`.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) {
        let mut request = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        self.send(request);
        assert_eq!("STORED", self.line(), "set {key}");
    }

    /// The value of a key.
    pub(crate) fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.send(format!("get {key}\r\n"));
        let value = self.value().map(|(found, value)| {
            assert_eq!(key, found);
            value
        });
        if value.is_some() {
            assert_eq!("END", self.line());
        }
        value
    }

    /// The next block of a retrieval, or `None` at its END.
    pub(crate) fn value(&mut self) -> Option<(String, Vec<u8>)> {
        let line = self.line();
        if line == "END" {
            return None;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[0] == "VALUE" && words.len() >= 4, "not a value: {line:?}");
        let value = self.exact(words[3].parse().expect("a size"));
        assert_eq!(b"\r\n", &self.exact(2)[..]);
        Some((words[1].to_owned(), value))
    }

    /// A general statistic.
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        self.send("stats\r\n");
        let mut found = None;
        loop {
            let line = self.line();
            if line == "END" {
                return found.unwrap_or_else(|| panic!("no statistic {name}"));
            }
            let mut words = line.split(' ');
            assert_eq!(Some("STAT"), words.next(), "{line:?}");
            if words.next() == Some(name) {
                found = words.next().and_then(|figure| figure.parse().ok());
            }
        }
    }

    /// Reads and forgets what is there, or what comes next: how many bytes, 0 at the end, `None` for an error.
    pub(crate) fn some(&mut self) -> Option<usize> {
        let count = self.input.fill_buf().ok()?.len();
        self.input.consume(count);
        Some(count)
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.input.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!(
                "the connection stays open: {error}, after {:?}",
                rest.escape_ascii().to_string()
            ),
        }
    }

    /// No more requests from here.
    pub(crate) fn finish(&mut self) {
        self.socket().shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Sends `requests` and insists on `want`, and on nothing else: a `version` behind them must be what is answered
    /// next. In both, `\n` stands for CR LF.
    #[track_caller]
    pub(crate) fn check(&mut self, requests: &str, want: &str) {
        self.check_bytes(spell(requests).as_bytes(), spell(want).as_bytes());
    }

    /// As `check`, with bytes taken as they are.
    #[track_caller]
    pub(crate) fn check_bytes(&mut self, requests: &[u8], want: &[u8]) {
        self.send([requests, b"version\r\n"].concat());
        self.expect(want, &requests.escape_ascii().to_string());
    }

    /// Reads up to the fence and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, want: &[u8], asked: &str) {
        let mut got = Vec::new();
        let fence = b"VERSION ";
        // A wrong reply is read to its fence all the same, so that the message can show it.
        loop {
            let before = got.len();
            let size = self.input.read_until(b'\n', &mut got).expect("the fence");
            assert!(size > 0, "hung up on {asked}: {}", got.escape_ascii());
            let wanted = want.get(before..).is_some_and(|rest| rest.starts_with(fence));
            if got[before..].starts_with(fence) && !wanted {
                got.truncate(before);
                break;
            }
        }
        let shorten = |bytes: &[u8]| bytes[..bytes.len().min(2000)].escape_ascii().to_string();
        assert!(
            want == got,
            "to {}\nwant {}\n got {}",
            &asked[..asked.len().min(1000)],
            shorten(want),
            shorten(&got)
        );
    }
}

/// CR LF for every `\n`.
pub(crate) fn spell(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// A conversation with a fresh server: see [`Client::check`].
#[track_caller]
pub(crate) fn check(requests: &str, want: &str) {
    Server::start(&[]).connect().check(requests, want);
}

/// The binary that the tests are about.
pub(crate) fn binary_under_test() -> PathBuf {
    std::env::var_os("RINGCACHED_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringcached").into(), PathBuf::from)
}

/// Debian's memcached, or the one that `MEMCACHED_BIN` names; skipped by name where there is none.
pub(crate) fn memcached_binary() -> Option<PathBuf> {
    let binary =
        std::env::var_os("MEMCACHED_BIN").map_or_else(|| find_program("memcached"), |p| Some(p.into()));
    if binary.is_none() {
        skip("memcached", "not installed");
    }
    binary
}

/// True where the binary under test is somebody's memcached: tests of what only ringcached has are skipped then.
pub(crate) fn testing_memcached() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let help = Command::new(binary_under_test())
            .arg("-h")
            .output()
            .expect("the server's help");
        !String::from_utf8_lossy(&help.stdout).contains("core-ports")
    })
}

/// The command line that every server gets: an address on loopback, a port (-1 is a free one), and the port file.
pub(crate) fn server_command(binary: &Path, folder: &Path, host: &str, port: &str) -> Command {
    let mut command = Command::new(binary);
    command.args(["-l", host, "-p", port]);
    command.env("MEMCACHED_PORT_FILENAME", folder.join("port"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(folder.join("stderr")).expect("stderr file"));
    as_whoever_runs_this(&mut command);
    if let Some(io) = std::env::var_os("RINGCACHED_IO").filter(|_| binary == binary_under_test()) {
        command.arg("--io").arg(io);
    }
    if binary == binary_under_test() && std::env::var_os("RINGCACHED_CONFINED").is_some() {
        command.args(["-o", "drop_privileges"]);
    }
    command
}

/// memcached, and ringcached as well, insists on being told its user when root starts it.
pub(crate) fn as_whoever_runs_this(command: &mut Command) {
    if rustix::process::getuid().is_root() {
        command.args(["-u", "root"]);
    }
}

/// Connects to a unix socket as soon as somebody listens there; fails at the deadline.
pub(crate) fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let started = Instant::now();
    let client = loop {
        match UnixStream::connect(path) {
            Ok(client) => break client,
            Err(error) if started.elapsed() > DEADLINE => return Err(error),
            Err(_) => std::thread::yield_now(),
        }
    };
    client.set_read_timeout(Some(DEADLINE))?;
    Ok(client)
}

/// A new folder for one server.
pub(crate) fn scratch_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("ringcached-it-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("scratch folder");
    // Whoever the server becomes may write here.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("scratch folder");
    folder
}

/// Lets this process hold that many sockets, if the system allows it.
pub(crate) fn allow_descriptors(count: u64) -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    let wanted = rustix::process::Rlimit {
        current: Some(count),
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).is_ok()
}

/// The program of this name in PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Says that something is not tested here, and why. Past the test runner's capture, or nobody would see it.
pub(crate) fn skip(name: &str, reason: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let line = format!("SKIP {name}: {reason}");
    let mut said = SAID.lock().expect("skipped");
    if said.contains(&line) {
        return;
    }
    let _ = writeln!(io::stderr(), "{line}");
    if let Some(file) = std::env::var_os("RINGCACHED_SKIPPED") {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(file)
            .expect("RINGCACHED_SKIPPED");
        writeln!(file, "{line}").expect("RINGCACHED_SKIPPED");
    }
    let required = std::env::var("RINGCACHED_REQUIRED").unwrap_or_default();
    assert!(
        !required.split_whitespace().any(|word| word == name),
        "{name} is required here (RINGCACHED_REQUIRED), but: {reason}"
    );
    said.push(line);
}

/// A small random generator (splitmix64): the same seed gives the same test everywhere.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// `TCP INET: 12345`, once the file is complete.
pub(crate) fn read_port(file: &Path) -> Option<u16> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with("TCP INET:"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn pidfd(process: &Child) -> rustix::fd::OwnedFd {
    let pid = Pid::from_child(process);
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("pidfd")
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).expect("a short time")
}

/// Reads whatever is there until `quiet` has passed without a byte; for tests of what must not come.
pub(crate) fn nothing_within(client: &Client, quiet: Duration) -> bool {
    client
        .socket()
        .set_read_timeout(Some(quiet))
        .expect("read timeout");
    let mut byte = [0];
    let outcome = client.socket().read(&mut byte);
    client
        .socket()
        .set_read_timeout(Some(DEADLINE))
        .expect("read timeout");
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

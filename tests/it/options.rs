//! The command line: what start scripts of memcached users hold starts ringcached, and what memcached refuses is refused
//! alike.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::harness::{
    DEADLINE, Server, as_whoever_runs_this, binary_under_test, find_program, scratch_folder, skip,
    testing_memcached,
};

/// Runs a program that is to end by itself.
fn run<S: AsRef<OsStr>>(binary: &Path, words: &[S]) -> Output {
    let mut command = Command::new("timeout");
    command.arg(DEADLINE.as_secs().to_string()).arg(binary);
    as_whoever_runs_this(&mut command);
    command.args(words).output().expect("timeout")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Argument lists as they are found in distributions, images and charts, one word a string.
const FOUND: &[(&str, &[&str])] = &[
    (
        "Debian's memcached.conf",
        &[
            "-m 64",
            "-p 11211",
            "-u memcache",
            "-l 127.0.0.1",
            "-P /var/run/memcached/memcached.pid",
        ],
    ),
    (
        "Debian's memcached.conf with both addresses, as its wrapper splits it",
        &[
            "-m",
            "64",
            "-p",
            "11211",
            "-u",
            "memcache",
            "-l",
            "127.0.0.1",
            "-l",
            "::1",
            "-P",
            "/var/run/memcached/memcached.pid",
        ],
    ),
    (
        "RHEL's sysconfig",
        &[
            "-p",
            "11211",
            "-u",
            "memcached",
            "-m",
            "64",
            "-c",
            "1024",
            "-l",
            "127.0.0.1,::1",
        ],
    ),
    (
        "Docker's example",
        &["-m", "64", "-c", "1024", "-t", "4", "-I", "5m", "-vv"],
    ),
    (
        "Docker's other example",
        &["--memory-limit=64", "--conn-limit=1024", "--threads=4"],
    ),
    (
        "Grafana's charts",
        &[
            "-m 8192",
            "--extended=modern,track_sizes",
            "-I 5m",
            "-c 16384",
            "-v",
            "-u 11211",
        ],
    ),
    (
        "Grafana's charts with persistence",
        &[
            "-m 2048",
            "--extended=modern,track_sizes,ext_path=/data/file:90G,ext_wbuf_size=16",
            "-I 5m",
            "-c 16384",
        ],
    ),
    ("a tuned one", &["-o", "modern", "-R", "2000"]),
    ("all of IPv6", &["-l", "::"]),
    (
        "one without UDP",
        &[
            "-vv",
            "-l",
            "127.0.0.1",
            "-p",
            "11211",
            "-c",
            "5000",
            "-U",
            "0",
            "-m",
            "256",
        ],
    ),
    (
        "Bitnami's",
        &[
            "--lock-memory",
            "--memory-file=/cache-state/memory_file",
            "--extended=modern",
        ],
    ),
    (
        "one of the 1.4 days",
        &[
            "-C",
            "-L",
            "-f",
            "1.05",
            "-n",
            "72",
            "-o",
            "no_modern,hashpower=20",
            "-b",
            "2048",
        ],
    ),
    (
        "everything forbidden",
        &[
            "-F", "-X", "-W", "-B", "ascii", "-D", "/", "-r", "-k", "-M", "-A", "-a", "0770",
        ],
    ),
];

#[test]
fn argument_lists_of_memcached_users_start_it() {
    let is_root = rustix::process::getuid().is_root();
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for (whose, words) in FOUND {
        if !has_ipv6 && words.iter().any(|word| word.contains(":")) {
            skip(whose, "no IPv6 here");
            continue;
        }
        if testing_memcached()
            && words
                .iter()
                .any(|word| word.contains("memory-file") || word.contains("ext_"))
        {
            continue;
        }
        let folder = scratch_folder();
        let pid_file = folder.join("pid");
        // Root must become somebody who is there; others become nobody, whatever is said.
        let there = |word: &&str| !is_root || !is_name_of_nobody(word, words);
        let words: Vec<&str> = words.iter().copied().filter(there).collect();
        // The last of each wins: the port and the file are not this machine's real ones.
        let own = ["-p", "-1", "-P", pid_file.to_str().expect("path")];
        let all: Vec<&str> = words.iter().copied().chain(own).collect();
        let server =
            Server::launch(&binary_under_test(), &all).unwrap_or_else(|said| panic!("{whose}: {said}"));
        let mut client = server.connect();
        client.set("key", b"value");
        assert_eq!(Some(b"value".to_vec()), client.get("key"), "{whose}");
        // What has no effect is said, each in one line.
        let has_effect = !words
            .iter()
            .any(|word| word.contains("ext_") || word.contains("hashpower") || word.contains("memory-file"));
        let notes = server.said().matches("no effect").count();
        assert!(
            testing_memcached() || has_effect == (notes == 0),
            "{whose}: {}",
            server.said()
        );
        let pid = std::fs::read_to_string(&pid_file).expect("pid file");
        assert_eq!(server.pid().to_string(), pid.trim(), "{whose}");
        drop(server);
        std::fs::remove_dir_all(folder).expect("folder");
    }
}

/// Whether a word is a user, or the option before one, who does not exist here.
fn is_name_of_nobody(word: &str, words: &[&str]) -> bool {
    let is_unknown = |name: &str| {
        let known = Command::new("getent").args(["passwd", name]).output();
        // By number nobody is found, as memcached has it.
        name.bytes().all(|byte| byte.is_ascii_digit()) || !known.is_ok_and(|known| known.status.success())
    };
    if let Some(name) = word.strip_prefix("-u ") {
        return is_unknown(name);
    }
    let at = words.iter().position(|other| *other == "-u");
    let name = at.and_then(|at| words.get(at + 1));
    name.is_some_and(|name| (word == "-u" || word == *name) && is_unknown(name))
}

/// Words, the exit code, and what is said of them.
const REFUSED: &[(&[&str], i32, &str)] = &[
    (&["-p", "65536"], 64, "Invalid port number"),
    (&["-p", "70000"], 64, "Invalid port number"),
    (&["-c", "0"], 1, "Maximum connections must be greater than 0"),
    (&["-c", "-1"], 1, "Maximum connections must be greater than 0"),
    (&["-c", "x"], 1, "Maximum connections must be greater than 0"),
    (&["-t", "0"], 1, "Number of threads must be greater than 0"),
    (&["-t -4"], 1, "Number of threads must be greater than 0"),
    (
        &["-R", "0"],
        1,
        "Number of requests per event must be greater than 0",
    ),
    (&["-f", "1"], 1, "Factor must be greater than 1"),
    (&["-f", "x"], 1, "Factor must be greater than 1"),
    (&["-n", "0"], 1, "Chunk size must be greater than 0"),
    (&["-D", ""], 1, "No delimiter specified"),
    (&["-B", "http"], 64, "Invalid value for binding protocol: http"),
    (
        &["-I", "1023"],
        64,
        "Item max size cannot be less than 1024 bytes.",
    ),
    (&["-I", "x"], 64, "Item max size cannot be less than 1024 bytes."),
    (
        &["-I", "33m"],
        64,
        "Cannot set item size limit higher than 1/2 of memory max.",
    ),
    (
        &["-I", "1025m", "-m", "4096"],
        64,
        "Cannot set item size limit higher than a gigabyte.",
    ),
    (
        &["-m", "1"],
        64,
        "Cannot set item size limit higher than 1/2 of memory max.",
    ),
    (
        &["-m", "0"],
        64,
        "Cannot set item size limit higher than 1/2 of memory max.",
    ),
    (&["-N", "0"], 1, "NAPI IDs"),
    (&["-N", "3", "-t", "2"], 64, "napi_ids"),
    (&["-Q"], 1, "Illegal argument"),
    (&["--nonsense"], 1, "Illegal argument"),
    (&["--disable"], 1, "Illegal argument"),
    (&["--daemon=x"], 1, "Illegal argument"),
    (&["-p"], 1, "Illegal argument"),
    (
        &["-l", "no.such.host.invalid"],
        71,
        "failed to listen on one of interface(s) no.such.host.invalid",
    ),
    (&["-l", "127.0.0.1:x"], 71, "Invalid port number: \"x\""),
    (
        &["-l", "notls:127.0.0.1"],
        71,
        "'notls' option is valid only when SSL is enabled",
    ),
    (
        &["-l", "tag_longerthan8_:127.0.0.1"],
        71,
        "Listener tags must be between 1 and 8 characters",
    ),
    (
        &["-l", "203.0.113.9"],
        71,
        "failed to listen on one of interface(s) 203.0.113.9",
    ),
    (
        &["-s", "/no/such/folder/socket"],
        71,
        "failed to listen on UNIX socket: /no/such/folder/socket",
    ),
    (
        &["-Y", "/no/such/file"],
        1,
        "Could not open authfile [/no/such/file] for reading",
    ),
    (
        &["-Y", "/dev/null", "-B", "binary"],
        64,
        "You cannot allow the BINARY protocol",
    ),
    (
        &["-Y", "/dev/null", "-U", "11211"],
        64,
        "Cannot use UDP with ascii authentication",
    ),
    (&["-o", "nonsense=1"], 1, "Illegal suboption \"nonsense=1\""),
    (
        &["-o", "modern,hashpower"],
        1,
        "Missing numeric argument for hashpower",
    ),
    (&["-o", "hashpower=11"], 1, "hashpower"),
    (&["-o", "hashpower=33"], 1, "hashpower"),
    (&["-o", "hash_algorithm=md5"], 1, "Unknown hash_algorithm option"),
    (&["-o", "slab_automove=3"], 1, "slab_automove"),
    (&["-o", "slab_automove_ratio=2"], 1, "slab_automove_ratio"),
    (&["-o", "slab_automove_window=2"], 1, "slab_automove_window"),
    (&["-o", "slab_chunk_max"], 1, "slab_chunk_max"),
    (&["-o", "lru_crawler_sleep=1000001"], 1, "lru_crawler_sleep"),
    (&["-o", "lru_crawler_tocrawl=x"], 1, "lru_crawler_tocrawl"),
    (&["-o", "hot_lru_pct=80"], 1, "hot_lru_pct"),
    (&["-o", "warm_lru_pct=0"], 1, "warm_lru_pct"),
    (
        &["-o", "hot_lru_pct=41,warm_lru_pct=40"],
        64,
        "hot_lru_pct + warm_lru_pct cannot be more than 80% combined",
    ),
    (&["-o", "hot_max_factor=0"], 1, "hot_max_factor"),
    (&["-o", "warm_max_factor=0"], 1, "warm_max_factor"),
    (
        &["-o", "temporary_ttl=1,no_lru_maintainer"],
        64,
        "temporary_ttl requires lru_maintainer",
    ),
    (&["-o", "slab_sizes=200-100"], 64, "slab size 100"),
    (&["-o", "slab_sizes=100-104"], 64, "slab size 104"),
    (&["-o", "slab_sizes=10"], 64, "slab size 10"),
    (&["-o", "slab_sizes=x"], 64, "slab size"),
    (
        &["-o", "idle_timeout"],
        1,
        "Missing numeric argument for idle_timeout",
    ),
    (&["-o", "tail_repair_time=9"], 1, "tail_repair_time"),
    (&["-o", "watcher_logbuf_size=x"], 1, "watcher_logbuf_size"),
    (&["-o", "worker_logbuf_size=x"], 1, "worker_logbuf_size"),
    (&["-o", "read_buf_mem_limit=x"], 1, "read_buf_mem_limit"),
    (&["-o", "slab_automove_freeratio=x"], 1, "slab_automove_freeratio"),
    (&["-o", "ssl_verify_mode=4"], 1, "ssl_verify_mode"),
    (&["-o", "ssl_min_version=4"], 1, "ssl_min_version"),
    (&["-o", "ssl_keyformat=x"], 1, "ssl_keyformat"),
    (&["-o", "ssl_wbuf_size=x"], 1, "ssl_wbuf_size"),
    (&["-o", "ssl_key"], 1, "ssl_key"),
    (&["-o", "ssl_chain_cert"], 1, "ssl_chain_cert"),
    (&["-o", "ssl_ca_cert"], 1, "ssl_ca_cert"),
    (&["-o", "ssl_ciphers"], 1, "ssl_ciphers"),
];

/// Options of our own, as clap says it, with memcached's code for what it does not know; and memcached's where Debian's
/// (1.6.18) has another code than 1.6.45, or another build.
const REFUSED_OWN: &[(&[&str], i32, &str)] = &[
    (&["-U", "65536", "-p", "-1"], 71, "no such port"),
    (&["-S"], 64, "-S needs MEMCACHED_SASL_PWDB"),
    (
        &["-S", "-U", "1"],
        64,
        "Cannot enable UDP while using binary SASL",
    ),
    (
        &["-S", "-B", "ascii"],
        64,
        "You cannot allow the ASCII protocol while using SASL",
    ),
    (&["-Z", "-p", "0"], 64, "You cannot enable SSL without a TCP port"),
    (&["-Z"], 64, "Error loading the certificate chain"),
    (&["-o", "slab_chunk_max=1025"], 1, "slab_chunk_max"),
    // memcached crashes.
    (&["-o", "slab_sizes"], 1, "slab_sizes"),
    (&["--io", "kqueue"], 1, "--io <LOOP>"),
    (&["--log-format", "xml"], 1, "--log-format <FORM>"),
    (&["--eviction", "random"], 1, "--eviction <POLICY>"),
    (&["--core-ports", "70000"], 1, "--core-ports <BASE>"),
    (&["--pin", "now"], 1, "--pin <WHEN>"),
    (&["--busy-poll-us", "x"], 1, "--busy-poll-us <US>"),
    (&["--amplify-to", "10.0.0.0"], 1, "--amplify-to <NETS>"),
    (&["--config", "/no/such/file"], 64, "--config /no/such/file"),
];

#[test]
fn what_only_ringcached_knows_is_refused_alike() {
    if testing_memcached() {
        return skip("own options", "only ringcached has them");
    }
    for (words, code, text) in REFUSED_OWN {
        let ours = run(&binary_under_test(), words);
        assert_eq!(Some(*code), ours.status.code(), "{words:?}: {}", said(&ours));
        assert!(said(&ours).contains(text), "{words:?}: {}", said(&ours));
        check_that_it_is_named(words, &said(&ours));
    }
}

/// Every refusal names the option that is wrong, as it was typed, or the place that it names.
#[track_caller]
fn check_that_it_is_named(words: &[&str], text: &str) {
    let option = words[0].split([' ', '=']).next().expect("an option");
    let names: Vec<&str> = match option {
        // Which of the sub-options is wrong.
        "-o" => words[1].split([',', '=']).collect(),
        "-p" | "-U" => vec!["port"],
        "-l" => vec!["interface"],
        "-s" => vec!["unix socket"],
        "-Y" => vec!["auth"],
        "-S" => vec!["sasl"],
        "-Z" => vec!["ssl", "certificate"],
        other => vec![other],
    };
    let text = text.to_lowercase();
    let is_named = names.iter().any(|name| text.contains(&name.to_lowercase()));
    assert!(is_named, "{words:?}: {text}");
}

#[test]
fn what_memcached_refuses_is_refused_with_its_code() {
    let memcached =
        std::env::var_os("MEMCACHED_BIN").map_or_else(|| find_program("memcached"), |p| Some(p.into()));
    if memcached.is_none() {
        skip("memcached's exit codes", "no memcached to compare with");
    }
    for (words, code, text) in REFUSED {
        let ours = run(&binary_under_test(), words);
        assert_eq!(Some(*code), ours.status.code(), "{words:?}: {}", said(&ours));
        if !testing_memcached() {
            assert!(said(&ours).contains(text), "{words:?}: {}", said(&ours));
            check_that_it_is_named(words, &said(&ours));
        }
        if let Some(memcached) = &memcached {
            let theirs = run(memcached, words);
            // 1.6.18 crashes at some of them.
            if let Some(theirs_code) = theirs.status.code() {
                assert_eq!(*code, theirs_code, "memcached {words:?}: {}", said(&theirs));
            }
        }
    }
}

#[test]
fn more_descriptors_than_allowed_are_refused() {
    use rustix::process::{Resource, getrlimit};
    if testing_memcached() {
        return skip(
            "-c above the descriptor limit",
            "a memcached for debugging does not look",
        );
    }
    let more = match getrlimit(Resource::Nofile).maximum {
        // Root may raise its limit, up to the system's.
        _ if rustix::process::getuid().is_root() => 2_000_000_000,
        Some(maximum) if maximum < 1 << 30 => maximum + 1,
        _ => return skip("-c above the descriptor limit", "there is no such limit"),
    };
    let output = run(&binary_under_test(), &["-c", &more.to_string()]);
    assert_eq!(Some(71), output.status.code(), "{}", said(&output));
    assert!(
        said(&output).contains("failed to set rlimit for open files"),
        "{}",
        said(&output)
    );
}

#[test]
fn help_version_and_licence() {
    let binary = binary_under_test();
    let help = run(&binary, &["-h"]);
    let text = said(&help);
    assert_eq!(Some(0), help.status.code());
    assert!(text.contains("unix-socket"), "{text}");
    if testing_memcached() {
        return;
    }
    // memcached's tests look here for what they can ask of a server.
    assert!(text.contains("enable-ssl"), "{text}");
    for absent in ["ext_path", "proxy_config"] {
        assert!(!text.contains(absent), "{absent} is not there:\n{text}");
    }
    let licence = run(&binary, &["-i"]);
    assert!(licence.status.success() && said(&licence).contains("MIT"));
    let version = said(&run(&binary, &["-V"]));
    assert!(
        version.contains("ringcached") && version.contains("memcached 1.6."),
        "{version}"
    );

    let folder = scratch_folder();
    let link = folder.join("memcached");
    std::os::unix::fs::symlink(&binary, &link).expect("a link");
    assert_eq!(
        "memcached 1.6.45\n",
        said(&run(&link, &["-V"])),
        "under memcached's name"
    );
    let server = Server::launch(&link, &[]).expect("it starts by that name");
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", server.pid())).expect("comm");
    assert_eq!("memcached\n", comm, "pgrep looks for that");
    drop(server);
    std::fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn a_file_as_debian_has_it() {
    if testing_memcached() {
        return skip("--config", "only ringcached has it");
    }
    let folder = scratch_folder();
    let file = folder.join("memcached.conf");
    let text =
        "# memcached default config file\n\n-d\nlogfile /var/log/memcached.log\n-m 128 # more\n-c 77\n-vv\n";
    std::fs::write(&file, text).expect("file");
    let name = file.to_str().expect("path");
    let server = Server::start(&["-c", "78", "--config", name]);
    let settings = crate::statistics::stats(&mut server.connect(), "settings");
    for (name, value) in [("maxbytes", "134217728"), ("maxconns", "78"), ("verbosity", "2")] {
        assert!(settings.contains(&(name.into(), value.into())), "{name} {value}");
    }
    let output = run(&binary_under_test(), &["--config", "/no/such/file"]);
    assert_eq!(Some(64), output.status.code());
    assert!(said(&output).contains("--config /no/such/file"));
    drop(server);
    std::fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn root_becomes_somebody_else() {
    if !rustix::process::getuid().is_root() {
        return skip("-u", "only root can become another user");
    }
    let binary = binary_under_test();
    let without = Command::new("timeout")
        .arg("20")
        .arg(&binary)
        .output()
        .expect("timeout");
    assert_eq!(Some(64), without.status.code());
    assert!(
        said(&without).contains("must add '-u root' to start as root"),
        "{}",
        said(&without)
    );
    let nobody = run(&binary, &["-u", "no-such-user"]);
    assert_eq!(Some(67), nobody.status.code());
    assert!(
        said(&nobody).contains("can't find the user no-such-user to switch to"),
        "{}",
        said(&nobody)
    );

    let server = Server::start(&["-u", "nobody"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let of = |field: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("field");
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let id = |option: &str| said(&Command::new("id").args([option, "nobody"]).output().expect("id"));
    let (user, group) = (id("-u"), id("-g"));
    assert_eq!(
        vec![user.trim(); 4],
        of("Uid:"),
        "real, effective, saved and of the file system"
    );
    assert_eq!(vec![group.trim(); 4], of("Gid:"));
    assert!(!of("Groups:").contains(&"0".to_owned()), "{:?}", of("Groups:"));
    server.connect().set("key", b"value");
}

#[test]
fn signals() {
    let server = Server::start(&["-t", "2"]);
    server.signal(Signal::HUP);
    server.signal(Signal::PIPE);
    server.connect().check("mn\n", "MN\n");
    let (status, _) = server.stop(Signal::USR1);
    assert_eq!(Some(0), status.code());
}

#[test]
fn verbosity_is_heard() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.set("unheard", b"1");
    assert_eq!("OK", client.ask("verbosity 2"));
    let mut other = server.connect();
    other.set("heard", b"secret");
    other.check(
        "get heard\nmg heard v\n",
        "VALUE heard 0 6\nsecret\nEND\nVA 6\nsecret\n",
    );
    if testing_memcached() {
        return;
    }
    // What was said before an answer is in the file when the answer has come.
    let heard = server.said();
    assert!(
        heard.contains("set heard") && heard.contains("get heard"),
        "{heard}"
    );
    assert!(!heard.contains("unheard") && !heard.contains("secret"), "{heard}");
    assert_eq!("OK", other.ask("verbosity 0"));
    other.set("later", b"1");
    assert!(!server.said().contains("later"), "{}", server.said());
}

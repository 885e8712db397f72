//! The programs that people point at a memcached: libmemcached's tools and memtier_benchmark.

use std::process::{Command, Output};

use crate::classic::pattern;
use crate::harness::{Server, find_program, scratch_folder, skip, testing_memcached};

/// A tool that hangs is stopped after this many seconds, and fails.
const SECONDS_MAX: &str = "100";

/// A tool, or nothing where it is not installed.
struct Tool(&'static str);

impl Tool {
    fn find(name: &'static str) -> Option<Tool> {
        if find_program(name).is_none() {
            skip(name, "not installed");
            return None;
        }
        Some(Tool(name))
    }

    fn output(&self, arguments: &[&str]) -> Output {
        Command::new("timeout")
            .arg(SECONDS_MAX)
            .arg(self.0)
            .args(arguments)
            .output()
            .expect(self.0)
    }

    /// What it prints, where it succeeds.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = text(&output);
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}\n{said}",
            self.0,
            output.status
        );
        said
    }

    #[track_caller]
    fn fail(&self, arguments: &[&str]) {
        let output = self.output(arguments);
        assert_eq!(
            Some(1),
            output.status.code(),
            "{} {arguments:?}: {}",
            self.0,
            text(&output)
        );
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Servers of one thread and of four, each with the `--servers=` that libmemcached's tools want.
fn servers() -> [(Server, String); 2] {
    ["1", "4"].map(|threads| {
        let server = Server::start(&["-t", threads]);
        let address = format!("--servers=127.0.0.1:{}", server.port());
        (server, address)
    })
}

#[test]
fn memcping() {
    let Some(tool) = Tool::find("memcping") else {
        return;
    };
    for (server, address) in servers() {
        tool.run(&[&address]);
        drop(server);
        tool.fail(&[&address]);
    }
}

#[test]
fn memccp_and_memccat() {
    let (Some(copy), Some(cat)) = (Tool::find("memccp"), Tool::find("memccat")) else {
        return;
    };
    let folder = scratch_folder();
    for (server, address) in servers() {
        for (name, size) in [("small", 10), ("empty", 0), ("page", 4096), ("large", 1_000_000)] {
            let file = folder.join(name);
            let value = pattern(size, size as u64);
            std::fs::write(&file, &value).expect("file");
            copy.run(&[&address, file.to_str().expect("path")]);
            assert!(
                server.connect().get(name) == Some(value.clone()),
                "{name} did not arrive"
            );
            let got = cat.output(&[&address, name]).stdout;
            assert!(got.starts_with(&value), "memccat {name} printed something else");
        }
        cat.fail(&[&address, "nothing"]);
    }
    std::fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn memcexist_memcrm_and_memctouch() {
    let (Some(exist), Some(remove), Some(touch)) = (
        Tool::find("memcexist"),
        Tool::find("memcrm"),
        Tool::find("memctouch"),
    ) else {
        return;
    };
    for (server, address) in servers() {
        server.connect().set("a", b"x");
        exist.run(&[&address, "a"]);
        exist.fail(&[&address, "b"]);
        // Asking must not have made an item.
        assert_eq!(None, server.connect().get("b"));
        touch.run(&[&address, "--expire=100", "a"]);
        touch.fail(&[&address, "--expire=100", "b"]);
        assert_eq!(Some(b"x".to_vec()), server.connect().get("a"));
        remove.run(&[&address, "a"]);
        remove.fail(&[&address, "a"]);
        assert_eq!(None, server.connect().get("a"));
    }
}

#[test]
fn memcstat() {
    let Some(tool) = Tool::find("memcstat") else {
        return;
    };
    for (server, address) in servers() {
        server.connect().set("a", b"x");
        let said = tool.run(&[&address]);
        for line in ["curr_items: 1", "cmd_set: 1", "pointer_size: 64", "version: 1."] {
            assert!(said.contains(line), "no {line:?} in\n{said}");
        }
    }
}

#[test]
fn memcdump() {
    let Some(tool) = Tool::find("memcdump") else {
        return;
    };
    for (server, address) in servers() {
        let mut client = server.connect();
        let mut keys: Vec<String> = (0..200).map(|number| format!("key-{number:03}")).collect();
        for (number, key) in keys.iter().enumerate() {
            client.set(key, &pattern(number * 40, 1));
        }
        keys.push("large".to_owned());
        client.set("large", &pattern(300_000, 1));
        let said = tool.run(&[&address]);
        let mut found: Vec<&str> = said.lines().collect();
        found.sort_unstable();
        assert_eq!(keys, found);
    }
}

/// memcached's own script, every mode of it.
#[test]
fn memcached_tool() {
    let script = std::path::Path::new("/usr/share/memcached/scripts/memcached-tool");
    if !script.is_file() || find_program("perl").is_none() {
        return skip("memcached-tool", "not installed");
    }
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads, "-o", "track_sizes"]);
        let mut client = server.connect();
        for number in 0..50 {
            client.set(&format!("key-{number}"), b"a value");
        }
        let address = server.address().to_string();
        let run = |mode: &str| {
            let output = Command::new("timeout")
                .args([
                    SECONDS_MAX,
                    "perl",
                    script.to_str().expect("path"),
                    &address,
                    mode,
                ])
                .output()
                .expect("memcached-tool");
            assert!(output.status.success(), "{mode}: {}", text(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let display = run("display");
        let row: Vec<&str> = display
            .lines()
            .nth(1)
            .expect("a class")
            .split_whitespace()
            .collect();
        assert_eq!("50", row[4], "the column Count of\n{display}");
        assert!(run("stats").contains("curr_items"));
        assert!(run("settings").contains("maxbytes"));
        let sizes = run("sizes");
        let counts = sizes
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        assert_eq!(50, counts.sum::<u64>(), "{sizes}");
        let dump = run("dump");
        let keys = run("keys");
        for number in 0..50 {
            assert!(
                dump.contains(&format!("add key-{number} 0 ")),
                "key-{number} in\n{dump}"
            );
            assert!(
                keys.contains(&format!("key=key-{number} ")),
                "key-{number} in\n{keys}"
            );
        }
    }
}

#[test]
fn memcflush() {
    let Some(tool) = Tool::find("memcflush") else {
        return;
    };
    for (server, address) in servers() {
        server.connect().set("a", b"x");
        tool.run(&[&address]);
        assert_eq!(None, server.connect().get("a"));
        server.connect().set("a", b"x");
        tool.run(&[&address, "--expire=1000"]);
        assert_eq!(Some(b"x".to_vec()), server.connect().get("a"));
    }
}

#[test]
fn memcslap() {
    let Some(tool) = Tool::find("memcslap") else {
        return;
    };
    for (_server, address) in servers() {
        for test in ["set", "get", "mget"] {
            let said = tool.run(&[
                &address,
                "--concurrency=4",
                "--execute-number=500",
                &format!("--test={test}"),
            ]);
            assert!(said.contains("Time total"), "{said}");
            assert!(
                !said.to_lowercase().contains("error") && !said.to_lowercase().contains("fail"),
                "{said}"
            );
        }
    }
}

#[test]
fn memcaslap() {
    let Some(tool) = Tool::find("memcaslap") else {
        return;
    };
    for (server, _) in servers() {
        let address = format!("127.0.0.1:{}", server.port());
        // Verified values, and keys whose first bytes are binary.
        let said = tool.run(&["-s", &address, "-x", "20000", "-T", "2", "-c", "16", "-v", "0.5"]);
        let figure = |name: &str| -> u64 {
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name}:\n{said}"));
            line.trim().parse().expect("a number")
        };
        assert_eq!(20_000, figure("cmd_get:") + figure("cmd_set:"));
        assert_eq!(0, figure("get_misses:"));
        assert_eq!(0, figure("verify_misses:") + figure("verify_failed:"), "{said}");
    }
}

#[test]
fn memccapable() {
    let Some(tool) = Tool::find("memccapable") else {
        return;
    };
    if testing_memcached() {
        return skip(
            "memccapable",
            "memcached 1.6.45 itself fails two of its cases (delete with words behind the key)",
        );
    }
    for (server, _) in servers() {
        let said = tool.run(&[
            "-h",
            "127.0.0.1",
            "-p",
            &server.port().to_string(),
            "-a",
            "-t",
            "5",
        ]);
        assert_eq!(27, said.matches("[pass]").count(), "{said}");
        assert!(!said.contains("FAIL"), "{said}");
    }
}

#[test]
fn memtier_benchmark() {
    let Some(tool) = Tool::find("memtier_benchmark") else {
        return;
    };
    for protocol in ["memcache_text", "memcache_binary"] {
        for (server, _) in servers() {
            memtier_loads(&tool, &server, protocol);
        }
    }
}

fn memtier_loads(tool: &Tool, server: &Server, protocol: &str) {
    let port = server.port().to_string();
    let base = [
        "-s",
        "127.0.0.1",
        "-p",
        &port,
        "-P",
        protocol,
        "--hide-histogram",
        "-t",
        "2",
        "-c",
        "10",
        "-n",
        "1000",
    ];
    let keys = ["--key-maximum", "2000"];
    let mut loads: Vec<&[&str]> = vec![
        &["--ratio", "1:0"],
        &["--ratio", "0:1"],
        &["--ratio", "1:10", "--pipeline", "50"],
        &["--ratio", "1:1", "--pipeline", "16", "--expiry-range", "10-1000"],
        &["--ratio", "1:1", "--random-data", "--data-size-range", "1-20000"],
    ];
    // Over binary it knows no get of many keys.
    if protocol == "memcache_text" {
        loads.push(&["--ratio", "0:1", "--multi-key-get", "50"]);
    }
    for load in loads {
        let said = tool.run(&[&base[..], &keys, load].concat());
        assert!(said.contains("Totals"), "{load:?}\n{said}");
        let complaint = said.lines().find(|line| {
            let line = line.to_lowercase();
            line.contains("error")
                || line.contains("failed")
                || line.contains("reset")
                || line.contains("dropped")
        });
        assert_eq!(None, complaint, "{protocol} {load:?}");
    }
    assert!(server.connect().stat("get_hits") > 0);
}

//! What is packaged starts: the image's entry point, systemd's units, the files of options. Units are linted by systemd's
//! own `systemd-analyze` where there is one; no image is built here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Server, binary_under_test, find_program, scratch_folder, skip, testing_memcached};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/packaging")
}

fn text_of(name: &str) -> String {
    fs::read_to_string(packaging().join(name)).expect("a file of tools/packaging")
}

const UNITS: [&str; 2] = ["ringcached.service", "ringcached@.service"];

/// The values of a unit's setting.
fn settings<'t>(unit: &'t str, name: &str) -> Vec<&'t str> {
    let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix('=');
    unit.lines().filter_map(value).collect()
}

/// Runs the entry point as the image does, with the server under its names in PATH.
fn enter(words: &[&str]) -> Output {
    let folder = scratch_folder();
    for name in ["ringcached", "memcached"] {
        symlink(binary_under_test(), folder.join(name)).expect("a link");
    }
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let entry = Command::new(packaging().join("docker-entrypoint.sh"))
        .args(words)
        .env("PATH", path)
        .output();
    fs::remove_dir_all(folder).expect("folder");
    entry.expect("the entry point")
}

#[test]
fn the_entry_point_takes_options_and_commands() {
    if testing_memcached() {
        return skip("packaging", "memcached has its own");
    }
    let version = "memcached 1.6.45\n";
    for (words, want) in [
        (&["memcached", "-V"][..], version),
        (&["-V"], version),
        (&["-m", "1024", "-c", "4096", "-V"], version),
        (
            &["-m 1024", "--extended=modern,track_sizes", "-I 5m", "-V"],
            version,
        ),
        (&["sh", "-c", "echo \"$0 $1\"", "a b", "c"], "a b c\n"),
    ] {
        let output = enter(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert_eq!(want, String::from_utf8_lossy(&output.stdout), "{words:?}");
    }
    let output = enter(&["-t", "0"]);
    assert_eq!(
        Some(1),
        output.status.code(),
        "the server's exit code is the container's"
    );
}

/// What the Dockerfile copies is there, and the names in it belong together.
#[test]
fn the_image_is_made_of_what_is_there() {
    let text = text_of("Dockerfile");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copied: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        copied.contains(&"tools/packaging/docker-entrypoint.sh"),
        "{copied:?}"
    );
    for path in copied {
        assert!(root.join(path).exists(), "{path}");
    }
    for line in [
        "USER 11211:11211",
        "EXPOSE 11211",
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"memcached\"]",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}");
    }
    assert!(
        text.contains("--gid 11211 memcache") && text.contains("--uid 11211"),
        "{text}"
    );
    // It is built with the toolchain that the tree is pinned to.
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml")).expect("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("a channel");
    let minor = channel.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    assert!(text.contains(&format!("FROM rust:{minor}")), "rust {channel}");
}

/// The command lines of the units, with the files that they name replaced by those of the tree, start a server.
#[test]
fn the_command_lines_of_the_units_start_it() {
    if testing_memcached() {
        return;
    }
    let conf = packaging().join("ringcached.conf");
    let conf = conf.to_str().expect("path");
    for unit in UNITS {
        let text = text_of(unit);
        let start = settings(&text, "ExecStart");
        let words = start[0].strip_prefix("/usr/bin/ringcached ").expect("the server");
        let words = words
            .replace("/etc/ringcached.conf", conf)
            .replace("%i", "11212")
            .replace("$OPTIONS", "-m 65 -c 4096");
        let words: Vec<&str> = words.split(' ').collect();
        // The file's user may not be there.
        let root = rustix::process::getuid().is_root();
        let last: &[&str] = if root {
            &["-p", "-1", "-u", "root"]
        } else {
            &["-p", "-1"]
        };
        let server = Server::launch(&binary_under_test(), &[&words, last].concat());
        let server = server.unwrap_or_else(|said| panic!("{unit}: {said}"));
        let settings = crate::statistics::stats(&mut server.connect(), "settings");
        for (name, value) in [("maxbytes", "68157440"), ("maxconns", "4096")] {
            assert!(
                settings.contains(&(name.into(), value.into())),
                "{unit}: {name} {value}"
            );
        }
        assert!(!server.said().contains("no effect"), "{unit}: {}", server.said());
    }
}

/// The file of options has nothing in it that is commented out and not known.
#[test]
fn every_option_that_the_files_offer_is_known() {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let file = folder.join("conf");
    let offered = |name: &str| -> String {
        let lines = text_of(name);
        let lines = lines.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        let options = lines.filter(|line| line.starts_with('-') && !line.starts_with("-u"));
        options.map(|line| format!("{line}\n")).collect()
    };
    let text = offered("ringcached.conf");
    assert!(text.contains("-c 1024") && text.contains("-v\n"), "{text}");
    fs::write(&file, text).expect("file");
    let server = Server::start(&[
        "--config",
        file.to_str().expect("path"),
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
    ]);
    server.connect().check("mn\n", "MN\n");
    drop(server);
    fs::remove_dir_all(folder).expect("folder");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(analyze) = find_program("systemd-analyze") else {
        return skip("systemd-analyze", "not installed");
    };
    let folder = scratch_folder();
    // It looks whether the program is there.
    let binary = binary_under_test();
    let binary = binary.to_str().expect("path");
    for unit in UNITS.into_iter().chain(["ringcached.socket"]) {
        let text = text_of(unit).replace("/usr/bin/ringcached", binary);
        // A template is looked at as one of its instances.
        let name = unit.replace("@.", "@11212.");
        fs::write(folder.join(name), text).expect("unit");
    }
    for unit in [
        "ringcached.service",
        "ringcached@11212.service",
        "ringcached.socket",
    ] {
        let output = Command::new(&analyze)
            .arg("verify")
            .arg(folder.join(unit))
            .output();
        let output = output.expect("systemd-analyze");
        let said = String::from_utf8_lossy(&output.stderr);
        let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("ringcached")).collect();
        assert!(output.status.success() && about_ours.is_empty(), "{unit}: {said}");
    }
    fs::remove_dir_all(folder).expect("folder");
}

/// The user that the file of options names is one that the package brings.
#[test]
fn the_user_is_made() {
    let user = settings(&text_of("ringcached.conf").replace("-u ", "-u="), "-u")[0].to_owned();
    let Some(sysusers) = find_program("systemd-sysusers") else {
        return skip("systemd-sysusers", "not installed");
    };
    let folder = scratch_folder();
    // A system of its own, in a folder.
    fs::create_dir(folder.join("etc")).expect("folder");
    fs::create_dir_all(folder.join("usr/lib/sysusers.d")).expect("folder");
    let place = folder.join("usr/lib/sysusers.d/ringcached.conf");
    fs::write(place, text_of("ringcached.sysusers")).expect("file");
    let root = format!("--root={}", folder.display());
    let output = Command::new(sysusers)
        .arg(root)
        .output()
        .expect("systemd-sysusers");
    assert!(output.status.success(), "{output:?}");
    let users = fs::read_to_string(folder.join("etc/passwd")).expect("users");
    assert!(
        users.starts_with(&format!("{user}:")) && users.contains("nologin"),
        "{users}"
    );
    fs::remove_dir_all(folder).expect("folder");
}

/// A unit that waits for the server's word starts a server that gives it, and has it killed when a core hangs.
#[test]
fn the_units_ask_for_what_the_server_gives() {
    for unit in UNITS {
        let text = text_of(unit);
        assert_eq!(["notify"], settings(&text, "Type")[..], "{unit}");
        assert_eq!(
            ["/bin/kill -HUP $MAINPID"],
            settings(&text, "ExecReload")[..],
            "{unit}"
        );
        assert_eq!(["always"], settings(&text, "Restart")[..], "{unit}");
        assert!(
            settings(&text, "WatchdogSec")[0]
                .parse::<u32>()
                .is_ok_and(|seconds| seconds >= 10)
        );
        assert_eq!(["infinity"], settings(&text, "LimitMEMLOCK")[..], "{unit}");
    }
    // They differ in the port and in their file alone.
    let [one, many] = UNITS.map(text_of);
    let rest = |text: &str| -> String {
        let is_common = |line: &&str| !line.starts_with('#') && !line.starts_with("Description=");
        let text = text.replace("-%i", "").replace("-p %i ", "");
        text.lines().filter(is_common).collect()
    };
    assert_eq!(rest(&one), rest(&many));
}

/// Debian's file for memcached serves as it is.
#[test]
fn debians_file_serves_as_it_is() {
    if testing_memcached() {
        return;
    }
    let Ok(text) = fs::read_to_string("/etc/memcached.conf") else {
        return skip("/etc/memcached.conf", "not there");
    };
    let pid_file = scratch_folder().join("pid");
    let own = ["-p", "-1", "-P", pid_file.to_str().expect("path")];
    let as_root = ["-u", "root"];
    let own = match rustix::process::getuid().is_root() {
        true => [&own[..], &as_root].concat(),
        false => own.to_vec(),
    };
    let words = [&["--config", "/etc/memcached.conf"], &own[..]].concat();
    let server = Server::launch(&binary_under_test(), &words).unwrap_or_else(|said| panic!("{text}: {said}"));
    server.connect().check("mn\n", "MN\n");
    fs::remove_dir_all(pid_file.parent().expect("folder")).expect("folder");
}

//! Real clients that log in: SASL over binary, with and without TLS, and a set over text. Each also meets a wrong password
//! and rights that are not his.

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{python_with, root};
use crate::harness::{Server, binary_under_test, find_program, scratch_folder, skip, testing_memcached};
use crate::rights::FILE;
use crate::tls::Authority;

/// Runs a script with the address of a server that knows the users of `FILE`.
#[track_caller]
fn run(interpreter: Command, script: &str, is_sasl: bool, tls: Option<&Authority>) {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, FILE).expect("file");
    let own = tls.map(Authority::options);
    let mut options: Vec<&str> = own.iter().flatten().map(String::as_str).collect();
    match is_sasl {
        true => options.extend(["-t", "2", "-S"]),
        false => options.extend(["-t", "2", "-Y", file.to_str().expect("path")]),
    }
    let server = Server::launch_with(&binary_under_test(), &options, |command| {
        command.env("MEMCACHED_SASL_PWDB", &file);
    });
    let server = server.expect("it starts");
    let mut command = Command::new("timeout");
    command
        .arg("120")
        .arg(interpreter.get_program())
        .args(interpreter.get_args())
        .arg(script);
    command.args(["127.0.0.1", &server.port().to_string()]);
    command.args(tls.map(|authority| authority.file("ca.pem")));
    command.current_dir(root().join("tests/clients"));
    let output = command.output().expect("the script");
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::remove_dir_all(folder).expect("folder");
}

/// Where the system keeps SASL's mechanisms; the library that pylibmc's wheel brings along looks in one place only.
fn sasl_mechanisms() -> Option<PathBuf> {
    let machine = format!("/usr/lib/{}-linux-gnu/sasl2", std::env::consts::ARCH);
    let folders = ["/usr/lib64/sasl2", "/usr/lib/sasl2", &machine].map(PathBuf::from);
    folders
        .into_iter()
        .find(|folder| folder.join("libplain.so").exists())
}

#[test]
fn pylibmc() {
    let has_sasl = |python: &PathBuf| {
        let probe = ["-c", "import pylibmc; assert pylibmc.support_sasl"];
        let probe = Command::new(python).args(probe).output();
        probe.is_ok_and(|output| output.status.success())
    };
    match (python_with("pylibmc").filter(has_sasl), sasl_mechanisms()) {
        (Some(python), Some(folder)) => {
            let mut env = Command::new("env");
            env.arg(format!("SASL_PATH={}", folder.display())).arg(python);
            run(env, "pylibmc_sasl.py", true, None);
        }
        _ => skip("pylibmc with SASL", "not installed"),
    }
}

#[test]
fn python_binary_memcached() {
    if let Some(python) = python_with("bmemcached") {
        run(Command::new(python), "bmemcached_sasl.py", true, None);
    }
}

#[test]
fn python_binary_memcached_over_tls() {
    if let Some(python) = python_with("bmemcached") {
        let authority = Authority::new("sasl");
        authority.install(&authority.server());
        run(Command::new(python), "bmemcached_sasl.py", true, Some(&authority));
    }
}

#[test]
fn php_memcached() {
    let has_sasl = |php: &PathBuf| {
        let probe = "exit(extension_loaded('memcached') && Memcached::HAVE_SASL ? 0 : 1);";
        let probe = Command::new(php).args(["-r", probe]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    match find_program("php").filter(has_sasl) {
        Some(php) => run(Command::new(php), "php_sasl.php", true, None),
        None => skip("php-memcached with SASL", "not installed"),
    }
}

#[test]
fn emcache() {
    if let Some(python) = python_with("emcache") {
        run(Command::new(python), "emcache_login.py", false, None);
    }
}

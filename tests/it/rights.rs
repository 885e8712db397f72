//! What a user may do, where the file of `-Y` or `-S` says it: in every dialect, however the bytes come.

use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;

use crate::auth::{answer, log_in, packet};
use crate::harness::{
    Client, DEADLINE, Server, binary_under_test, memcached_binary, scratch_folder, spell, testing_memcached,
};

pub(crate) const FILE: &str = "#!rights\n\
                    # rights         keys           user:password\n\
                    read,write,admin *              root:all\n\
                    read             *              reader:r\n\
                    write            *              writer:w\n\
                    read,write       shop:,cart%2C: web:pass word: and all\n\
                    admin            *              operator:o\n";

const NO: &str = "CLIENT_ERROR unauthorized";

struct Users {
    server: Server,
    folder: PathBuf,
}

impl Users {
    fn start(text: &str, options: &[&str]) -> Users {
        let folder = scratch_folder();
        let file = folder.join("users");
        std::fs::write(&file, text).expect("file");
        let server = Server::start(&[&["-Y", file.to_str().expect("path"), "-t", "2"], options].concat());
        Users { server, folder }
    }

    fn put(&self, text: &str) {
        std::fs::write(self.folder.join("users"), text).expect("file");
    }

    #[track_caller]
    fn enter(&self, user: &str, password: &str) -> Client {
        let mut client = self.server.connect();
        assert_eq!("STORED", log_in(&mut client, user, password), "{user}");
        client
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn each_user_does_what_is_his_and_nothing_else() {
    if testing_memcached() {
        return;
    }
    let users = Users::start(FILE, &["-A"]);
    let mut root = users.enter("root", "all");
    root.check(
        "set k 0 0 1\n5\nset shop:1 0 0 2\nhi\nincr k 1\nmg k T0 v\nverbosity 0\n",
        "STORED\nSTORED\n6\nVA 1\n6\nOK\n",
    );

    let mut reader = users.enter("reader", "r");
    let cas = cas_of(&mut root, "k");
    reader.check(
        "get k shop:1\ngets k\nmg k v\nme nothing\nstats sizes\n",
        &format!(
            "VALUE k 0 1\n6\nVALUE shop:1 0 2\nhi\nEND\nVALUE k 0 1 {cas}\n6\nEND\nVA 1\n6\nEN\n\
             STAT sizes_status disabled\nEND\n"
        ),
    );
    reader.check(
        "set k 0 0 3\nbad\nadd n 0 0 3\nbad\nappend k 0 0 3\nbad\ncas k 0 0 3 1\nbad\ndelete k\nincr k 1\n\
         touch k 1\ngat 1 k\nms k 3\nbad\nmd k\nma k\nmg k T1 v\nmg n N30 v\n",
        &format!("{NO}\n").repeat(13),
    );
    // A value that does not end well would remove the item.
    reader.check("set k 0 0 3\nbadXXmn\n", &format!("{NO}\nMN\n"));
    for line in [
        "flush_all",
        "flush_all 0",
        "verbosity 2",
        "cache_memlimit 8",
        "shutdown",
        "shutdown graceful",
        "refresh_certs",
        "lru_crawler metadump all",
        "lru_crawler mgdump all",
        "lru mode flat",
        "slabs automove 0",
        "watch",
        "watch fetchers",
        "stats reset",
        "stats conns",
        "stats detail on",
        "stats cachedump 1 0",
        "config delete cluster",
    ] {
        reader.check(&format!("{line}\n"), &format!("{NO}\n"));
    }
    // Refused without a word and without effect.
    reader.check(
        "set k 0 0 3 noreply\nbad\ndelete k noreply\nincr k 1 noreply\ntouch k -1 noreply\nflush_all noreply\n\
         flush_all -1 noreply\nverbosity 2 noreply\nconfig set cluster 0 3 noreply\nbad\n",
        "",
    );

    let mut writer = users.enter("writer", "w");
    writer.check(
        "set w 0 0 1\n1\nappend w 0 0 1\n2\ntouch w 0\nget w\ngat 0 w\nincr w 1\nme w\nmg w v q\nmn\n",
        &format!("STORED\nSTORED\nTOUCHED\n{}MN\n", format!("{NO}\n").repeat(5)),
    );

    let mut web = users.enter("web", "pass word: and all");
    web.check(
        "set shop:2 0 0 1\n2\nset cart,:1 0 0 1\n1\nset cart: 0 0 1\n1\nset shop 0 0 1\n1\nget k\ndelete k\n\
         get shop:1 shop:2 cart,:1\n",
        &format!("STORED\nSTORED\n{NO}\n{NO}\n{NO}\n{NO}\nVALUE shop:1 0 2\nhi\nVALUE shop:2 0 1\n2\nVALUE cart,:1 0 1\n1\nEND\n"),
    );
    // Of a get, what stands before the key that is not his; and nothing behind it.
    web.check(
        "get shop:1 k shop:2\nget k\ngets shop:2 k\nmg shop:2 v\nmg aw== b v\nmg c2hvcDoy b v\n",
        &format!(
            "VALUE shop:1 0 2\nhi\n{NO}\n{NO}\nVALUE shop:2 0 1 {}\n2\n{NO}\nVA 1\n2\n{NO}\nVA 1\n2\n",
            cas_of(&mut root, "shop:2")
        ),
    );
    web.check("stats reset\nflush_all\n", &format!("{NO}\n{NO}\n"));

    let mut operator = users.enter("operator", "o");
    operator.check(
        "get k\nset k 0 0 3\nbad\nverbosity 0\n",
        &format!("{NO}\n{NO}\nOK\n"),
    );
    let mut watcher = users.enter("operator", "o");
    assert_eq!("OK", watcher.ask("watch fetchers"));

    // Nothing has come of all that was refused.
    root.check("get k n w\n", "VALUE k 0 1\n6\nVALUE w 0 2\n12\nEND\n");
    assert_eq!(0, root.stat("cmd_flush"));
    operator.check("flush_all\n", "OK\n");
    root.check("get k\n", "END\n");
}

/// What `gets` shows.
fn cas_of(client: &mut Client, key: &str) -> String {
    let line = client.ask(&format!("gets {key}"));
    client.line();
    client.line();
    line.rsplit(' ').next().expect("a number").to_owned()
}

/// The stream stays in step, wherever it is cut: values that arrive apart, keys of streamed gets, lines without end.
#[test]
fn refusals_keep_the_stream_in_step() {
    if testing_memcached() {
        return;
    }
    let users = Users::start(FILE, &[]);
    let mut root = users.enter("root", "all");
    root.check("set big 0 0 3\nold\n", "STORED\n");
    let value = "get big\r\n".repeat(2000);
    let size = value.len();
    let keys = format!("shop:1 {}", "k ".repeat(40_000));
    let requests = format!(
        "set big 0 0 {size}\nV\nget shop:x\nms big {size}\nV\nset big 0 0 {size} noreply\nV\n\
         set big 0 0 2000000000\nget {keys}\nget shop:1 big {}\nmn\n",
        "shop:2 ".repeat(100)
    );
    // A value too large is refused for whose it is before it is for its size; here it never comes.
    let requests = requests.replace("set big 0 0 2000000000\n", "");
    let requests = spell(&requests).replace("V\r\n", &format!("{value}\r\n"));
    let want = spell(&format!("{NO}\nEND\n{NO}\n{NO}\n{NO}\nMN\n"));
    for piece in [1000, 4096, 9999, usize::MAX] {
        let mut web = users.enter("web", "pass word: and all");
        let mut sent = requests.as_bytes();
        while !sent.is_empty() {
            let (now, later) = sent.split_at(sent.len().min(piece));
            web.send(now);
            sent = later;
        }
        assert_eq!(
            want,
            String::from_utf8_lossy(&web.exact(want.len())),
            "pieces of {piece}"
        );
        web.check("mn\n", "MN\n");
    }
    root.check("get big\n", "VALUE big 0 3\nold\nEND\n");
}

#[test]
fn binary_clients_have_rights_too() {
    if testing_memcached() {
        return;
    }
    const AUTH: u8 = 0x21;
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, FILE).expect("file");
    let server = Server::launch_with(&binary_under_test(), &["-S", "-t", "2"], |command| {
        command.env("MEMCACHED_SASL_PWDB", &file);
    });
    let server = server.expect("it starts");
    let enter = |user: &str, password: &str| {
        let mut client = server.connect();
        client.send(packet(AUTH, "PLAIN", format!("\0{user}\0{password}").as_bytes()));
        assert_eq!(
            (AUTH, 0, "Authenticated".to_owned()),
            answer(&mut client),
            "{user}"
        );
        client
    };
    // Extras stand before the key.
    let with_extras = |opcode, extras: usize, key: &str, value: &[u8]| {
        let mut bytes = packet(
            opcode,
            "",
            &[&vec![0; extras][..], key.as_bytes(), value].concat(),
        );
        (bytes[3], bytes[4]) = (key.len() as u8, extras as u8);
        bytes
    };
    let set = |opcode, key: &str, value: &[u8]| with_extras(opcode, 8, key, value);
    let refused = |opcode| (opcode, 0x20, "Auth failure.".to_owned());
    let mut root = enter("root", "all");
    root.send(set(0x01, "k", b"1"));
    assert_eq!((0x01, 0, String::new()), answer(&mut root));

    let mut reader = enter("reader", "r");
    let noop = packet(0x0a, "", b"");
    let refusals: Vec<(u8, Vec<u8>)> = vec![
        (0x01, set(0x01, "k", b"bad")),
        (0x11, set(0x11, "k", b"bad")),
        (0x01, set(0x01, "k", &vec![b'b'; 100_000])),
        (0x11, set(0x11, "k", &vec![b'b'; 100_000])),
        (0x02, set(0x02, "n", b"bad")),
        (0x0e, packet(0x0e, "k", b"bad")),
        (0x19, packet(0x19, "k", b"bad")),
        (0x04, packet(0x04, "k", b"")),
        (0x14, packet(0x14, "k", b"")),
        (0x05, with_extras(0x05, 20, "k", b"")),
        (0x15, with_extras(0x15, 20, "k", b"")),
        (0x1c, with_extras(0x1c, 4, "k", b"")),
        (0x1d, with_extras(0x1d, 4, "k", b"")),
        (0x1e, with_extras(0x1e, 4, "k", b"")),
        (0x08, packet(0x08, "", b"")),
        (0x18, packet(0x18, "", b"")),
        (0x10, packet(0x10, "reset", b"")),
    ];
    // One by one, and all at once.
    for (opcode, bytes) in &refusals {
        reader.send([&bytes[..], &noop].concat());
        assert_eq!(refused(*opcode), answer(&mut reader));
        assert_eq!((0x0a, 0, String::new()), answer(&mut reader), "after {opcode:x}");
    }
    let everything: Vec<u8> = refusals.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    reader.send(everything);
    for (opcode, _) in &refusals {
        assert_eq!(refused(*opcode), answer(&mut reader));
    }
    reader.send(packet(0x00, "k", b""));
    assert_eq!((0x00, 0, "\0\0\0\x001".to_owned()), answer(&mut reader));

    let mut web = enter("web", "pass word: and all");
    web.send([packet(0x09, "k", b""), packet(0x0d, "shop:1", b""), noop.clone()].concat());
    assert_eq!(refused(0x09), answer(&mut web));
    assert_eq!((0x0a, 0, String::new()), answer(&mut web), "a quiet miss");
    // Who says anew who he is has the rights of that one, or none.
    web.send(packet(AUTH, "PLAIN", b"\0reader\0r"));
    assert_eq!(0, answer(&mut web).1);
    web.send([packet(0x00, "k", b""), set(0x01, "shop:1", b"x")].concat());
    assert_eq!((0x00, 0, "\0\0\0\x001".to_owned()), answer(&mut web));
    assert_eq!(refused(0x01), answer(&mut web));
    drop(server);
    std::fs::remove_dir_all(folder).expect("folder");
}

/// Who has logged in keeps what he had, as he does when his password changes; who logs in gets what the file says now.
#[test]
fn rights_are_those_of_the_login() {
    if testing_memcached() {
        return;
    }
    let users = Users::start("#!rights\nread,write * web:p\n", &[]);
    let mut old = users.enter("web", "p");
    old.set("k", b"1");
    users.put("#!rights\nread * web:p\nread * other:p\n");
    users.server.signal(Signal::HUP);
    let deadline = Instant::now() + DEADLINE;
    let until = |user: &str| {
        while log_in(&mut users.server.connect(), user, "p") != "STORED" {
            assert!(Instant::now() < deadline, "{user} never comes in");
        }
    };
    until("other");
    let mut fresh = users.enter("web", "p");
    fresh.check("set k 0 0 1\n2\nget k\n", &format!("{NO}\nVALUE k 0 1\n1\nEND\n"));
    old.check("set k 0 0 1\n3\n", "STORED\n");
    // What makes no sense changes nothing, and is said without what it says.
    users.put("#!rights\nread,write * web:hidden\nall * third:hidden\n");
    users.server.signal(Signal::HUP);
    // A file as memcached has it grants everything, as memcached does.
    users.put("web:p\nlast:p\n");
    users.server.signal(Signal::HUP);
    until("last");
    users
        .enter("web", "p")
        .check("set k 0 0 1\n4\nflush_all\n", "STORED\nOK\n");
    fresh.check("set k 0 0 1\n5\n", &format!("{NO}\n"));
    assert!(!users.server.said().contains("hidden"), "{}", users.server.said());
}

/// A memcached that is given a file with rights does not start: it would grant everything.
#[test]
fn memcached_does_not_take_a_file_with_rights() {
    let Some(memcached) = memcached_binary() else {
        return;
    };
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, FILE).expect("file");
    let said = Server::launch(&memcached, &["-Y", file.to_str().expect("path")]).err();
    assert!(said.is_some_and(|said| said.contains("malformed entry")));
    std::fs::remove_dir_all(folder).expect("folder");
}

/// A file with rights that makes no sense is refused at the start: a line, with its number and without its password.
#[test]
fn a_file_that_makes_no_sense_is_refused() {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, "#!rights\nread * a:hidden\nreads * b:hidden\n").expect("file");
    let refused = Server::launch(&binary_under_test(), &["-Y", file.to_str().expect("path")]);
    let said = refused.err().expect("a refusal");
    assert!(
        said.contains("line 3") && said.contains("exit status: 1") && !said.contains("hidden"),
        "{said}"
    );
    std::fs::remove_dir_all(folder).expect("folder");
}

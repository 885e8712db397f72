//! UDP: off unless asked for, one request a datagram, replies in numbered datagrams.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::classic::pattern;
use crate::harness::{Client, DEADLINE, Server, spell, testing_memcached};

/// A client that waits for datagrams.
struct Asker {
    socket: UdpSocket,
}

/// One datagram of a reply: its header's numbers, and the rest.
type Part = ([u16; 4], Vec<u8>);

impl Asker {
    fn new(server: &Server) -> Asker {
        let ports = server.ports();
        let (_, port) = ports
            .iter()
            .find(|(kind, _)| kind == "UDP INET")
            .expect("a UDP port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
        socket
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
            .expect("connect");
        Asker { socket }
    }

    fn send(&self, header: [u16; 4], commands: &[u8]) {
        let mut datagram = header.map(u16::to_be_bytes).concat();
        datagram.extend_from_slice(commands);
        self.socket.send(&datagram).expect("send");
    }

    fn part(&self) -> Part {
        let mut bytes = vec![0; 65536];
        let size = self.socket.recv(&mut bytes).expect("a datagram");
        let numbers = [0, 2, 4, 6].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        (numbers, bytes[8..size].to_vec())
    }

    /// Sends commands, insists on these messages, and on nothing else.
    #[track_caller]
    fn check(&self, id: u16, commands: &str, want: &[&str]) {
        self.send([id, 0, 1, 0], spell(commands).as_bytes());
        // Whatever is answered to them comes before the answer to this.
        self.send([9999, 0, 1, 0], b"mn\r\n");
        for message in want {
            let (numbers, bytes) = self.part();
            assert_eq!([id, 0, 1, 0], numbers, "{commands}");
            assert_eq!(spell(message), String::from_utf8_lossy(&bytes), "{commands}");
        }
        let fence = self.part();
        assert_eq!(([9999, 0, 1, 0], b"MN\r\n".to_vec()), fence, "after {commands}");
    }
}

fn start(options: &[&str]) -> (Server, Client, Asker) {
    let server = Server::start(&[&["-U", "-1"], options].concat());
    let (client, asker) = (server.connect(), Asker::new(&server));
    (server, client, asker)
}

#[test]
fn there_is_none_unless_asked_for() {
    let server = Server::start(&[]);
    assert!(server.ports().iter().all(|(kind, _)| !kind.starts_with("UDP")));
}

#[test]
fn each_command_has_a_message_of_its_own() {
    // Several threads of memcached's answer in any order.
    for threads in if testing_memcached() { ["1"; 2] } else { ["1", "4"] } {
        let (_server, mut client, asker) = start(&["-t", threads]);
        client.set("a", b"one");
        asker.check(7, "get a\n", &["VALUE a 0 3\none\nEND\n"]);
        asker.check(8, "get b\n", &["END\n"]);
        asker.check(
            65535,
            "get a\nget b\nmg a v\nmn\nversion\n",
            &[
                "VALUE a 0 3\none\nEND\n",
                "END\n",
                "VA 3\none\n",
                "MN\n",
                "VERSION 1.6.45\n",
            ],
        );
        asker.check(0, "set c 0 0 3\ntwo\nincr n 1\n", &["STORED\n", "NOT_FOUND\n"]);
        asker.check(1, "set d 0 0 1 noreply\n1\n", &[]);
        asker.check(2, "bogus\n", &["ERROR\n"]);
        assert_eq!(Some(b"two".to_vec()), client.get("c"));
        assert_eq!(Some(b"1".to_vec()), client.get("d"));
    }
}

#[test]
fn many_keys_are_one_message() {
    if testing_memcached() {
        return;
    }
    let (_server, mut client, asker) = start(&["-t", "4"]);
    let mut keys = String::new();
    let mut want = String::new();
    for number in 0..40 {
        client.set(&format!("k{number}"), b"v");
        keys.push_str(&format!(" k{number} missing{number}"));
        want.push_str(&format!("VALUE k{number} 0 1\nv\n"));
    }
    want.push_str("END\n");
    asker.check(
        3,
        &format!("get{keys}\nget k0\n"),
        &[&want, "VALUE k0 0 1\nv\nEND\n"],
    );
}

#[test]
fn a_long_reply_is_numbered() {
    let (_server, mut client, asker) = start(&["-t", "4"]);
    for size in [1300, 1392 - 21, 1393 - 21, 20_000, 100_000] {
        let value = pattern(size, 5);
        client.set("long", &value);
        asker.send([77, 0, 1, 0], b"get long\r\n");
        let (first, mut reply) = asker.part();
        let want = [
            format!("VALUE long 0 {size}\r\n").as_bytes(),
            &value,
            b"\r\nEND\r\n",
        ]
        .concat();
        assert_eq!([77, 0, want.len().div_ceil(1392) as u16, 0], first);
        for number in 1..first[2] {
            assert_eq!(1392, reply.len() - 1392 * (usize::from(number) - 1));
            let (numbers, part) = asker.part();
            assert_eq!([77, number, first[2], 0], numbers);
            reply.extend_from_slice(&part);
        }
        assert!(want == reply, "{size} bytes");
    }
}

#[test]
fn what_is_no_request_is_dropped() {
    let (_server, mut client, asker) = start(&[]);
    client.set("a", b"1");
    // Of several datagrams; without a command; with half of one.
    asker.send([1, 0, 2, 0], b"get a\r\n");
    asker.send([1, 1, 2, 0], b"get a\r\n");
    asker.send([1, 0, 0, 0], b"get a\r\n");
    asker.send([1, 0, 1, 0], b"");
    asker.socket.send(b"").expect("send");
    asker.socket.send(b"get a\r\n").expect("send");
    asker.send([1, 0, 1, 0], b"get a");
    if !testing_memcached() {
        // There the rest of the value would be taken from the next request.
        asker.send([1, 0, 1, 0], b"set a 0 0 100\r\n1\r\n");
        asker.send([1, 0, 1, 0], b"quit\r\n");
    }
    asker.check(2, "get a\n", &["VALUE a 0 1\n1\nEND\n"]);
}

#[test]
fn a_reply_has_a_limit() {
    if testing_memcached() {
        return;
    }
    let (_server, mut client, asker) = start(&["-t", "2", "-I", "2m"]);
    client.set("a", &pattern(900_000, 1));
    let large = pattern(1_500_000, 1);
    client.set("b", &large);
    for keys in ["a a a a", "b"] {
        let want = "SERVER_ERROR out of memory writing get response\n";
        asker.check(5, &format!("get {keys}\n"), &[want]);
    }
    asker.check(6, "get nothing\n", &["END\n"]);
}

#[test]
fn it_speaks_binary_too() {
    let (_server, mut client, asker) = start(&["-t", "2"]);
    client.set("a", b"one");
    let mut get = vec![0x80, 0, 0, 1];
    get.extend_from_slice(&[0; 4]);
    get.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 9]);
    get.extend_from_slice(&[0; 8]);
    get.push(b'a');
    asker.send([4, 0, 1, 0], &[&get[..], &get].concat());
    for _ in 0..2 {
        let (numbers, packet) = asker.part();
        assert_eq!([4, 0, 1, 0], numbers);
        assert_eq!(
            (0x81, b"one"),
            (packet[0], packet[28..].try_into().expect("a value"))
        );
    }
}

#[test]
fn another_server_is_not_answered() {
    if testing_memcached() {
        return;
    }
    // A datagram from the same port of another address: two servers would answer each other for ever.
    let (server, _client, asker) = start(&["-l", "127.0.0.2"]);
    let ports = server.ports();
    let udp: Vec<u16> = ports
        .iter()
        .filter(|(kind, _)| kind == "UDP INET")
        .map(|(_, port)| *port)
        .collect();
    assert_eq!(2, udp.len());
    let impostor = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 3), udp[0])).expect("a socket");
    impostor.connect((Ipv4Addr::LOCALHOST, udp[0])).expect("connect");
    impostor.send(b"\0\x01\0\0\0\x01\0\0mn\r\n").expect("send");
    asker.check(1, "mn\n", &["MN\n"]);
    impostor.set_nonblocking(true).expect("nonblocking");
    assert!(impostor.recv(&mut [0; 100]).is_err(), "it was answered");
}

#[test]
fn its_sockets_are_shown() {
    let (server, mut client, asker) = start(&["-t", "1"]);
    asker.check(1, "mn\n", &["MN\n"]);
    let ports = server.ports();
    let (_, port) = ports
        .iter()
        .find(|(kind, _)| kind == "UDP INET")
        .expect("a UDP port");
    let conns = crate::statistics::stats(&mut client, "conns");
    let name = format!("udp:127.0.0.1:{port}");
    let (fd, _) = conns
        .iter()
        .find(|(key, value)| key.ends_with(":addr") && *value == name)
        .unwrap_or_else(|| panic!("{name} in {conns:?}"));
    let fd = fd.strip_suffix(":addr").expect("a descriptor");
    for (what, value) in [("UDP", "UDP"), ("state", "conn_read")] {
        assert!(
            conns.contains(&(format!("{fd}:{what}"), value.to_owned())),
            "{conns:?}"
        );
    }
}

/// By giving another's address for his own, somebody can have replies sent there: never more than he sent himself.
#[test]
fn it_amplifies_nothing() {
    if testing_memcached() {
        return;
    }
    // Loopback is trusted by itself; here only another network is.
    let (_server, mut client, asker) = start(&["-t", "2", "--amplify-to", "10.0.0.0/8,fd00::/8"]);
    client.set("a", b"1");
    client.set("large", &pattern(5000, 1));
    // A reply is as long as its request, or there is none: this one's is one byte longer.
    let padded = |blanks: usize| format!("get{} a\n", " ".repeat(blanks));
    let reply = "VALUE a 0 1\n1\nEND\n";
    let enough = spell(reply).len() - spell(&padded(0)).len();
    asker.check(7, &padded(enough), &[reply]);
    asker.check(7, &padded(enough - 1), &[]);
    asker.check(7, "get large\n", &[]);
    asker.check(7, "stats\n", &[]);
    // All replies to one datagram together: a header each makes them longer than the commands.
    asker.check(7, "mn\nmn\nmn\nmn\nmn\nmn\nmn\nmn\n", &["MN\n"; 3]);
}

//! Values of many pages: stored, grown, sent, and let go of, whoever reads them how slowly.

use crate::harness::{Client, Server, testing_memcached};

const MIB: usize = 1 << 20;

/// Bytes that tell where they stand, and whose they are.
fn pattern(size: usize, seed: usize) -> Vec<u8> {
    let words = (0..size.div_ceil(8)).map(|index| index.wrapping_mul(0x9e37_79b9).wrapping_add(seed * 77));
    let mut bytes: Vec<u8> = words.flat_map(usize::to_le_bytes).collect();
    bytes.truncate(size);
    bytes
}

fn store(client: &mut Client, word: &str, key: &str, value: &[u8]) {
    client.send(format!("{word} {key} 0 0 {}\r\n", value.len()));
    client.send(value);
    client.send("\r\n");
    assert_eq!("STORED", client.line(), "{word} {key}");
}

#[test]
fn values_of_many_megabytes_grow_at_both_ends() {
    let server = Server::start(&["-t", "2", "-m", "512", "-I", "100m"]);
    let mut client = server.connect();
    let mut other = server.connect();
    for (number, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let mut want = pattern(20 * MIB + number * 12_345, number);
        store(&mut client, "set", key, &want);
        assert!(other.get(key).as_ref() == Some(&want), "{key}");
        for (step, size) in [10, 5000, 3 * MIB + 1].into_iter().enumerate() {
            let more = pattern(size, step + 10);
            store(&mut other, "append", key, &more);
            want.extend_from_slice(&more);
            store(&mut client, "prepend", key, &more);
            want.splice(..0, more);
        }
        assert!(client.get(key).as_ref() == Some(&want), "{key}");
        assert!(other.get(key).as_ref() == Some(&want), "{key}");
        other.check(&format!("delete {key}\n"), "DELETED\n");
        assert_eq!(client.get(key), None);
    }
    let refusal = client.ask("set e 0 0 104857600");
    assert_eq!("SERVER_ERROR object too large for cache", refusal);
}

/// The first line has come, and so the server has begun to send the value, or holds it to be sent.
fn begin(client: &mut Client, key: &str, size: usize) {
    client.send(format!("get {key}\r\n"));
    assert_eq!(format!("VALUE {key} 0 {size}"), client.line());
}

#[test]
fn what_is_replaced_while_it_is_sent_comes_out_whole() {
    let server = Server::start(&["-t", "2", "-m", "256", "-I", "32m"]);
    let mut writer = server.connect();
    let keys = ["a", "b", "c", "d", "e", "f"];
    let size = 12 * MIB + 777;
    for (number, key) in keys.into_iter().enumerate() {
        store(&mut writer, "set", key, &pattern(size, number));
    }
    let mut readers: Vec<Client> = keys.iter().map(|_| server.connect()).collect();
    for (reader, key) in readers.iter_mut().zip(keys) {
        begin(reader, key, size);
        // Another behind it, of what the key has then.
        reader.send(format!("get {key}\r\n"));
    }
    for (number, key) in keys.into_iter().enumerate() {
        match number % 3 {
            0 => store(&mut writer, "set", key, b"new"),
            1 => store(&mut writer, "append", key, &pattern(100_000, 9)),
            _ => writer.check(&format!("delete {key}\n"), "DELETED\n"),
        }
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        let value = reader.exact(size);
        assert!(value == pattern(size, number), "{}", keys[number]);
        assert_eq!(("", "END"), (&*reader.line(), &*reader.line()));
        let second = reader.value().map(|(_, value)| value);
        let grown = [pattern(size, number), pattern(100_000, 9)].concat();
        // It was asked before the key was written to, and may have been served before.
        let is_old = second.as_ref() == Some(&value);
        assert!(
            is_old
                || match number % 3 {
                    0 => second.as_deref() == Some(b"new"),
                    1 => second == Some(grown),
                    _ => second.is_none(),
                },
            "{}",
            keys[number]
        );
        if second.is_some() {
            assert_eq!("END", reader.line());
        }
        reader.check("get nothing\n", "END\n");
    }
}

#[test]
fn what_slow_readers_hold_is_in_the_budget() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&["-t", "2", "-m", "64", "-I", "8m"]);
    let mut writer = server.connect();
    let size = 7 * MIB;
    let mut readers = Vec::new();
    for number in 0..6 {
        store(&mut writer, "set", "held", &pattern(size, number));
        let mut reader = server.connect();
        begin(&mut reader, "held", size);
        readers.push(reader);
    }
    writer.check("delete held\n", "DELETED\n");
    let value = pattern(1000, 3);
    for number in 0..40_000 {
        let mut request = format!("set {number} 0 0 1000 noreply\r\n").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        writer.send(request);
    }
    writer.check("", "");
    assert_eq!(
        0,
        writer.stat("store_no_memory"),
        "there is always something to forget"
    );
    let limit = 64 << 20;
    let beside = 24 << 20;
    assert!(
        server.memory("VmHWM") < limit + beside,
        "{}",
        server.memory("VmHWM")
    );
    for (number, reader) in readers.iter_mut().enumerate() {
        assert!(reader.exact(size) == pattern(size, number));
        assert_eq!(("", "END"), (&*reader.line(), &*reader.line()));
    }
    // What they held serves others again.
    let before = writer.stat("curr_items");
    for number in 0..60_000 {
        let mut request = format!("set {number} 0 0 1000 noreply\r\n").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        writer.send(request);
    }
    assert!(writer.stat("curr_items") > before * 2, "{before}");
    assert!(
        server.memory("VmHWM") < limit + beside,
        "{}",
        server.memory("VmHWM")
    );
}

//! Words about the published ring: how they are read, and how it is told.

use super::binary::packet;
use super::helper::check;
use crate::protocol::{FLEET_PAYLOAD_SIZE_MAX, Spelling, write_config, write_mistake};

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";

#[test]
fn classic_lines() {
    check("config get cluster\r\n", "config get cluster");
    // AWS's libmemcached, and django-elasticache.
    check("config get cluster \r\n", "config get cluster");
    check("config get cluster\n", "config get cluster");
    check("config get tree x\r\n", "config get tree");
    check("config delete cluster\r\n", "config delete cluster");
    check(
        "config delete cluster noreply\r\n",
        "config delete cluster silent",
    );
    check("config set cluster 0 3\r\n1\na\r\n", "config set cluster 1\\na");
    check("config set cluster 0 0\r\n\r\n", "config set cluster ");
    check(
        "config set cluster 5 2 noreply\r\n\r\n\r\nmn\r\n",
        "config set cluster \\r\\n silent\nMN",
    );
    check(
        "config set cluster 0 3\r\n1\na\n\nmn\r\n",
        "CLIENT_ERROR bad data chunk\nMN",
    );
    check("config set cluster 0 5\r\n1\na", "partial");
    check(
        "config set cluster 0 x\r\nconfig set cluster x 0\r\nconfig set cluster\r\n",
        &[BAD_LINE; 3].join("\n"),
    );
    check(
        "config\r\nconfig get\r\nconfig put cluster\r\nconfig set\r\nconfigget cluster\r\n",
        &["ERROR"; 5].join("\n"),
    );
}

#[test]
fn a_payload_has_a_limit() {
    for (size, want) in [
        (FLEET_PAYLOAD_SIZE_MAX, "config set cluster (61440 bytes)\nMN"),
        (
            FLEET_PAYLOAD_SIZE_MAX + 1,
            "SERVER_ERROR object too large for cache\nMN",
        ),
    ] {
        let payload = "x".repeat(size);
        check(
            format!("config set cluster 0 {size}\r\n{payload}\r\nmn\r\n"),
            want,
        );
        // Behind a line that is nearly as long as one may be.
        let long = format!(
            "config set cluster {} {size}\r\n{payload}\r\nmn\r\n",
            "0".repeat(2000)
        );
        check(long, want);
    }
    let packets = |size: usize| {
        [
            packet(0x64, 0, &[0; 4], b"cluster", &vec![b'x'; size]),
            packet(0x0a, 0, &[], &[], &[]),
        ]
        .concat()
    };
    check(
        packets(FLEET_PAYLOAD_SIZE_MAX),
        "config set cluster (61440 bytes)\nstatus 0x00",
    );
    check(packets(FLEET_PAYLOAD_SIZE_MAX + 1), "status 0x03\nstatus 0x00");
}

/// The question that is older than `config get` is one get of one key, and nothing else.
#[test]
fn the_older_question() {
    let old = "old get AmazonElastiCache:cluster\nEND";
    check("get AmazonElastiCache:cluster\r\n", old);
    check("get AmazonElastiCache:cluster\n", old);
    check("get AmazonElastiCache:cluster \r\n", old);
    check("get  AmazonElastiCache:cluster\r\n", old);
    check(
        "gets AmazonElastiCache:cluster \r\ngets AmazonElastiCache:cluster\r\n",
        &["old get AmazonElastiCache:cluster with_cas\nEND"; 2].join("\n"),
    );
    check(
        "get AmazonElastiCache:cluster a\r\nget AmazonElastiCache:clusters\r\n",
        "get AmazonElastiCache:cluster\nget a\nEND\nget AmazonElastiCache:clusters\nEND",
    );
    check(
        "gat 0 AmazonElastiCache:cluster\r\n",
        "get AmazonElastiCache:cluster touch=0\nEND",
    );
    check(
        "set AmazonElastiCache:cluster 0 0 1\r\nx\r\n",
        "set AmazonElastiCache:cluster flags=0 exptime=0 value=x refusal_removes",
    );
}

#[test]
fn binary_packets() {
    for opcode in 0x60..=0x63 {
        check(packet(opcode, 0, &[], b"cluster", &[]), "config get cluster");
        check(packet(opcode, 0, &[0; 4], b"cluster", &[]), "status 0x81");
        check(packet(opcode, 0, &[], &[], &[]), "status 0x81");
    }
    for opcode in [0x64, 0x65] {
        check(
            packet(opcode, 0, &[0; 4], b"cluster", b"1\na"),
            "config set cluster 1\\na",
        );
        check(packet(opcode, 0, &[], b"cluster", b"1\na"), "status 0x81");
    }
    for opcode in [0x66, 0x67] {
        check(packet(opcode, 0, &[], b"cluster", &[]), "config delete cluster");
        check(packet(opcode, 0, &[], b"cluster", b"x"), "status 0x81");
    }
    // A list of the names there are: nobody is known to ask for it.
    check(packet(0x68, 0, &[], &[], &[]), "status 0x81");
}

#[test]
fn the_ring_is_told_in_the_spelling_of_the_question() {
    let told = |spelling| {
        let mut out = Vec::new();
        write_config(&mut out, spelling, b"7\na|1.2.3.4|1\n");
        out.escape_ascii().to_string()
    };
    assert_eq!(
        "CONFIG cluster 0 14\\r\\n7\\na|1.2.3.4|1\\n\\r\\nEND\\r\\n",
        told(Spelling::CLASSIC)
    );
    let header = "\\x00\\x00\\x00\\x00\\x00";
    let behind = "\\x01\\x02\\x03\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";
    for (opcode, sizes, key) in [
        (0x60, "\\x00\\x00\\x04", ""),
        (0x63, "\\x00\\x07\\x04", "cluster"),
    ] {
        let spelling = Spelling::Binary {
            opcode,
            opaque: 0x0102_0304,
        };
        let body = 4 + key.len() + 14;
        let want = format!(
            "\\x81{}{sizes}\\x00\\x00\\x00{}{}{behind}{key}7\\na|1.2.3.4|1\\n",
            char::from(opcode),
            &header[..12],
            [body as u8].escape_ascii()
        );
        assert_eq!(want, told(spelling));
    }
}

#[test]
fn mistakes() {
    let told = |spelling| {
        let mut out = Vec::new();
        write_mistake(&mut out, spelling, "version 3 is older");
        out
    };
    assert_eq!(
        b"CLIENT_ERROR version 3 is older\r\n",
        &told(Spelling::CLASSIC)[..]
    );
    assert!(told(Spelling::classic(true)).is_empty());
    let opcode = 0x64;
    let packet = told(Spelling::Binary { opcode, opaque: 0 });
    assert_eq!(
        (&[0, 4][..], &b"Invalid arguments"[..]),
        (&packet[6..8], &packet[24..])
    );
}

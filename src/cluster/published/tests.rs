//! The published ring's bytes, its mistakes and its versions. How each client reads the bytes is in
//! tests/ketama/discovery.rs.

use super::*;

fn ring(version: u64, servers: &str) -> PublishedRing {
    let servers = Server::parse_list(servers).unwrap();
    PublishedRing::new(RingVersion::new(version).unwrap(), &servers).unwrap()
}

#[test]
fn bytes_of_both_replies() {
    let mut ring = ring(12, "10.0.0.1:11211,cache-2.example.com:11212");
    assert_eq!(
        String::from_utf8(ring.config_reply()).unwrap(),
        "CONFIG cluster 0 54\r\n12\n10.0.0.1|10.0.0.1|11211 cache-2.example.com||11212\n\r\nEND\r\n"
    );
    ring.nodes[1].ip = "10.0.0.2".parse().ok();
    assert_eq!(
        String::from_utf8(ring.value_reply()).unwrap(),
        "VALUE AmazonElastiCache:cluster 0 62\r\n\
         12\n10.0.0.1|10.0.0.1|11211 cache-2.example.com|10.0.0.2|11212\n\r\nEND\r\n"
    );
}

#[test]
fn parse_undoes_payload() {
    for servers in ["a:1", "a:1,b:2,[::1]:3,10.0.0.1:11211", "x.y-z_1:65535"] {
        for version in [1, 1_700_000_001, i32::MAX as u64] {
            let ring = ring(version, servers);
            assert_eq!(PublishedRing::parse(&ring.payload()), Ok(ring));
        }
    }
    let ring = ring(3, "a:1,b:2");
    assert_eq!(PublishedRing::parse(b"3\r\na||1 b||2\r\n"), Ok(ring.clone()));
    assert_eq!(PublishedRing::parse(b"3\na||1 b||2"), Ok(ring));
}

#[test]
fn mistakes_have_line_and_column() {
    #[track_caller]
    fn check(payload: &str, want: &str) {
        assert_eq!(
            PublishedRing::parse(payload.as_bytes()).unwrap_err().to_string(),
            want,
            "{payload:?}"
        );
    }
    let version = "1:1: version must be a whole number from 1 to 2147483647";
    for payload in [
        "",
        "\n",
        "0\na||1\n",
        "-1\na||1\n",
        "1.5\na||1\n",
        "2147483648\na||1\n",
        " 1\na||1\n",
    ] {
        check(payload, version);
    }
    check("99999999999999999999\na||1\n", version);
    check(
        "1\n",
        "2:1: expected the nodes: host|ip|port, one blank between them",
    );
    check(
        "1\n\n",
        "2:1: expected the nodes: host|ip|port, one blank between them",
    );
    check("1\na||1\n\n", "3:1: expected two lines");
    check(
        "1\na||1  b||1\n",
        "2:6: expected host|ip|port, one blank between nodes",
    );
    check(
        "1\na||1 \n",
        "2:6: expected host|ip|port, one blank between nodes",
    );
    check("1\na|1\n", "2:1: expected host|ip|port, one blank between nodes");
    check("1\na||1 |1.1.1.1|2\n", "2:6: expected a host name or address");
    check("1\na||1 b|1.1.1|2\n", "2:8: expected an IP address, or nothing");
    check("1\na|1.1.1.1|0\n", "2:11: port must be a number from 1 to 65535");
    check(
        "1\na|1.1.1.1|1|2\n",
        "2:11: port must be a number from 1 to 65535",
    );
    check("1\na||1 b||1 a||1\n", "2:11: this node is there already");
    assert_eq!(
        PublishedRing::parse(b"1\n\xff||1\n").unwrap_err().to_string(),
        "1:1: payload is not text"
    );
    let many = (0..=SERVERS_MAX)
        .map(|n| format!("h||{}", n + 1))
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        PublishedRing::parse(format!("1\n{many}\n").as_bytes())
            .unwrap_err()
            .what,
        "a ring may have 4096 nodes"
    );
}

#[test]
fn versions_never_go_back() {
    let (old, new) = (ring(4, "a:1,b:1"), ring(5, "a:1,b:1,c:1"));
    assert_eq!(PublishedRing::adopt(None, &old), Adoption::Newer);
    assert_eq!(PublishedRing::adopt(Some(&old), &new), Adoption::Newer);
    assert_eq!(PublishedRing::adopt(Some(&new), &old), Adoption::Older);
    assert_eq!(PublishedRing::adopt(Some(&new), &new.clone()), Adoption::Same);
    assert_eq!(
        PublishedRing::adopt(Some(&new), &ring(5, "a:1")),
        Adoption::Conflict
    );
    // Order is part of a ring: modula and jump place keys by it.
    assert_eq!(
        PublishedRing::adopt(Some(&old), &ring(4, "b:1,a:1")),
        Adoption::Conflict
    );
    // Numbers, not texts: 10 follows 9.
    assert_eq!(
        PublishedRing::adopt(Some(&ring(9, "a:1")), &ring(10, "a:1")),
        Adoption::Newer
    );
}

/// Whatever is offered in whatever order, a node ends with the highest version it saw.
#[test]
fn every_order_of_offers_ends_the_same() {
    let offers: Vec<_> = [3, 1, 4, 1, 5, 9, 2, 6]
        .map(|version| ring(version, "a:1"))
        .into();
    for rotation in 0..offers.len() {
        let mut ours: Option<PublishedRing> = None;
        for offer in offers.iter().cycle().skip(rotation).take(offers.len()) {
            let before = ours.as_ref().map(PublishedRing::version);
            if PublishedRing::adopt(ours.as_ref(), offer) == Adoption::Newer {
                ours = Some(offer.clone());
            }
            assert!(ours.as_ref().map(PublishedRing::version) >= before);
        }
        assert_eq!(ours.unwrap().version().get(), 9);
    }
}

#[test]
fn replies_are_found_however_they_arrive() {
    let ring = ring(7, "a:1,b:2");
    for reply in [ring.config_reply(), ring.value_reply()] {
        for cut in 0..reply.len() {
            assert_eq!(
                find_fleet_reply(&reply[..cut]),
                FleetReply::Partial,
                "cut at {cut}"
            );
        }
        assert_eq!(find_fleet_reply(&reply), FleetReply::Payload(&ring.payload()));
        assert_eq!(
            find_fleet_reply(&[&reply[..], b"VERSION"].concat()),
            FleetReply::Payload(&ring.payload()),
            "what follows is not part of it"
        );
    }
    assert_eq!(find_fleet_reply(b"END\r\n"), FleetReply::Empty);
    assert_eq!(find_fleet_reply(b"ERROR\r\n"), FleetReply::Refused(b"ERROR"));
    let error = b"CLIENT_ERROR unauthenticated";
    assert_eq!(
        find_fleet_reply(&[error, &b"\r\n"[..]].concat()),
        FleetReply::Refused(error)
    );
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"CONFIG cluster 0 -1\r\n",
        b"CONFIG cluster 0 99999999\r\n",
        b"CONFIG cluster 0\r\n",
        b"CONFIG cluster 0 3\r\nabcXXEND\r\n",
        &[b'x'; HEADER_SIZE_MAX],
    ] {
        assert_eq!(
            find_fleet_reply(garbage),
            FleetReply::Garbage,
            "{}",
            String::from_utf8_lossy(garbage)
        );
    }
}

//! The parser against every split, against wrong servers, and its two ways against each other.

use super::*;
use crate::distribution::SizeLaw;

fn catalogue() -> Catalogue {
    Catalogue::new(1000, SizeLaw::Fixed(10), SizeLaw::Fixed(40)).expect("sizes fit")
}

fn value(index: u64) -> String {
    let mut key = Vec::new();
    catalogue().write_key(index, &mut key);
    // Values are arbitrary bytes: kept as Latin-1 here and turned back in `bytes`.
    let mut value = Vec::new();
    catalogue().write_value(index, 9, &mut value);
    let value: String = value.iter().map(|&byte| char::from(byte)).collect();
    format!("VALUE {} 0 40\r\n{value}\r\n", String::from_utf8_lossy(&key))
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
        .collect()
}

/// Asks (each inner list is one get; an empty one is a set of key 1), feeds the reply in pieces, tells what was counted.
fn judge(asked: &[&[u64]], reply: &[u8], piece: usize) -> String {
    judge_by(Connection::new(8, 8, true), asked, reply, piece)
}

fn judge_by(mut connection: Connection, asked: &[&[u64]], reply: &[u8], piece: usize) -> String {
    let (catalogue, mut tally, mut output) = (catalogue(), Tally::new(), Vec::new());
    for keys in asked {
        let mut keys = keys.iter().copied();
        match keys.len() {
            0 => connection.set(&catalogue, 1, b" 0 0 ", 5, 0, &mut output),
            count => connection.get(
                &catalogue,
                count as u32,
                || keys.next().expect("counted"),
                0,
                &mut output,
            ),
        }
    }
    for part in reply.chunks(piece.min(reply.len()).max(1)) {
        if connection
            .receive(part, 100, &catalogue, Verify::Full, &mut tally)
            .is_err()
        {
            return "garbled".into();
        }
    }
    assert_eq!(
        connection.keys.len(),
        connection
            .flights
            .iter()
            .map(|flight| flight.keys as usize)
            .sum::<usize>()
    );
    format!(
        "gets {} hits {} misses {} sets {} errors {} wrong {} open {} wanted {:?}",
        tally.gets,
        tally.hits,
        tally.misses,
        tally.sets,
        tally.errors,
        tally.mismatches,
        connection.in_flight(),
        connection.wanted
    )
}

/// The same judgement however the reply is cut, at every single place and into pieces of every small size.
#[track_caller]
fn check(asked: &[&[u64]], reply: &str, want: &str) {
    let reply = bytes(reply);
    for piece in [usize::MAX, 100, 50, 10, 7, 5, 3, 2, 1] {
        assert_eq!(judge(asked, &reply, piece), want, "pieces of {piece}");
    }
    for cut in 1..reply.len() {
        let (catalogue, mut tally, mut output) = (catalogue(), Tally::new(), Vec::new());
        let mut connection = Connection::new(8, 8, true);
        for keys in asked {
            let mut keys = keys.iter().copied();
            match keys.len() {
                0 => connection.set(&catalogue, 1, b" 0 0 ", 5, 0, &mut output),
                count => connection.get(
                    &catalogue,
                    count as u32,
                    || keys.next().expect("counted"),
                    0,
                    &mut output,
                ),
            }
        }
        let outcome = connection
            .receive(&reply[..cut], 1, &catalogue, Verify::Full, &mut tally)
            .and_then(|()| connection.receive(&reply[cut..], 1, &catalogue, Verify::Full, &mut tally));
        let counts = format!("hits {} misses {}", tally.hits, tally.misses);
        assert!(
            outcome.is_err() == (want == "garbled") && (outcome.is_err() || want.contains(&counts)),
            "cut at {cut}"
        );
    }
}

#[test]
fn hits_misses_and_sets_in_order() {
    let reply = format!("{}END\r\nEND\r\nSTORED\r\n{}END\r\n", value(3), value(4));
    check(
        &[&[3], &[5], &[], &[4]],
        &reply,
        "gets 3 hits 2 misses 1 sets 1 errors 0 wrong 0 open 0 wanted [5]",
    );
}

#[test]
fn misses_within_a_multi_get() {
    let reply = format!("{}{}END\r\n", value(2), value(4));
    check(
        &[&[1, 2, 3, 4, 5]],
        &reply,
        "gets 1 hits 2 misses 3 sets 0 errors 0 wrong 0 open 0 wanted [1, 3, 5]",
    );
}

#[test]
fn an_unfinished_reply_leaves_the_request_open() {
    check(
        &[&[2, 3]],
        &value(2),
        "gets 0 hits 1 misses 0 sets 0 errors 0 wrong 0 open 1 wanted []",
    );
}

#[test]
fn a_value_of_another_key_under_the_right_name_is_wrong() {
    let reply = value(2).replace("VALUE k000000002", "VALUE k000000003");
    check(
        &[&[3]],
        &format!("{reply}END\r\n"),
        "gets 1 hits 0 misses 0 sets 0 errors 0 wrong 1 open 0 wanted []",
    );
}

#[test]
fn a_key_that_was_not_asked_for_is_wrong() {
    let reply = format!("{}END\r\n", value(7));
    check(
        &[&[3]],
        &reply,
        "gets 1 hits 0 misses 1 sets 0 errors 0 wrong 1 open 0 wanted [3]",
    );
}

#[test]
fn hits_out_of_order_are_wrong() {
    let reply = format!("{}{}END\r\n", value(2), value(1));
    check(
        &[&[1, 2]],
        &reply,
        "gets 1 hits 1 misses 1 sets 0 errors 0 wrong 1 open 0 wanted [1]",
    );
}

#[test]
fn hits_in_any_order_are_right_where_that_is_allowed() {
    let two = format!("{}{}END\r\n{}END\r\n", value(3), value(1), value(5));
    for piece in [usize::MAX, 30, 1] {
        let connection = Connection::new(8, 8, true).in_any_order(true);
        assert_eq!(
            "gets 2 hits 3 misses 2 sets 0 errors 0 wrong 0 open 0 wanted [2, 4]",
            judge_by(connection, &[&[1, 2, 3], &[4, 5]], &bytes(&two), piece)
        );
        // Still only what was asked for, and by this very get.
        let connection = Connection::new(8, 8, true).in_any_order(true);
        let said = judge_by(
            connection,
            &[&[1, 2, 3], &[4, 5]],
            &bytes(&format!("{}END\r\n", value(4))),
            piece,
        );
        assert!(
            said.contains("hits 0 misses 3") && said.contains("wrong 1"),
            "{said}"
        );
    }
}

#[test]
fn a_lost_connection_counts_each_request_and_starts_afresh() {
    let (catalogue, mut tally, mut output) = (catalogue(), Tally::new(), Vec::new());
    let mut connection = Connection::new(8, 8, false);
    connection.get(&catalogue, 3, || 1, 0, &mut output);
    connection.set(&catalogue, 1, b" 0 0 ", 5, 0, &mut output);
    // It ends in the middle of a value.
    let half = bytes(&value(1));
    let received = connection.receive(&half[..half.len() - 9], 1, &catalogue, Verify::Full, &mut tally);
    assert_eq!(received, Ok(()));
    connection.lose(&mut tally);
    assert_eq!((tally.errors, connection.in_flight()), (2, 0));
    connection.get(&catalogue, 1, || 1, 0, &mut output);
    let whole = bytes(&format!("{}END\r\n", value(1)));
    assert_eq!(
        connection.receive(&whole, 2, &catalogue, Verify::Full, &mut tally),
        Ok(())
    );
    assert_eq!(
        (tally.errors, tally.mismatches, tally.hits, tally.requests()),
        (2, 0, 1, 1)
    );
}

#[test]
fn a_changed_byte_a_changed_flag_and_a_changed_size_are_wrong() {
    let right = value(2);
    let flag = right.replace(" 0 40", " 1 40");
    let want = "gets 1 hits 0 misses 0 sets 0 errors 0 wrong 1 open 0 wanted []";
    check(&[&[2]], &format!("{flag}END\r\n"), want);
    let mut changed = bytes(&right);
    let middle = changed.len() - 15;
    changed[middle] ^= 1;
    let changed: String = changed.iter().map(|&byte| char::from(byte)).collect();
    check(&[&[2]], &format!("{changed}END\r\n"), want);
    check(&[&[2]], "VALUE k000000002 0 0\r\n\r\nEND\r\n", want);
}

#[test]
fn error_lines_end_their_request_and_no_other() {
    let reply = format!(
        "SERVER_ERROR out of memory\r\n{}END\r\nCLIENT_ERROR bad\r\nNOT_STORED\r\n",
        value(3)
    );
    check(
        &[&[2], &[3], &[], &[]],
        &reply,
        "gets 2 hits 1 misses 0 sets 2 errors 3 wrong 0 open 0 wanted []",
    );
}

#[test]
fn what_is_no_reply_is_garbled() {
    for reply in [
        "STORED\r\n",
        "HELLO\r\n",
        "END\n",
        "VALUE k000000002 0\r\n",
        "VALUE k000000002 0 x\r\n",
    ] {
        check(&[&[2]], reply, "garbled");
    }
    check(&[&[]], &format!("{}END\r\n", value(1)), "garbled");
    check(&[&[2]], &format!("{}END\r\nEND\r\n", value(2)), "garbled");
    let unended = value(2);
    check(
        &[&[2]],
        &format!("{}xx\r\n", unended.trim_end_matches("\r\n")),
        "garbled",
    );
}

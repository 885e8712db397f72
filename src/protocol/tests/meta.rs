//! The meta dialect: what its lines mean, and what is wrong with them.

use super::helper::{check, parse_in_pieces};
use crate::protocol::Dialects;

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";

#[test]
fn mg() {
    check("mg k\r\n", "get k tokens");
    check("mg k v t f\r\n", "get k tokens");
    check("mg k u T30\r\n", "get k touch=30 quietly tokens");
    check(
        "mg k N60 E7 R10\r\n",
        "get k tokens vivify=60 vivify_cas=7 recache_below=10",
    );
    check("mg k N-1\r\n", "get k tokens vivify=-1");
    check("mg Zm9v b k\r\n", "get foo tokens binary_key");
    check("mg\r\n", BAD_LINE);
    check("mg \r\n", BAD_LINE);
    check(format!("mg {}\r\n", "k".repeat(251)), BAD_LINE);
}

#[test]
fn ms() {
    check(
        "ms k 2\r\nab\r\n",
        "set k flags=0 exptime=0 value=ab refusal_removes",
    );
    check(
        "ms k 1 F5 T60 c\r\na\r\n",
        "set k flags=5 exptime=60 value=a refusal_removes",
    );
    check(
        "ms k 1 C3 E9 I\r\na\r\n",
        "set k flags=0 exptime=0 value=a cas=3 cas_new=9 invalidate refusal_removes",
    );
    check(
        "ms k 1 C0 E0\r\na\r\n",
        "set k flags=0 exptime=0 value=a cas=0 refusal_removes",
    );
    check(
        "ms k 1 ME C5\r\na\r\n",
        "add k flags=0 exptime=0 value=a refusal_removes",
    );
    check(
        "ms k 1 MA C0\r\na\r\n",
        "append k flags=0 exptime=0 value=a refusal_removes",
    );
    check(
        "ms k 1 MP C4 N9\r\na\r\n",
        "prepend k flags=0 exptime=0 value=a cas=4 vivify=9 refusal_removes",
    );
    check(
        "ms k 1 MR N9\r\na\r\n",
        "replace k flags=0 exptime=0 value=a refusal_removes",
    );
    check(
        "ms k 1 MSx\r\na\r\n",
        "set k flags=0 exptime=0 value=a refusal_removes",
    );
    check(
        "ms Zm9v 1 b\r\na\r\n",
        "set foo flags=0 exptime=0 value=a refusal_removes binary_key",
    );
    check("ms k 1 q\r\nab\r", "CLIENT_ERROR bad data chunk");
}

#[test]
fn a_refused_ms_takes_its_value_along() {
    for (flags, error) in [
        ("M", "CLIENT_ERROR invalid mode for ms M token"),
        ("Me", "CLIENT_ERROR invalid mode for ms M token"),
        ("z", "CLIENT_ERROR invalid flag"),
        ("noreply", "CLIENT_ERROR invalid flag"),
        ("v v", "CLIENT_ERROR duplicate flag"),
        ("Tx", "CLIENT_ERROR bad token in command line format"),
        ("C-1", "CLIENT_ERROR bad token in command line format"),
        ("F4294967296", BAD_LINE),
        ("b", "CLIENT_ERROR error decoding key"),
        (
            "Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "CLIENT_ERROR opaque token too long",
        ),
        (
            "v s t c f k l h q u x I P L T1 N1 F1 E1",
            "CLIENT_ERROR options flags are too long",
        ),
    ] {
        check(
            format!("ms k 8 {flags}\r\ndelete x\r\nmn\r\n"),
            &format!("{error}\nMN"),
        );
    }
    check(
        format!("ms {} 8\r\ndelete x\r\nmn\r\n", "k".repeat(251)),
        &format!("{BAD_LINE}\nMN"),
    );
    // Without a size nothing is known to follow.
    check(
        "ms k\r\nms k x\r\nms k -1\r\ndelete x\r\n",
        &format!("{BAD_LINE}\n{BAD_LINE}\n{BAD_LINE}\ndelete x"),
    );
}

#[test]
fn md() {
    check("md k\r\n", "delete k");
    check(
        "md k q I T30 C0 E5\r\n",
        "delete k cas=0 cas_new=5 invalidate exptime=30",
    );
    check("md k x\r\n", "delete k empty=0");
    check("md k x F7\r\n", "delete k empty=7");
}

#[test]
fn ma() {
    check("ma k\r\n", "count k Up 1");
    check("ma k MD D5\r\n", "count k Down 5");
    check("ma k M- D5\r\n", "count k Down 5");
    check("ma k M+\r\nma k MI\r\n", "count k Up 1\ncount k Up 1");
    check(
        "ma k N60 J13 T5 C0 E9\r\n",
        "count k Up 1 cas_new=9 touch=5 vivify=13/60",
    );
    check("ma k N0 C8\r\n", "count k Up 1 cas=8 vivify=0/0");
    check("ma k J13\r\n", "count k Up 1");
    check("ma Zm9v b\r\n", "count foo Up 1 binary_key");
    check(
        "ma k Mincr\r\nma k M\r\n",
        ["CLIENT_ERROR invalid mode for ma M token"; 2]
            .join("\n")
            .as_str(),
    );
    check(
        "ma k Dx\r\nma k z\r\nma k v v\r\n",
        ["CLIENT_ERROR invalid or duplicate flag"; 3].join("\n").as_str(),
    );
}

#[test]
fn me_and_mn() {
    check("me k\r\nme k x y\r\n", "inspect k\ninspect k");
    check("me Zm9v b\r\n", "inspect foo");
    check("me\r\n", BAD_LINE);
    check("mn\r\nmn x\r\n", "MN\nMN");
    check("mx k\r\n", "ERROR");
}

#[test]
fn flags_are_known_by_their_first_letter() {
    check("mg k vv k1 svt\r\n", "get k tokens");
    check("mg k vv v\r\n", "CLIENT_ERROR duplicate flag");
    check(
        "mg k 1\r\nmg k \\\r\n",
        ["CLIENT_ERROR invalid flag"; 2].join("\n").as_str(),
    );
    // What is neither letter nor digit is no flag at all, of whatever verb.
    check(
        "mg k \x7f\r\nma k !\r\nmd k q @\r\n",
        [BAD_LINE; 3].join("\n").as_str(),
    );
    // Of several bad tokens the last is named, and the line's length before anything in it.
    check("mg k Tx Dx\r\n", "CLIENT_ERROR invalid numeric delta value");
    check("mg k Dx F-1\r\n", "CLIENT_ERROR invalid numeric delta value");
    check(
        format!("mg k{}\r\n", " z".repeat(19)),
        "CLIENT_ERROR options flags are too long",
    );
    check("mg k Jx\r\n", "CLIENT_ERROR invalid numeric initial value");
    check("mg k Dx\r\n", "CLIENT_ERROR invalid numeric delta value");
    check("mg k P L Px\r\n", "CLIENT_ERROR duplicate flag");
}

#[test]
fn a_large_binary_key_value_arrives_apart() {
    let input = format!("ms Zm9v 9000 b k F3\r\n{}\r\nmn\r\n", "v".repeat(9000));
    for piece in [usize::MAX, 1000] {
        let outcomes = parse_in_pieces(Dialects::Any, input.as_bytes(), piece);
        let set = "set foo flags=3 exptime=0 value=(9000 bytes) refusal_removes binary_key";
        assert_eq!(outcomes, [set, "MN"]);
    }
}

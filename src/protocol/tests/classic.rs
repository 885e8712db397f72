use super::helper::check;

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";

#[test]
fn lines_end_in_lf() {
    check("get a\n", "get a\nEND");
    check("get a\r\n", "get a\nEND");
    check("get a\r\r\n", "get a\\r\nEND");
}

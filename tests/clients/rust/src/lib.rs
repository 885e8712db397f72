//! What the programs of the Rust clients share.

/// The server that the command line names: host and port.
pub fn address() -> (String, u16) {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().expect("a host");
    let port = arguments.next().expect("a port").parse().expect("a port");
    (host, port)
}

/// Bytes of every value, line ends among them.
pub fn every_byte(size: usize) -> Vec<u8> {
    (0..size).map(|index| index as u8).collect()
}

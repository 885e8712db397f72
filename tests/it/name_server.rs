//! A name server on loopback that knows what a test tells it: addresses and services, good for no time at all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;

/// Response, recursion desired and available.
const FLAGS: u16 = 0x8180;
/// No such name.
const NXDOMAIN: u16 = 3;

#[derive(Default)]
struct Zone {
    addresses: HashMap<String, Vec<Ipv4Addr>>,
    services: HashMap<String, Vec<(String, u16)>>,
}

pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    pub(crate) fn start() -> NameServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("an address");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let shared = zone.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut question) {
                let answer = answer(&question[..size], &shared.lock().expect("zone"));
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, from);
            }
        });
        NameServer { address, zone }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name has one more address.
    pub(crate) fn address_of(&self, name: &str, address: Ipv4Addr) {
        let mut zone = self.zone.lock().expect("zone");
        zone.addresses.entry(name.to_owned()).or_default().push(address);
    }

    /// A service is these hosts and ports from now on.
    pub(crate) fn services_of(&self, name: &str, targets: Vec<(String, u16)>) {
        let mut zone = self.zone.lock().expect("zone");
        zone.services.insert(name.to_owned(), targets);
    }
}

/// The answer to one question.
fn answer(question: &[u8], zone: &Zone) -> Vec<u8> {
    let (name, end) = name_at(question, 12);
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let records: Vec<Vec<u8>> = match kind {
        TYPE_A => zone.addresses.get(&name).map_or(Vec::new(), |addresses| {
            addresses
                .iter()
                .map(|address| address.octets().to_vec())
                .collect()
        }),
        TYPE_SRV => zone.services.get(&name).map_or(Vec::new(), |targets| {
            targets
                .iter()
                .map(|(host, port)| {
                    let mut record = vec![0, 0, 0, 0];
                    record.extend(port.to_be_bytes());
                    record.extend(spell(host));
                    record
                })
                .collect()
        }),
        _ => Vec::new(),
    };
    let known = zone.addresses.contains_key(&name) || !records.is_empty();
    let flags = if known { FLAGS } else { FLAGS | NXDOMAIN };
    let mut answer = question[..2].to_vec();
    answer.extend(flags.to_be_bytes());
    answer.extend(1u16.to_be_bytes());
    answer.extend((records.len() as u16).to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&question[12..end + 4]);
    for record in records {
        // The name is that of the question, which stands behind the header.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend(CLASS_IN.to_be_bytes());
        answer.extend(0u32.to_be_bytes());
        answer.extend((record.len() as u16).to_be_bytes());
        answer.extend(record);
    }
    answer
}

/// The name that begins here, and where it ends.
fn name_at(bytes: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    loop {
        let size = usize::from(bytes[at]);
        at += 1;
        if size == 0 {
            return (labels.join("."), at);
        }
        labels.push(String::from_utf8_lossy(&bytes[at..at + size]).to_lowercase());
        at += size;
    }
}

/// A name as labels with their sizes.
fn spell(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

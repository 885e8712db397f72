//! TLS: certificates of the test's own making, rustls and others as clients, on whichever event loop is under test.

mod admission;
mod others;
mod refresh;
mod traffic;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::harness::{DEADLINE, Server, scratch_folder};

/// Both versions of the protocol that there are.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Somebody who vouches for keys, and a folder for what the server is to read.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let folder = scratch_folder();
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("ca.pem");
        Authority { issuer, folder }
    }

    fn vouch(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// For a server on loopback, whatever its address there.
    pub(crate) fn server(&self) -> Identity {
        let names: Vec<String> = (1..=4).map(|last| format!("127.0.0.{last}")).collect();
        self.vouch(CertificateParams::new(names).expect("names"))
    }

    fn client_params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "client");
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
        params
    }

    /// Writes what the server is to show.
    pub(crate) fn install(&self, identity: &Identity) {
        fs::write(self.folder.join("chain.pem"), &identity.certificate).expect("chain.pem");
        fs::write(self.folder.join("key.pem"), &identity.key).expect("key.pem");
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The options that name the files.
    pub(crate) fn options(&self) -> [String; 3] {
        let files = format!(
            "ssl_chain_cert={},ssl_key={},ssl_ca_cert={}",
            self.file("chain.pem"),
            self.file("key.pem"),
            self.file("ca.pem")
        );
        ["-Z".to_owned(), "-o".to_owned(), files]
    }

    /// A server that shows a certificate of this authority.
    fn start(&self, options: &[&str]) -> Server {
        if !self.folder.join("chain.pem").exists() {
            self.install(&self.server());
        }
        let own = self.options();
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
            .collect();
        Server::start(&all)
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).expect("a certificate")
    }

    /// How a client of these versions is to trust this authority and nobody else, and who it says it is.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let certificate =
                    CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .expect("a client's certificate")
            }
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client over TLS. Every read has a deadline.
struct Secure {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Secure {
    /// The handshake, too; and `version`, for with TLS 1.3 a refusal of the client comes behind it.
    fn try_connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Secure> {
        let socket = connect(address);
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut secure = Secure {
            stream: BufReader::new(StreamOwned::new(connection, socket)),
        };
        secure.stream.get_mut().write_all(b"version\r\n")?;
        let mut line = String::new();
        secure.stream.read_line(&mut line)?;
        match line.starts_with("VERSION ") {
            true => Ok(secure),
            false => Err(io::Error::other(format!("not a version: {line:?}"))),
        }
    }

    #[track_caller]
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Secure {
        Secure::try_connect(address, config).expect("a handshake and a version")
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("send");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(line.ends_with("\r\n"), "not a line: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    fn exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// What comes up to the end, which must be a proper one: a connection cut short is an error.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }

    /// A line of statistics.
    fn stat(&mut self, kind: &str, name: &str) -> Option<String> {
        self.send(format!("stats{kind}\r\n"));
        let mut found = None;
        loop {
            let line = self.line();
            if line == "END" {
                return found;
            }
            if let Some((known, value)) = line.strip_prefix("STAT ").and_then(|line| line.split_once(' '))
                && known == name
            {
                found = Some(value.to_owned());
            }
        }
    }

    fn connection(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }

    /// The certificate that the server has shown.
    fn shown(&self) -> Vec<u8> {
        self.connection().peer_certificates().expect("certificates")[0].to_vec()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("connect");
    socket.set_nodelay(true).expect("nodelay");
    socket.set_read_timeout(Some(DEADLINE)).expect("read timeout");
    socket.set_write_timeout(Some(DEADLINE)).expect("write timeout");
    socket
}

/// The server's port on another address of loopback.
fn at(server: &Server, last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from(Ipv4Addr::new(127, 0, 0, last)), server.port())
}

fn is_der_of(identity: &Identity, der: &[u8]) -> bool {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes())
        .expect("a certificate")
        .as_ref()
        == der
}

/// A config that resumes nothing.
fn without_memory(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn path_of(file: &str) -> &Path {
    Path::new(file)
}

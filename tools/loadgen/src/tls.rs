//! TLS on the client's side: whom to trust, the handshake, and certificates for servers that the tool starts itself.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Believes every certificate: what is measured is the server, not its name.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How to speak TLS with a server whose certificate `ca` vouches for, or with any server.
pub(crate) fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match ca {
        None => Arc::new(Anybody(ring::default_provider())),
        Some(file) => {
            let say = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| say(&error))? {
                let certificate = certificate.map_err(|error| say(&error))?;
                roots.add(certificate).map_err(|error| say(&error))?;
            }
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
                .build()
                .map_err(|error| say(&error))?
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Shakes hands; the connection is returned ready for data.
pub(crate) fn meet(config: &Arc<ClientConfig>, socket: &mut TcpStream) -> io::Result<ClientConnection> {
    let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
    let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    // A batch is sealed in one piece, whatever its size.
    tls.set_buffer_limit(None);
    while tls.is_handshaking() {
        tls.complete_io(socket)?;
    }
    Ok(tls)
}

/// What one connection of the ring's client has between its socket and its requests.
pub(crate) struct Seal {
    tls: ClientConnection,
    /// What has been opened and is being read.
    opened: Vec<u8>,
}

impl Seal {
    pub(crate) fn new(tls: ClientConnection) -> Seal {
        Seal {
            tls,
            opened: Vec::new(),
        }
    }

    /// Seals what has been written, in its place.
    pub(crate) fn seal(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        self.tls.writer().write_all(output)?;
        output.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(output)?;
        }
        Ok(())
    }

    /// Opens what has come. What it makes the client say (a change of keys) goes with the next request.
    pub(crate) fn open(&mut self, mut sealed: &[u8]) -> io::Result<&[u8]> {
        self.opened.clear();
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let start = self.opened.len();
            self.opened.resize(start + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut self.opened[start..])?;
            if state.peer_has_closed() {
                // Nothing that counts follows; the socket's own end does.
                break;
            }
        }
        Ok(&self.opened)
    }
}

/// A certificate for this machine that nobody vouches for, in files of their own; removed in the end.
pub(crate) struct Certificate {
    folder: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn new() -> Result<Certificate, String> {
        let say = |error: rcgen::Error| error.to_string();
        let pair = KeyPair::generate().map_err(say)?;
        let names = vec!["localhost".to_string(), Ipv4Addr::LOCALHOST.to_string()];
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&pair))
            .map_err(say)?;
        let folder = std::env::temp_dir().join(format!("loadgen-{}", std::process::id()));
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        // The servers may run as somebody else, and the key is good for nothing but this.
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&chain, certificate.pem()))
            .and_then(|()| fs::write(&key, pair.serialize_pem()))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Certificate { folder, chain, key })
    }

    /// Puts the files' names in the places of {cert} and {key}.
    pub(crate) fn name_in(&self, command: &str) -> String {
        let (chain, key) = (self.chain.display().to_string(), self.key.display().to_string());
        command.replace("{cert}", &chain).replace("{key}", &key)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What cannot be removed is small, and lies where such things are swept up.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! The files of `-Z`: the server's certificates and key, and the authorities that it trusts with clients'.
//!
//! They are read at the start, and anew when `refresh_certs` or SIGHUP asks. If they make no sense then, what was there
//! holds. What is said is what memcached says, but for OpenSSL's part of it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use super::{Refusal, ciphers};
use crate::config::{EX_USAGE, Tls};
use crate::runtime::{TlsConfigSet, TlsConfigs};
use crate::session::statistics;

/// Bytes of a file of certificates, at most: all authorities of a usual system take 300 KiB.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// Sessions kept for clients who know no tickets, for each entrance.
const SESSIONS_MAX: usize = 4096;

/// The certificates, as options and files have them.
#[derive(Debug)]
pub(super) struct Certificates {
    options: Tls,
    provider: Arc<CryptoProvider>,
    configs: Arc<TlsConfigs>,
    /// Held while files are read, so that who reads last has the last word.
    reading: Mutex<()>,
    read_at: Mutex<Instant>,
}

impl Certificates {
    /// Reads the files for the first time.
    pub(super) fn read(options: &Tls) -> Result<Certificates, Refusal> {
        let refused = |message| Refusal {
            message,
            code: EX_USAGE as u8,
        };
        let mut provider = default_provider();
        if let Some(list) = &options.ciphers {
            provider.cipher_suites = ciphers::chosen(list, ALL_CIPHER_SUITES)
                .ok_or_else(|| refused(format!("Error setting the provided cipher(s): {list}")))?;
        }
        let provider = Arc::new(provider);
        let set = load(options, &provider).map_err(refused)?;
        Ok(Certificates {
            options: options.clone(),
            provider,
            configs: Arc::new(TlsConfigs::new(set)),
            reading: Mutex::new(()),
            read_at: Mutex::new(Instant::now()),
        })
    }

    /// What connections are met with, now and after every refresh.
    pub(super) fn configs(&self) -> Arc<TlsConfigs> {
        self.configs.clone()
    }
}

impl statistics::Certificates for Certificates {
    fn refresh(&self) -> Result<(), String> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let set = load(&self.options, &self.provider)?;
        self.configs.replace(set);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    fn age(&self) -> u64 {
        let read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.elapsed().as_secs()
    }
}

/// Reads all files and makes of them what connections are met with.
fn load(options: &Tls, provider: &Arc<CryptoProvider>) -> Result<TlsConfigSet, String> {
    let name = |path: &Option<String>| one_line(path.as_deref().unwrap_or("(null)"));
    let of_chain = |why: String| {
        format!(
            "Error loading the certificate chain: {} : {why}",
            name(&options.chain_cert)
        )
    };
    let of_key = |why: String| format!("Error loading the key: {} : {why}", name(&options.key));
    let of_authorities = |why: String| {
        format!(
            "Error loading the CA certificate: {} : {why}",
            name(&options.ca_cert)
        )
    };
    let invalid = |error: Error| {
        format!(
            "Error validating the certificate: {}",
            one_line(&error.to_string())
        )
    };

    let chain = contents(options.chain_cert.as_deref()).and_then(|bytes| certificates(&bytes));
    let chain = chain.map_err(of_chain)?;
    let key = contents(options.key.as_deref()).and_then(|bytes| private_key(bytes, options.key_format));
    let key = key.map_err(of_key)?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| of_key(one_line(&error.to_string())))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(invalid)?;
    let shown = Arc::new(SingleCertAndKey::from(certified));

    let mut roots = RootCertStore::empty();
    if options.ca_cert.is_some() {
        let authorities = contents(options.ca_cert.as_deref()).and_then(|bytes| certificates(&bytes));
        for authority in authorities.map_err(of_authorities)? {
            let added = roots.add(authority);
            added.map_err(|error| of_authorities(one_line(&error.to_string())))?;
        }
    }
    let roots = Arc::new(roots);

    let config = |verifier: Arc<dyn ClientCertVerifier>| -> Result<Arc<ServerConfig>, String> {
        let versions: &[_] = match options.is_only_1_3() {
            true => &[&TLS13],
            false => &[&TLS13, &TLS12],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(invalid)?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown.clone());
        // Fresh for each: who has shown no certificate at one entrance has not shown one at another, and who showed one
        // to authorities that are trusted no more must show another.
        if options.session_cache {
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
            config.ticketer = Ticketer::new().map_err(invalid)?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    };
    Ok(TlsConfigSet {
        not_asked: config(WebPkiClientVerifier::no_client_auth())?,
        asked: config(verifier(&roots, provider, false)?)?,
        required: config(verifier(&roots, provider, true)?)?,
    })
}

fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if roots.is_empty() {
        return Ok(Arc::new(NobodyTrusted {
            is_required,
            provider: provider.clone(),
        }));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let built = match is_required {
        true => builder.build(),
        false => builder.allow_unauthenticated().build(),
    };
    built.map_err(|error| {
        format!(
            "Error loading the CA certificate: {}",
            one_line(&error.to_string())
        )
    })
}

/// The whole file.
fn contents(path: Option<&str>) -> Result<Vec<u8>, String> {
    let path = path.ok_or("no file is named")?;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| one_line(&error.to_string()))?;
    match bytes.len() as u64 > FILE_SIZE_MAX {
        true => Err(format!("it has more than {FILE_SIZE_MAX} bytes")),
        false => Ok(bytes),
    }
}

/// All certificates of a PEM file, which must have one.
fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err("no certificate is in it".to_owned()),
        Ok(all) => Ok(all),
        Err(error) => Err(one_line(&error.to_string())),
    }
}

fn private_key(bytes: Vec<u8>, format: i64) -> Result<PrivateKeyDer<'static>, String> {
    match format {
        1 => PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| one_line(&error.to_string())),
        2 => PrivateKeyDer::try_from(bytes).map_err(str::to_owned),
        _ => Err("ssl_keyformat is 1 (PEM) or 2 (DER)".to_owned()),
    }
}

/// It becomes a line of a reply.
fn one_line(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ")
}

/// Refuses every certificate: no authority is named that could vouch for one.
struct NobodyTrusted {
    is_required: bool,
    provider: Arc<CryptoProvider>,
}

const NOBODY_VOUCHES: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

impl ClientCertVerifier for NobodyTrusted {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Err(NOBODY_VOUCHES)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NOBODY_VOUCHES)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NOBODY_VOUCHES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Debug for NobodyTrusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NobodyTrusted")
    }
}

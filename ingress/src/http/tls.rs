//! TLS in front of the ingress: its certificate and key from files, which are read again when they change, and the
//! certificates of clients. Knows nothing of what is said over it.

use crate::config::{CertificateConfig, ClientCertificates, TlsConfig};
use penstock_schemas::key::VirtualKey;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};
use webpki::EndEntityCert;

/// Between two looks into the files.
const LOOK: Duration = Duration::from_secs(5);

/// What a client may choose between: HTTP/2, and what every client speaks.
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TlsError {
    /// The file.
    path: String,
    /// What is wrong with it.
    reason: String,
}

/// The files as they were read last, and what was made of them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Tls {
    config: TlsConfig,
    loaded: Arc<Mutex<(Files, Arc<ServerConfig>)>>,
}

/// The contents of the files.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub(crate) fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(config)?;
        let made = make(config, &files)?;
        Ok(Self { config: config.clone(), loaded: Arc::new(Mutex::new((files, made))) })
    }

    /// For a connection that begins now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.loaded.lock().unwrap_or_else(PoisonError::into_inner).1.clone())
    }

    /// Reads the files again whenever they change; what cannot be used changes nothing.
    pub(crate) async fn keep_fresh(self) {
        let mut last = None;
        loop {
            sleep(LOOK).await;
            match self.renew() {
                Ok(true) => {
                    info!(cert = %self.config.cert.display(), "the certificate was read again");
                    last = None;
                }
                Ok(false) => last = None,
                Err(why) => {
                    let why = why.to_string();
                    if last.as_ref() != Some(&why) {
                        error!(why, "the new certificate cannot be used; the one before it still is");
                    }
                    last = Some(why);
                }
            }
        }
    }

    /// Whether there was something new.
    fn renew(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.config)?;
        if self.loaded.lock().unwrap_or_else(PoisonError::into_inner).0 == files {
            return Ok(false);
        }
        let made = make(&self.config, &files)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = (files, made);
        Ok(true)
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(wrong(path));
        let client_ca = config.client_ca.as_deref().map(read).transpose()?;
        Ok(Self { cert: read(&config.cert)?, key: read(&config.key)?, client_ca })
    }
}

fn wrong<E: Display>(path: &Path) -> impl Fn(E) -> TlsError {
    let path = path.display().to_string();
    move |reason| TlsError { path: path.clone(), reason: reason.to_string() }
}

fn make(config: &TlsConfig, files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = |pem: &[u8], path: &Path| {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(wrong(path))?;
        if chain.is_empty() { Err(wrong(path)("there is no certificate in it")) } else { Ok(chain) }
    };
    let chain = certificates(&files.cert, &config.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(wrong(&config.key))?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(wrong(&config.cert))?;
    let builder = match (&config.client_ca, &files.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, path)? {
                roots.add(certificate).map_err(wrong(path))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match config.client {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                ClientCertificates::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(wrong(path))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut made = builder.with_single_cert(chain, key).map_err(wrong(&config.key))?;
    made.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(Arc::new(made))
}

/// The key that a client's certificate works as, by its names. The certificate was verified.
pub(crate) fn key_of(shown: Option<&[CertificateDer<'_>]>, known: &[CertificateConfig]) -> Option<Arc<VirtualKey>> {
    let certificate = EndEntityCert::try_from(shown?.first()?).ok()?;
    let names: Vec<&str> = certificate.valid_dns_names().chain(certificate.valid_uri_names()).collect();
    let found = known.iter().find(|known| names.contains(&known.name.as_str()));
    found.map(|known| known.key.clone())
}

//! A certificate authority of the test's own: certificates for servers and clients, and TLS connections that trust it. Knows
//! nothing of what is said over them.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are right names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for this name: a URI, an address or a DNS name.
    ///
    /// # Panics
    /// When it is none of these.
    pub fn issue(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are right names");
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains("://") => SanType::URI(name.try_into().expect("a test names a URI in ASCII")),
            Err(_) => SanType::DnsName(name.try_into().expect("a test names a host in ASCII")),
        });
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&key, &self.issuer).expect("the authority signs it").pem();
        Issued { cert, key: key.serialize_pem() }
    }

    /// What takes TLS connections of others, with a certificate for this name.
    ///
    /// # Panics
    /// When rustls cannot use it.
    pub fn acceptor(&self, name: &str) -> TlsAcceptor {
        let (chain, key) = read(&self.issue(name)).expect("it was just written");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        TlsAcceptor::from(Arc::new(config.and_then(|config| config).expect("the certificate belongs to the key")))
    }

    /// A TLS connection to a server on this machine, which must have a certificate of this authority for its address; with
    /// a client's certificate, and these protocols to choose from.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(
        &self,
        address: &str,
        client: Option<&Issued>,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.pem.as_bytes()).flatten() {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let (chain, key) = read(issued)?;
                builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The certificate and the key, as rustls wants them.
fn read(issued: &Issued) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(issued.cert.as_bytes()).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(io::Error::other)?;
    Ok((chain, key))
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

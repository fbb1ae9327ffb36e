//! How callers reach the ingress: TLS, certificates of clients, proxies in front, a listener for operators. Knows no socket.

use penstock_runtime::config::{Document, Section};
use penstock_schemas::UnixMicros;
use penstock_schemas::hex;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{KeyId, ProjectId};
use penstock_schemas::network::Networks;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The keys of `[ingress]` that say how callers reach it, and `[[client_certificates]]`.
#[derive(Clone, Debug, Default)]
pub struct EdgeConfig {
    /// `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Where operators reach the admin API, the dashboard and the metrics; then the other address does not serve them.
    pub admin_listen: Option<SocketAddr>,
    /// The proxies that are believed when they say whose request they pass on.
    pub trusted_proxies: Networks,
    /// Whether connections of theirs begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whose certificates work as keys.
    pub certificates: Vec<CertificateConfig>,
}

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The chain of the ingress's own, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Who issues certificates of clients, as PEM; `None`: no client is asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show one.
    pub client: ClientCertificates,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It may.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// A client's certificate that works as a key.
#[derive(Clone, Debug)]
pub struct CertificateConfig {
    /// A DNS name or URI among its subject alternative names.
    pub name: String,
    /// What may be asked with it.
    pub key: Arc<VirtualKey>,
}

impl EdgeConfig {
    /// Reads the keys of `[ingress]`.
    pub(super) fn read(section: &mut Section) -> Self {
        let trusted: Vec<String> = section.get("trusted_proxies").unwrap_or_default();
        let trusted_proxies = Networks::parse(&trusted).unwrap_or_else(|why| {
            section.mistake("trusted_proxies", &why);
            Networks::default()
        });
        let proxy_protocol = section.or("proxy_protocol", false);
        if proxy_protocol && trusted_proxies.is_empty() {
            section.mistake("proxy_protocol", "needs trusted_proxies: its header is read from these alone");
        }
        let admin_listen = section.get::<String>("admin_listen").and_then(|text| {
            let why = |_| section.mistake("admin_listen", &format!("`{text}` is not an address: \"127.0.0.1:8081\""));
            text.parse().map_err(why).ok()
        });
        let tls = TlsConfig::read(&mut section.section("tls"));
        Self { tls, admin_listen, trusted_proxies, proxy_protocol, certificates: Vec::new() }
    }

    /// Reads `[[client_certificates]]`.
    pub(super) fn read_certificates(&mut self, document: &mut Document) {
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for mut section in document.entries("client_certificates") {
            if !asks {
                section.mistake("name", "needs [ingress.tls] client_ca: no client is asked for a certificate");
            }
            self.certificates.extend(CertificateConfig::read(&mut section));
        }
    }
}

impl TlsConfig {
    fn read(section: &mut Section) -> Option<Self> {
        let (cert, key): (Option<PathBuf>, Option<PathBuf>) = (section.get("cert"), section.get("key"));
        let client_ca: Option<PathBuf> = section.get("client_ca");
        let client: String = section.or("client", "optional".to_owned());
        let client = match client.as_str() {
            "optional" => ClientCertificates::Optional,
            "required" => ClientCertificates::Required,
            other => {
                section.mistake("client", &format!("`{other}` is not known: use \"optional\" or \"required\""));
                ClientCertificates::Required
            }
        };
        if client == ClientCertificates::Required && client_ca.is_none() {
            section.mistake("client_ca", "is missing: who issues the certificates that clients must show?");
        }
        match (cert, key) {
            (Some(cert), Some(key)) => Some(Self { cert, key, client_ca, client }),
            (None, None) => {
                if client_ca.is_some() {
                    section.mistake("cert", "is missing: clients are asked for certificates over TLS alone");
                }
                None
            }
            (Some(_), None) => {
                section.mistake("key", "is missing: the private key of cert");
                None
            }
            (None, Some(_)) => {
                section.mistake("cert", "is missing: the certificates of key");
                None
            }
        }
    }
}

impl CertificateConfig {
    fn read(section: &mut Section) -> Option<Self> {
        let name: Option<String> = section.get("name");
        if name.as_ref().is_none_or(String::is_empty) {
            section.mistake("name", "is missing: a DNS name or URI in the certificate");
        }
        let project: String = section.or("project", "default".to_owned());
        let project = ProjectId::parse(project).map_err(|error| section.mistake("project", &error.to_string())).ok();
        let user: Option<String> = section.get("user");
        let models: Vec<String> = section.get("models").unwrap_or_default();
        let tags: BTreeMap<String, String> = section.get("tags").unwrap_or_default();
        let name = name?;
        let id = hex::write(digest(&SHA256, name.as_bytes()).as_ref());
        let key = VirtualKey {
            id: KeyId::parse(format!("cert_{}", &id[..16])).expect("hexadecimal digits are a name"),
            sha256: String::new(),
            prefix: String::new(),
            secrets: Vec::new(),
            project: project?,
            user,
            name: Some(name.clone()),
            models,
            tags,
            created_at: UnixMicros(0),
            expires_at: None,
            disabled: false,
            budgets: Vec::new(),
            generations: BTreeMap::new(),
            rates: None,
            cache: None,
            addresses: Vec::new(),
        };
        Some(Self { name, key: Arc::new(key) })
    }
}

//! How the ingress listens, waits and routes: sections `[ingress]` and `[models.NAME]`. Knows nothing of requests.

mod bodies;
mod caching;
mod checks;
mod declared;
mod edge;
mod experiment;
mod judges;
mod route_rule;
mod strategy;
mod virtual_model;

pub(crate) use bodies::BodyPolicy;
pub(crate) use caching::{CacheConfig, CacheJudge};
pub(crate) use checks::CheckPolicy;
pub use declared::{Declared, DeclaredKey};
pub(crate) use edge::{CertificateConfig, ClientCertificates, EdgeConfig, TlsConfig};
#[cfg(test)]
pub(crate) use experiment::ExperimentArm;
pub(crate) use experiment::{Experiment, ShadowArm};
pub(crate) use judges::JudgeConfig;
pub(crate) use route_rule::{Modality, RouteHours, RouteRule, RouteTraits};
pub use strategy::Strategy;
pub use virtual_model::VirtualModel;
pub(crate) use virtual_model::{Hedge, ModelLink, OnBreak, Routing, Sticky};

use crate::identity::IssuerConfig;
use penstock_runtime::bus::FileLimits;
use penstock_runtime::config::{Document, Section};
use penstock_runtime::{MasterKey, Secret};
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::name::RequestId;
use penstock_schemas::trace::{HeadSampling, TraceContext};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the ingress is told.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How callers reach it there.
    pub edge: EdgeConfig,
    /// The longest request body, in bytes.
    pub body_limit: usize,
    /// Longest wait for a request's head.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// After which silence a stream of events gets a sign of life; zero: never.
    pub keep_alive: Duration,
    /// Longest wait for a request's body.
    pub body_timeout: Duration,
    /// Longest time for a request as a whole; `x-penstock-timeout-ms` can only shorten it.
    pub total_timeout: Duration,
    /// Longest wait for the requests in flight when the process is told to stop.
    pub drain: Duration,
    /// The memory that requests may take together, in bytes.
    pub memory: usize,
    /// What the responses of one project that are kept may take, in bytes; beyond it its own oldest go.
    pub stored: usize,
    /// What callers may keep in files.
    pub files: FileLimits,
    /// Connections at once; others wait in the system's queue.
    pub connections: usize,
    /// Connections at once that have shown no valid key yet; beyond it, the oldest of the address that has most is closed.
    pub strangers: usize,
    /// Counters of users, end users and sessions that a project names, of each limit in each of its windows.
    pub counters: usize,
    /// The origins whose pages may call: `https://app.example`, or `*`.
    pub cors: Vec<String>,
    /// Who may read `/metrics`, and where.
    pub metrics: MetricsAccess,
    /// Calls that may wait for one provider's workers when all are busy.
    pub queue: usize,
    /// Longest wait there.
    pub queue_timeout: Duration,
    /// Longest wait there while no worker serves the provider, for one to start. Zero: such calls are refused at once.
    pub wake_timeout: Duration,
    /// Longest wait for what is set aside in a budget and may come back.
    pub budget_wait: Duration,
    /// How batches are run.
    pub batch: BatchConfig,
    /// The cache of answers.
    pub cache: CacheConfig,
    /// Whose requests and answers are kept.
    pub bodies: Arc<BodyPolicy>,
    /// Whose answers are checked without a model.
    pub checks: CheckPolicy,
    /// Who scores answers.
    pub judges: Vec<Arc<JudgeConfig>>,
    /// The operator's own model names.
    pub models: BTreeMap<String, VirtualModel>,
    /// What happens to what a provider cannot express, unless the virtual model says otherwise.
    pub unsupported: Unsupported,
    /// What is managed and stands in the file.
    pub declared: Declared,
    /// A first virtual key, from `PENSTOCK_KEY`.
    pub preset_key: Option<Secret>,
    /// Whose tokens work as keys.
    pub issuers: Vec<IssuerConfig>,
    /// What seals the keys of providers.
    pub master_key: Option<MasterKey>,
    /// What seals the key that hashes virtual keys; from `PENSTOCK_MASTER_KEY`.
    pub hash_seal: Option<MasterKey>,
    /// Which traces are exported whatever becomes of their requests; `None`: no traces are made.
    pub traces: Option<HeadSampling>,
    /// The key of the admin API; without one it is closed.
    pub admin_key: Option<Secret>,
}

/// How batches are run: the keys of `[batch]` that the ingress reads.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// Lines of one file.
    pub lines: u64,
    /// Lines that this process answers at once, for each provider.
    pub at_once: usize,
}

impl BatchConfig {
    fn read(document: &mut Document) -> Self {
        let mut section = document.part("batch", &["lines", "at_once"]);
        Self { lines: section.or("lines", 50_000), at_once: section.or("at_once", 256) }
    }
}

/// Who may read `/metrics`, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Every client that reaches the ingress.
    Open,
    /// Who has an admin key or token, whatever its role.
    Admin,
    /// Every client that reaches this address; the ingress's own address does not serve them.
    Apart(SocketAddr),
}

impl IngressConfig {
    /// Reads the sections.
    pub fn read(document: &mut Document) -> Self {
        let mut section = document.section("ingress");
        let listen = read_listen(&mut section);
        let mut seconds = |key, default| section.duration(key).unwrap_or(Duration::from_secs(default));
        let head_timeout = seconds("head_timeout", 10);
        let (idle_timeout, write_timeout) = (seconds("idle_timeout", 75), seconds("write_timeout", 60));
        let keep_alive = seconds("keep_alive", 45);
        let body_timeout = seconds("body_timeout", 60);
        let (total_timeout, drain) = (seconds("total_timeout", 600), seconds("drain", 30));
        let body_limit = section.size("body_limit").unwrap_or(32 << 20);
        let queue_timeout = section.duration("queue_timeout").unwrap_or(Duration::from_secs(10));
        let wake_timeout = section.duration("wake_timeout").unwrap_or_default();
        let budget_wait = section.duration("budget_wait").unwrap_or(Duration::from_secs(2));
        let (queue, memory) = (section.or("queue", 1000), section.size("memory").unwrap_or(1 << 30));
        let stored = section.size("stored").unwrap_or(256 << 20);
        let connections: usize = section.or("connections", 10_000);
        // Never all of them: strangers cannot keep out those who have a key.
        let strangers = section.or("strangers", 1000).min(connections / 2);
        let metrics = read_metrics(&mut section);
        let mut edge = EdgeConfig::read(&mut section);
        edge.read_certificates(document);
        let unsupported = section.get("unsupported").unwrap_or_default();
        let models = read_models(document);
        let declared = Declared::read(document, |name| models.contains_key(name));
        Self {
            listen,
            edge,
            body_limit,
            head_timeout,
            idle_timeout,
            write_timeout,
            keep_alive,
            body_timeout,
            total_timeout,
            drain,
            models,
            unsupported,
            queue,
            batch: BatchConfig::read(document),
            cache: CacheConfig::read(document),
            bodies: Arc::new(BodyPolicy::read(document)),
            checks: CheckPolicy::read(document),
            judges: JudgeConfig::read_all(document).into_iter().map(Arc::new).collect(),
            memory,
            stored,
            files: read_files(&mut document.section("files")),
            connections,
            strangers,
            counters: section.or("counters", 100_000),
            cors: read_cors(&mut section),
            metrics,
            queue_timeout,
            wake_timeout,
            issuers: IssuerConfig::read_all(document),
            declared,
            budget_wait,
            preset_key: None,
            hash_seal: None,
            master_key: None,
            traces: None,
            admin_key: None,
        }
    }
}

impl IngressConfig {
    /// The trace that a request is a part of, by its caller's `traceparent` if it has one.
    pub(crate) fn trace(&self, request: RequestId, header: Option<&str>) -> Option<Box<TraceContext>> {
        self.traces.map(|sampling| Box::new(sampling.trace(request, header)))
    }
}

fn read_listen(section: &mut Section) -> SocketAddr {
    let listen: String = section.or("listen", "127.0.0.1:8080".to_owned());
    listen.parse().unwrap_or_else(|_| {
        section.mistake("listen", &format!("`{listen}` is not an address: write it as \"127.0.0.1:8080\""));
        SocketAddr::from(([127, 0, 0, 1], 8080))
    })
}

/// The virtual models, and the experiments that are made on them.
fn read_models(document: &mut Document) -> BTreeMap<String, VirtualModel> {
    let models = document.sections("models").into_iter().filter_map(|(name, mut section)| {
        let model = VirtualModel::read(&name, &mut section)?;
        Some((name, model))
    });
    let mut models: BTreeMap<String, VirtualModel> = models.collect();
    for experiment in Experiment::read_all(document, |name| Some(models.get(name)?.targets().cloned().collect())) {
        if let Some(model) = models.get_mut(&experiment.plan.model) {
            model.experiment = Some(Arc::new(experiment));
        }
    }
    models
}

fn read_files(section: &mut Section) -> FileLimits {
    let mut size = |key, default: usize| section.size(key).unwrap_or(default) as u64;
    let (file_bytes, project_bytes) = (size("max_bytes", 512 << 20), size("project_bytes", 10 << 30));
    FileLimits { file_bytes, project_bytes, project_files: section.or("project_files", 10_000) }
}

fn read_cors(section: &mut Section) -> Vec<String> {
    let origins: Vec<String> = section.get("cors").unwrap_or_default();
    for why in origins.iter().filter_map(|origin| mistake_of_origin(origin)) {
        section.mistake("cors", &why);
    }
    origins
}

/// What is wrong with an origin of the configuration, if anything.
fn mistake_of_origin(origin: &str) -> Option<String> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte))
    });
    let why =
        || format!("`{origin}` is no origin: write it as \"https://app.example\", without a path, or \"*\" for all");
    (origin != "*" && !is_origin).then(why)
}

fn read_metrics(section: &mut Section) -> MetricsAccess {
    let text: String = section.or("metrics", "admin".to_owned());
    match text.as_str() {
        "open" => MetricsAccess::Open,
        "admin" => MetricsAccess::Admin,
        address => address.parse().map_or_else(
            |_| {
                let why =
                    format!("`{address}` is not known: use \"admin\", \"open\" or an address, \"127.0.0.1:9090\"");
                section.mistake("metrics", &why);
                MetricsAccess::Admin
            },
            MetricsAccess::Apart,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for (origin, is_right) in [
            ("https://app.example", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("*", true),
            ("https://app.example/", false),
            ("https://app.example/x", false),
            ("https://*.example", false),
            ("app.example", false),
            ("https://", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(mistake_of_origin(origin).is_none(), is_right, "{origin}");
        }
    }
}

//! The ingress role, from start to drain: the order in which things begin and end. Knows nothing of requests.

use crate::api;
use crate::batch;
use crate::batches::Batches;
use crate::cache::Cache;
use crate::carry::Carry;
use crate::config::{Declared, IngressConfig, MetricsAccess};
use crate::conversation::background;
use crate::embedding::Embedder;
use crate::experiments;
use crate::http::server::{self, Door};
use crate::http::tls::{Tls, TlsError};
use crate::identity::Issuers;
use crate::job_runner;
use crate::judging;
use crate::keys::Keys;
use crate::later_jobs::LaterJobs;
use crate::limits::Keeper;
use crate::manage::{Actor, Applied, Applying, ManageError, Objects};
use crate::metrics::IngressMetrics;
use crate::models::Models;
use crate::queue::Queues;
use crate::routing::RouteMemory;
use crate::state::{LOOK, Parts, Rooms, Shared};
use crate::strangers::Strangers;
use penstock_runtime::bus::{Bus, BusError, Inbox, Journal};
use penstock_runtime::clock;
use penstock_runtime::health::Health;
use penstock_runtime::memory::Memory;
use penstock_runtime::metrics::Metrics;
use penstock_schemas::audit::Way;
use penstock_schemas::load::QueueState;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

/// The time that the ledger gets for the last events, after the last request is over.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How long a start waits for the answers that are kept.
const CACHED: Duration = Duration::from_secs(2);

/// Between two messages about what waits.
const BEAT: Duration = Duration::from_secs(1);

/// The running role.
pub struct Ingress {
    shared: Shared,
    address: SocketAddr,
}

/// Why an ingress could not start.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The bus could not be set up.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address}: {source}. Set [ingress] listen, --listen, [ingress] admin_listen or [ingress] \
         metrics to another address"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("[ingress.tls] cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// What the file declares is not possible here.
    #[error("what the configuration declares cannot be applied: {0}")]
    Declared(ManageError),
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), IngressError> {
    let cannot = |source| IngressError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((listener, bound))
}

/// Makes what is managed be what the file declares; what it does not declare stays.
async fn declare(objects: &Objects, config: &IngressConfig) -> Result<(), IngressError> {
    if config.declared.is_empty() {
        return Ok(());
    }
    let actor = Actor::admin("configuration", Way::Apply);
    let applied = objects.apply(&actor, &config.declared, Applying::default()).await.map_err(IngressError::Declared)?;
    for warning in applied.warnings {
        warn!(warning, "the configuration");
    }
    applied.unfinished.map_or(Ok(()), |why| Err(IngressError::Declared(why)))
}

/// Where it listens.
struct Listeners {
    callers: TcpListener,
    /// Where operators come; `None`: where callers do.
    operators: Option<TcpListener>,
    metrics: Option<TcpListener>,
    tls: Option<Tls>,
}

impl Listeners {
    async fn open(config: &IngressConfig) -> Result<(Self, SocketAddr), IngressError> {
        let tls = config.edge.tls.as_ref().map(Tls::load).transpose()?;
        let (callers, address) = listen(config.listen).await?;
        let operators = match config.edge.admin_listen {
            Some(address) => Some(listen(address).await?.0),
            None => None,
        };
        let metrics = match config.metrics {
            MetricsAccess::Apart(address) => Some(listen(address).await?.0),
            MetricsAccess::Open | MetricsAccess::Admin => None,
        };
        Ok((Self { callers, operators, metrics, tls }, address))
    }

    /// Begins with everything that goes on until the role stops.
    fn serve(self, shared: &Shared) {
        let life = &shared.life;
        let tried = shared.config.models.values().filter_map(|model| model.experiment.clone());
        experiments::guard(&shared.bus, life, &shared.routes.stops, tried.collect());
        batch::start(shared, life);
        job_runner::start(shared, life);
        life.service("queues", tell_queues(shared.clone()));
        let door = |router, tls: Option<&Tls>| Door { router, tls: tls.cloned(), ingress: shared.clone() };
        let tls = self.tls.as_ref();
        let router = match self.operators {
            None => api::router(shared.clone()),
            Some(listener) => {
                if let Ok(address) = listener.local_addr() {
                    info!(%address, "operators are served here");
                }
                life.service("http for operators", server::serve(listener, door(api::router(shared.clone()), tls)));
                api::callers_router(shared.clone())
            }
        };
        life.service("http", server::serve(self.callers, door(router, tls)));
        if let Some(listener) = self.metrics {
            life.service("metrics", server::serve(listener, door(api::metrics_router(shared.clone()), None)));
        }
        if let Some(tls) = self.tls {
            life.service("certificates", tls.keep_fresh());
        }
    }
}

/// Tells the other ingresses each second what waits here for workers, so that each can tell it of all.
async fn tell_queues(shared: Shared) {
    let mut has_told = false;
    loop {
        sleep(BEAT).await;
        let waiting = shared.queues.waiting(std::time::Instant::now());
        let is_news = has_told || !waiting.is_empty();
        has_told = !waiting.is_empty();
        let state = QueueState { ingress: shared.bus.process().clone(), waiting };
        if is_news && let Err(error) = shared.bus.tell_queue(&state).await {
            warn!(%error, "what waits here could not be told");
        }
    }
}

/// How targets are, which others may ask for from now on.
async fn follow_health(bus: &Bus) -> Result<Health, BusError> {
    let health = Health::follow(bus, |_| ()).await?;
    let known = health.clone();
    bus.answer_targets(move || known.report(clock::now())).await?;
    let known = health.clone();
    bus.hear_queues(move |state| known.take_queue(state, clock::now())).await?;
    let known = health.clone();
    bus.answer_fleet(move || known.fleet(clock::now())).await?;
    Ok(health)
}

/// The cache of answers; what other processes ask of it is answered from now on.
async fn open_cache(config: &IngressConfig, bus: &Bus) -> Result<Cache, IngressError> {
    let (store, measured) = (bus.cache_store().await?, bus.thresholds().await?);
    let cache = Cache::follow(&store, measured, bus.life(), (config.cache.memory, config.cache.disk));
    let known = cache.clone();
    bus.answer_hits(move |asked| known.of_request(asked)).await?;
    let (known, policy) = (cache.clone(), config.cache.policy.clone());
    bus.answer_cache_reports(move || known.report(&policy)).await?;
    Ok(cache)
}

impl Ingress {
    /// Starts to listen, and to follow keys and models.
    ///
    /// # Errors
    /// When the bus cannot be set up, or the address cannot be listened on.
    pub async fn start(config: IngressConfig, bus: &Bus, metrics: &Metrics) -> Result<Self, IngressError> {
        let life = bus.life();
        let (listeners, address) = Listeners::open(&config).await?;
        let (directories, store) = (bus.directories().await?, Keys::open(bus, config.hash_seal.as_ref()).await?);
        if let Some(secret) = &config.preset_key {
            store.preset(secret).await?;
        }
        let (keys, models) = (store.ring(), Models::new(config.models.clone()));
        keys.follow(&store, &directories, life);
        models.follow(&bus.models().await?);
        let (health, carry) = (follow_health(bus).await?, Carry::follow(bus).await?);
        let cache = open_cache(&config, bus).await?;
        let (issuers, journal) = (Issuers::new(&config.issuers, life), Journal::open(bus).await?);
        let objects = Objects::open(bus, store, directories, models.clone(), journal.clone()).await?;
        let objects = objects.sealing(config.master_key.as_ref());
        Box::pin(declare(&objects, &config)).await?;
        let (memory, strangers) = (Memory::new(config.memory), Strangers::new(config.strangers));
        let stored = config.stored as u64;
        let (conversations, files) = (bus.kept(stored).await?, bus.files(config.files).await?);
        let inbox = Inbox::open_with_quota(bus, stored).await?;
        let (keeper, metrics) = (Keeper::start(bus, &config).await?, Arc::new(IngressMetrics::register(metrics)));
        let (queues, early) = (Queues::new(config.queue), Semaphore::new(config.queue));
        let ((to_judge, answers), (to_compare, compared)) = judging::queues();
        let shared = Shared::new(Parts {
            to_judge,
            to_compare,
            routes: RouteMemory::open(bus, &config, &models).await?,
            embedder: Embedder::new(bus, &inbox, &models, &keeper, &metrics),
            config,
            bus: bus.clone(),
            life: life.clone(),
            inbox,
            journal,
            keys,
            issuers,
            models,
            health,
            carry,
            cache,
            objects,
            keeper,
            alarm: bus.alarm(),
            rules: Mutex::default(),
            replays: bus.replays().await?,
            queues,
            memory,
            strangers,
            early,
            conversations,
            files,
            batches: Batches::open(bus).await?,
            later_jobs: LaterJobs::open(bus, life).await?,
            sessions: bus.dashboard_sessions().await?,
            rooms: Rooms::new(background::AT_ONCE),
            metrics,
        });
        judging::start(&shared, answers, compared);
        listeners.serve(&shared);
        Ok(Self { shared, address })
    }

    /// What it writes its usage events to.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where callers find it, as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.shared.config.edge.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Applies what a file declares while everything runs. What cannot be applied changes nothing, and is logged.
    pub async fn declare(&self, declared: &Declared) {
        if declared.is_empty() {
            return;
        }
        let actor = Actor::admin("configuration", Way::Apply);
        match Box::pin(self.shared.objects.apply(&actor, declared, Applying::default())).await {
            Ok(Applied { unfinished: Some(error), .. }) => {
                error!(%error, "not all that the configuration declares could be applied");
            }
            Ok(applied) => {
                info!(changes = applied.steps.len(), "what the configuration declares was applied");
                for warning in applied.warnings {
                    warn!(warning, "the configuration");
                }
            }
            Err(error) => error!(%error, "what the configuration declares cannot be applied"),
        }
    }

    /// Waits until every key and model that existed at the start is known.
    pub async fn ready(&self) {
        while !self.shared.is_ready() {
            sleep(LOOK).await;
        }
        // What is kept of many answers takes a while: others can be asked anew.
        let until = Instant::now() + CACHED;
        while !self.shared.cache.is_current() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// Refuses new requests, finishes those in flight within the configured time, and writes the last events. False when
    /// something was left undone.
    pub async fn drain(self) -> bool {
        let undone = self.shared.life.drain(self.shared.config.drain).await;
        self.shared.keeper.finish().await;
        self.shared.journal.finish(LAST_EVENTS).await && undone == 0
    }
}

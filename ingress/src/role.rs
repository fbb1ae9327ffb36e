//! The ingress role, from start to drain: what its handlers share, and the order in which things begin and end.

use crate::budget::{Keeper, Rules};
use crate::carry::Carry;
use crate::config::{IngressConfig, MetricsAccess};
use crate::conversation::background;
use crate::identity::Issuers;
use crate::keys::Keys;
use crate::keys::ring::KeyRing;
use crate::metrics::IngressMetrics;
use crate::models::Models;
use crate::office::{Actor, Applying, Office, Refused};
use crate::queue::Queues;
use crate::strangers::Strangers;
use crate::{api, server};
use penstock_runtime::bus::{Alarm, Bus, BusError, Inbox, Journal, Kept, Replays};
use penstock_runtime::health::Health;
use penstock_runtime::memory::Memory;
use penstock_runtime::metrics::Metrics;
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::audit::Way;
use penstock_schemas::directory::Directory;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::warn;

/// The time that the ledger gets for the last events, after the last request is over.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Between two looks whether this process is ready.
const LOOK: Duration = Duration::from_millis(10);

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

/// See [`Shared`].
pub(crate) struct Parts {
    pub(crate) config: IngressConfig,
    pub(crate) bus: Bus,
    pub(crate) life: Life,
    pub(crate) inbox: Inbox,
    pub(crate) journal: Journal,
    pub(crate) keys: KeyRing,
    pub(crate) issuers: Issuers,
    pub(crate) models: Models,
    pub(crate) health: Health,
    pub(crate) office: Office,
    pub(crate) keeper: Keeper,
    pub(crate) alarm: Alarm,
    rules: Mutex<(Arc<Directory>, Arc<Rules>)>,
    pub(crate) replays: Replays,
    pub(crate) queues: Queues,
    pub(crate) memory: Memory,
    pub(crate) strangers: Strangers,
    pub(crate) carry: Carry,
    /// Room for requests that wait until this process is ready.
    early: Semaphore,
    pub(crate) conversations: Kept,
    /// Room for responses in the background.
    pub(crate) background: Arc<Semaphore>,
    pub(crate) metrics: IngressMetrics,
}

impl Deref for Shared {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The running role.
pub struct Ingress {
    shared: Shared,
    address: SocketAddr,
}

/// Why an ingress could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bus could not be set up.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address}: {source}. Set [ingress] listen, --listen or [ingress] metrics to another address"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// What the file declares is not possible here.
    #[error("what the configuration declares cannot be applied: {0}")]
    Declared(Refused),
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let cannot = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((listener, bound))
}

/// Makes what is managed be what the file declares; what it does not declare stays.
async fn declare(office: &Office, config: &IngressConfig) -> Result<(), StartError> {
    if config.declared.is_empty() {
        return Ok(());
    }
    let actor = Actor::admin("configuration", Way::Apply);
    let applied = office.apply(&actor, &config.declared, Applying::default()).await.map_err(StartError::Declared)?;
    for warning in applied.warnings {
        warn!(warning, "the configuration");
    }
    Ok(())
}

impl Ingress {
    /// Starts to listen, and to follow keys and models.
    ///
    /// # Errors
    /// When the bus cannot be set up, or the address cannot be listened on.
    pub async fn start(config: IngressConfig, bus: &Bus, metrics: &Metrics) -> Result<Self, StartError> {
        let life = bus.life();
        let (listener, address) = listen(config.listen).await?;
        let metrics_listener = match config.metrics {
            MetricsAccess::Apart(address) => Some(listen(address).await?.0),
            MetricsAccess::Open | MetricsAccess::Admin => None,
        };
        let (directories, store) = (bus.directories().await?, Keys::open(bus, config.hash_seal.as_ref()).await?);
        if let Some(secret) = &config.preset_key {
            store.preset(secret).await?;
        }
        let (keys, models) = (store.ring(), Models::new(config.models.clone()));
        keys.follow(&store, &directories, life);
        models.follow(&bus.models().await?);
        let health = Health::follow(bus, |_| ()).await?;
        let carry = Carry::follow(bus).await?;
        let known = health.clone();
        bus.answer_targets(move || known.report(clock::now())).await?;
        let issuers = Issuers::new(&config.issuers, life);
        let journal = Journal::open(bus).await?;
        let office = Office::open(bus, store, directories, models.clone(), journal.clone()).await?;
        let office = office.sealing(config.master_key.as_ref());
        Box::pin(declare(&office, &config)).await?;
        let (memory, strangers) = (Memory::new(config.memory), Strangers::new(config.strangers));
        let stored = config.stored as u64;
        let conversations = bus.kept(stored).await?;
        let (queues, early) = (Queues::new(config.queue), Semaphore::new(config.queue));
        let shared = Shared(Arc::new(Parts {
            config,
            bus: bus.clone(),
            life: life.clone(),
            inbox: Inbox::open_with_quota(bus, stored).await?,
            journal,
            keys,
            issuers,
            models,
            health,
            carry,
            office,
            keeper: Keeper::start(bus).await?,
            alarm: bus.alarm(),
            rules: Mutex::default(),
            replays: bus.replays().await?,
            queues,
            memory,
            strangers,
            early,
            conversations,
            background: Arc::new(Semaphore::new(background::AT_ONCE)),
            metrics: IngressMetrics::register(metrics),
        }));
        life.service("http", server::serve(listener, api::router(shared.clone()), shared.clone()));
        if let Some(listener) = metrics_listener {
            life.service("metrics", server::serve(listener, api::metrics_router(shared.clone()), shared.clone()));
        }
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

    /// Waits until every key and model that existed at the start is known.
    pub async fn ready(&self) {
        while !self.shared.is_ready() {
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

impl Shared {
    /// Waits for a process that is just starting, or has lost its connection for a moment: as long as a call may wait for
    /// a worker, and for no more requests than may do so. What cannot be served then is refused by who needs what is
    /// missing.
    pub(crate) async fn soon_ready(&self, deadline: UnixMicros) {
        if self.is_ready() {
            return;
        }
        let Ok(_room) = self.early.try_acquire() else { return };
        let until = clock::now().after(self.config.queue_timeout).min(deadline);
        while !self.is_ready() && !self.life.is_stopping() && clock::now() < until {
            sleep(LOOK).await;
        }
    }

    /// All limits, as the directory says now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        let directory = self.keys.directory();
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.0, &directory) {
            let rules = Arc::new(Rules::of(&directory));
            *known = (directory, rules);
        }
        known.1.clone()
    }

    /// Whether requests can be served.
    pub(crate) fn is_ready(&self) -> bool {
        self.keys.is_current() && self.models.is_current() && self.bus.is_connected() && !self.life.is_stopping()
    }
}

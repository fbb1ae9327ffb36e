//! The worker role: a pool for each provider that it is to serve, from start to drain. Knows nothing of calls.

use crate::call::CallContext;
use crate::config::{ProviderConfig, WorkersConfig};
use crate::count;
use crate::gossip;
use crate::keys::ConfiguredKey;
use crate::metrics::WorkerMetrics;
use crate::native::Native;
use crate::pool::Pool;
use crate::probe;
use crate::provider::Provider;
use crate::providers::{batch_of, local};
use crate::slots::Slots;
use penstock_runtime::bus::{Bus, BusError, Desk, Journal};
use penstock_runtime::health::Health;
use penstock_runtime::memory::Memory;
use penstock_runtime::metrics::Metrics;
use penstock_runtime::{Life, MasterKey, Secret, clock};
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::Traffic;
use penstock_schemas::model::ProviderCard;
use penstock_schemas::name::ProviderId;
use penstock_schemas::pool::{PoolState, Resume, Resumed};
use penstock_schemas::provider_key::{self, KeySource, ProviderKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{error, info};

/// The time that the ledger gets for the last events, after the last call is over.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Between two looks into the files that keys stand in.
const FILES: Duration = Duration::from_secs(5);

/// The running role.
pub struct Workers {
    life: Life,
    journal: Journal,
}

impl Workers {
    /// Starts a pool for each provider, and tells the cluster which models they serve.
    ///
    /// # Errors
    /// When the bus or JetStream cannot be set up.
    pub async fn start(
        mut config: WorkersConfig,
        master: Option<MasterKey>,
        bus: &Bus,
        metrics: &Metrics,
    ) -> Result<Self, BusError> {
        let life = bus.life();
        let journal = Journal::open(bus).await?;
        let desk = Desk::open(bus).await?;
        let models = bus.models().await?;
        let metrics = WorkerMetrics::register(metrics);
        let (mut served, started_at) = (Vec::new(), clock::now());
        let memory = Memory::new(config.memory);
        serve_own(&mut config, life).await?;
        for config in config.providers {
            let card = card(&config);
            if models.get(config.id.as_str()).await?.as_ref() != Some(&card) {
                models.put(config.id.as_str(), &card).await?;
            }
            served.push(Arc::new(Provider::new(config)));
        }
        life.service("the tokenizer's memory", count::forget_when_idle());
        follow_keys(bus, &served, master).await?;
        hear_resumes(bus, served.clone()).await?;
        let alarm = bus.alarm();
        let health = Health::follow(bus, learn_limits(served.clone())).await?;
        for provider in served {
            if provider.has_tokens() {
                let provider = provider.clone();
                life.service("tokens", async move { provider.keep_tokens_fresh().await });
            }
            info!(provider = %provider.id, concurrency = provider.concurrency, "serving");
            let slots = Slots::new(provider.concurrency, config.batch_share);
            let context = CallContext {
                provider,
                desk: desk.clone(),
                journal: journal.clone(),
                memory: memory.clone(),
                health: health.clone(),
                news: Arc::default(),
                retries: Arc::default(),
                life: life.clone(),
                alarm: alarm.clone(),
                metrics: metrics.clone(),
                worker: bus.process().clone(),
                started_at,
            };
            context.metrics.serves(&context.provider);
            Native::serve(&context, bus).await?;
            serve(Pool { slots, context }, bus);
        }
        Ok(Self { life: life.clone(), journal })
    }

    /// What it writes its usage events to.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Takes no more calls, finishes those it has within `limit`, and writes the last events. False when something was
    /// left undone.
    pub async fn drain(self, limit: Duration) -> bool {
        let undone = self.life.drain(limit).await;
        self.journal.finish(LAST_EVENTS).await && undone == 0
    }
}

/// Starts the server of the model that this process runs itself, and says where it is.
async fn serve_own(config: &mut WorkersConfig, life: &Life) -> Result<(), BusError> {
    let Some((provider, model)) = config.own() else { return Ok(()) };
    let (key, model) = (Secret::generate("local-"), model.clone());
    let failed = |error: std::io::Error| BusError::Failed { what: "the local model", reason: error.to_string() };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    provider.base_url = format!("http://{}/v1", listener.local_addr().map_err(failed)?);
    provider.keys = vec![ConfiguredKey::new("own", key.clone())];
    life.service("the local model", local::serve(listener, model, key, life.clone()));
    Ok(())
}

/// A pause that a provider ordered ends here too, when the operator says so.
async fn hear_resumes(bus: &Bus, served: Vec<Arc<Provider>>) -> Result<(), BusError> {
    bus.hear_resumes(move |Resume { target }| {
        for provider in served.iter().filter(|provider| provider.id == target.provider) {
            provider.limits.resume(&target.model, clock::now());
        }
    })
    .await
}

/// Starts the work of a pool.
fn serve(pool: Pool, bus: &Bus) {
    let life = bus.life();
    life.work(gossip::tell(pool.clone(), bus.clone()));
    life.work(pool.clone().run_direct(Traffic::Sync));
    life.work(pool.clone().run_direct(Traffic::Batch));
    life.work(probe::watch(pool.clone()));
    life.work(pool.run());
}

/// What the cluster is told of a provider.
fn card(config: &ProviderConfig) -> ProviderCard {
    ProviderCard {
        provider: config.id.clone(),
        dialect: config.dialect,
        also: config.also.clone(),
        most_inputs: config.most_inputs,
        native_batch: config.batch_api.map(|dialect| batch_of(dialect).limits()),
        models: config.models.clone(),
        unknown: config.unknown.clone(),
    }
}

/// The keys that the operator manages: as they are now, and whenever they change.
async fn follow_keys(bus: &Bus, served: &[Arc<Provider>], master: Option<MasterKey>) -> Result<(), BusError> {
    let directories = bus.directories().await?;
    let take = {
        let served = served.to_vec();
        Arc::new(move |directory: &Directory| {
            for provider in &served {
                let managed = directory.provider_keys.get(provider.id.as_str()).map_or(&[][..], Vec::as_slice);
                for (key, why) in provider.take_keys(managed, |key| open(&provider.id, key, master.as_ref())) {
                    error!(provider = %provider.id, key, why, "a key of the provider cannot be used");
                }
            }
        })
    };
    take(&directories.read().await?.0);
    let (current, taken) = (directories.clone(), take.clone());
    directories.follow(bus.life(), move |directory| {
        // Before that it is empty, and says nothing.
        if current.is_current() {
            taken(directory);
        }
    });
    bus.life().service("keys in files", async move {
        loop {
            sleep(FILES).await;
            if directories.is_current() {
                take(&directories.snapshot());
            }
        }
    });
    Ok(())
}

/// The secret of a key that is managed.
fn open(provider: &ProviderId, key: &ProviderKey, master: Option<&MasterKey>) -> Result<Secret, String> {
    let KeySource::Sealed(sealed) = &key.source else {
        let secret = Secret::resolve(&key.source.shown())?;
        return provider_key::mistake(secret.reveal()).map_or(Ok(secret), Err);
    };
    let Some(master) = master else {
        return Err("it is sealed, and PENSTOCK_MASTER_KEY is not set here".to_owned());
    };
    master.open(sealed, &ProviderKey::place(provider.as_str(), &key.id)).map_err(|why| why.to_string())
}

/// What other workers hear of a provider's limits holds here too, from the moment on that they tell it.
fn learn_limits(served: Vec<Arc<Provider>>) -> impl Fn(&PoolState) + Send + Sync + 'static {
    move |state| {
        if let Some(provider) = served.iter().find(|provider| provider.id == state.provider) {
            for Resumed { model, at } in &state.resumed {
                provider.limits.resume(model, *at);
            }
            state.quotas.iter().for_each(|quota| provider.limits.hear(quota.clone(), clock::now()));
        }
    }
}

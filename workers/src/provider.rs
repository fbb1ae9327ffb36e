//! One provider as its pool calls it: where it is, its keys in turn, connections, models. Knows nothing of calls.

use crate::config::ProviderConfig;
use crate::keys::{self, ConfiguredKey};
use crate::limits::{Limits, Pick};
use crate::media::Media;
use crate::providers::batch_api::BatchDialect;
use crate::providers::{self, Adapter};
use penstock_dialects::provider::{Form, FormatSettings};
use penstock_runtime::Secret;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::model::{ModelCard, PriceRow};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::price::Prices;
use penstock_schemas::provider_key::{KeySource, ProviderKey};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest wait for a connection, when the link does not say.
const CONNECT: Duration = Duration::from_secs(5);

/// Different connect time-outs that are kept connections for; links with others share the default's.
const CLIENTS: usize = 16;

/// A provider and the means to call it.
pub(crate) struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// The formats it speaks; the first, unless the caller or the model wants another.
    pub dialects: Vec<Dialect>,
    /// What the operator says of it.
    pub settings: FormatSettings,
    /// Whether it may be asked if it is there.
    is_probed: bool,
    /// Calls at once.
    pub concurrency: usize,
    /// Fetches what a request names by address.
    pub media: Media,
    base_url: String,
    /// The host and the port of that.
    server: (String, u16),
    /// Its name in OpenTelemetry's conventions.
    pub telemetry_name: String,
    /// Its keys, and what it has said of their limits.
    pub limits: Limits,
    /// The keys of the configuration.
    configured: Vec<ConfiguredKey>,
    /// The managed keys that were taken last, and what was said against them.
    managed: Mutex<Managed>,
    /// Whether its keys are exchanged for tokens.
    takes_tokens: bool,
    /// That there are other keys now.
    changed: Notify,
    models: HashMap<ModelId, ModelCard>,
    /// Those that its batch API has prices for, with these.
    in_batch: HashMap<ModelId, ModelCard>,
    in_flex: HashMap<ModelId, ModelCard>,
    /// How its batch API is spoken to.
    pub batch_api: Option<BatchDialect>,
    /// What every other model is taken for.
    unknown: Option<ModelCard>,
    /// By connect time-out: it belongs to the client, not to the request.
    clients: Mutex<HashMap<Duration, reqwest::Client>>,
    /// The one that opens sessions.
    session_client: Mutex<Option<reqwest::Client>>,
}

/// Keys by their names, and why each cannot be used.
type Closed = Vec<(String, String)>;

#[derive(Default)]
struct Managed {
    keys: Vec<ProviderKey>,
    closed: Closed,
}

impl Provider {
    /// The provider that `config` describes.
    pub(crate) fn new(config: ProviderConfig) -> Self {
        let takes_tokens = providers::of(config.dialect).is_some_and(Adapter::takes_tokens);
        Self {
            limits: Limits::new(keys::renewed(&[], config.keys.clone(), takes_tokens)),
            configured: config.keys,
            managed: Mutex::default(),
            takes_tokens,
            changed: Notify::new(),
            telemetry_name: providers::telemetry::name(config.id.as_str(), config.dialect),
            id: config.id,
            dialects: std::iter::once(config.dialect).chain(config.also).collect(),
            settings: config.settings,
            is_probed: config.probe,
            concurrency: config.concurrency,
            media: Media::new(config.media),
            base_url: config.base_url.trim_end_matches('/').to_owned(),
            server: server(&config.base_url),
            unknown: config.unknown,
            batch_api: config.batch_api,
            in_batch: priced(&config.models, Prices::in_batch),
            in_flex: priced(&config.models, Prices::in_flex),
            models: config.models.into_iter().map(|card| (card.model.clone(), card)).collect(),
            clients: Mutex::default(),
            session_client: Mutex::default(),
        }
    }

    /// How to speak to the provider: in the caller's own dialect where the provider knows it and `native` bytes are there,
    /// else in the model's only one, else in the provider's usual one.
    ///
    /// # Errors
    /// When this version does not speak it.
    pub(crate) fn speak(
        &self,
        caller: Dialect,
        native: bool,
        (operation, card): (Operation, Option<&ModelCard>),
    ) -> Option<(&'static dyn Adapter, Form)> {
        let only = card.is_some_and(|card| card.mode == "responses").then_some(Dialect::Responses);
        let can = |dialect: &Dialect| only.is_none_or(|only| only == *dialect);
        let own = self.dialects.iter().copied().filter(can).find(|dialect| dialect.form() == caller.form());
        let usual = self.dialects.first().copied()?;
        match own.filter(|_| native) {
            Some(own) => Some((providers::at(usual, own)?, Form::Own)),
            None => {
                let dialect = only.unwrap_or(usual);
                let texts = (operation == Operation::Completions).then(|| providers::completing(usual, dialect));
                Some((texts.flatten().or(providers::at(usual, dialect))?, Form::Agnostic))
            }
        }
    }

    /// How to ask for a response where the provider is asked for chats mostly; `None` when it has none.
    pub(crate) fn responding(&self) -> Option<&'static dyn Adapter> {
        let usual = self.dialects.first().copied().filter(|usual| usual.form() == Dialect::Openai)?;
        let has = self.dialects.contains(&Dialect::Responses);
        has.then(|| providers::at(usual, Dialect::Responses)).flatten()
    }

    /// How to speak to a model of another maker's that the provider serves in that one's words; `None`: it is none.
    pub(crate) fn of_other_maker(&self, model: &ModelId, operation: Operation) -> Option<&'static dyn Adapter> {
        providers::of_other_maker(*self.dialects.first()?, model.as_str(), operation)
    }

    /// Whether the catalogue or the configuration has this very model.
    pub(crate) fn lists(&self, model: &ModelId) -> bool {
        self.models.contains_key(model)
    }

    /// Its host and port.
    pub(crate) fn server(&self) -> (&str, u16) {
        (&self.server.0, self.server.1)
    }

    /// What is known of a model.
    pub(crate) fn model(&self, model: &ModelId) -> Option<&ModelCard> {
        self.models.get(model).or(self.unknown.as_ref())
    }

    /// What is known of a model as a line of a batch: with the prices of the batch API, where these are known.
    pub(crate) fn model_in_batch(&self, model: &ModelId) -> Option<&ModelCard> {
        self.in_batch.get(model).or_else(|| self.model(model))
    }

    /// What is known of a model as it was served: with the prices of the provider's slower tier, where it says so.
    pub(crate) fn model_as_served(&self, model: &ModelId, is_flex: bool) -> Option<&ModelCard> {
        self.in_flex.get(model).filter(|_| is_flex).or_else(|| self.model(model))
    }

    /// The key that was picked, or the token that it is exchanged for; `None` when the provider wants none.
    ///
    /// # Errors
    /// When no token is to be had.
    pub(crate) async fn secret(&self, pick: &Pick) -> Result<Option<Secret>, Failure> {
        let Some(key) = pick.key() else { return Ok(None) };
        let Some(tokens) = &key.tokens else { return Ok(Some(key.secret.clone())) };
        let client = self.client(None).map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()))?;
        tokens.current(&client).await.map(Some)
    }

    /// Where the provider lists its models, which costs nothing; `None` when it has no such list, or the operator wants no
    /// probes.
    pub(crate) fn listing(&self) -> Option<&'static str> {
        let adapter = self.dialects.first().and_then(|dialect| providers::of(*dialect))?;
        adapter.listing().filter(|_| self.is_probed)
    }

    /// Takes the keys that the operator manages, beside those of the configuration; those that stand in files are read
    /// again. `open` gives the secret of a managed one. Gives those that cannot be used, and why; nothing when that was said
    /// before.
    pub(crate) fn take_keys(
        &self,
        managed: &[ProviderKey],
        open: impl Fn(&ProviderKey) -> Result<Secret, String>,
    ) -> Closed {
        let mut known = self.managed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in_file = |key: &ProviderKey| matches!(key.source, KeySource::File(_));
        let configured: Vec<ConfiguredKey> = self.configured.iter().map(ConfiguredKey::read_again).collect();
        if known.keys == managed && configured == self.configured && !managed.iter().any(is_in_file) {
            return Vec::new();
        }
        let (keys, closed) = keys::merged(&configured, managed, open);
        let (old, new) = (self.limits.keys(), keys::renewed(&self.limits.keys(), keys, self.takes_tokens));
        if old.len() != new.len() || !old.iter().zip(&new).all(|(old, new)| Arc::ptr_eq(old, new)) {
            self.limits.replace(new);
            self.changed.notify_one();
        }
        let is_said = known.closed == closed;
        *known = Managed { keys: managed.to_vec(), closed: closed.clone() };
        if is_said { Vec::new() } else { closed }
    }

    /// Renews the tokens ahead of their end, for ever.
    pub(crate) async fn keep_tokens_fresh(&self) {
        let Ok(client) = self.client(None) else { return };
        loop {
            let keys = self.limits.keys();
            let tokens = keys.iter().filter_map(|key| key.tokens.as_ref());
            let fresh = futures_util::future::join_all(tokens.map(|tokens| tokens.keep_fresh(&client)));
            tokio::select! {
                // With no keys there is nothing to do until there are some.
                () = async { drop(fresh.await); std::future::pending().await } => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Whether its keys are exchanged for tokens.
    pub(crate) fn has_tokens(&self) -> bool {
        self.takes_tokens
    }

    /// Where a relative path leads.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url)
    }

    /// A client that waits so long for a connection; it shares its connections with all calls that do.
    ///
    /// # Errors
    /// When the machine's certificate store cannot be read.
    pub(crate) fn client(&self, connect: Option<Duration>) -> Result<reqwest::Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = connect.unwrap_or(CONNECT);
        let connect = if clients.len() < CLIENTS || clients.contains_key(&wanted) { wanted } else { CONNECT };
        if let Some(client) = clients.get(&connect) {
            return Ok(client.clone());
        }
        let client = builder(connect).pool_max_idle_per_host(self.concurrency).build()?;
        clients.insert(connect, client.clone());
        Ok(client)
    }

    /// A client for sessions, each of which has its connection for itself. A WebSocket begins in HTTP/1.1.
    ///
    /// # Errors
    /// When the machine's certificate store cannot be read.
    pub(crate) fn session_client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut client = self.session_client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some(client) => Ok(client.clone()),
            None => Ok(client.insert(builder(CONNECT).pool_max_idle_per_host(0).http1_only().build()?).clone()),
        }
    }
}

/// What all clients have in common.
fn builder(connect: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(connect)
        .tcp_nodelay(true)
        // A redirect would carry the key to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
}

/// The host and the port of a URL; empty and 0 where it has none.
fn server(base_url: &str) -> (String, u16) {
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default().to_owned();
    (host, url.and_then(|url| url.port_or_known_default()).unwrap_or_default())
}

/// The models with other prices than usual, as far as these are known.
fn priced(models: &[ModelCard], at: impl Fn(&Prices) -> Option<Prices>) -> HashMap<ModelId, ModelCard> {
    let other = |card: &ModelCard| {
        let price = card.price.as_ref()?;
        let price = PriceRow { prices: at(&price.prices)?, ..price.clone() };
        Some((card.model.clone(), ModelCard { price: Some(price), ..card.clone() }))
    };
    models.iter().filter_map(other).collect()
}

//! One provider as its pool calls it: where it is, its keys in turn, connections, models. Knows nothing of calls.

use crate::config::ProviderConfig;
use crate::providers::Adapter;
use penstock_runtime::Secret;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{ModelId, ProviderId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for a connection, when the link does not say.
const CONNECT: Duration = Duration::from_secs(5);

/// Different connect time-outs that are kept connections for; links with others share the default's.
const CLIENTS: usize = 16;

/// A provider and the means to call it.
pub struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// The format it speaks.
    pub dialect: Dialect,
    /// How it is spoken to.
    pub adapter: Adapter,
    /// Calls at once.
    pub concurrency: usize,
    base_url: String,
    keys: Vec<Secret>,
    turn: AtomicUsize,
    models: HashMap<ModelId, ModelCard>,
    /// By connect time-out: it belongs to the client, not to the request.
    clients: Mutex<HashMap<Duration, reqwest::Client>>,
}

impl Provider {
    /// The provider that `config` describes. `None` when this version does not speak its dialect.
    pub fn new(config: ProviderConfig) -> Option<Self> {
        Some(Self {
            adapter: Adapter::of(config.dialect)?,
            id: config.id,
            dialect: config.dialect,
            concurrency: config.concurrency,
            base_url: config.base_url.trim_end_matches('/').to_owned(),
            keys: config.keys,
            turn: AtomicUsize::new(0),
            models: config.models.into_iter().map(|card| (card.model.clone(), card)).collect(),
            clients: Mutex::default(),
        })
    }

    /// What is known of a model.
    pub fn model(&self, model: &ModelId) -> Option<&ModelCard> {
        self.models.get(model)
    }

    /// The next key in turn; `None` when the provider wants none.
    pub fn key(&self) -> Option<&Secret> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.keys.get(turn.checked_rem(self.keys.len())?)
    }

    /// Where a relative path leads.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url)
    }

    /// A client that waits so long for a connection; it shares its connections with all calls that do.
    ///
    /// # Errors
    /// When the machine's certificate store cannot be read.
    pub fn client(&self, connect: Option<Duration>) -> Result<reqwest::Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = connect.unwrap_or(CONNECT);
        let connect = if clients.len() < CLIENTS || clients.contains_key(&wanted) { wanted } else { CONNECT };
        if let Some(client) = clients.get(&connect) {
            return Ok(client.clone());
        }
        // A redirect would carry the key to somebody else.
        let client = reqwest::Client::builder()
            .connect_timeout(connect)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(self.concurrency)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .build()?;
        clients.insert(connect, client.clone());
        Ok(client)
    }
}

//! One connection to NATS, its settings, and what it is to everybody: a name on the bus and the names of the bus.

use super::journal::Journal;
use super::lost_streams::OpenedStreams;
use super::shortcut::Shortcut;
use super::store_health::{self, StoreHealth};
use super::{BusError, failed};
use crate::config::{Document, Section};
use crate::life::Life;
use crate::{Secret, clock};
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, jetstream};
use penstock_schemas::name::ProcessId;
use penstock_schemas::subject::Subjects;
use std::error::Error;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// The oldest server with counters, per-message TTL and schedules.
const OLDEST: (i64, i64, i64) = (2, 12, 0);

/// How often the server is asked whether it lives; after two that it did not answer another one is looked for. A server whose
/// network is cut ends no connection.
const PING: Duration = Duration::from_secs(3);

/// Messages that may wait in the client for the socket; publishers wait when it is full.
const CLIENT_CAPACITY: usize = 4096;

/// Messages that one subscription may hold before the client drops them, and says so.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// Where NATS is, and how things are named there: section `[nats]`.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://host:port`, several separated by commas; absent under `up`, which starts a server of its own.
    pub url: Option<String>,
    /// In front of every name on the bus.
    pub subjects: Subjects,
    /// Copies of every stream and bucket: 1, or 3 in a cluster.
    pub replicas: usize,
    /// A `.creds` file, where the server wants one.
    pub credentials: Option<PathBuf>,
    /// A user and a password, where the URL holds none.
    pub login: Option<(String, Secret)>,
    /// How the connection is encrypted.
    pub tls: NatsTls,
    /// Whether roles of one process hand calls over in memory.
    pub in_memory: bool,
}

/// The keys of `[nats]` for TLS.
#[derive(Clone, Debug, Default)]
pub struct NatsTls {
    /// Whether a server that offers no TLS is refused.
    pub is_required: bool,
    /// Who issued the servers' certificates, as PEM; without it, whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// A certificate of ours and its key, where the servers want one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl NatsTls {
    fn read(section: &mut Section) -> Self {
        let ca: Option<PathBuf> = section.get("ca");
        let (cert, key): (Option<PathBuf>, Option<PathBuf>) = (section.get("cert"), section.get("key"));
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                section.mistake("cert", "and key belong together");
                None
            }
        };
        let is_required = section.or("tls", ca.is_some() || identity.is_some());
        Self { is_required, ca, identity }
    }

    fn apply(&self, mut options: ConnectOptions) -> ConnectOptions {
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &self.identity {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        options.require_tls(self.is_required)
    }
}

fn read_login(section: &mut Section) -> Option<(String, Secret)> {
    let (user, password): (Option<String>, Option<Secret>) = (section.get("user"), section.secret("password"));
    match (user, password) {
        (Some(user), password) => Some((user, password.unwrap_or_else(|| Secret::new("")))),
        (None, Some(_)) => {
            section.mistake("user", "is missing: whose password is it?");
            None
        }
        (None, None) => None,
    }
}

impl NatsConfig {
    /// Reads section `[nats]`.
    pub fn read(document: &mut Document) -> Self {
        let mut section = document.section("nats");
        let prefix: String = section.or("prefix", "ps".to_owned());
        let subjects = Subjects::new(&prefix).unwrap_or_else(|error| {
            section.mistake("prefix", &error.to_string());
            Subjects::new("ps").expect("ps is a name")
        });
        let replicas = section.or("replicas", 1);
        if !matches!(replicas, 1 | 3 | 5) {
            section.mistake("replicas", "must be 1, 3 or 5");
        }
        let (url, credentials) = (section.get("url"), section.get("credentials"));
        let (login, tls) = (read_login(&mut section), NatsTls::read(&mut section));
        let in_memory = section.or("in_memory", true);
        Self { url, subjects, replicas, credentials, login, tls, in_memory }
    }
}

/// What this process takes in, by the free space of the disk that NATS stores on, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Everything.
    Everything,
    /// Requests, but nothing more of what is only kept for convenience: answers for repetitions, responses.
    NoOptional,
    /// No new attempts: the last of the disk is for what is under way.
    Nothing,
}

/// A connection to NATS. Cloning shares it.
#[derive(Clone)]
pub struct Bus(Arc<BusParts>);

/// What belongs to the connection: counted once for all clones, of which there are several in a request.
#[derive(Clone)]
pub struct BusParts {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) subjects: Arc<Subjects>,
    pub(super) replicas: usize,
    pub(super) life: Life,
    /// How often a connection was made: what was on its way when one broke may be lost.
    pub(super) connections: watch::Sender<u64>,
    pub(super) intake: watch::Sender<Intake>,
    /// Which streams and buckets do not take what they are given.
    pub(super) stores: StoreHealth,
    pub(super) opened: OpenedStreams,
    pub(super) shortcut: Shortcut,
    pub(super) journal: Arc<OnceCell<Journal>>,
    process: ProcessId,
}

impl Deref for Bus {
    type Target = BusParts;

    fn deref(&self) -> &BusParts {
        &self.0
    }
}

impl Bus {
    /// Connects to `url` for `role`; whatever runs over this connection belongs to the role's life.
    ///
    /// # Errors
    /// When no server answers, or it is older than 2.12, or the ledger's stream has other settings than ours.
    pub async fn connect(config: &NatsConfig, url: &str, role: &str) -> Result<Self, BusError> {
        let process = clock::process_id();
        let (servers, login) = split_login(url);
        let shown = servers.join(",");
        let unreachable = |reason: String| BusError::Unreachable { url: shown.clone(), reason };
        let life = Life::new();
        let told = life.clone();
        let connections = watch::Sender::new(0);
        let count = connections.clone();
        let mut options = ConnectOptions::new()
            .name(format!("penstock {role} {process}"))
            .custom_inbox_prefix(config.subjects.inbox(role))
            .client_capacity(CLIENT_CAPACITY)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(PING)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 * u64::try_from(attempts).unwrap_or(40).min(40))
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    count.send_modify(|connections| *connections += 1);
                }
                log_event(event, told.clone())
            });
        options = config.tls.apply(options);
        if let Some((user, password)) = login.or_else(|| config.login.clone()) {
            options = options.user_and_password(user, password.reveal().to_owned());
        }
        if let Some(file) = &config.credentials {
            options = options.credentials_file(file).await.map_err(|error| unreachable(error.to_string()))?;
        }
        let client = options.connect(servers).await.map_err(|error| unreachable(error.to_string()))?;
        let (major, minor, patch) = OLDEST;
        if !client.is_server_compatible(major, minor, patch) {
            return Err(BusError::TooOld(client.server_info().version));
        }
        let jetstream = jetstream::context::ContextBuilder::new().timeout(Duration::from_secs(5)).build(client.clone());
        let subjects = Arc::new(config.subjects.clone());
        let (replicas, intake) = (config.replicas, watch::Sender::new(Intake::Everything));
        let (stores, opened, shortcut) = (StoreHealth::default(), OpenedStreams::default(), Shortcut::default());
        let bus = Self(Arc::new(BusParts {
            client,
            jetstream,
            subjects,
            replicas,
            life,
            connections,
            intake,
            stores,
            opened,
            shortcut,
            journal: Arc::default(),
            process,
        }));
        bus.usage_stream().await?;
        bus.follow_time().await?;
        bus.life.service("lost streams", bus.clone().miss_stream());
        Ok(bus)
    }

    /// The same, for a role in the same process as that of `other`: they write one journal, and hand calls over in memory
    /// where that is allowed.
    #[must_use]
    pub fn beside(self, other: &Self, config: &NatsConfig) -> Self {
        let shortcut = if config.in_memory { &other.shortcut } else { &self.shortcut };
        Self(Arc::new(BusParts {
            shortcut: shortcut.clone(),
            journal: other.journal.clone(),
            ..BusParts::clone(&self)
        }))
    }

    /// How often this process has connected, and each further time.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// What this process takes in.
    pub fn intake(&self) -> Intake {
        *self.intake.borrow()
    }

    /// A stream or bucket that has taken nothing for so long, though it was given something again and again.
    pub fn store_given_up(&self, for_so_long: Duration) -> Option<String> {
        self.stores.given_up(for_so_long, *self.connections.borrow())
    }

    /// The answer of a stream, bucket or object store to what it was given, once its health has taken note of it.
    pub(super) fn noted<T, E: Error + 'static>(&self, store: &str, answer: Result<T, E>) -> Result<T, E> {
        match &answer {
            Err(error) if !store_health::is_refusal(error) => {
                self.stores.not_taken(store, *self.connections.borrow(), Instant::now());
            }
            Ok(_) | Err(_) => self.stores.taken(store),
        }
        answer
    }

    /// From now on this is what it takes in.
    pub fn take_in(&self, intake: Intake) {
        self.intake.send_replace(intake);
    }

    /// The life of the role that this connection belongs to.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// This process's name on the bus.
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until the server has answered: it has taken everything that was published and subscribed to before, and
    /// everything that it sent before has come. (A flush only writes to the socket.)
    pub(super) async fn round_trip(&self) {
        // That nobody is there is the answer.
        let _ = self.client.request(self.subjects.nobody(), bytes::Bytes::new()).await;
    }

    /// Waits until everything published so far is written to the socket.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.client.flush().await.map_err(failed("flush to NATS"))
    }
}

async fn log_event(event: Event, life: Life) {
    match event {
        // The server may stop before we do: at that point nobody needs it any more.
        event if life.is_stopping() => debug!(%event, "NATS"),
        Event::Connected => info!("connected to NATS"),
        Event::Disconnected => warn!("disconnected from NATS; reconnecting"),
        Event::SlowConsumer(_) => tracing::error!("messages of a full NATS subscription were dropped"),
        other => warn!(event = %other, "NATS"),
    }
}

/// Takes user and password out of `nats://user:password@host:port[,…]`, so that no log line ever holds them.
fn split_login(url: &str) -> (Vec<String>, Option<(String, Secret)>) {
    let mut login = None;
    let servers = url.split(',').map(|server| {
        let (scheme, rest) = server.trim().split_once("://").unwrap_or(("nats", server.trim()));
        let Some((user_info, host)) = rest.rsplit_once('@') else { return format!("{scheme}://{rest}") };
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        login = Some((user.to_owned(), Secret::new(password)));
        format!("{scheme}://{host}")
    });
    (servers.collect(), login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_taken_out_of_the_url() {
        let (servers, login) = split_login("nats://me:s3cret@a:4222, b:4223");
        assert_eq!(servers, ["nats://a:4222", "nats://b:4223"]);
        let (user, password) = login.unwrap();
        assert_eq!((user.as_str(), password.reveal()), ("me", "s3cret"));
    }
}

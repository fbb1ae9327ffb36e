//! The embedded ClickHouse: the engine as a library (`libchdb.so`) behind ClickHouse's own HTTP interface, on loopback.
//! Knows nothing of Penstock's tables or processes: `penstock clickhouse` runs it as a child of `penstock up`.
//!
//! One request, from top to bottom: `http` takes it in, `request` reads what it asks for, `run` carries it out in a
//! blocking thread on a connection of its own (`engine`, over `ffi`), after `statement` has refused what may not run;
//! `answer` streams the rows back. Bodies pass through `encoding`, errors are `exception`s.
//!
//! **What it is.** The real engine, so tables, types, functions and files on disk are those of a server. What differs:
//! there is one user; statements are refused that touch files, other servers, users, dictionaries or functions
//! (`config`, `statement`), and any column or function named `file`; there is no `query_log`; a `query_id` is echoed but
//! not used: a running statement is found in `system.processes` by `Settings['log_comment']`, to which `penstock-<n>`
//! is added; answers are not compressed, unless by `compress=1`; `session_check` and external tables are refused. Rows
//! are streamed in the formats that are rows (RowBinary and its kin, Native, TSV, CSV, JSONEachRow …); a result in another
//! format (JSON, Parquet, Pretty …) is made whole in memory first (`format`).
//!
//! **What it promises.** An acknowledged insert survives kill -9 (power loss: by the table's fsync settings); an insert
//! whose body breaks off commits nothing; a result that breaks off never looks complete: the error's text stands at its
//! end and the connection is cut. A SELECT whose client goes away is killed.

mod answer;
mod body;
mod config;
mod encoding;
mod engine;
mod exception;
mod ffi;
mod files;
mod format;
mod gate;
mod http;
mod request;
mod run;
mod statement;
mod tokens;

pub use files::{FileFormat, TableFiles};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// How to run the engine. `Settings::new` gives the defaults that are named here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `libchdb.so`, as `deploy/setup` installs it.
    pub library: PathBuf,
    /// The folder of the engine's files; made if missing. One process at a time.
    pub data: PathBuf,
    /// A loopback address; port 0 picks one (127.0.0.1:0).
    pub listen: SocketAddr,
    /// The password of the user `default`.
    pub token: Token,
    /// Memory that the engine may use for all statements, in bytes (2 GiB).
    pub memory: u64,
    /// Memory that one statement may use, in bytes (1 GiB); requests may ask for less.
    pub query_memory: u64,
    /// Statements that run at a time (8), and that wait for their turn before others are refused (256).
    pub statements: usize,
    /// See `statements`.
    pub waiting: usize,
    /// The longest body of a request, in bytes, on the wire and decoded (4 GiB).
    pub body: u64,
    /// How long a client may stall, in sending its body or in reading its result (60 s).
    pub idle: Duration,
    /// How long running statements may take to end after the shutdown signal (10 s), before they are killed.
    pub drain: Duration,
}

impl Settings {
    /// The defaults, for this library, data folder and token.
    pub fn new(library: impl Into<PathBuf>, data: impl Into<PathBuf>, token: Token) -> Settings {
        Settings {
            library: library.into(),
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token,
            memory: 2 << 30,
            query_memory: 1 << 30,
            statements: 8,
            waiting: 256,
            body: 4 << 30,
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// What a client must know. Never shown, compared in constant time.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// At least 16 characters.
    ///
    /// # Errors
    /// `Error::ShortToken`.
    pub fn parse(text: &str) -> Result<Token, Error> {
        if text.len() < 16 { Err(Error::ShortToken) } else { Ok(Token(text.to_owned())) }
    }

    pub(crate) fn is(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let differences = ours.iter().zip(theirs).fold(0, |all, (one, other)| all | (one ^ other));
        ours.len() == theirs.len() && std::hint::black_box(differences) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The engine runs and the port is bound; nothing is answered before `serve`.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<http::Shared>,
}

impl Server {
    /// Binds the port and starts the engine, which takes 0.1 to 1 s. Once per process: the engine cannot start again.
    ///
    /// # Errors
    /// Each `Error` but `StillRunning`.
    pub async fn bind(settings: Settings) -> Result<Server, Error> {
        let listener = http::listen(&settings).await?;
        let address = listener.local_addr().map_err(|source| Error::Listen { listen: settings.listen, source })?;
        let tracker = TaskTracker::new();
        let opening = settings.clone();
        let engine = tracker.spawn_blocking(move || engine::Engine::open(&opening)).await;
        let engine = engine.map_err(|panic| Error::FirstQuery(panic.to_string()))??;
        tracing::info!(%address, version = engine.version, data = %settings.data.display(), "the embedded ClickHouse is ready");
        let gate = gate::Gate::new(settings.statements, settings.waiting);
        let shared = Arc::new(http::Shared { engine: Arc::new(engine), gate, settings, tracker });
        Ok(Server { listener, address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes; then ends or kills what runs (see `Settings::drain`) and stops the engine.
    ///
    /// # Errors
    /// `Error::StillRunning`: a statement did not end when killed. What was acknowledged is safe all the same.
    pub async fn serve(self, shutdown: impl Future) -> Result<(), Error> {
        http::serve(self.listener, self.shared, shutdown).await
    }
}

/// Binds and serves, for a caller that knows the port.
///
/// # Errors
/// Each `Error`.
pub async fn serve(settings: Settings, shutdown: impl Future) -> Result<(), Error> {
    Server::bind(settings).await?.serve(shutdown).await
}

/// Why the embedded ClickHouse does not run. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library is not there.
    #[error(
        "engine not installed: run deploy/setup, or point [clickhouse] url at a server ({} is missing)",
        shown(library)
    )]
    NotInstalled {
        /// Where it should be.
        library: PathBuf,
    },
    /// The library is there but cannot be used: another version, another machine, a broken file.
    #[error("engine not usable: run deploy/setup to install the right version ({}: {source})", shown(library))]
    Library {
        /// Where it is.
        library: PathBuf,
        /// What the dynamic linker says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process uses the data folder.
    #[error("{} is in use by process {holder}: stop that one, or choose another data folder", shown(data))]
    InUse {
        /// The folder.
        data: PathBuf,
        /// The other process's id.
        holder: String,
    },
    /// The data folder cannot be made, read or written.
    #[error("the data folder {} cannot be used: {source}", shown(data))]
    DataFolder {
        /// The folder.
        data: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The engine refused to start; it names its reason on standard error only.
    #[error("the engine did not start on {}; its reason stands above", shown(data))]
    NotStarted {
        /// The folder.
        data: PathBuf,
    },
    /// The engine started, but its first statement failed.
    #[error("the engine started, but does not answer: {0}")]
    FirstQuery(String),
    /// It serves this machine only: there is one user and no encryption.
    #[error("the embedded ClickHouse listens on loopback only, not on {listen}; run a ClickHouse server for more")]
    NotLoopback {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The token is too easy to guess.
    #[error("the token of the embedded ClickHouse needs 16 characters or more")]
    ShortToken,
    /// Statements were still running when time was up.
    #[error("statements were still running at the end; the process has to be ended")]
    StillRunning,
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}

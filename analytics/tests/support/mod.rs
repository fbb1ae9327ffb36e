//! The real parts under test: a nats-server and the ClickHouse engine, each a process of its own on ports and folders of
//! its own. Every wait is for something that must come, and ends the test when it does not.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test, though clippy cannot see it")]

pub(crate) mod events;
pub(crate) mod receiver;

use penstock_analytics::{
    Address, Analytics, AnalyticsConfig, AnalyticsError, Database, Retention, Runaway, SqlFormat, Warehouse,
};
use penstock_clickhouse::{Server, Settings, Token};
use penstock_runtime::bus::{Bus, Journal, NatsConfig};
use penstock_runtime::clock;
use penstock_runtime::config::Document;
use penstock_runtime::metrics::Metrics;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::model::PriceRow;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::Target;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN: &str = "a-token-for-tests-only";

/// The name of the test that is the engine's process, when this variable names its folder and address.
const ENGINE: &str = "PENSTOCK_TEST_ENGINE";

/// What `#[test] fn engine_process()` of each file calls: does nothing, unless the file was started to be the engine.
pub(crate) fn be_engine() {
    let Ok(arguments) = std::env::var(ENGINE) else { return };
    let (listen, data) = arguments.split_once(' ').unwrap();
    let mut settings = Settings::new(variable("PENSTOCK_CHDB"), data, Token::parse(TOKEN).unwrap());
    settings.listen = listen.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::bind(settings).await.unwrap();
        println!("\nlistening {}", server.address());
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        server.serve(ended).await.unwrap();
    });
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: source .penstock/tools/env, or use deploy/test"))
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("penstock-analytics-{}", clock::process_id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is ended at the end.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads what a process still says: it would stop at a full pipe, and end at a closed one.
fn read_on(mut output: impl Read + Send + 'static) {
    drop(std::thread::Builder::new().spawn(move || std::io::copy(&mut output, &mut std::io::sink())).unwrap());
}

/// The ClickHouse engine.
pub(crate) struct Engine {
    process: Process,
    listen: SocketAddr,
}

impl Engine {
    /// Starts it on `data`, and waits until it answers. Port 0: any.
    pub(crate) fn start(data: &Path, listen: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "engine_process", "--nocapture"]);
        command.env(ENGINE, format!("{listen} {}", data.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process(command.spawn().unwrap());
        let mut output = BufReader::new(process.0.stdout.take().unwrap());
        let listen =
            output.by_ref().lines().find_map(|line| line.unwrap().strip_prefix("listening ").map(str::to_owned));
        let listen = listen.expect("the engine starts").parse().unwrap();
        read_on(output);
        Self { process, listen }
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(&format!("http://default:{TOKEN}@{}", self.listen)).unwrap()
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        self.listen
    }
}

/// A nats-server.
pub(crate) struct Nats {
    _process: Process,
    pub url: String,
    monitor: SocketAddr,
}

impl Nats {
    pub(crate) fn start(data: &Path) -> Self {
        let mut command = Command::new(variable("PENSTOCK_NATS_SERVER"));
        std::fs::create_dir_all(data).unwrap();
        // The limits of the streams are reserved: whatever this machine's disk has free, they fit.
        let file = data.join("nats.conf");
        std::fs::write(&file, format!("jetstream {{ store_dir: {data:?}, max_file_store: 1TB }}")).unwrap();
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--http_port", "-1", "--config"]).arg(&file);
        command.stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let mut log = BufReader::new(process.0.stderr.take().unwrap());
        let (mut port, mut monitor, mut line) = (None, None, String::new());
        while !line.contains("Server is ready") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "nats-server ended");
            let number = || line.trim().rsplit(':').next().unwrap().to_owned();
            if line.contains("Listening for client connections") {
                port = Some(number());
            } else if line.contains("Starting http monitor") {
                monitor = Some(number());
            }
        }
        read_on(log);
        let monitor = format!("127.0.0.1:{}", monitor.unwrap()).parse().unwrap();
        Self { _process: process, url: format!("nats://127.0.0.1:{}", port.unwrap()), monitor }
    }

    /// Messages that the ledger holds.
    pub(crate) fn messages(&self) -> u64 {
        let mut stream = TcpStream::connect(self.monitor).unwrap();
        stream.write_all(b"GET /jsz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["messages"].as_u64().unwrap()
    }
}

/// All parts, and a journal to write events with.
pub(crate) struct World {
    pub nats: Nats,
    pub engine: Option<Engine>,
    pub folder: Folder,
    pub bus: Bus,
    pub journal: Journal,
    pub config: AnalyticsConfig,
    pub metrics: Metrics,
}

impl World {
    /// NATS and the engine; the role is not started.
    pub(crate) async fn new() -> Self {
        // As the program does before anything else; each test of a file tries to.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new();
        let engine = Engine::start(&folder.path().join("clickhouse"), "127.0.0.1:0".parse().unwrap());
        let nats = Nats::start(&folder.path().join("nats"));
        let bus = connect(&nats.url, "ps").await;
        let journal = Journal::open(&bus).await.unwrap();
        let config = AnalyticsConfig {
            clickhouse: Some(engine.address()),
            database: Database::parse("penstock").unwrap(),
            retention: Retention::Off,
            body_retention: Retention::Off,
            runaway: Runaway { requests: 300, spent: Picodollars(i64::MAX) },
            drift_alarms: 0.01,
            metrics: None,
            traces: None,
        };
        let metrics = Metrics::default();
        Self { nats, engine: Some(engine), folder, bus, journal, config, metrics }
    }

    pub(crate) async fn start(&self, prices: Vec<(Target, PriceRow)>) -> Result<Analytics, AnalyticsError> {
        // The role ends with its connection's life: each start has one of its own.
        let bus = connect(&self.nats.url, "ps").await;
        Analytics::start(&self.config, &bus, &self.metrics, prices).await
    }

    /// Writes events into the ledger, each as a message of its own, in this order.
    pub(crate) async fn write(&self, events: impl IntoIterator<Item = UsageEvent>) {
        for event in events {
            assert!(self.journal.append(event).await.acknowledged().await);
        }
    }

    /// Writes many events into the ledger, as busy roles do: many in a message.
    pub(crate) async fn write_together(&self, events: impl IntoIterator<Item = UsageEvent>) {
        let mut last = None;
        for event in events {
            last = Some(self.journal.append(event).await);
        }
        assert!(last.unwrap().acknowledged().await);
    }

    /// Writes bytes into the ledger as one message, as a process of another version would.
    pub(crate) async fn write_raw(&self, payload: Vec<u8>) {
        let jetstream = async_nats::jetstream::new(async_nats::connect(&self.nats.url).await.unwrap());
        jetstream.publish("ps.usage", payload.into()).await.unwrap().await.unwrap();
    }

    pub(crate) fn warehouse(&self) -> Warehouse {
        Warehouse::connect(self.config.clickhouse.as_ref().unwrap(), &self.config.database)
    }

    /// The rows that `sql` gives.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Value> {
        let warehouse = self.warehouse();
        let answer =
            warehouse.sql(sql, SqlFormat::Json).unwrap().collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        serde_json::from_slice(&answer).unwrap()
    }

    /// The only value that `sql` gives, as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        match rows[0].as_object().unwrap().values().next().unwrap() {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Carries out a statement that writes, as an operator would.
    pub(crate) async fn execute(&self, sql: &str) {
        let address = self.config.clickhouse.as_ref().unwrap();
        let (user, password) = address.login().unwrap();
        let client = clickhouse::Client::default().with_url(address.url()).with_user(user);
        let client = client.with_password(password.reveal()).with_database(self.config.database.as_str());
        client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Waits until `sql` gives `wanted`.
    pub(crate) async fn until(&self, sql: &str, wanted: &str) {
        let begun = Instant::now();
        let mut last;
        loop {
            let answer = self.warehouse().sql(sql, SqlFormat::Csv).unwrap().collect().await;
            last = answer.map_or_else(|error| error.to_string(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
            if last.lines().nth(1).is_some_and(|line| line.trim_matches('"') == wanted) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{sql} never gave {wanted}, but: {last}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the metrics hold this line.
    pub(crate) async fn until_metric(&self, line: &str) {
        let begun = Instant::now();
        while !self.metrics.text().lines().any(|found| found == line) {
            assert!(begun.elapsed() < PATIENCE, "{line} never came: {}", self.metrics.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the ledger holds this many messages.
    pub(crate) async fn until_left(&self, wanted: u64) {
        let begun = Instant::now();
        while self.nats.messages() != wanted {
            assert!(begun.elapsed() < PATIENCE, "the ledger holds {} messages, not {wanted}", self.nats.messages());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A connection to the bus under a prefix of its own.
pub(crate) async fn connect(url: &str, prefix: &str) -> Bus {
    let mut document = Document::read("test", &format!("[nats]\nprefix = \"{prefix}\""), []).unwrap();
    Bus::connect(&NatsConfig::read(&mut document), url, "test").await.unwrap()
}

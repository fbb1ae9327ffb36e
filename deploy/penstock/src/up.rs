//! `penstock up`: every role in this process, a NATS server and the embedded ClickHouse as its children. Composes and
//! waits; knows nothing of requests.

pub(crate) mod child;
pub(crate) mod clickhouse;
pub(crate) mod data;
mod disk;
pub(crate) mod nats;
pub(crate) mod ports;
pub(crate) mod programs;
mod traffic;

use crate::config::Config;
use crate::reload::Reload;
use crate::roles::{code, connect_soon, prices, wait_for_stop};
use crate::{IDLE_THREAD, Place, config, handles};
use anyhow::{Context, anyhow};
use child::Children;
pub(crate) use data::{DataDir, RunFile};
use disk::DiskWatch;
use penstock_analytics::{Address, Analytics};
use penstock_ingress::{Ingress, keys};
use penstock_runtime::metrics::Metrics;
use penstock_runtime::{ApartRuntime, Life, MasterKey, Secret};
use penstock_workers::{ServedProviders, Workers, demo};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;

/// The file of the master key, unless the operator has one.
pub(crate) const MASTER_KEY: &str = "master-key";

/// Longest wait for a NATS server that was just started.
const NATS_START: Duration = Duration::from_secs(20);

/// What `up` may be told.
#[derive(clap::Args)]
pub(crate) struct UpOptions {
    /// Where to listen, instead of the configured address [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Add the provider `demo`: a simulator, for trying everything offline
    #[arg(long)]
    demo: bool,
    /// The same, with some requests to it, so that there is something to see on the dashboard
    #[arg(long)]
    demo_traffic: bool,
}

/// The roles of this process, and what they stand on.
struct Running {
    ingress: Ingress,
    workers: Workers,
    analytics: Analytics,
    apart: ApartRuntime,
    children: Children,
    demo: Life,
    /// The lives of ingress, workers and analytics: when one ends by itself, so does everything.
    lives: [Life; 3],
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(place: &Place, options: UpOptions) -> anyhow::Result<ExitCode> {
    let with_demo = options.demo || options.demo_traffic;
    let mut config = Config::load_for(place, ServedProviders::All)?;
    if let Some(listen) = &options.listen {
        config.ingress.listen = listen.parse().with_context(|| format!("--listen {listen}: not an address"))?;
    }
    handles::leave_some(&mut config.ingress);
    let data = DataDir::open(place)?;
    let first_key = choose_keys(&mut config, &data)?;
    let admin_key = config.ingress.admin_key.clone();
    let (running, run_file) = Box::pin(start(config, &data, with_demo)).await?;
    data.write_run_file(&run_file)?;
    if let Some(admin_key) = admin_key.filter(|_| options.demo_traffic) {
        let life = &running.demo;
        life.service("demo traffic", traffic::run(run_file.url.clone(), admin_key, life.clone()));
    }
    announce(&run_file, &first_key, config::file(place), with_demo);
    let asked = tokio::select! {
        asked = wait_for_stop(running.stopping()) => asked?,
        () = Reload::run(Reload::new(place), async |declared| running.ingress.declare(declared).await) => true,
    };
    let is_fine = running.stop().await;
    data.remove_run_file();
    Ok(code(is_fine && asked))
}

/// The first virtual key, as far as it is to be shown.
enum FirstKey {
    /// Made by this start: it is shown now and never again.
    Made(Secret),
    /// Made by an earlier start, and kept in this file.
    Kept(PathBuf),
    /// The operator's own, in `PENSTOCK_KEY`.
    Given,
}

/// The first virtual key and the admin key: given, or made once and kept.
fn choose_keys(config: &mut Config, data: &DataDir) -> anyhow::Result<FirstKey> {
    let first = if config.ingress.preset_key.is_some() {
        FirstKey::Given
    } else {
        let is_new = !data.has("key");
        let key = data.secret("key", keys::generate)?;
        config.ingress.preset_key = Some(key.clone());
        if is_new { FirstKey::Made(key) } else { FirstKey::Kept(data.join("key")) }
    };
    if config.ingress.admin_key.is_none() {
        config.ingress.admin_key = Some(data.secret("admin-key", || Secret::generate("psa_"))?);
    }
    if config.master_key.is_none() {
        // The key that hashes virtual keys stays as it is: an ingress that joins knows no more than where NATS is.
        let text = data.secret(MASTER_KEY, MasterKey::generate)?;
        let master = MasterKey::parse(&text).map_err(|why| anyhow!("{}: {why}", data.join(MASTER_KEY).display()))?;
        config.master_key = Some(master.clone());
        config.ingress.master_key = Some(master);
    }
    Ok(first)
}

async fn start(mut config: Config, data: &DataDir, with_demo: bool) -> anyhow::Result<(Running, RunFile)> {
    let mut children = Children::default();
    let mut folders = Vec::new();
    let nats = match config.nats.url.clone() {
        Some(url) => url,
        None => {
            folders.push(data.join("nats"));
            nats::start(data, &mut children)?
        }
    };
    let restart = (!folders.is_empty()).then(|| Box::new(children.restart(nats::CHILD)) as _);
    let clickhouse = match &config.analytics.clickhouse {
        Some(address) => address.url().to_owned(),
        None => {
            folders.push(data.join("clickhouse"));
            clickhouse::start(data, &mut children)?
        }
    };
    if config.analytics.clickhouse.is_none() {
        config.analytics.clickhouse = Some(Address::parse(&clickhouse)?);
    }
    let demo = Life::new();
    if with_demo {
        let address = start_demo(&demo).await?;
        config.workers.add_demo(format!("http://{address}/v1"));
    }
    let metrics = Metrics::default();
    let prices = prices(&config)?;
    let apart = ApartRuntime::start("analytics", IDLE_THREAD).context("analytics gets no thread")?;
    let (settings, at, counted) = ((config.nats.clone(), config.analytics), nats.clone(), metrics.clone());
    let analytics = async move {
        let bus = connect_soon(&settings.0, &at, "analytics", NATS_START).await?;
        anyhow::Ok((Analytics::start(&settings.1, &bus, &counted, prices).await?, bus))
    };
    let (analytics, analytics_bus) = apart.run(analytics).await?;
    let worker_bus = connect_soon(&config.nats, &nats, "worker", NATS_START).await?;
    let workers = Workers::start(config.workers, config.master_key, &worker_bus, &metrics).await?;
    let bus = connect_soon(&config.nats, &nats, "ingress", NATS_START).await?.beside(&worker_bus, &config.nats);
    let ingress = Box::pin(Ingress::start(config.ingress, &bus, &metrics)).await?;
    ingress.ready().await;
    let watch = DiskWatch {
        folders,
        buses: vec![bus.clone(), worker_bus.clone(), analytics_bus.clone()],
        journals: vec![ingress.journal(), workers.journal()],
        alarm: analytics_bus.alarm(),
        restart,
    };
    bus.life().service("disk", watch.run());
    let run_file = RunFile { url: ingress.url(), nats, clickhouse, pid: std::process::id() };
    let lives = [bus, worker_bus, analytics_bus].map(|bus| bus.life().clone());
    Ok((Running { ingress, workers, analytics, apart, children, demo, lives }, run_file))
}

async fn start_demo(life: &Life) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("the demo provider cannot listen")?;
    let address = listener.local_addr()?;
    let stop = life.clone();
    life.work(demo::serve(listener, async move { stop.stopping().await }));
    Ok(address)
}

impl Running {
    /// Waits until a role stops by itself.
    async fn stopping(&self) {
        let [ingress, workers, analytics] = &self.lives;
        tokio::select! {
            () = ingress.stopping() => {}
            () = workers.stopping() => {}
            () = analytics.stopping() => {}
        }
    }

    /// In the order in which work flows: no role loses what an earlier one still gives it. False when something was left
    /// undone.
    async fn stop(self) -> bool {
        const REST: Duration = Duration::from_secs(10);
        let mut is_fine = self.ingress.drain().await;
        is_fine &= self.workers.drain(REST).await;
        is_fine &= self.analytics.drain(REST).await;
        drop(self.apart);
        self.demo.drain(Duration::from_secs(1)).await;
        self.children.stop().await;
        is_fine
    }
}

/// The one line that `up` prints, and on a terminal what to do next.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what `up` has to say")]
fn announce(run: &RunFile, key: &FirstKey, config: Option<PathBuf>, with_demo: bool) {
    use std::io::IsTerminal;
    let (told, key) = match key {
        FirstKey::Made(key) => (format!("key: {}", key.reveal()), key.reveal().to_owned()),
        FirstKey::Kept(file) => {
            let file = file.display();
            (format!("key: in {file}; another: penstock keys create"), format!("$(cat {file})"))
        }
        FirstKey::Given => ("key: that of PENSTOCK_KEY".to_owned(), "$PENSTOCK_KEY".to_owned()),
    };
    println!("Penstock is ready: {}  {told}", run.url);
    if std::io::stderr().is_terminal() {
        let model = if with_demo { demo::EXAMPLE } else { "openai/gpt-4o-mini" };
        let config = config.map_or("no configuration file".to_owned(), |file| file.display().to_string());
        eprintln!("({config}; stop with Ctrl-C) Try:");
        eprintln!(
            "  curl {}/v1/chat/completions -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' \\",
            run.url
        );
        eprintln!(
            "    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'"
        );
    }
}

//! The processes: nats-server, the embedded ClickHouse, and the roles, each a child of this one in a temporary folder,
//! started again when it dies. Knows nothing of requests.

use super::copy::Copied;
use crate::Place;
use crate::config::Config;
use crate::up::child::Children;
use crate::up::{DataDir, clickhouse, nats, ports};
use anyhow::{Context, bail};
use penstock_analytics::{Address, Warehouse};
use penstock_ingress::keys;
use penstock_runtime::Secret;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

const INGRESSES: [&str; 2] = ["ingress-1", "ingress-2"];
const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// Longest wait for a part that was just started.
const START: Duration = Duration::from_secs(60);

/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(50);

/// What the children have of this process's environment: no key of a provider's.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PENSTOCK_CHDB", "TOKIO_WORKER_THREADS"];

/// What is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Worker,
    Ingress,
    Nats,
}

/// A running deployment.
pub(super) struct Cluster {
    children: Children,
    folder: PathBuf,
    ingresses: [String; 2],
    key: Secret,
    warehouse: Warehouse,
    _data: DataDir,
}

impl Cluster {
    /// Starts it, and waits until it answers.
    pub(super) async fn start(copied: &Copied) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("penstock-chaos-{}", std::process::id()));
        let file = folder.join("chaos.toml");
        let place = Place { config: Some(file.clone()), data: Some(folder.clone()) };
        let data = DataDir::open(&place)?;
        data.write("chaos.toml", copied.text().as_bytes())?;
        let database = Config::load(&place)?.analytics.database;
        let mut children = Children::default();
        let nats = nats::start(&data, &mut children)?;
        let clickhouse = clickhouse::start(&data, &mut children)?;
        wait_for_port(nats.rsplit('@').next().unwrap_or_default()).await?;
        let key = keys::generate();
        let role = Role { folder: &folder, file: &file, nats: &nats, clickhouse: &clickhouse, key: &key };
        role.keep(&mut children, "analytics", &["analytics"])?;
        for worker in WORKERS {
            role.keep(&mut children, worker, &["worker"])?;
        }
        let mut ingresses: [String; 2] = Default::default();
        for (name, address) in INGRESSES.into_iter().zip(&mut ingresses) {
            *address = format!("127.0.0.1:{}", ports::free()?);
            role.keep(&mut children, name, &["ingress", "--listen", address])?;
        }
        for ingress in &ingresses {
            wait_for_port(ingress).await?;
        }
        let warehouse = Warehouse::connect(&Address::parse(&clickhouse)?, &database);
        Ok(Self { children, folder, ingresses, key, warehouse, _data: data })
    }

    /// Where the ingresses listen.
    pub(super) fn ingresses(&self) -> &[String; 2] {
        &self.ingresses
    }

    /// A virtual key.
    pub(super) fn key(&self) -> &Secret {
        &self.key
    }

    /// Where the ledger is.
    pub(super) fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// Ends one process as a crash does.
    pub(super) fn kill(&self, victim: Victim) {
        self.children.kill(match victim {
            Victim::Worker => WORKERS[0],
            Victim::Ingress => INGRESSES[0],
            Victim::Nats => "nats-server",
        });
    }

    /// Stops everything. The folder stays when something was wrong: the logs are in it.
    #[expect(clippy::print_stderr, reason = "where to look")]
    pub(super) async fn stop(self, is_fine: bool) {
        self.children.stop().await;
        if !is_fine {
            return eprintln!("The logs are in {}", self.folder.display());
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the temporary folder could not be removed");
        }
    }
}

/// What every role is told.
struct Role<'a> {
    folder: &'a Path,
    file: &'a Path,
    nats: &'a str,
    clickhouse: &'a str,
    key: &'a Secret,
}

impl Role<'_> {
    fn keep(&self, children: &mut Children, name: &'static str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = std::env::current_exe()?;
        let (folder, file, log) =
            (self.folder.to_owned(), self.file.to_owned(), self.folder.join(format!("{name}.log")));
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut environment: Vec<(&str, String)> =
            INHERITED.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect();
        environment.extend([
            ("PENSTOCK_NATS_URL", self.nats.to_owned()),
            ("PENSTOCK_CLICKHOUSE_URL", self.clickhouse.to_owned()),
            ("PENSTOCK_KEY", self.key.reveal().to_owned()),
            ("PENSTOCK_LOG", "json,info".to_owned()),
        ]);
        children.keep(name, move || {
            let mut command = Command::new(&program);
            command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
            command.arg("--config").arg(&file).arg("--data").arg(&folder).args(&arguments);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(open_log(&log)?);
            Ok(command)
        })
    }
}

/// Goes on in the same file: what a process said before it was killed is of interest.
fn open_log(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("{} cannot be written", path.display()))
}

async fn wait_for_port(address: &str) -> anyhow::Result<()> {
    let until = Instant::now() + START;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() > until {
            bail!("nothing listens on {address} after {START:?}: see the logs in the temporary folder");
        }
        sleep(LOOK).await;
    }
    Ok(())
}

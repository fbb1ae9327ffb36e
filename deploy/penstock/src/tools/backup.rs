//! `penstock backup DIR` and `penstock restore DIR`: everything that a deployment keeps, in files: the streams and buckets of
//! NATS as the server copies them, the tables of ClickHouse as it writes them. Knows nothing of what is in either.

use super::output::write;
use crate::config::Config;
use crate::roles::connect_soon;
use crate::up::child::Children;
use crate::up::data::DataDir;
use crate::up::{self, MASTER_KEY};
use crate::{Place, tools};
use anyhow::{Context, bail};
use penstock_analytics::{Address, Database, Warehouse};
use penstock_runtime::bus::{Bus, StreamCopy};
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::BufWriter;

/// Longest wait for servers that `restore` has just started.
const START: Duration = Duration::from_secs(30);

/// What stands in the backup besides streams and tables, where an `up` keeps it in its folder.
const KEYS: [&str; 3] = ["key", "admin-key", MASTER_KEY];

/// Where from, or where to.
#[derive(clap::Args)]
pub(crate) struct BackupOptions {
    /// A folder; `backup` makes it
    folder: PathBuf,
    /// With the keys of `up`'s data folder: the master key, the admin key and the first virtual key. Who has them and the
    /// backup can use everything in it
    #[arg(long)]
    with_keys: bool,
}

/// What a backup holds.
#[derive(Serialize, Deserialize)]
struct Manifest {
    /// The version that made it.
    version: String,
    /// The first part of all names on the bus.
    prefix: String,
    /// Each stream, and what it was like.
    streams: Vec<(String, StreamCopy)>,
    /// The tables that hold anything.
    tables: Vec<String>,
}

/// Writes everything. While it runs, the deployment goes on; what is written meanwhile may be in it or not.
pub(crate) async fn save(place: &Place, options: &BackupOptions) -> anyhow::Result<ExitCode> {
    let folder = &options.folder;
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.with_context(|| format!("{} cannot be made: say a new folder", folder.display()))?;
    DirBuilder::new().mode(0o700).create(folder.join("streams"))?;
    DirBuilder::new().mode(0o700).create(folder.join("tables"))?;
    let config = Config::load(place)?;
    let bus = tools::bus(place).await?;
    let mut streams = Vec::new();
    // First what waits for ClickHouse, then ClickHouse: a row may be in both, and is one, since rows collapse by their ids.
    for name in bus.stream_names().await? {
        let mut out = BufWriter::new(File::create(folder.join("streams").join(&name)).await?);
        let copy = bus.save_stream(&name, &mut out).await.with_context(|| name.clone())?;
        out.get_ref().sync_all().await?;
        streams.push((name, copy));
    }
    let warehouse = tools::warehouse(place)?;
    warehouse.answers().await?;
    let tables = warehouse.save_tables(&folder.join("tables")).await?;
    if options.with_keys {
        copy_keys(&up::data::path(place)?, folder)?;
    }
    let (counted, held) = (streams.len(), tables.len());
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        prefix: config.nats.subjects.prefix().to_owned(),
        streams,
        tables: tables.into_iter().map(ToOwned::to_owned).collect(),
    };
    // Last: a folder with it is a whole backup.
    std::fs::write(folder.join("backup.json"), serde_json::to_vec_pretty(&manifest)?)?;
    write(format!("{counted} streams and {held} tables are in {}\n", folder.display()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn copy_keys(from: &Path, to: &Path) -> anyhow::Result<()> {
    for name in KEYS.iter().filter(|name| from.join(name).exists()) {
        // The permissions go along: they are the owner's alone.
        std::fs::copy(from.join(name), to.join(name)).with_context(|| format!("{name} cannot be copied"))?;
    }
    Ok(())
}

/// Puts everything back: into a new data folder, or where the configuration says that NATS and ClickHouse are, both empty and
/// without any role.
pub(crate) async fn load(place: &Place, options: &BackupOptions) -> anyhow::Result<ExitCode> {
    let folder = &options.folder;
    let text = std::fs::read(folder.join("backup.json"));
    let text = text.with_context(|| format!("{} is no whole backup: it has no backup.json", folder.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).context("backup.json cannot be read")?;
    let mut config = Config::load(place)?;
    if manifest.prefix != config.nats.subjects.prefix() {
        bail!("the backup's names begin with `{}`: set [nats] prefix to that", manifest.prefix);
    }
    let mut children = Children::default();
    let needs_folder = config.nats.url.is_none() || config.analytics.clickhouse.is_none();
    let data = if needs_folder { Some(DataDir::open(place)?) } else { None };
    if let Some(data) = data.as_ref().filter(|_| config.nats.url.is_none()) {
        if data.has("nats") {
            bail!("{} holds an instance already: say a new --data", data.join("").display());
        }
        config.nats.url = Some(up::nats::start(data, &mut children)?);
    }
    if let Some(data) = data.as_ref().filter(|_| config.analytics.clickhouse.is_none()) {
        let url = up::clickhouse::start(data, &mut children)?;
        config.analytics.clickhouse = Some(Address::parse(&url)?);
    }
    if let Some(data) = &data {
        copy_keys(folder, &data.join(""))?;
    }
    let done = Box::pin(put_back(&config, &manifest, folder)).await;
    children.stop().await;
    done?;
    let (streams, tables) = (manifest.streams.len(), manifest.tables.len());
    write(
        format!("{streams} streams and {tables} tables are back, as version {} had them\n", manifest.version)
            .as_bytes(),
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn put_back(config: &Config, manifest: &Manifest, folder: &Path) -> anyhow::Result<()> {
    let url = config.nats.url.clone().context("NATS has an address by now")?;
    let bus: Bus = connect_soon(&config.nats, &url, "tool", START).await?;
    for (name, copy) in &manifest.streams {
        let mut from = File::open(folder.join("streams").join(name)).await?;
        bus.restore_stream(name, copy, &mut from).await.with_context(|| name.clone())?;
    }
    let address = config.analytics.clickhouse.clone().context("ClickHouse has an address by now")?;
    let warehouse = Warehouse::connect(&address, &config.analytics.database);
    let until = tokio::time::Instant::now() + START;
    // A database that is there before ours is.
    let engine = Warehouse::connect(&address, &Database::parse("system")?);
    while let Err(error) = engine.answers().await {
        if tokio::time::Instant::now() > until {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    warehouse.restore_tables(&folder.join("tables")).await?;
    Ok(())
}

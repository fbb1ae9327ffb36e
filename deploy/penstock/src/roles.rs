//! One role in one process, as in production: connect, start, wait for the signal, drain.

use crate::Place;
use crate::config::Config;
use crate::reload::Reload;
use crate::{handles, scrape};
use anyhow::{Context, bail};
use penstock_analytics::Analytics;
use penstock_ingress::Ingress;
use penstock_runtime::bus::{Bus, NatsConfig};
use penstock_runtime::clock;
use penstock_runtime::metrics::Metrics;
use penstock_workers::{ServedProviders, Workers, catalogue};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// The exit code of a role that stopped by itself, or could not finish its work: EX_SOFTWARE.
const FAILED: u8 = 70;

/// Where a role looks for NATS when nobody says.
const NATS_DEFAULT: &str = "nats://127.0.0.1:4222";

pub(crate) async fn ingress(place: &Place, listen: Option<String>) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(place)?;
    if let Some(listen) = listen {
        config.ingress.listen = listen.parse().with_context(|| format!("--listen {listen}: not an address"))?;
    }
    handles::leave_some(&mut config.ingress);
    let bus = connect(&config.nats, "ingress").await?;
    let ingress = Box::pin(Ingress::start(config.ingress, &bus, &Metrics::default())).await?;
    ingress.ready().await;
    info!(address = %ingress.address(), "the ingress is ready");
    let asked = tokio::select! {
        asked = wait_for_stop(bus.life().stopping()) => asked?,
        () = Reload::run(Reload::new(place), async |declared| ingress.declare(declared).await) => true,
    };
    Ok(code(ingress.drain().await && asked))
}

pub(crate) async fn worker(place: &Place, names: &[String]) -> anyhow::Result<ExitCode> {
    let serving = if names.is_empty() { ServedProviders::All } else { ServedProviders::Only(names) };
    let mut config = Config::load_for(place, serving)?;
    if !names.is_empty() {
        config.workers.providers.retain(|provider| names.iter().any(|name| name == provider.id.as_str()));
    }
    if config.workers.providers.is_empty() {
        bail!("no provider is configured: name one with --provider, or set its key, such as OPENAI_API_KEY");
    }
    let bus = connect(&config.nats, "worker").await?;
    let (metrics, address) = (Metrics::default(), config.workers.metrics);
    let workers = Workers::start(config.workers, config.master_key, &bus, &metrics).await?;
    scrape::serve(address, &metrics, workers.journal(), &bus).await?;
    info!("the workers are ready");
    let asked = tokio::select! {
        asked = wait_for_stop(bus.life().stopping()) => asked?,
        () = Reload::run(Reload::new(place), async |_| ()) => true,
    };
    Ok(code(workers.drain(config.ingress.drain).await && asked))
}

pub(crate) async fn analytics(place: &Place) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    if config.analytics.clickhouse.is_none() {
        bail!("no ClickHouse is configured: set [clickhouse] url or PENSTOCK_CLICKHOUSE_URL");
    }
    let bus = connect(&config.nats, "analytics").await?;
    let prices = prices(&config)?;
    let metrics = Metrics::default();
    let analytics = Analytics::start(&config.analytics, &bus, &metrics, prices).await?;
    scrape::serve(config.analytics.metrics, &metrics, analytics.journal(), &bus).await?;
    info!("analytics is ready");
    let asked = tokio::select! {
        asked = wait_for_stop(bus.life().stopping()) => asked?,
        () = Reload::run(Reload::new(place), async |_| ()) => true,
    };
    Ok(code(analytics.drain(config.ingress.drain).await && asked))
}

/// Every price that is known: the catalogue's, and the operator's own.
pub(crate) fn prices(
    config: &Config,
) -> anyhow::Result<Vec<(penstock_schemas::name::Target, penstock_schemas::model::PriceRow)>> {
    let mut prices = catalogue::price_rows()?;
    prices.extend(config.workers.prices.iter().cloned());
    Ok(prices)
}

async fn connect(config: &NatsConfig, role: &str) -> anyhow::Result<Bus> {
    let url = config.url.as_deref().unwrap_or(NATS_DEFAULT);
    Ok(Bus::connect(config, url, role).await?)
}

/// Waits for SIGTERM or SIGINT, or until a role stops by itself: then false.
pub(crate) async fn wait_for_stop(stopping: impl Future<Output = ()>) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stopping => return Ok(false),
    }
    info!("stopping: finishing what is in flight");
    Ok(true)
}

/// The exit code of a role that is over.
pub(crate) fn code(is_fine: bool) -> ExitCode {
    if is_fine { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Connects as soon as the server answers: a server that was just started needs a moment.
pub(crate) async fn connect_soon(config: &NatsConfig, url: &str, role: &str, limit: Duration) -> anyhow::Result<Bus> {
    let until = clock::now().after(limit);
    loop {
        match Bus::connect(config, url, role).await {
            Ok(bus) => return Ok(bus),
            Err(error) if clock::now() > until => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

//! The metrics of a worker or an analytics process that runs by itself, for Prometheus, on a listener of their own. Knows no
//! metric.

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use penstock_runtime::bus::{Bus, Journal};
use penstock_runtime::ledger_metrics::LedgerMetrics;
use penstock_runtime::metrics::Metrics;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tracing::{error, info};

/// What an answer holds.
#[derive(Clone)]
struct Told {
    metrics: Metrics,
    ledger: LedgerMetrics,
    journal: Journal,
    bus: Bus,
}

/// Serves them at `address`, if there is one, as long as the role lives.
///
/// # Errors
/// When it cannot be listened on.
pub(crate) async fn serve(
    address: Option<SocketAddr>,
    metrics: &Metrics,
    journal: Journal,
    bus: &Bus,
) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("metrics cannot be told at {address}"))?;
    info!(address = %listener.local_addr()?, "the metrics are told here");
    let told = Told { metrics: metrics.clone(), ledger: LedgerMetrics::register(metrics), journal, bus: bus.clone() };
    let router = Router::new().route("/metrics", get(exposition)).with_state(told);
    bus.life().service("metrics", async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "the metrics are told no more");
        }
        // A service ends with the role, not before it.
        std::future::pending::<()>().await;
    });
    Ok(())
}

async fn exposition(State(told): State<Told>) -> impl IntoResponse {
    told.ledger.note(&told.journal, &told.bus);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], told.metrics.text())
}

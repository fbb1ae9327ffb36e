//! For those who run it: alive, ready, metrics, what this API is. Probes have no key; who may read the metrics is the
//! operator's choice.

use super::admin::identify;
use crate::config::MetricsAccess;
use crate::dashboard;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use crate::status;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use penstock_runtime::bus::{Intake, LedgerState};
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// `GET /`: the dashboard for a browser, and for programs what this is.
pub(crate) async fn front(request: Request) -> Response {
    if dashboard::wants_page(request.headers()) { dashboard::page(request).await } else { hint().await.into_response() }
}

/// `GET /` and `GET /v1`: what this is, and which address each SDK wants, relative to this one.
pub(crate) async fn hint() -> impl IntoResponse {
    let bases = [(Dialect::Openai, "/v1"), (Dialect::Anthropic, "/"), (Dialect::Google, "/"), (Dialect::Azure, "/")];
    let bases: Map<String, Value> =
        bases.iter().filter_map(|(dialect, base)| Some((json!(dialect).as_str()?.to_owned(), json!(base)))).collect();
    let hint = json!({
        "name": "penstock",
        "version": env!("CARGO_PKG_VERSION"),
        "base_urls": bases,
        "models": "/v1/models",
        "health": "/health",
        "openapi": "/openapi.json",
    });
    ([(CONTENT_TYPE, "application/json")], hint.to_string())
}

/// `GET /health`: the process is alive, and how what it stands on is.
pub(crate) async fn health(State(ingress): State<Shared>) -> impl IntoResponse {
    let journal = &ingress.journal;
    let failure = journal.health().failure();
    let answer = json!({
        "status": "alive",
        "ready": not_ready(&ingress).is_none(),
        "reason": not_ready(&ingress),
        "nats": { "connected": ingress.bus.is_connected() },
        "ledger": {
            "state": journal.state().as_str(),
            "failing_seconds": failure.as_ref().map(|failure| failure.since.elapsed().as_secs()),
            "reason": failure.map(|failure| failure.reason),
            "failures": journal.health().failures(),
            "waiting_bytes": journal.waiting_bytes(),
        },
        "rows": ingress.carry.report(Instant::now()),
        "intake": match ingress.bus.intake() {
            Intake::Everything => "everything",
            Intake::NoOptional => "no_optional",
            Intake::Nothing => "nothing",
        },
    });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

/// `GET /ready`: it can serve requests, or why not.
pub(crate) async fn ready(State(ingress): State<Shared>) -> impl IntoResponse {
    match not_ready(&ingress) {
        None => (status::ANSWERED, "ready\n".to_owned()),
        Some(reason) => (status::of(&Refusal::NotReady(reason), Dialect::Openai), format!("{reason}\n")),
    }
}

fn not_ready(ingress: &Shared) -> Option<&'static str> {
    let reasons = [
        (ingress.life.is_stopping(), "stopping"),
        (!ingress.bus.is_connected(), "not connected to NATS"),
        (!ingress.keys.is_current(), "the keys have not been read yet"),
        (!ingress.models.is_current(), "the models have not been read yet"),
        (ingress.bus.intake() == Intake::Nothing, "the disk of the data folder is full"),
        (!ingress.keeper.is_able(), "the books of budgets and limits (JetStream) take nothing"),
        (ingress.journal.state() == LedgerState::Failing, "the ledger (JetStream) does not take usage events"),
    ];
    reasons.iter().find(|(applies, _)| *applies).map(|(_, reason)| *reason)
}

/// `GET /metrics` beside the APIs.
pub(crate) async fn metrics(State(ingress): State<Shared>, shown: Credentials) -> Response {
    let id = clock::request_id();
    let checked = match ingress.config.metrics {
        MetricsAccess::Open => Ok(()),
        MetricsAccess::Admin => shown.judge(identify(&ingress, &shown.headers, id).await).map(drop),
        MetricsAccess::Apart(_) => Err(Refusal::UnknownPath("/metrics".to_owned())),
    };
    match checked {
        Ok(()) => exposition(State(ingress)).await,
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

/// The metrics of this process, for Prometheus.
pub(crate) async fn exposition(State(ingress): State<Shared>) -> Response {
    ingress.metrics.ledger(&ingress.journal, &ingress.bus);
    ingress.metrics.false_hits(&ingress.cache.false_hits(&ingress.config.cache.policy));
    ingress.metrics.pools(&ingress.health.fleet(clock::now()));
    ingress.metrics.stands(&ingress.queues, &ingress.health.report(clock::now()), &ingress.memory);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], ingress.metrics.text()).into_response()
}

/// Whether the request may read `/openapi.json`: with any valid key, or without one where the metrics are open.
pub(crate) async fn may_read_document(ingress: &Shared, shown: &Credentials) -> Result<(), Refusal> {
    let is_open = ingress.config.metrics == MetricsAccess::Open;
    if is_open || identify(ingress, &shown.headers, clock::request_id()).await.is_ok() {
        return Ok(());
    }
    shown.find_key(ingress).await.map(drop)
}

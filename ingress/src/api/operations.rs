//! For those who run it: alive, ready, metrics. Without a key, since probes have none; they say nothing about callers.

use crate::refusal::Refusal;
use crate::role::Shared;
use crate::status;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// `GET /health`: the process is alive.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /ready`: it can serve requests, or why not.
pub(crate) async fn ready(State(ingress): State<Shared>) -> impl IntoResponse {
    let reasons = [
        (ingress.life.is_stopping(), "stopping"),
        (!ingress.bus.is_connected(), "not connected to NATS"),
        (!ingress.keys.is_current(), "the keys have not been read yet"),
        (!ingress.models.is_current(), "the models have not been read yet"),
    ];
    match reasons.iter().find(|(applies, _)| *applies) {
        None => (status::ANSWERED, "ready\n".to_owned()),
        Some((_, reason)) => (status::of(&Refusal::NotReady(reason)), format!("{reason}\n")),
    }
}

/// `GET /metrics`: for Prometheus.
pub(crate) async fn metrics(State(ingress): State<Shared>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], ingress.metrics.text())
}

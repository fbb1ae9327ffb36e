//! Asks a provider whether it is there, when a target of it is in doubt and no call tells: by its list of models, which is
//! free everywhere. One worker of the cluster does, and rarely. Decides nothing: what it learns goes the way of all calls.

use crate::pool::Pool;
use crate::providers::{self, ErrorResponse, Outgoing};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use penstock_runtime::clock;
use penstock_schemas::failure::{Failure, FailureKind};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// Between two looks, and so between two probes of one provider.
const EVERY: Duration = Duration::from_secs(5);

/// Longest wait for a list of models.
const ANSWER: Duration = Duration::from_secs(5);

/// What a provider's own log shows of a probe.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION"), " (probe)"));

/// Watches over one pool's provider until the role stops.
pub(crate) async fn watch(pool: Pool) {
    let Some(path) = pool.provider.listing() else { return };
    while !pool.life.is_stopping() {
        tokio::select! {
            () = sleep(EVERY) => look(&pool, path).await,
            () = pool.life.stopping() => return,
        }
    }
}

async fn look(pool: &Pool, path: &str) {
    let (provider, now) = (&pool.provider, clock::now());
    let in_doubt = pool.health.in_doubt(&provider.id, now);
    if in_doubt.is_empty() || pool.health.first_worker(&provider.id, now).as_ref() != Some(&pool.worker) {
        return;
    }
    let asked = timeout(ANSWER, ask(pool, path)).await;
    let failure = match asked {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure.kind),
        Err(_) => Some(FailureKind::Timeout),
    };
    debug!(provider = %provider.id, failure = failure.map(FailureKind::as_str), "probed");
    let mut vitals = pool.news.vitals.lock().unwrap_or_else(PoisonError::into_inner);
    for model in &in_doubt {
        vitals.note(model, failure, None, clock::now());
    }
    drop(vitals);
    pool.metrics.probed(&provider.id, failure);
    pool.news.is_urgent();
}

async fn ask(pool: &Pool, path: &str) -> Result<(), Failure> {
    let (provider, now) = (&pool.provider, clock::now());
    let adapter = provider.dialects.first().and_then(|dialect| providers::of(*dialect));
    let adapter = adapter.ok_or_else(|| Failure::gateway(FailureKind::Internal, "the dialect is not spoken"))?;
    let connect = |error: reqwest::Error| Failure::provider(FailureKind::Connect, error.without_url().to_string());
    let mut request = Outgoing { url: provider.url(path), headers: HeaderMap::new(), body: Bytes::new() };
    request.headers.insert(USER_AGENT, AGENT);
    let key = provider.secret(&provider.limits.any(now)).await?;
    if let Some(key) = &key {
        adapter.authorize(&mut request, key.reveal(), &provider.settings, now)?;
    }
    let sent = provider.client(None).map_err(connect)?.get(request.url).headers(request.headers).send().await;
    let response = sent.map_err(connect)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    // A provider that has no such list is there all the same.
    if status < 400 || matches!(status, 404 | 405) {
        return Ok(());
    }
    let key = key.as_ref().map(penstock_runtime::Secret::reveal);
    Err(adapter.refuse(&ErrorResponse { provider: &provider.id, key, status, headers: &headers, body: b"", now }))
}

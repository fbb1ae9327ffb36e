//! The admin API: `GET /admin/v1/spend` and `/admin/v1/targets`. Asks the analytics role over the bus; knows nothing of where
//! its numbers are.

use crate::refusal::Refusal;
use crate::role::Shared;
use crate::stage::answer;
use crate::stage::receive::header;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use penstock_runtime::clock;
use penstock_schemas::directory::Role;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::spend::{SpendQuery, SpendReply, SpendReport};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::warn;

/// `GET /admin/v1/spend?by=model,project&since=7d`.
pub(crate) async fn spend(State(ingress): State<Shared>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let id = clock::request_id();
    match report(&ingress, &headers, query.as_deref().unwrap_or_default()).await {
        Ok(report) => answer::json(&report, id),
        Err(refusal) => answer::refuse(Dialect::Openai, &refusal, id),
    }
}

/// `GET /admin/v1/targets`: which targets are well, and why not.
pub(crate) async fn targets(State(ingress): State<Shared>, headers: HeaderMap) -> Response {
    let id = clock::request_id();
    match check_admin(&ingress, &headers).await {
        Ok(()) => answer::json(&json!({ "targets": ingress.health.report(clock::now()) }), id),
        Err(refusal) => answer::refuse(Dialect::Openai, &refusal, id),
    }
}

async fn report(ingress: &Shared, headers: &HeaderMap, query: &str) -> Result<SpendReport, Refusal> {
    check_admin(ingress, headers).await?;
    let now = clock::now();
    let (mut by, mut since, mut until) = (None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "by" => by = Some(value),
            "since" => since = Some(value),
            "until" => until = Some(value),
            other => return Err(Refusal::BadQuery(format!("`{other}` is not known here: use by, since and until"))),
        }
    }
    let query = SpendQuery::parse(by.as_deref(), since.as_deref(), until.as_deref(), now).map_err(Refusal::BadQuery)?;
    match ingress.bus.ask_spend(&query).await {
        Ok(SpendReply::Report(report)) => Ok(report),
        Ok(SpendReply::BadQuery(why)) => Err(Refusal::BadQuery(why)),
        Ok(SpendReply::Unavailable(why)) => {
            warn!(why, "spend cannot be reported");
            Err(Refusal::NotReady("the records of spend cannot be read now"))
        }
        Err(error) => {
            warn!(%error, "spend cannot be reported");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// Compares hashes, so that the time it takes tells nothing about the key. Who has a token with the role of an admin may too.
async fn check_admin(ingress: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if ingress.issuers.may_know(given) {
        let found = Box::pin(ingress.issuers.role_of(given)).await?;
        let is_admin = found.is_some_and(|found| found.role == Role::Admin);
        return if is_admin { Ok(()) } else { Err(Refusal::NoRole) };
    }
    let Some(key) = &ingress.config.admin_key else { return Err(Refusal::AdminClosed) };
    if Sha256::digest(given) == Sha256::digest(key.reveal()) { Ok(()) } else { Err(Refusal::WrongAdminKey) }
}

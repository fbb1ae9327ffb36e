//! A feedback that says nothing but that an answer came from the cache and is wrong: it is removed everywhere. Knows nothing of
//! how answers are kept, nor of scores.

use crate::cache::{CacheKey, CheckedSet};
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::clock;
use penstock_schemas::cache::{CacheMark, HitQuestion};
use penstock_schemas::name::{ProjectId, RequestId};
use penstock_semantic::CheckedHit;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrongHit {
    /// Of which request's answer.
    request_id: String,
    /// Absent: true, since nothing else is said.
    wrong_hit: Option<bool>,
}

impl WrongHit {
    /// It, if the body says nothing else.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|report| report.wrong_hit != Some(false))
    }

    /// Removes the answer, and counts it.
    pub(super) async fn take(self, ingress: &Shared, credentials: &Credentials) -> Result<Value, Refusal> {
        let key = credentials.find_key(ingress).await?.key;
        let wrong = || {
            Refusal::Wrong(WrongRequest::WrongField {
                field: "request_id",
                why: "it must be the id of a request".to_owned(),
            })
        };
        let request_id = RequestId::parse(&self.request_id).ok_or_else(wrong)?;
        if remove(ingress, key.project.clone(), request_id).await? {
            Ok(json!({ "request_id": request_id, "object": "feedback", "removed": true }))
        } else {
            Err(Refusal::UnknownHit)
        }
    }
}

/// Removes the cached answer that a request got, everywhere; whether there was one.
async fn remove(ingress: &Shared, project: ProjectId, request_id: RequestId) -> Result<bool, Refusal> {
    let question = HitQuestion { project: project.clone(), request_id };
    let unavailable = |_| Refusal::NotReady("the cache cannot be changed now");
    let known = match ingress.cache.of_request(&question) {
        Some(known) => Some(known),
        None => ingress.bus.ask_hit(&question).await.map_err(unavailable)?,
    };
    let Some(known) = known else { return Ok(false) };
    if let Some(hit) = &known.semantic
        && let Some(space) = CacheKey::read(&hit.space)
    {
        let set = CheckedSet { space, project: project.as_str(), namespace: &known.namespace, model: &hit.model };
        let wrong = CheckedHit { probability: hit.probability, is_false: true };
        ingress.cache.thresholds().learn(&set, wrong).await.map_err(unavailable)?;
        ingress.metrics.checked_hit("reported");
    }
    let mark = CacheMark { project, namespace: Some(known.namespace), key: Some(known.key), at: clock::now() };
    ingress.cache.remove(mark).await.map_err(unavailable)?;
    ingress.metrics.wrong_hit();
    Ok(true)
}

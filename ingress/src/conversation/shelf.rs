//! The kept responses of one project, as types, for who may use their models. Knows nothing of requests.

use super::{unavailable, unknown, unread};
use crate::allow;
use crate::refusal::Refusal;
use crate::state::Shared;
use bytes::Bytes;
use penstock_dialects::json::RawObject;
use penstock_runtime::bus::{BusError, Kept, KeptValue, Version};
use penstock_runtime::heavy;
use penstock_runtime::memory::{MemoryFull, Reserved, values};
use penstock_schemas::UnixMicros;
use penstock_schemas::conversation::{KeptInput, KeptResponse, is_response_id};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::ProjectId;
use penstock_schemas::place;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};

/// The responses of a project, as one of its keys sees them.
#[derive(Clone)]
pub(crate) struct Shelf {
    kept: Kept,
    project: ProjectId,
    key: Arc<VirtualKey>,
    ingress: Shared,
    /// The memory of the longest thing that was found, as long as the shelf is there.
    held: Arc<Mutex<Option<Reserved>>>,
}

impl Shelf {
    pub(crate) fn new(ingress: &Shared, key: &Arc<VirtualKey>) -> Self {
        let (kept, project) = (ingress.conversations.clone(), key.project.clone());
        Self { kept, project, key: key.clone(), ingress: ingress.clone(), held: Arc::default() }
    }

    /// A response, as it stands at `now`.
    ///
    /// # Errors
    /// When there is none, when the key may not use its model, or the store does not answer; `param` names who asks.
    pub(crate) async fn get(&self, id: &str, param: &str, now: UnixMicros) -> Result<(KeptResponse, Version), Refusal> {
        if !is_response_id(id) {
            return Err(unknown(id, param));
        }
        let (mut response, version) = self.find::<KeptResponse>(id).await?.ok_or_else(|| unknown(id, param))?;
        allow::check_name(&self.key, &model(&response), &self.ingress)?;
        if response.due.is_some_and(|due| due < now) {
            response = given_up(response);
        }
        Ok((response, version))
    }

    /// What a response was asked; nothing, when that is no longer known.
    pub(crate) async fn input(&self, id: &str) -> Result<KeptInput, Refusal> {
        Ok(self.find(&place::input(id)).await?.map(|(input, _)| input).unwrap_or_default())
    }

    /// Keeps what a response was asked; false when it is too large.
    pub(crate) async fn put_input(&self, id: &str, input: &KeptInput) -> Result<bool, BusError> {
        self.kept.put(&self.project, &place::input(id), &write(input)).await
    }

    /// Keeps a response; false when it is too large.
    pub(crate) async fn put(&self, id: &str, response: &KeptResponse) -> Result<bool, BusError> {
        self.kept.put(&self.project, id, &write(response)).await
    }

    /// Keeps a response instead of the one of this version; `None` when that is no longer there.
    pub(crate) async fn replace(
        &self,
        id: &str,
        response: &KeptResponse,
        last: Option<Version>,
    ) -> Result<Option<Version>, BusError> {
        self.kept.replace((&self.project, id), &write(response), last).await
    }

    /// The same, for what is let go soon, or counted elsewhere.
    pub(super) fn for_one(&self) -> Self {
        Self { held: Arc::default(), ..self.clone() }
    }

    /// What else is kept here by its name.
    pub(super) async fn find<T: DeserializeOwned>(&self, name: &str) -> Result<Option<(T, Version)>, Refusal> {
        let found = self.kept.get((&self.project, name), &self.ingress.memory).await;
        let Some(found) = found.map_err(unread)? else { return Ok(None) };
        let KeptValue { bytes, version, memory } = found;
        let value = heavy(bytes.len(), || read(&bytes)).await?;
        self.hold(memory);
        Ok(Some((value, version)))
    }

    /// The memory for the values of what was found, where they are all read.
    pub(super) fn hold_values(&self, text: &str) -> Result<Reserved, MemoryFull> {
        self.ingress.memory.reserve(values(text.as_bytes()))
    }

    /// The same thing is mostly read again to be changed: what is held for it suffices.
    fn hold(&self, memory: Reserved) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|held| held.bytes() < memory.bytes()) {
            *held = Some(memory);
        }
    }

    /// Keeps such a thing instead of the one of this version; `None` when that is no longer there, or it is too large.
    pub(super) async fn exchange(
        &self,
        name: &str,
        value: &impl Serialize,
        last: Option<Version>,
    ) -> Result<Option<Version>, Refusal> {
        let bytes = write(value);
        self.kept.replace((&self.project, name), &bytes, last).await.map_err(|error| unavailable(&error))
    }

    /// Keeps such a thing, whatever is there; false when it is too large.
    pub(super) async fn set(&self, name: &str, value: &impl Serialize) -> Result<bool, BusError> {
        self.kept.put(&self.project, name, &write(value)).await
    }

    /// The names of such things, the oldest first, as far as this process has heard.
    pub(super) fn names(&self, is_one: impl Fn(&str) -> bool) -> Vec<String> {
        self.kept.names(&self.project, is_one)
    }

    /// Forgets such a thing.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Refusal> {
        self.kept.forget(&self.project, name).await.map_err(|error| unavailable(&error))
    }

    /// Whether the key may see what a model said.
    pub(super) fn check_model(&self, model: &str) -> Result<(), Refusal> {
        allow::check_name(&self.key, model, &self.ingress).map(drop)
    }

    /// Whether what stands under a name is still the one of this version.
    pub(crate) async fn is_still(&self, id: &str, version: Version) -> Result<bool, BusError> {
        let found = self.kept.get((&self.project, id), &self.ingress.memory).await?;
        Ok(found.is_some_and(|found| found.version == version))
    }

    /// Forgets a response and what it was asked.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), Refusal> {
        let input = place::input(id);
        let both =
            async { tokio::try_join!(self.kept.forget(&self.project, id), self.kept.forget(&self.project, &input)) };
        both.await.map(drop).map_err(|error| unavailable(&error))
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| unavailable(&error))
}

fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("what is kept has a JSON form").into()
}

/// The model that a response was asked of; of what an earlier version kept, as the response names it.
fn model(response: &KeptResponse) -> String {
    let named = || {
        let fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
        fields.get("model").and_then(|model| serde_json::from_str(model.get()).ok())
    };
    response.model.clone().or_else(named).unwrap_or_default()
}

/// Where a response is: `queued`, `completed`, …
pub(crate) fn status(response: &KeptResponse) -> String {
    let fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
    let status = fields.get("status").and_then(|status| serde_json::from_str(status.get()).ok());
    status.unwrap_or_default()
}

/// With another status.
pub(crate) fn with_status(mut response: KeptResponse, status: &str) -> KeptResponse {
    let mut fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
    fields.set("status", &status);
    response.due = None;
    response.response = serde_json::from_slice(&fields.to_vec()).expect("fields are JSON");
    response
}

/// The process that worked on it is gone without a word.
fn given_up(response: KeptResponse) -> KeptResponse {
    let mut response = with_status(response, "failed");
    let mut fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
    fields.set("error", &json!({ "code": "server_error", "message": "the process that worked on it is gone" }));
    response.response = serde_json::from_slice(&fields.to_vec()).expect("fields are JSON");
    response
}

//! What was said before: responses are kept for whoever asked for them, and a request that goes on from one is given all of
//! it again, so that any provider can answer. Knows no provider, and nothing of how a response is made.
//!
//! One way for all providers: the id that a caller sees is ours, `previous_response_id` never leaves the gateway, and a
//! project sees only its own. A response is kept without what came before it; it names its predecessors instead. What is said
//! in a conversation that a caller made is added to that, whether the response is kept or not.

pub(crate) mod background;
pub(crate) mod completions;
pub(crate) mod follow;
mod recall;
pub(crate) mod shelf;
pub(crate) mod thread;

pub(crate) use recall::recall;

use bytes::Bytes;
use completions::CompletionToKeep;
use penstock_dialects::json::RawObject;
use penstock_dialects::responses::client::{value, wrong};
use penstock_runtime::bus::BusError;
use penstock_runtime::heavy;
use penstock_schemas::UnixMicros;
use penstock_schemas::conversation::{ConversationPoint, KeptInput, KeptResponse};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use shelf::Shelf;
use std::collections::BTreeMap;
use std::time::Duration;
use thread::Addition;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::refusal::Refusal;
use penstock_dialects::client::Rewriter;

/// Longest wait for the store, in front of a caller who has his answer otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most notes, and the longest name and value of one, in characters.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// What is to be kept of one request and its answer.
pub(crate) struct ResponseToKeep {
    shelf: Shelf,
    /// The response's id.
    id: String,
    /// The request as it came.
    body: Bytes,
    /// The model that was asked for.
    model: String,
    /// What this request asked, without what came before.
    input: KeptInput,
    /// The responses that it goes on from.
    before: Vec<String>,
    /// Whether the caller comes back for the answer.
    pub(crate) is_background: bool,
    /// Whether it is to be told of as a stream while it is in the background.
    is_followed: bool,
    /// Whether the response is to be found by its id.
    is_kept: bool,
    /// The conversation that it is added to, and how far that was.
    conversation: Option<ConversationPoint>,
}

impl ResponseToKeep {
    /// Keeps an answer. A store that does not take it costs the caller nothing but the next turn.
    pub(crate) async fn keep(self, response: Bytes, native: bool) {
        tokio::join!(self.store(&response, native), self.add_to_conversation(&response, native));
    }

    /// Adds what was asked and answered to the conversation, if it is in one and the answer is complete.
    async fn add_to_conversation(&self, response: &[u8], native: bool) {
        let Some(ConversationPoint { id, .. }) = &self.conversation else { return };
        let turn = heavy(response.len(), || Addition::of_turn(&self.id, &self.input, response, native)).await;
        let Some(turn) = turn else { return };
        if let Err(refusal) = thread::add_turn(&self.shelf, id, &self.model, &turn).await {
            error!(response = self.id, conversation = id, %refusal, "an answer was not added to its conversation");
        }
    }

    async fn store(&self, response: &[u8], native: bool) {
        if !self.is_kept {
            return;
        }
        let Some(record) = self.record(response, native, None) else { return };
        let both =
            async { tokio::try_join!(self.shelf.put_input(&self.id, &self.input), self.shelf.put(&self.id, &record)) };
        match timeout(PATIENCE, both).await {
            Ok(Ok((true, true))) => {}
            Ok(Ok(_)) => {
                warn!(response = self.id, "a response was not kept: it is too large");
                // A half of the two would be gone on from as if it were all.
                if let Err(error) = self.shelf.forget(&self.id).await {
                    warn!(response = self.id, %error, "a half of it stays");
                }
            }
            Ok(Err(error)) => warn!(response = self.id, %error, "a response was not kept"),
            Err(_) => warn!(response = self.id, "a response was not kept: the store did not answer"),
        }
    }

    fn record(&self, response: &[u8], native: bool, due: Option<UnixMicros>) -> Option<KeptResponse> {
        let response: Box<RawValue> = serde_json::from_slice(response).ok()?;
        let (model, before, conversation) = (Some(self.model.clone()), self.before.clone(), self.conversation.clone());
        Some(KeptResponse { response, model, before, native, due, conversation })
    }
}

/// What is to be kept of one request and its answer. Boxed: most are not.
pub(crate) enum ToKeep {
    Response(Box<ResponseToKeep>),
    Completion(Box<CompletionToKeep>),
}

/// Keeps an answer that its writer has for those who ask again.
pub(crate) async fn keep(memory: Option<ToKeep>, rewriter: &mut Rewriter, summary: &Summary) {
    let Some(memory) = memory else { return };
    let Some((answer, native)) = rewriter.kept() else { return };
    match memory {
        ToKeep::Response(memory) => Box::pin(memory.keep(answer, native)).await,
        ToKeep::Completion(memory) => Box::pin(memory.keep(answer, summary)).await,
    }
}

/// The notes of a caller that a request holds.
pub(crate) fn read_metadata(fields: &RawObject) -> Result<BTreeMap<String, String>, Refusal> {
    let (most, name, text) = METADATA;
    let notes: Map<String, Value> = value(fields, "metadata")?.unwrap_or_default();
    let wrong = |why: String| Refusal::from(wrong("metadata".to_owned(), &why));
    if notes.len() > most {
        return Err(wrong(format!("it has {} pairs: {most} are the most", notes.len())));
    }
    let note = |(key, value): (String, Value)| match value {
        Value::String(value) if key.chars().count() <= name && value.chars().count() <= text => Ok((key, value)),
        _ => Err(wrong(format!("a name has at most {name} characters, and a value is a text of at most {text}"))),
    };
    notes.into_iter().map(note).collect()
}

/// That a project has no such response; another project's is none.
pub(crate) fn unknown(id: &str, param: &str) -> Refusal {
    // The id is the caller's: it is not repeated at any length.
    let id: String = id.chars().take(64).collect();
    // OpenAI answers 400 where a request names the response, and 404 where its address does.
    let (kind, code) = match param {
        "previous_response_id" => (FailureKind::BadRequest, "previous_response_not_found"),
        _ => (FailureKind::NotFound, FailureKind::NotFound.as_str()),
    };
    let mut failure = Failure::gateway(kind, format!("the response `{id}` does not exist"));
    failure.provider_code = Some(code.to_owned());
    failure.param = Some(param.to_owned());
    failure.into()
}

/// That a project has no such conversation. OpenAI answers 404 also where a request for a response names it.
pub(crate) fn no_conversation(id: &str, param: &str) -> Refusal {
    let id: String = id.chars().take(64).collect();
    let mut failure = Failure::gateway(FailureKind::NotFound, format!("Conversation with id '{id}' not found."));
    failure.param = Some(param.to_owned());
    failure.into()
}

/// That the store does not answer.
pub(crate) fn unavailable(error: &impl ToString) -> Refusal {
    warn!(error = error.to_string(), "the store of responses failed");
    Refusal::NotReady("the store of responses does not answer")
}

/// What was kept could not be read: its store does not answer, or there is no memory for it.
pub(crate) fn unread(error: BusError) -> Refusal {
    match error {
        BusError::Memory(full) => full.into(),
        error => unavailable(&error),
    }
}

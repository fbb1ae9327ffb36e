//! OpenAI's responses as a client speaks them, in front of any provider. Knows neither where conversations are kept nor who
//! answers. Source: <https://platform.openai.com/docs/api-reference/responses>.

mod compaction;
mod echo;
mod input;
mod known_tools;
mod native;
mod reasoning;
pub mod replay;
mod request;
mod said;
mod shell_calls;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod trigger;
mod writer;

use crate::client::{ClientRequest, Purpose, WrongRequest, own_words};
use crate::json::RawObject;
use crate::openai::client::error;
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tools::Names;

pub use echo::{failed, waiting};
pub(crate) use request::agnostic;
pub(crate) use writer::writer;

/// Reads the head of a request; all of the body must be JSON.
pub(crate) fn read(operation: Operation, purpose: Purpose, body: Bytes) -> Result<ClientRequest, WrongRequest> {
    crate::client::fields::text(&body)?;
    let body = compaction::renamed(body);
    let body = match (purpose, operation) {
        (Purpose::Compaction, _) => compaction::request(&body)?,
        (Purpose::Answer, Operation::CountTokens) => compaction::counted(&body)?,
        (Purpose::Answer, _) => body,
    };
    let fields = fields(&body)?;
    let dialect = Dialect::Responses;
    let extent = crate::client::fields::measure(dialect, operation, &body)?;
    let model: String = value(&fields, "model")?.ok_or(WrongRequest::MissingField("model"))?;
    if model.is_empty() {
        return Err(WrongRequest::MissingField("model"));
    }
    if purpose == Purpose::Compaction && fields.get("conversation").is_some() {
        return Err(wrong("conversation".to_owned(), "a conversation is not compacted by its id: send its items"));
    }
    let goes_on = ["prompt", "conversation", "previous_response_id"].iter().any(|name| fields.get(name).is_some());
    match fields.get("input").map(|input| input.get().as_bytes().first().copied()) {
        None if !goes_on => return Err(WrongRequest::MissingField("input")),
        Some(Some(b'"' | b'[')) | None => {}
        Some(_) => return Err(wrong("input".to_owned(), "it must be a text or a list of items")),
    }
    let is_stream = value(&fields, "stream")?.unwrap_or(false);
    let delivery = if is_stream { Delivery::Stream } else { Delivery::Whole };
    let user: Option<String> = value(&fields, "user")?;
    let user = user.or(value(&fields, "safety_identifier")?);
    Ok(ClientRequest { dialect, operation, model, user, delivery, body, content_type: None, extent, purpose })
}

/// The fields of a request.
pub fn fields(body: &[u8]) -> Result<RawObject, WrongRequest> {
    RawObject::read(body).map_err(|error| {
        let what = if error.is_data() { "it must be an object".to_owned() } else { error.to_string() };
        WrongRequest::InvalidJson(what)
    })
}

/// A field's value.
pub fn value<T: DeserializeOwned>(fields: &RawObject, name: &'static str) -> Result<Option<T>, WrongRequest> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|error| wrong(name.to_owned(), &error.to_string()))
}

/// The conversation that a request goes on with: its id, or an object that holds it.
pub fn conversation(fields: &RawObject) -> Result<Option<String>, WrongRequest> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let Some(raw) = fields.get("conversation") else { return Ok(None) };
    let name = serde_json::from_str::<Named>(raw.get()).map(|named| named.id);
    let name = name.or_else(|_| serde_json::from_str(raw.get()));
    name.map(Some)
        .map_err(|_| wrong("conversation".to_owned(), "it must be the id of a conversation, or an object with `id`"))
}

/// Checks items that are kept until a request says them: what no provider could read is refused. What only some can read is
/// not.
pub fn check_items(items: &[Box<RawValue>], place: &str) -> Result<(), WrongRequest> {
    let read = |item: &RawValue| serde_json::from_str(item.get());
    let items: Result<Vec<Value>, _> = items.iter().map(|item| read(item)).collect();
    let items = items.map_err(|error| WrongRequest::InvalidJson(error.to_string()))?;
    for (at, item) in items.into_iter().enumerate() {
        match input::messages(vec![item], place, &Names::default()) {
            Ok(_) | Err(WrongRequest::Untranslatable(_)) => {}
            Err(WrongRequest::WrongPart { place: within, why }) => {
                let first = format!("{place}[0]");
                return Err(wrong(within.replacen(&first, &format!("{place}[{at}]"), 1), &why));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// That the request is wrong at this place.
pub fn wrong(place: String, why: &str) -> WrongRequest {
    WrongRequest::WrongPart { place, why: why.to_owned() }
}

/// That only a provider of this dialect could do this.
fn foreign(place: String) -> WrongRequest {
    let why = format!("`{place}` is not supported: the model's provider does not speak the responses dialect");
    let mut failure = Failure::gateway(FailureKind::Unsupported, why);
    failure.param = Some(place);
    WrongRequest::from(failure)
}

/// The last event of a stream that broke: with the fields that the reference names, and with the `error` that the official
/// SDKs raise as an exception. One of them reads no error without a code: <https://github.com/Kilo-Org/cloud/pull/4744>.
pub fn error_event(failure: &Failure, id: RequestId, sequence_number: u64) -> Bytes {
    let failure = own_words::failure(Dialect::Responses, failure).unwrap_or_else(|| failure.clone());
    let mut body = error::of_failure(&failure, id);
    let mut error = body["error"].take();
    if !error["code"].is_string() {
        error["code"] = failure.kind.as_str().into();
    }
    let event = serde_json::json!({
        "type": "error",
        "sequence_number": sequence_number,
        "code": error["code"],
        "message": error["message"],
        "param": error["param"],
        "error": error,
    });
    let mut out = Vec::new();
    put(&event, &mut out);
    out.into()
}

/// Writes an event under its type's name.
fn put(event: &Value, out: &mut Vec<u8>) {
    let kind = event.get("type").and_then(Value::as_str).unwrap_or("message");
    out.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
}

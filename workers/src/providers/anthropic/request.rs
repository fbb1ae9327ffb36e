//! Spells a request: out of the caller's own bytes, in which only the model's name and the delivery change, or out of the
//! agnostic form. Source: <https://platform.claude.com/docs/en/api/messages/create>.

use super::wire::Request;
use super::{messages, thinking, tools};
use crate::providers::edit::{Edit, Fields, text};
use crate::providers::fit::{Fit, wrong};
use crate::providers::{Ask, Form, RequestPath, Spelled, json_headers, tool_ids, unsupported};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The version of the API that this code knows. Source: <https://platform.claude.com/docs/en/api/versioning>.
const VERSION: &str = "2023-06-01";

/// The longest answer, when neither the caller nor the catalogue says.
const MAX_TOKENS: u64 = 4096;

/// The length of a made tool-call id.
const ID_LENGTH: usize = 24;

/// Callers' headers that go along.
const CARRIED: [&str; 1] = ["anthropic-beta"];

/// The request for `v1/messages`, or for `v1/messages/count_tokens`.
pub(super) fn spell(ask: &Ask<'_>) -> Result<Spelled, Failure> {
    let path = match ask.wanted.operation {
        Operation::Chat => "v1/messages",
        Operation::CountTokens => "v1/messages/count_tokens",
        other => return Err(unsupported("model", &format!("this provider has no {other}"))),
    };
    let mut fit = Fit::new(ask.unsupported);
    let body = match ask.wanted.form {
        Form::Own => own(ask)?,
        Form::Agnostic => agnostic(ask, &mut fit)?,
    };
    Ok(Spelled { path: RequestPath::fixed(path), headers: headers(ask)?, body, dropped: fit.dropped() })
}

fn headers(ask: &Ask<'_>) -> Result<HeaderMap, Failure> {
    let mut headers = json_headers(ask.wanted.delivery);
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Failure::gateway(FailureKind::BadRequest, "a header holds characters that no header can hold"))
    };
    let version = ask.settings.api_version.as_deref().unwrap_or(VERSION);
    headers.insert(HeaderName::from_static("anthropic-version"), value(version)?);
    for name in CARRIED {
        if let Some(carried) = ask.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value(carried)?);
        }
    }
    Ok(headers)
}

/// The caller's bytes, every other one as it came.
fn own(ask: &Ask<'_>) -> Result<Bytes, Failure> {
    let body = text(ask.body)?;
    let fields = Fields::read(body)?;
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &json!(ask.model.as_str()).to_string());
    if ask.wanted.operation == Operation::Chat {
        if ask.wanted.delivery.is_stream() {
            edit.set(&fields, "stream", "true");
        } else if fields.last("stream").is_some() {
            edit.set(&fields, "stream", "false");
        }
    }
    Ok(edit.finish().into())
}

fn agnostic(ask: &Ask<'_>, fit: &mut Fit) -> Result<Bytes, Failure> {
    let mut chat: ChatRequest = serde_json::from_slice(ask.body)
        .map_err(|error| Failure::gateway(FailureKind::BadRequest, format!("the request cannot be read: {error}")))?;
    // Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
    tool_ids::map(&mut chat.messages, ID_LENGTH, |id| {
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    });
    let messages = std::mem::take(&mut chat.messages);
    let (system, turns) = messages::spell(messages, fit)?;
    let longest = ask.card.and_then(|card| card.max_output).unwrap_or(MAX_TOKENS);
    let max_tokens = chat.max_completion_tokens.or(chat.max_tokens).unwrap_or(longest);
    let mut request = Request {
        model: ask.model.as_str().to_owned(),
        max_tokens: Some(max_tokens),
        system,
        messages: turns,
        tools: Vec::new(),
        tool_choice: None,
        thinking: None,
        output_config: Map::new(),
        rest: Map::new(),
    };
    thinking::spell(&chat, ask, &mut request, fit)?;
    tools::spell(&mut chat, ask, &mut request, fit)?;
    rest(&chat, ask, &mut request, fit)?;
    if ask.wanted.operation == Operation::CountTokens {
        request.max_tokens = None;
        request.rest.retain(|name, _| name == "cache_control");
    }
    let bytes = serde_json::to_vec(&request);
    bytes.map(Bytes::from).map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()))
}

/// The fields that stand for themselves, and those that Anthropic has not.
fn rest(chat: &ChatRequest, ask: &Ask<'_>, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    if chat.n.is_some_and(|n| n != 1) {
        fit.cannot("n", "the provider gives one answer")?;
    }
    if let Some(user) = &chat.user {
        request.rest.insert("metadata".to_owned(), json!({ "user_id": user }));
    }
    if ask.wanted.delivery.is_stream() {
        request.rest.insert("stream".to_owned(), true.into());
    }
    for (name, value) in &chat.extra {
        if value.is_null() {
            continue;
        }
        match name.as_str() {
            "temperature" | "top_p" | "top_k" => thinking::sampling(name, value, ask, request, fit)?,
            "stop" => {
                if let Some(stops) = stops(value)? {
                    request.rest.insert("stop_sequences".to_owned(), stops);
                }
            }
            // Anthropic's own, from callers who speak its dialect.
            "cache_control" | "container" | "context_management" | "mcp_servers" | "speed" | "inference_geo" => {
                request.rest.insert(name.clone(), value.clone());
            }
            "service_tier" => match value.as_str() {
                Some("auto") => {}
                // OpenAI's word for it.
                Some("default") => drop(request.rest.insert(name.clone(), "standard_only".into())),
                _ => fit.omit(name.as_str()),
            },
            "metadata"
            | "store"
            | "prediction"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "safety_identifier"
            // The thresholds of Google's own filters, which its clients send along.
            | "safety_settings"
            | "verbosity" => fit.omit(name.as_str()),
            _ if is_nothing(name, value) => {}
            _ => fit.cannot(name.as_str(), "the provider has nothing like it")?,
        }
    }
    Ok(())
}

/// Whether a field says what would be so without it.
fn is_nothing(name: &str, value: &Value) -> bool {
    match name {
        "logprobs" => value == false,
        "top_logprobs" | "presence_penalty" | "frequency_penalty" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => *value == json!(["text"]),
        _ => false,
    }
}

fn stops(value: &Value) -> Result<Option<Value>, Failure> {
    match value {
        Value::String(_) => Ok(Some(json!([value]))),
        Value::Array(all) if all.iter().all(Value::is_string) => Ok((!all.is_empty()).then(|| value.clone())),
        _ => Err(wrong("stop", "it must be a text or a list of texts")),
    }
}

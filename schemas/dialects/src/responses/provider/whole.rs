//! Reads an answer that came in one piece; for a caller of another dialect it becomes a chat completion.

use super::answer::{self, Kind, kind, list, text};
use super::{broken, failed, odd, other_way, usage};
use crate::openai::provider::other_way::is_stream;
use crate::provider::{Form, Observed, Wanted, Whole};
use crate::thought_order;
use bytes::Bytes;
use penstock_schemas::chat::{Choice, Completion, CompletionUsage, Content, Message};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::usage::Usage;
use serde_json::{Map, Value, json};

/// What the answer says.
///
/// # Errors
/// When it failed in spite of its status, is not complete, or is no response.
pub(super) fn read_whole(wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    if wanted.operation == Operation::CountTokens {
        return read_count(wanted.form, body);
    }
    let is_streamed = is_stream(body);
    let response: Value = if is_streamed {
        other_way::whole(body)?
    } else {
        serde_json::from_slice(body).map_err(|_| broken("the provider's answer is cut short or no JSON"))?
    };
    check(&response)?;
    if !response.get("output").is_some_and(Value::is_array) {
        return Err(broken("the provider's answer holds no output"));
    }
    let own = (wanted.form == Form::Own).then(|| odd::mended(&response, body)).flatten();
    let response = odd::with_texts(response);
    let mut observed = Observed::default();
    usage::observe(&response, answer::searches(list(&response, "output")), &mut observed);
    let bytes = match wanted.form {
        Form::Own => match own {
            Some(mended) => mended.to_string().into(),
            None if is_streamed => response.to_string().into(),
            None => body.clone(),
        },
        Form::Agnostic => {
            let completion = completion(&response, &observed);
            serde_json::to_vec(&completion).map_err(|_| broken("the provider's answer cannot be written"))?.into()
        }
    };
    Ok(Whole { bytes, observed })
}

/// Counting consumes nothing. Source: <https://platform.openai.com/docs/api-reference/responses/input-tokens>.
fn read_count(form: Form, body: &Bytes) -> Result<Whole, Failure> {
    let count: Value = serde_json::from_slice(body).map_err(|_| broken("the provider's count is no JSON"))?;
    let Some(tokens) = count.get("input_tokens").and_then(Value::as_u64) else {
        return Err(failed(count.get("error").filter(|error| !error.is_null())));
    };
    let bytes = match form {
        Form::Own => body.clone(),
        Form::Agnostic => json!({ "input_tokens": tokens }).to_string().into(),
    };
    Ok(Whole { bytes, observed: Observed { usage: Some(Usage::default()), ..Observed::default() } })
}

/// Whether a response, whole or at the end of its stream, is an answer.
///
/// # Errors
/// When it failed, or was never finished.
pub(super) fn check(response: &Value) -> Result<(), Failure> {
    if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
        return Err(failed(Some(error)));
    }
    match text(response, "status") {
        Some("failed") => Err(failed(None)),
        Some("cancelled") => Err(broken("the provider cancelled its answer")),
        Some("queued" | "in_progress") => Err(broken("the provider answered before it was done")),
        _ => Ok(()),
    }
}

/// The same of an event that ends a stream; some servers have the error beside the response.
///
/// # Errors
/// As above.
pub(super) fn check_event(event: &Value) -> Result<(), Failure> {
    let response = event.get("response").unwrap_or(&Value::Null);
    match event.get("error").filter(|error| !error.is_null()) {
        Some(error) if response.get("error").is_none_or(Value::is_null) => Err(failed(Some(error))),
        _ => check(response),
    }
}

fn completion(response: &Value, observed: &Observed) -> Completion {
    let (message, logprobs) = message(list(response, "output"));
    let reason = answer::finish_reason(response, message.tool_calls.is_some());
    let mut extra = Map::new();
    if !logprobs.is_empty() {
        extra.insert("logprobs".to_owned(), json!({ "content": logprobs, "refusal": null }));
    }
    let tier = response.get("service_tier").filter(|tier| tier.is_string());
    Completion {
        id: text(response, "id").unwrap_or_default().to_owned(),
        object: "chat.completion".to_owned(),
        created: answer::created(response),
        model: text(response, "model").unwrap_or_default().to_owned(),
        choices: vec![Choice { index: 0, message, finish_reason: Some(reason.to_owned()), extra }],
        usage: observed.usage.as_ref().and_then(CompletionUsage::of),
        extra: tier.map(|tier| ("service_tier".to_owned(), tier.clone())).into_iter().collect(),
    }
}

/// One message out of all items, and the likelihoods of its tokens.
fn message(items: &[Value]) -> (Message, Vec<Value>) {
    let (mut says, mut refusal, mut thoughts) = (String::new(), String::new(), Vec::new());
    let (mut calls, mut details) = (Vec::new(), Vec::new());
    let (mut annotations, mut images, mut logprobs) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match kind(item) {
            Kind::Message => {
                for part in list(item, "content") {
                    says.push_str(text(part, "text").unwrap_or_default());
                    refusal.push_str(text(part, "refusal").unwrap_or_default());
                    annotations.extend(list(part, "annotations").iter().map(answer::annotation));
                    logprobs.extend_from_slice(list(part, "logprobs"));
                }
            }
            Kind::Reasoning => {
                let mut pieces = answer::details(item, u32::try_from(details.len()).unwrap_or(u32::MAX));
                let said = says.chars().count();
                pieces.iter_mut().for_each(|piece| thought_order::mark(piece, said));
                thoughts.extend(pieces.iter().filter_map(|piece| piece.summary.clone().or(piece.text.clone())));
                details.extend(pieces);
            }
            Kind::Call | Kind::CustomCall => {
                let index = u32::try_from(calls.len()).unwrap_or(u32::MAX);
                let mut call = answer::call(item, index, answer::arguments(item));
                call.index = None;
                calls.push(call);
            }
            Kind::Image => images.extend(answer::image(item)),
            Kind::Search | Kind::Other => {}
        }
    }
    let mut extra = Map::new();
    for (name, all) in [("annotations", annotations), ("images", images)] {
        if !all.is_empty() {
            extra.insert(name.to_owned(), all.into());
        }
    }
    let message = Message {
        role: "assistant".to_owned(),
        content: (!says.is_empty() || refusal.is_empty() && calls.is_empty()).then_some(Content::Text(says)),
        refusal: (!refusal.is_empty()).then_some(refusal),
        reasoning_content: (!thoughts.is_empty()).then(|| thoughts.join("\n\n")),
        reasoning_details: (!details.is_empty()).then_some(details),
        tool_calls: (!calls.is_empty()).then_some(calls),
        extra,
        ..Message::default()
    };
    (message, logprobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_beside_a_failed_response_is_told_in_its_words() {
        let event = |error: Value, beside: Value| json!({"type": "response.failed", "response": {"status": "failed", "error": error}, "error": beside});
        let said = json!({"message": "Upstream provider error", "type": "server_error", "code": "upstream_error"});
        let own = json!({"message": "own", "code": "server_error"});
        let told = |event: Value| check_event(&event).unwrap_err().message;
        assert_eq!(told(event(Value::Null, said.clone())), "Upstream provider error");
        assert_eq!(told(event(own, said)), "own");
        assert!(check_event(&json!({"response": {"status": "completed"}, "error": null})).is_ok());
    }
}

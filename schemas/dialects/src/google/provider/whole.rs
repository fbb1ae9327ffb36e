//! Reads an answer that came in one piece.

use super::answer::{Answer, Candidate};
use super::chunks::{CallIdSource, Turn};
use super::{annotations, errors};
use crate::json::{RawObject, items};
use crate::provider::{Form, Observed, Whole};
use bytes::Bytes;
use penstock_schemas::chat::{Choice, Completion, CompletionUsage, Content, Message};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Map;

/// The answer, in the form that is wanted.
///
/// # Errors
/// When it is an error in spite of its status, or no answer.
pub(super) fn read(form: Form, body: &Bytes) -> Result<Whole, Failure> {
    let answer = Answer::read(body)?;
    if let Some(error) = &answer.error {
        return Err(errors::within(error));
    }
    let mut observed = Observed::default();
    answer.observe(&mut observed);
    if form == Form::Own {
        if answer.candidates().is_empty() && answer.blocked().is_none() {
            return Err(nothing());
        }
        let is_cut = |candidate: &Candidate| candidate.finish_reason.as_deref().is_none_or(str::is_empty);
        let ended = answer.candidates().iter().any(is_cut).then(|| with_reasons(body)).flatten();
        return Ok(Whole { bytes: ended.unwrap_or_else(|| body.clone()), observed });
    }
    if answer.candidates().is_empty() {
        return Err(answer.refusal().unwrap_or_else(nothing));
    }
    if let Some(failure) = answer.candidates().iter().find_map(Candidate::failure) {
        return Err(failure);
    }
    let id = observed.provider_request_id.clone().unwrap_or_default();
    let origin = CallIdSource::of(&observed);
    let choices = answer.into_candidates().into_iter().map(|candidate| choice(candidate, &origin)).collect();
    let completion = Completion {
        object: "chat.completion".to_owned(),
        model: observed.model_version.clone().unwrap_or_default(),
        usage: observed.usage.as_ref().and_then(CompletionUsage::of),
        choices,
        id,
        ..Completion::default()
    };
    let bytes = serde_json::to_vec(&completion).expect("an answer has a JSON form").into();
    Ok(Whole { bytes, observed })
}

/// The answer with a reason to stop in each candidate: strict clients wait for one, which proxies leave out.
/// Source: <https://github.com/router-for-me/CLIProxyAPI/pull/5230>.
fn with_reasons(body: &Bytes) -> Option<Bytes> {
    let mut answer = RawObject::read(body).ok()?;
    let mut candidates = Vec::new();
    for candidate in items(answer.get("candidates")?) {
        let mut candidate = RawObject::read(candidate.get().as_bytes()).ok()?;
        if candidate.get("finishReason").is_none_or(|reason| reason.get() == "\"\"") {
            candidate.set("finishReason", &"STOP");
        }
        candidates.push(candidate);
    }
    answer.set("candidates", &candidates);
    Some(answer.to_vec().into())
}

fn nothing() -> Failure {
    Failure::provider(FailureKind::Broken, "the provider's answer holds no candidate")
}

fn choice(candidate: Candidate, origin: &CallIdSource) -> Choice {
    let mut turn = Turn::new(candidate.index());
    let logprobs = candidate.logprobs_result.as_ref().map(annotations::logprobs);
    let delta = turn.add(candidate, origin);
    let message = Message {
        role: "assistant".to_owned(),
        content: delta.content.map(Content::Text),
        reasoning_content: delta.reasoning_content,
        reasoning_details: delta.reasoning_details,
        tool_calls: delta.tool_calls.map(|mut calls| {
            calls.iter_mut().for_each(|call| call.index = None);
            calls
        }),
        extra: delta.extra,
        ..Message::default()
    };
    let extra = logprobs.map_or_else(Map::new, |found| Map::from_iter([("logprobs".to_owned(), found)]));
    Choice {
        index: turn.index,
        message,
        finish_reason: turn.finish_reason().or(Some("stop")).map(str::to_owned),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn calls(answer: &Value) -> Vec<String> {
        let whole = read(Form::Agnostic, &answer.to_string().into()).unwrap();
        let completion: Completion = serde_json::from_slice(&whole.bytes).unwrap();
        let messages = completion.choices.into_iter().map(|choice| choice.message);
        messages.flat_map(|message| message.tool_calls.unwrap()).map(|call| call.id.unwrap()).collect()
    }

    #[test]
    fn a_call_that_is_made_again_in_a_later_round_has_another_id_also_where_answers_have_none() {
        let round = |tokens: u64| {
            let look = json!({ "functionCall": { "name": "look", "args": { "at": 1 } } });
            let candidate = json!({ "content": { "parts": [look, look] }, "finishReason": "STOP" });
            json!({ "candidates": [candidate], "usageMetadata": { "promptTokenCount": tokens } })
        };
        let ids = [calls(&round(10)), calls(&round(31))].concat();
        let distinct: std::collections::HashSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (4, 4), "{ids:?}");
        assert_eq!(calls(&round(10)), ids[..2], "the same answer to the same request");

        let mut named = round(10);
        named["responseId"] = json!("r7");
        assert_eq!(calls(&named), ["call_r7_0", "call_r7_1"]);
    }
}

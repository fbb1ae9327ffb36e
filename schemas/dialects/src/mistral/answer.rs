//! Reads what Mistral's answers spell otherwise than OpenAI's: content in pieces, thoughts among them.
//! Source: <https://docs.mistral.ai/capabilities/reasoning/>.

use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value};

/// A whole answer as OpenAI would give it.
///
/// # Errors
/// When Mistral says that it could not finish it.
pub(super) fn whole(body: &Bytes) -> Result<Bytes, Failure> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else { return Ok(body.clone()) };
    mend(&mut answer)?;
    Ok(answer.to_string().into())
}

/// Puts pieces together in every choice of an answer or a chunk.
///
/// # Errors
/// When Mistral says that it could not finish it.
pub(super) fn mend(answer: &mut Value) -> Result<(), Failure> {
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten().filter_map(Value::as_object_mut) {
        for name in ["message", "delta"] {
            if let Some(Value::Object(said)) = choice.get_mut(name) {
                mend_content(said);
            }
        }
        if choice.get("finish_reason").is_some_and(|reason| reason == "error") {
            let why = "the provider could not finish its answer";
            return Err(Failure::provider(FailureKind::ServerError, why));
        }
    }
    Ok(())
}

fn mend_content(said: &mut Map<String, Value>) {
    let Some(Value::Array(pieces)) = said.get("content") else { return };
    let (mut text, mut thought, mut references) = (String::new(), String::new(), Vec::new());
    for piece in pieces {
        match piece["type"].as_str() {
            Some("thinking") => match &piece["thinking"] {
                Value::String(thinking) => thought.push_str(thinking),
                thinking => {
                    let texts = thinking.as_array().into_iter().flatten().filter_map(|piece| piece["text"].as_str());
                    thought.extend(texts);
                }
            },
            Some("reference") => references.push(piece.clone()),
            _ => text.push_str(piece["text"].as_str().unwrap_or_default()),
        }
    }
    said.insert("content".to_owned(), text.into());
    if !thought.is_empty() {
        said.insert("reasoning_content".to_owned(), thought.into());
    }
    if !references.is_empty() {
        said.insert("references".to_owned(), references.into());
    }
}

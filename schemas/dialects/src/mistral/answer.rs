//! Reads what Mistral's answers spell otherwise than OpenAI's: content in pieces, thoughts among them.
//! Source: <https://docs.mistral.ai/capabilities/reasoning/>.

use crate::openai::provider::pieces;
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

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
                pieces::join(said);
            }
        }
        if choice.get("finish_reason").is_some_and(|reason| reason == "error") {
            let why = "the provider could not finish its answer";
            return Err(Failure::provider(FailureKind::ServerError, why));
        }
    }
    Ok(())
}

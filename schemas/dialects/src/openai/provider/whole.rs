//! Reads an answer that came in one piece. Its content stays unread, unless it asks for tools.

use super::answer::{Answer, note_calls, note_citations};
use super::errors;
use super::frame::AnswerKind;
use crate::errors::tells;
use crate::provider::Observed;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// What the answer says besides its content, and whether its head is odd.
///
/// # Errors
/// When it is an error in spite of its status, holds no choice, or is not JSON.
pub(super) fn read_whole(body: &Bytes) -> Result<(Observed, bool), Failure> {
    let answer = Answer::read(body)?;
    if let Some(error) = answer.error() {
        return Err(errors::within_success(&error, body));
    }
    if answer.choices.as_ref().is_none_or(Vec::is_empty) {
        if tells(body) {
            return Err(errors::within_stream(body));
        }
        return Err(Failure::provider(FailureKind::Broken, "the provider's answer holds no choice"));
    }
    if let Some(failure) = answer.failure() {
        return Err(failure);
    }
    let mut observed = Observed::default();
    answer.observe(&mut observed);
    if has_calls(body) {
        note_tools(body, &mut observed);
    }
    Ok((observed, answer.is_odd(AnswerKind::Whole)))
}

/// Whether the fields of calls, or citations, stand anywhere in it; most answers have none, and need no second look.
fn has_calls(body: &[u8]) -> bool {
    ["\"tool_calls\"", "\"function_call\"", "\"url_citation\""]
        .iter()
        .any(|field| memmem::find(body, field.as_bytes()).is_some())
}

fn note_tools(body: &[u8], observed: &mut Observed) {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
    let choices = answer.get("choices").and_then(Value::as_array).into_iter().flatten();
    for message in choices.filter_map(|choice| choice.get("message")) {
        note_calls([message.get("tool_calls"), message.get("function_call")], observed);
        note_citations(message.get("annotations"), observed);
    }
}

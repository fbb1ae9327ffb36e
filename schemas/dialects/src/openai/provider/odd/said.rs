//! What a choice says, as OpenAI would: who, in one text, and thoughts apart. Knows nothing of calls.

use super::super::frame::AnswerKind;
use super::super::pieces;
use serde_json::{Map, Value};

/// Mends a message or a delta; whether it needed it.
pub(super) fn mend(said: &mut Map<String, Value>, piece: AnswerKind) -> bool {
    let before = said.len();
    said.retain(|name, value| match name.as_str() {
        "tool_calls" => {
            !value.is_null() && (piece == AnswerKind::Chunk || !value.as_array().is_some_and(Vec::is_empty))
        }
        "role" => piece == AnswerKind::Whole || value != "",
        _ => true,
    });
    let mut is_mended = (said.len() < before) | pieces::join(said);
    if said.get("role").is_some_and(|role| !role.is_null() && role != "assistant")
        || piece == AnswerKind::Whole && !is_told(said)
    {
        said.insert("role".to_owned(), "assistant".into());
        is_mended = true;
    }
    if piece == AnswerKind::Whole && !said.contains_key("content") {
        said.insert("content".to_owned(), Value::Null);
        is_mended = true;
    }
    is_mended | think(said)
}

fn is_told(said: &Map<String, Value>) -> bool {
    said.get("role").is_some_and(Value::is_string)
}

/// A thought has the name that most clients read, beside that which newer copies give it.
fn think(said: &mut Map<String, Value>) -> bool {
    let text = |said: &Map<String, Value>, name: &str| {
        said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    match (text(said, "reasoning"), text(said, "reasoning_content")) {
        (Some(thought), None) => {
            said.insert("reasoning_content".to_owned(), thought.into());
            true
        }
        _ => false,
    }
}

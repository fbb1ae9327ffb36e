//! Content that a server wrote as a list of pieces, or as something else than a text: what it says, what of it was thought,
//! what it shows. Knows no server.
//! Sources: <https://docs.mistral.ai/capabilities/reasoning/>,
//! <https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models>.

use serde_json::{Map, Value};

/// Makes the content of a message or a delta a text; whether it was none.
pub(crate) fn join(said: &mut Map<String, Value>) -> bool {
    let pieces = match said.get_mut("content") {
        None | Some(Value::Null | Value::String(_)) => return false,
        Some(Value::Array(pieces)) => std::mem::take(pieces),
        // JSON that was asked for, written as such.
        Some(other) => {
            *other = other.to_string().into();
            return true;
        }
    };
    let (mut text, mut thought) = (String::new(), String::new());
    let (mut references, mut images) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece.get("type").and_then(Value::as_str) {
            Some("thinking") => add_texts(&piece["thinking"], &mut thought),
            Some("reasoning") => {
                ["summary", "content", "text", "reasoning"]
                    .iter()
                    .for_each(|name| add_texts(&piece[*name], &mut thought));
            }
            Some("reference") => references.push(piece),
            Some("image_url") => images.push(piece),
            _ => add_texts(piece.get("text").unwrap_or(&piece), &mut text),
        }
    }
    said.insert("content".to_owned(), text.into());
    if !thought.is_empty() {
        said.insert("reasoning_content".to_owned(), thought.into());
    }
    for (name, all) in [("references", references), ("images", images)] {
        if !all.is_empty() {
            said.insert(name.to_owned(), all.into());
        }
    }
    true
}

/// A text, or the texts of a list.
fn add_texts(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(pieces) => {
            out.extend(pieces.iter().filter_map(|piece| piece.as_str().or_else(|| piece.get("text")?.as_str())));
        }
        _ => {}
    }
}

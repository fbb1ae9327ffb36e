//! The message that the events of a stream come to, for a caller of Anthropic's own dialect.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use penstock_schemas::sse;
use serde_json::{Map, Value};

/// The message; `None` when the events are none of Anthropic's.
pub(super) fn message(events: &[sse::Event]) -> Option<Value> {
    let mut message = Map::new();
    let mut blocks: Vec<(Value, String)> = Vec::new();
    for event in events {
        let mut data: Map<String, Value> = serde_json::from_slice(&event.data).ok()?;
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut take = |name: &str| data.shift_remove(name).unwrap_or(Value::Null);
        match kind.as_str() {
            "message_start" => message = as_object(take("message"))?,
            "content_block_start" => blocks.push((take("content_block"), String::new())),
            "content_block_delta" => {
                let at = usize::try_from(take("index").as_u64()?).ok()?;
                let (block, arguments) = blocks.get_mut(at)?;
                grow(block, arguments, as_object(take("delta"))?);
            }
            "message_delta" => {
                message.extend(as_object(take("delta"))?);
                if let (Value::Object(new), Some(Value::Object(usage))) = (take("usage"), message.get_mut("usage")) {
                    usage.extend(new.into_iter().filter(|(_, count)| !count.is_null()));
                }
            }
            _ => {}
        }
    }
    let content: Vec<Value> = blocks.into_iter().map(with_input).collect();
    message.insert("content".to_owned(), content.into());
    message.contains_key("role").then_some(Value::Object(message))
}

fn as_object(value: Value) -> Option<Map<String, Value>> {
    if let Value::Object(object) = value { Some(object) } else { None }
}

/// Adds a piece to its block.
fn grow(block: &mut Value, arguments: &mut String, mut delta: Map<String, Value>) {
    if let Some(Value::String(piece)) = delta.get("partial_json") {
        arguments.push_str(piece);
    }
    let Value::Object(block) = block else { return };
    for name in ["text", "thinking", "signature"] {
        if let Some(Value::String(piece)) = delta.get(name) {
            match block.get_mut(name) {
                Some(Value::String(text)) => text.push_str(piece),
                _ => drop(block.insert(name.to_owned(), piece.as_str().into())),
            }
        }
    }
    if let Some(citation) = delta.shift_remove("citation") {
        match block.get_mut("citations") {
            Some(Value::Array(citations)) => citations.push(citation),
            _ => drop(block.insert("citations".to_owned(), Value::Array(vec![citation]))),
        }
    }
}

/// A block of a call has its arguments in it.
fn with_input((mut block, arguments): (Value, String)) -> Value {
    if let (Value::Object(block), Ok(input)) = (&mut block, serde_json::from_str::<Value>(&arguments)) {
        block.insert("input".to_owned(), input);
    }
    block
}

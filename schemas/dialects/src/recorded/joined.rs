//! What the pieces of a stream come to, as openai-python adds them up: texts are joined, whatever they are.
//! Source: <https://github.com/openai/openai-python/blob/main/src/openai/lib/streaming/_deltas.py>.

use serde_json::{Map, Value, json};

/// The whole answer.
pub(super) fn whole(op: &str, pieces: &[Value]) -> Value {
    if op == "responses" {
        return pieces.last().map(|last| last["response"].clone()).unwrap_or_default();
    }
    let mut whole = pieces.first().cloned().unwrap_or_default();
    let mut choice = json!({ "message": {} });
    let mut usages = Vec::new();
    for piece in pieces {
        usages.extend(piece.get("usage").filter(|usage| !usage.is_null()).cloned());
        for theirs in piece["choices"].as_array().into_iter().flatten() {
            add_object(&mut choice["message"], &theirs["delta"]);
            for name in ["finish_reason", "logprobs"] {
                if let Some(value) = theirs.get(name).filter(|value| !value.is_null()) {
                    choice[name] = value.clone();
                }
            }
        }
    }
    whole["choices"] = json!([choice]);
    whole["usage"] = usages.pop().unwrap_or_default();
    whole
}

fn add_object(known: &mut Value, delta: &Value) {
    let Value::Object(delta) = delta else { return };
    if !known.is_object() {
        *known = Value::Object(Map::new());
    }
    for (name, value) in delta.iter().filter(|(_, value)| !value.is_null()) {
        match (&mut known[name], value) {
            // These are no pieces.
            (place @ Value::Null, value) if !value.is_array() => *place = value.clone(),
            (_, _) if matches!(name.as_str(), "index" | "type" | "role") => {}
            (Value::String(text), Value::String(more)) => text.push_str(more),
            (place @ Value::Object(_), Value::Object(_)) => add_object(place, value),
            (place, Value::Array(items)) => add_list(place, items),
            (place, value) => *place = value.clone(),
        }
    }
}

fn add_list(known: &mut Value, items: &[Value]) {
    for item in items {
        let at = item["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
        if known.get(at).is_none() {
            let mut list = known.as_array().cloned().unwrap_or_default();
            list.resize(at + 1, Value::Null);
            *known = Value::Array(list);
        }
        add_object(&mut known[at], item);
    }
}

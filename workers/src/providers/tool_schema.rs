//! The schema of a tool's arguments as Claude takes it, wherever it is served.
//! Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.

use super::fit::{Fit, wrong};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The longest name of an argument.
const LONGEST_KEY: usize = 64;

/// Keywords that may not stand at the top of a tool's schema.
const NOT_ON_TOP: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// Whether a schema is a choice among schemas at its top.
pub(crate) fn has_choice(schema: &Value) -> bool {
    NOT_ON_TOP.iter().any(|name| schema.get(name).is_some())
}

/// The schema of a tool's arguments: an object, without a choice of schemas at its top. Such a choice becomes all of its
/// fields, of which those are required that every choice requires.
pub(crate) fn input(parameters: Option<Value>, place: &str, fit: &mut Fit) -> Result<Value, Failure> {
    let mut fields = match parameters {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(wrong(place, "it must be a JSON schema")),
    };
    if fields.get("type").is_some_and(|kind| kind != "object") {
        return Err(wrong(format!("{place}.type"), "it must be `object`"));
    }
    fields.insert("type".to_owned(), "object".into());
    for name in NOT_ON_TOP {
        let Some(choices) = fields.shift_remove(name) else { continue };
        fit.omit(format!("{place}.{name}"));
        for choice in choices.as_array().into_iter().flatten() {
            let Some(inner) = choice.get("properties").and_then(Value::as_object) else { continue };
            let all = fields.entry("properties").or_insert_with(|| json!({}));
            let Some(all) = all.as_object_mut() else { continue };
            for (key, schema) in inner {
                all.entry(key.clone()).or_insert_with(|| schema.clone());
            }
        }
    }
    fields.entry("properties").or_insert_with(|| json!({}));
    Ok(Value::Object(fields))
}

/// The first name of an argument that the provider refuses.
pub(crate) fn wrong_key(schema: &Value) -> Option<&str> {
    let is_right = |key: &str| {
        (1..=LONGEST_KEY).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    schema["properties"].as_object()?.keys().map(String::as_str).find(|key| !is_right(key))
}

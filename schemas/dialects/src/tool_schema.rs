//! The schema of a tool's arguments as Claude takes it, wherever it is served.
//! Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.

use crate::fit::{Fit, wrong};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Deeper than any real schema: what is deeper is the provider's to refuse.
const DEEPEST: usize = 64;

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
    let mut schema = Value::Object(fields);
    modernize(&mut schema, 0);
    Ok(schema)
}

/// Says in the words of JSON Schema 2020-12 what older drafts say in others: the provider refuses those.
/// Source: <https://json-schema.org/draft/2020-12/release-notes>.
fn modernize(schema: &mut Value, depth: usize) {
    let Some(fields) = schema.as_object_mut().filter(|_| depth < DEEPEST) else { return };
    fields.shift_remove("$schema");
    for (name, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Value::Bool(is_exclusive)) = fields.get(name).cloned() {
            fields.shift_remove(name);
            if let Some(value) = fields.shift_remove(bound) {
                fields.insert(if is_exclusive { name } else { bound }.to_owned(), value);
            }
        }
    }
    if fields.get("items").is_some_and(Value::is_array)
        && let Some(items) = fields.shift_remove("items")
    {
        fields.insert("prefixItems".to_owned(), items);
        if let Some(others) = fields.shift_remove("additionalItems") {
            fields.insert("items".to_owned(), others);
        }
    }
    if fields.get("required").is_some_and(|required| !required.is_array()) {
        fields.shift_remove("required");
    }
    for name in ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"] {
        for inner in fields.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            modernize(inner, depth + 1);
        }
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for inner in fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            modernize(inner, depth + 1);
        }
    }
    for name in ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"] {
        if let Some(inner) = fields.get_mut(name) {
            modernize(inner, depth + 1);
        }
    }
}

/// The first name of an argument that the provider refuses.
pub(crate) fn wrong_key(schema: &Value) -> Option<&str> {
    let is_right = |key: &str| {
        (1..=LONGEST_KEY).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    schema["properties"].as_object()?.keys().map(String::as_str).find(|key| !is_right(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Unsupported;

    #[test]
    fn words_of_older_drafts_become_those_of_today() {
        let old = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "properties": {
            "n": { "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false },
            "t": { "type": "array", "items": [{ "type": "string" }], "additionalItems": false },
            "r": { "type": "string", "required": true },
        } });
        let mut fit = Fit::new(Unsupported::Refuse);
        let new = json!({ "properties": {
            "n": { "type": "number", "exclusiveMinimum": 0, "maximum": 9 },
            "t": { "type": "array", "prefixItems": [{ "type": "string" }], "items": false },
            "r": { "type": "string" },
        }, "type": "object" });
        assert_eq!(input(Some(old), "p", &mut fit).unwrap(), new);
        assert!(fit.dropped().is_empty());
    }

    #[test]
    fn a_choice_at_the_top_becomes_all_of_its_fields() {
        let choice = json!({ "oneOf": [
            { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
            { "type": "object", "properties": { "b": { "type": "string" } } },
        ] });
        let mut fit = Fit::new(Unsupported::Refuse);
        let flat = json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } } });
        assert_eq!(input(Some(choice), "p", &mut fit).unwrap(), flat);
        assert_eq!(fit.dropped(), ["p.oneOf"]);
    }
}

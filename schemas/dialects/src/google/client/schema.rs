//! Google's own form of a schema, a subset of OpenAPI's, as the JSON Schema that everybody else speaks.
//! Source: <https://ai.google.dev/api/caching#Schema>.

use super::object::snake;
use serde_json::{Map, Value, json};

/// The longest nesting that is looked into; the parser allows little more.
const DEPTH: usize = 120;

/// The schema in JSON Schema's words. What is one already stays as it is.
pub(super) fn to_json_schema(schema: Value) -> Value {
    convert(schema, DEPTH)
}

fn convert(schema: Value, depth: usize) -> Value {
    let fields = match schema {
        Value::Object(fields) if depth > 0 => fields,
        other => return other,
    };
    let (mut out, mut is_nullable) = (Map::new(), false);
    for (name, value) in fields {
        match snake(&name).as_str() {
            "type" => drop(out.insert(name, lower(value))),
            "nullable" => is_nullable = value == true,
            "any_of" => drop(out.insert("anyOf".to_owned(), each(value, depth))),
            "prefix_items" => drop(out.insert("prefixItems".to_owned(), each(value, depth))),
            "items" => drop(out.insert(name, convert(value, depth - 1))),
            "properties" => drop(out.insert(name, members(value, depth))),
            "additional_properties" => drop(out.insert("additionalProperties".to_owned(), convert(value, depth - 1))),
            "$defs" | "defs" => drop(out.insert("$defs".to_owned(), members(value, depth))),
            "example" => drop(out.insert("examples".to_owned(), json!([value]))),
            // The order of properties is in the properties themselves.
            "property_ordering" => {}
            // 64-bit integers are texts in protobuf's JSON.
            word @ ("min_items" | "max_items" | "min_length" | "max_length" | "min_properties" | "max_properties") => {
                let camel = match word {
                    "min_items" => "minItems",
                    "max_items" => "maxItems",
                    "min_length" => "minLength",
                    "max_length" => "maxLength",
                    "min_properties" => "minProperties",
                    _ => "maxProperties",
                };
                let number = value.as_str().and_then(|text| text.parse::<u64>().ok()).map(Value::from);
                out.insert(camel.to_owned(), number.unwrap_or(value));
            }
            // Google's word for a text with an `enum`, which says so itself.
            "format" if value == "enum" => {}
            _ => drop(out.insert(name, value)),
        }
    }
    if is_nullable {
        let widened = match out.get("type") {
            Some(Value::String(kind)) => Some(json!([kind, "null"])),
            _ => None,
        };
        if let Some(widened) = widened {
            out.insert("type".to_owned(), widened);
        }
        if let Some(Value::Array(allowed)) = out.get_mut("enum") {
            allowed.push(Value::Null);
        }
    }
    Value::Object(out)
}

fn lower(kind: Value) -> Value {
    match kind {
        Value::String(kind) => kind.to_ascii_lowercase().into(),
        Value::Array(kinds) => kinds.into_iter().map(lower).collect(),
        other => other,
    }
}

fn each(list: Value, depth: usize) -> Value {
    match list {
        Value::Array(items) => items.into_iter().map(|item| convert(item, depth - 1)).collect(),
        other => other,
    }
}

fn members(object: Value, depth: usize) -> Value {
    match object {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, convert(value, depth - 1))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_words_become_json_schemas() {
        let theirs = json!({"type": "OBJECT", "property_ordering": ["type"], "properties": {
            "type": {"type": "STRING", "nullable": true, "format": "enum", "enum": ["a"]},
            "any_of": {"anyOf": [{"type": "INTEGER"}, {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "1"}]},
        }, "required": ["type"]});
        let ours = json!({"type": "object", "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", null]},
            "any_of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]},
        }, "required": ["type"]});
        assert_eq!(to_json_schema(theirs), ours);
        assert_eq!(to_json_schema(ours.clone()), ours);
    }
}

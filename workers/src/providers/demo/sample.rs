//! A JSON value that fits a JSON schema, for the arguments of simulated calls and for structured answers. Knows the
//! common part of JSON schema; what it does not know gives a value that may not fit.

use serde_json::{Map, Value, json};

/// Deeper than any real schema; a schema may refer to itself.
const DEEPEST: usize = 12;

/// A value for `schema`, its texts being `word`.
pub(super) fn sample(schema: &Value, word: &str) -> Value {
    fit(schema, schema, word, 0)
}

fn fit(root: &Value, schema: &Value, word: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        return root.pointer(place).map_or(Value::Null, |schema| fit(root, schema, word, depth + 1));
    }
    let given = ["const", "default", "/enum/0", "/examples/0"];
    let given = given.iter().find_map(|at| if at.starts_with('/') { schema.pointer(at) } else { schema.get(at) });
    if let Some(value) = given {
        return value.clone();
    }
    if let Some(first) = ["/anyOf/0", "/oneOf/0", "/allOf/0"].iter().find_map(|at| schema.pointer(at)) {
        return fit(root, first, word, depth + 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema.pointer("/type/0")?.as_str());
    match kind.unwrap_or(if schema["properties"].is_object() { "object" } else { "string" }) {
        "object" => Value::Object(object(root, schema, word, depth)),
        "array" => json!([fit(root, &schema["items"], word, depth + 1)]),
        "number" | "integer" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => match schema["format"].as_str() {
            Some("date") => json!("2026-11-22"),
            Some("date-time") => json!("2026-11-22T10:00:00Z"),
            Some("email") => json!("demo@example.com"),
            Some("uri") => json!("https://example.com"),
            _ => json!(word),
        },
    }
}

/// The required properties, or all when none is.
fn object(root: &Value, schema: &Value, word: &str, depth: usize) -> Map<String, Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter(|(name, _)| required.is_empty() || required.contains(&name.as_str()))
        .map(|(name, schema)| (name.clone(), fit(root, schema, word, depth + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_fits_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "days": {"type": "integer", "minimum": 3},
                "hourly": {"type": ["boolean", "null"]},
                "stops": {"type": "array", "items": {"$ref": "#/$defs/stop"}},
                "optional": {"type": "string"}
            },
            "required": ["city", "unit", "days", "hourly", "stops"],
            "$defs": {"stop": {"anyOf": [{"properties": {"on": {"type": "string", "format": "date"}}}]}}
        });
        let fits =
            json!({"city": "Paris", "unit": "celsius", "days": 3, "hourly": true, "stops": [{"on": "2026-11-22"}]});
        assert_eq!(sample(&schema, "Paris"), fits);
    }

    #[test]
    fn a_schema_without_an_end_comes_to_one() {
        sample(&json!({"type": "object", "properties": {"again": {"$ref": "#"}}}), "x");
        sample(&json!({"$ref": "#"}), "x");
        assert_eq!(sample(&json!(true), "x"), json!("x"));
    }
}

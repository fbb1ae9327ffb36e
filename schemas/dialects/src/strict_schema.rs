//! What OpenAI's strict mode takes of JSON schemas: objects are closed and require all that they have. Claude's takes more, and
//! OpenAI refuses the request then; so a schema that it would refuse is sent without `strict`, and the model reads it all the same.
//! Sources: <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>,
//! <https://github.com/api7/aisix/pull/1094>.

use penstock_schemas::chat::ChatRequest;
use serde_json::{Map, Value};

/// The field's name, in the list of what was left out.
pub(crate) const STRICT: &str = "strict";

/// Keywords that hold no other schema.
const PLAIN: [&str; 18] = [
    "type",
    "required",
    "additionalProperties",
    "enum",
    "const",
    "description",
    "title",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "$ref",
    "$schema",
];

/// Takes `strict` from schemas that it would be refused with; whether there was one.
pub(crate) fn loosen(request: &mut ChatRequest) -> bool {
    let mut is_changed = false;
    let format = request.response_format.as_mut().and_then(|format| format.get_mut("json_schema")?.as_object_mut());
    if let Some(format) = format.filter(|format| format.get(STRICT).is_some_and(|strict| *strict == true))
        && format.get("schema").is_some_and(|schema| !is_taken(schema))
    {
        format.insert(STRICT.to_owned(), false.into());
        is_changed = true;
    }
    let functions = request.tools.iter_mut().flatten().filter_map(|tool| tool.function.as_mut());
    for function in functions.filter(|function| function.strict == Some(true)) {
        if function.parameters.as_ref().is_some_and(|schema| !is_taken(schema)) {
            function.strict = Some(false);
            is_changed = true;
        }
    }
    is_changed
}

fn is_taken(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    let is_field_taken = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("properties" | "$defs" | "definitions", Value::Object(all)) => all.values().all(is_taken),
        ("anyOf", Value::Array(all)) => all.iter().all(is_taken),
        ("items", inner) => is_taken(inner),
        (name, _) => PLAIN.contains(&name),
    };
    is_closed(fields) && fields.iter().all(is_field_taken)
}

/// Whether it is no object, or one that requires all that it has and has no more.
fn is_closed(fields: &Map<String, Value>) -> bool {
    let is_object = match fields.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => fields.contains_key("properties"),
    };
    let required = fields.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
    let properties = fields.get("properties").and_then(Value::as_object);
    !is_object
        || fields.get("additionalProperties").is_some_and(|more| *more == false)
            && properties.is_some_and(|all| all.keys().all(is_required))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_is_strict_where_its_objects_are_closed_and_require_all() {
        let closed = |properties: &Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let text = json!({"a": {"type": "string", "description": "d"}});
        for (schema, expected) in [
            (closed(&text, json!(["a"])), true),
            (closed(&json!({"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}}), json!(["a"])), true),
            (closed(&text, json!([])), false),
            (json!({"type": "object", "properties": text, "required": ["a"]}), false),
            (json!({"type": "object"}), false),
            (closed(&json!({"a": {"type": "string", "minLength": 1}}), json!(["a"])), false),
            (closed(&json!({"a": {"type": "array", "items": closed(&text, json!([]))}}), json!(["a"])), false),
        ] {
            assert_eq!(is_taken(&schema), expected, "{schema}");
        }
    }
}

//! Schemas of structured output: what Gemini takes of JSON Schema, and what it would pass over in silence.
//! Source: <https://ai.google.dev/api/generate-content#FIELDS.response_json_schema>.

use serde_json::{Value, json};

/// The longest nesting that is looked into; a schema that is deeper is the provider's to refuse.
const DEPTH: usize = 100;

/// What decides about values and is not kept by the provider.
const UNKEPT: [&str; 20] = [
    "pattern",
    "minLength",
    "maxLength",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "not",
    "if",
    "unevaluatedProperties",
];

/// Takes out of `schema` what the provider would not keep, and names it: `…properties.x.pattern`. `const` becomes the
/// `enum` of one value that it is.
pub(super) fn adapt(schema: &mut Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, place, DEPTH, &mut found);
    found
}

fn walk(schema: &mut Value, place: &str, depth: usize, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object_mut().filter(|_| depth > 0) else { return };
    for name in UNKEPT {
        if fields.shift_remove(name).is_some() {
            found.push(format!("{place}.{name}"));
        }
    }
    if let Some(value) = fields.shift_remove("const") {
        fields.insert("enum".to_owned(), json!([value]));
    }
    // `then` and `else` mean nothing without `if`.
    fields.shift_remove("then");
    fields.shift_remove("else");
    for name in ["properties", "$defs", "definitions"] {
        for (key, inner) in fields.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten() {
            walk(inner, &format!("{place}.{name}.{key}"), depth - 1, found);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            walk(inner, &format!("{place}.{name}"), depth - 1, found);
        }
    }
    for name in ["anyOf", "oneOf", "prefixItems"] {
        for (at, inner) in fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            walk(inner, &format!("{place}.{name}[{at}]"), depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_named_with_its_place() {
        let mut schema = json!({"type": "object", "properties": {
            "pattern": {"type": "string", "pattern": "^a", "format": "date"},
            "list": {"type": "array", "items": {"anyOf": [{"const": 1}, {"type": "string", "minLength": 1}]}},
        }, "required": ["pattern"], "additionalProperties": false});
        let found = adapt(&mut schema, "s");
        assert_eq!(found, ["s.properties.pattern.pattern", "s.properties.list.items.anyOf[1].minLength"]);
        let kept = json!({"type": "object", "properties": {
            "pattern": {"type": "string", "format": "date"},
            "list": {"type": "array", "items": {"anyOf": [{"enum": [1]}, {"type": "string"}]}},
        }, "required": ["pattern"], "additionalProperties": false});
        assert_eq!(schema, kept);
    }
}

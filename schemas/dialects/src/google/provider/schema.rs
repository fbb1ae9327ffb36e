//! Schemas of structured output and of functions: what Gemini takes of JSON Schema, and what it would refuse or pass over in
//! silence. Source: <https://ai.google.dev/api/generate-content#FIELDS.response_json_schema>.

use crate::fit::wrong;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The longest nesting that is looked into; a schema that is deeper is the provider's to refuse.
const DEPTH: usize = 100;

/// The most references of one schema that are replaced by what they lead to: each may hold others.
const MOST_INLINED: usize = 200;

/// The keywords that the provider knows in the schema of an answer.
const KEPT: [&str; 22] = [
    "$id",
    "$schema",
    "$defs",
    "definitions",
    "$ref",
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "enum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "properties",
    "additionalProperties",
    "required",
];

/// Keywords that decide nothing about values, or mean nothing without another that is not kept.
const MEANINGLESS: [&str; 9] =
    ["$comment", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "then", "else"];

/// Takes out of the schema of an answer what the provider would not keep, tells it in the description, and names it:
/// `…properties.x.pattern`. `const` becomes the `enum` of one value that it is, and `allOf` of one schema that schema.
pub(super) fn adapt(schema: &mut Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, place, DEPTH, &mut found);
    found
}

fn walk(schema: &mut Value, place: &str, depth: usize, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object_mut().filter(|_| depth > 0) else { return };
    if let Some(value) = fields.shift_remove("const") {
        fields.insert("enum".to_owned(), json!([value]));
    }
    only_one(fields);
    let others: Vec<String> = fields.keys().filter(|name| !KEPT.contains(&name.as_str())).cloned().collect();
    let mut bounds = Vec::new();
    for name in others {
        let Some(value) = fields.shift_remove(&name) else { continue };
        if !MEANINGLESS.contains(&name.as_str()) && !name.starts_with("x-") {
            bounds.push(format!("{name}: {value}"));
            found.push(format!("{place}.{name}"));
        }
    }
    describe(fields, &bounds);
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

/// `allOf` of one schema says what that says: Pydantic writes it around a reference.
fn only_one(fields: &mut Map<String, Value>) {
    let inner = fields.get("allOf").and_then(Value::as_array).filter(|all| all.len() == 1);
    let Some(inner) = inner.and_then(|all| all[0].as_object()).cloned() else { return };
    if inner.keys().any(|name| fields.contains_key(name)) {
        return;
    }
    fields.shift_remove("allOf");
    if inner.contains_key("$ref") && !fields.is_empty() {
        fields.insert("anyOf".to_owned(), json!([inner]));
    } else {
        fields.extend(inner);
    }
}

/// Puts bounds where the model reads them; a reference has no room for words.
fn describe(schema: &mut Map<String, Value>, bounds: &[String]) {
    if bounds.is_empty() || schema.contains_key("$ref") {
        return;
    }
    let bounds = format!("{{{}}}", bounds.join(", "));
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!("{text}\n\n{bounds}"),
        _ => bounds,
    };
    schema.insert("description".to_owned(), description.into());
}

/// Tells in words which fields are required that no property describes: the provider refuses to hear of them otherwise.
/// Source: <https://github.com/probelabs/probe/issues/569>.
pub(super) fn require_known(schema: &mut Value) {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.iter_mut().for_each(require_known),
        _ => return,
    };
    let known = fields.get("properties").and_then(Value::as_object);
    let required = fields.get("required").and_then(Value::as_array);
    if let (Some(known), Some(required)) = (known, required) {
        let is_known = |name: &Value| name.as_str().is_some_and(|name| known.contains_key(name));
        let (of_known, others): (Vec<Value>, Vec<Value>) = required.iter().cloned().partition(is_known);
        if !others.is_empty() {
            fields.insert("required".to_owned(), of_known.into());
            describe(fields, &[format!("required: {}", Value::from(others))]);
        }
    }
    // What a value may be is no schema.
    let inner =
        fields.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "enum" | "const" | "default" | "examples"));
    inner.for_each(|(_, value)| require_known(value));
}

/// Puts what a reference leads to in the place of one that stands beside other words, which the provider refuses; a
/// reference into itself becomes the only choice of one.
///
/// # Errors
/// When a reference leads nowhere.
pub(super) fn alone(schema: &mut Value, place: &str) -> Result<(), Failure> {
    let root = schema.clone();
    let mut left = MOST_INLINED;
    resolve(schema, &root, &mut Vec::new(), &mut left).map_err(|reference| {
        let reference: String = reference.chars().take(100).collect();
        wrong(place, &format!("its reference `{reference}` leads nowhere"))
    })
}

/// `within`: the references that led here.
fn resolve(schema: &mut Value, root: &Value, within: &mut Vec<String>, left: &mut usize) -> Result<(), String> {
    if within.len() > DEPTH {
        return Ok(());
    }
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.iter_mut().try_for_each(|item| resolve(item, root, within, left)),
        _ => return Ok(()),
    };
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str).map(str::to_owned) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        let target = target.and_then(Value::as_object).ok_or_else(|| reference.clone())?;
        if fields.keys().all(|name| name.starts_with('$')) {
            return Ok(());
        }
        fields.shift_remove("$ref");
        if within.contains(&reference) || *left == 0 {
            fields.entry("anyOf").or_insert_with(|| json!([{ "$ref": reference }]));
            return Ok(());
        }
        *left -= 1;
        for (name, value) in target {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
        within.push(reference);
        let resolved = resolve(schema, root, within, left);
        within.pop();
        return resolved;
    }
    // What a value may be is no schema.
    let inner =
        fields.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "enum" | "const" | "default" | "examples"));
    for (_, value) in inner {
        resolve(value, root, within, left)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_told_in_words_and_named_with_its_place() {
        let mut schema = json!({"type": "object", "properties": {
            "pattern": {"type": "string", "pattern": "^a", "format": "date"},
            "list": {"type": "array", "items": {"anyOf": [{"const": 1}, {"type": "string", "minLength": 1, "description": "A word."}]}},
            "at": {"allOf": [{"$ref": "#/$defs/At"}], "description": "Where."},
        }, "required": ["pattern"], "additionalProperties": false, "examples": [1], "$defs": {"At": {"type": "string"}}});
        let found = adapt(&mut schema, "s");
        assert_eq!(found, ["s.properties.pattern.pattern", "s.properties.list.items.anyOf[1].minLength"]);
        let kept = json!({"type": "object", "properties": {
            "pattern": {"type": "string", "format": "date", "description": "{pattern: \"^a\"}"},
            "list": {"type": "array", "items": {"anyOf": [{"enum": [1]}, {"type": "string", "description": "A word.\n\n{minLength: 1}"}]}},
            "at": {"description": "Where.", "anyOf": [{"$ref": "#/$defs/At"}]},
        }, "required": ["pattern"], "additionalProperties": false, "$defs": {"At": {"type": "string"}}});
        assert_eq!(schema, kept);
    }

    #[test]
    fn a_reference_beside_other_words_is_replaced_by_what_it_leads_to() {
        let mut schema = json!({"type": "object", "properties": {
            "at": {"$ref": "#/$defs/At", "title": "Here"}, "same": {"$ref": "#/$defs/At"},
        }, "$defs": {"At": {"type": "object", "title": "At", "properties": {"next": {"$ref": "#/$defs/At", "title": "Next"}}}}});
        alone(&mut schema, "s").unwrap();
        let next = json!({"title": "Next", "anyOf": [{"$ref": "#/$defs/At"}]});
        let at = json!({"title": "Here", "type": "object", "properties": {"next": next}});
        assert_eq!(schema["properties"], json!({"at": at, "same": {"$ref": "#/$defs/At"}}));
        assert!(alone(&mut json!({"$ref": "#/$defs/None", "title": "x"}), "s").is_err());
    }

    #[test]
    fn references_that_multiply_are_replaced_so_often_and_no_more() {
        let mut defs = Map::new();
        for at in 0..40 {
            let next = json!({"$ref": format!("#/$defs/D{}", at + 1), "title": "x"});
            defs.insert(format!("D{at}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
        }
        defs.insert("D40".to_owned(), json!({"type": "string"}));
        let mut schema = json!({"$ref": "#/$defs/D0", "title": "x", "$defs": defs});
        alone(&mut schema, "s").unwrap();
        assert!(schema.to_string().len() < 100_000);
    }

    #[test]
    fn what_is_required_but_described_nowhere_is_told_in_words() {
        let mut schema = json!({"type": "object", "properties": {"action": {"type": "string"}, "inner": {
            "type": "object", "description": "Where.", "properties": {"x": {}}, "required": ["x", "y"]
        }}, "required": ["action", "label"], "anyOf": [{"required": ["action"]}]});
        require_known(&mut schema);
        let expected = json!({"type": "object", "properties": {"action": {"type": "string"}, "inner": {
            "type": "object", "description": "Where.\n\n{required: [\"y\"]}", "properties": {"x": {}}, "required": ["x"]
        }}, "required": ["action"], "anyOf": [{"required": ["action"]}], "description": "{required: [\"label\"]}"});
        assert_eq!(schema, expected);
    }
}

//! JSON schemas as the structured outputs of Claude and of Bedrock take them: objects are closed, and bounds are not known.
//! What only narrows a value goes into its description, where the model reads it; what makes another structure cannot be said.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>.

use serde_json::{Map, Value};

/// Deeper than any real schema.
const DEEPEST: usize = 64;

/// The largest whole number that every reader of JSON keeps: Zod's `.int()` always says that a number is within it.
const LARGEST: f64 = 9_007_199_254_740_991.0;

/// Formats of texts that are kept to.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Keywords that make another structure.
const STRUCTURE: [&str; 6] =
    ["patternProperties", "unevaluatedProperties", "prefixItems", "$dynamicRef", "$recursiveRef", "additionalItems"];

/// A schema whose objects are closed.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed {
    /// The schema.
    pub(crate) schema: Value,
    /// The bounds that stand in descriptions now, by their places.
    pub(crate) moved: Vec<String>,
}

/// The schema at this place, its objects closed; `None` when its structure cannot be said.
pub(crate) fn close(schema: &Value, place: &str) -> Option<Closed> {
    if !schema.is_object() || references(schema).iter().any(|reference| is_lost(schema, reference)) {
        return None;
    }
    let mut moved = Vec::new();
    let schema = walk(schema, place, 0, &mut moved)?;
    Some(Closed { schema, moved })
}

/// Whether a reference leads nowhere, or back to where it stands.
fn is_lost(schema: &Value, reference: &str) -> bool {
    let Some(target) = target(schema, reference) else { return true };
    let mut seen: Vec<String> = Vec::new();
    let mut next = references(target);
    while let Some(inner) = next.pop() {
        if inner == reference || inner == "#" {
            return true;
        }
        if !seen.contains(&inner) {
            next.extend(target_references(schema, &inner));
            seen.push(inner);
        }
    }
    reference == "#"
}

fn target<'a>(schema: &'a Value, reference: &str) -> Option<&'a Value> {
    reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer))
}

fn target_references(schema: &Value, reference: &str) -> Vec<String> {
    target(schema, reference).map(references).unwrap_or_default()
}

/// All references below a place.
fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn walk(schema: &Value, place: &str, depth: usize, moved: &mut Vec<String>) -> Option<Value> {
    let fields = match schema {
        Value::Object(fields) if depth <= DEEPEST => fields,
        Value::Bool(_) => return Some(schema.clone()),
        _ => return None,
    };
    let (mut out, mut bounds) = (Map::new(), Vec::new());
    for (name, value) in fields {
        let here = format!("{place}.{name}");
        match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(all)) => {
                let inner = |(name, inner): (&String, &Value), moved: &mut Vec<String>| {
                    Some((name.clone(), walk(inner, &format!("{here}.{name}"), depth + 1, moved)?))
                };
                let walked: Option<Map<_, _>> = all.iter().map(|field| inner(field, moved)).collect();
                out.insert(name.clone(), walked?.into());
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => {
                let inner = |(at, inner): (usize, &Value), moved: &mut Vec<String>| {
                    walk(inner, &format!("{here}[{at}]"), depth + 1, moved)
                };
                let walked: Option<Vec<_>> = all.iter().enumerate().map(|field| inner(field, moved)).collect();
                let name = if name == "oneOf" { "anyOf" } else { name };
                // Two lists of choices at one place are one too many.
                if out.insert(name.to_owned(), walked?.into()).is_some() {
                    return None;
                }
            }
            ("items", Value::Object(_)) => drop(out.insert(name.clone(), walk(value, &here, depth + 1, moved)?)),
            ("additionalProperties", value) if *value != false && !is_open(value) => return None,
            ("additionalProperties", _) => {}
            ("items", _) => return None,
            (name, _) if STRUCTURE.contains(&name) => return None,
            (name, value) if is_taken(name, value) => drop(out.insert(name.to_owned(), value.clone())),
            (name, value) if is_vacuous(name, value) => {}
            (name, value) => {
                bounds.push(format!("{name}: {value}"));
                moved.push(here);
            }
        }
    }
    if is_of_objects(fields) {
        // A map of anything has nothing that could be listed.
        if !fields.contains_key("properties") && fields.get("additionalProperties").is_some_and(is_open) {
            return None;
        }
        out.insert("additionalProperties".to_owned(), false.into());
    }
    describe(&mut out, &bounds);
    Some(Value::Object(out))
}

fn is_of_objects(fields: &Map<String, Value>) -> bool {
    let has_kind = |kind: &Value| {
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    };
    fields.contains_key("properties") || fields.get("type").is_some_and(has_kind)
}

/// An object that may hold more than is listed: closed, it holds what is listed, which is what is asked for.
fn is_open(value: &Value) -> bool {
    *value == true || value.as_object().is_some_and(Map::is_empty)
}

/// Puts bounds where the model reads them.
fn describe(schema: &mut Map<String, Value>, bounds: &[String]) {
    if bounds.is_empty() {
        return;
    }
    let bounds = format!("{{{}}}", bounds.join(", "));
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!("{text}\n\n{bounds}"),
        _ => bounds,
    };
    schema.insert("description".to_owned(), description.into());
}

fn is_taken(name: &str, value: &Value) -> bool {
    match name {
        "type" | "description" | "title" | "const" | "required" | "default" | "$ref" | "$schema" | "$id"
        | "examples" | "nullable" => true,
        "enum" => value.as_array().is_some_and(|all| all.iter().all(|one| !one.is_object() && !one.is_array())),
        "pattern" => value.as_str().is_some_and(is_plain),
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "minItems" => value.as_u64().is_some_and(|count| count <= 1),
        _ => false,
    }
}

/// Whether a pattern has neither references back, nor looks around, nor words' ends.
fn is_plain(pattern: &str) -> bool {
    let is_reference = pattern
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && (pair[1].is_ascii_digit() || matches!(pair[1], b'b' | b'B')));
    !is_reference && !["(?=", "(?!", "(?<"].iter().any(|look| pattern.contains(look))
}

/// Whether a bound excludes nothing.
fn is_vacuous(name: &str, value: &Value) -> bool {
    match name {
        "minimum" | "exclusiveMinimum" => value.as_f64().is_some_and(|bound| bound <= -LARGEST),
        "maximum" | "exclusiveMaximum" => value.as_f64().is_some_and(|bound| bound >= LARGEST),
        "minLength" | "minProperties" | "minContains" => value.as_u64() == Some(0),
        "uniqueItems" => value == false,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_closed_and_bounds_told_in_words() {
        let schema = json!({ "type": "object", "$schema": "x", "properties": {
            "n": { "type": "integer", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64 },
            "s": { "type": "string", "description": "A word.", "minLength": 1, "pattern": "^(?!a)" },
            "o": { "oneOf": [{ "type": "string" }, { "type": "object", "additionalProperties": true, "properties": {} }] },
        }, "required": ["n"] });
        let closed = close(&schema, "s").unwrap();
        assert_eq!(closed.moved, ["s.properties.s.minLength", "s.properties.s.pattern"]);
        let expected = json!({ "type": "object", "$schema": "x", "properties": {
            "n": { "type": "integer" },
            "s": { "type": "string", "description": "A word.\n\n{minLength: 1, pattern: \"^(?!a)\"}" },
            "o": { "anyOf": [{ "type": "string" }, { "type": "object", "properties": {}, "additionalProperties": false }] },
        }, "required": ["n"], "additionalProperties": false });
        assert_eq!(closed.schema, expected);
    }

    #[test]
    fn another_structure_cannot_be_said() {
        for schema in [
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            json!({ "type": "object", "additionalProperties": true }),
            json!({ "type": "object", "properties": { "next": { "$ref": "#" } } }),
            json!({ "$ref": "#/$defs/A", "$defs": { "A": { "properties": { "a": { "$ref": "#/$defs/A" } } } } }),
            json!({ "$ref": "https://example.org/schema.json" }),
            json!({ "type": "array", "items": [{ "type": "string" }] }),
            json!({ "type": "object", "patternProperties": { "^a": {} } }),
            json!(["type"]),
        ] {
            assert_eq!(close(&schema, "s"), None, "{schema}");
        }
    }
}

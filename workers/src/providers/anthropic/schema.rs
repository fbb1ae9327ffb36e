//! JSON schemas as Anthropic's structured outputs take them: objects are closed, and some keywords are not known.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>.

use crate::providers::fit::{Fit, wrong};
use crate::providers::unsupported;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value};

/// Deeper than any real schema.
const DEEPEST: usize = 64;

/// Formats of texts that are kept to.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema, its objects closed; a keyword that the provider does not take is refused or left out, by its place.
pub(super) fn native(schema: &Value, place: &str, fit: &mut Fit) -> Result<Value, Failure> {
    if let Some(reference) = recursive(schema) {
        return Err(unsupported(
            place,
            &format!("the provider takes no schema that holds itself, as `{reference}` does"),
        ));
    }
    walk(schema, place, 0, fit)
}

/// A reference that leads back to where it stands.
fn recursive(schema: &Value) -> Option<String> {
    references(schema).into_iter().find(|reference| leads_to(schema, reference, reference))
}

fn leads_to(schema: &Value, from: &str, wanted: &str) -> bool {
    let mut seen: Vec<String> = Vec::new();
    let mut next = vec![from.to_owned()];
    while let Some(reference) = next.pop() {
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer)) else { continue };
        for inner in references(target) {
            if inner == wanted {
                return true;
            }
            if !seen.contains(&inner) {
                seen.push(inner.clone());
                next.push(inner);
            }
        }
    }
    false
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

/// The schema, if the provider takes all of it.
pub(super) fn strict(schema: &Value) -> Option<Value> {
    native(schema, "", &mut Fit::new(Unsupported::Refuse)).ok()
}

fn walk(schema: &Value, place: &str, depth: usize, fit: &mut Fit) -> Result<Value, Failure> {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(_) => return Ok(schema.clone()),
        _ => return Err(wrong(place, "it must be a JSON schema")),
    };
    if depth > DEEPEST {
        return Err(wrong(place, "it is nested too deeply"));
    }
    let mut out = Map::new();
    for (name, value) in fields {
        let here = format!("{place}.{name}");
        match name.as_str() {
            "properties" | "$defs" | "definitions" => {
                let all = value.as_object().ok_or_else(|| wrong(here.as_str(), "it must be an object"))?;
                let walked: Result<Map<_, _>, Failure> = (all.iter())
                    .map(|(name, inner)| Ok((name.clone(), walk(inner, &format!("{here}.{name}"), depth + 1, fit)?)))
                    .collect();
                out.insert(name.clone(), walked?.into());
            }
            "anyOf" | "allOf" => {
                let all = value.as_array().ok_or_else(|| wrong(here.as_str(), "it must be a list"))?;
                let walked: Result<Vec<_>, Failure> = (all.iter().enumerate())
                    .map(|(at, inner)| walk(inner, &format!("{here}[{at}]"), depth + 1, fit))
                    .collect();
                out.insert(name.clone(), walked?.into());
            }
            "items" if value.is_object() => drop(out.insert(name.clone(), walk(value, &here, depth + 1, fit)?)),
            _ if is_taken(name, value) => drop(out.insert(name.clone(), value.clone())),
            "additionalProperties" => {
                fit.cannot(here, "the provider's objects hold what is listed and nothing else")?;
            }
            _ => fit.cannot(here, "the provider's structured output does not know it")?,
        }
    }
    let is_object = fields.get("type").is_some_and(|kind| {
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    });
    if is_object || fields.contains_key("properties") {
        out.insert("additionalProperties".to_owned(), false.into());
    }
    Ok(Value::Object(out))
}

fn is_taken(name: &str, value: &Value) -> bool {
    match name {
        "type" | "description" | "title" | "enum" | "const" | "required" | "default" | "$ref" | "$schema" | "$id"
        | "examples" | "nullable" | "pattern" => true,
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "additionalProperties" => value == false,
        "minItems" => value.as_u64().is_some_and(|count| count <= 1),
        _ => false,
    }
}

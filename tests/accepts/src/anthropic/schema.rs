//! JSON schemas of structured outputs and of strict tools.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>.

use crate::{At, Verdict};

/// Keywords that are not known there; they are an error of status 400.
const UNKNOWN: [&str; 20] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "oneOf",
    "not",
    "if",
    "dependentSchemas",
    "dependentRequired",
    "prefixItems",
];

const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

pub(crate) fn check(schema: &At<'_>) -> Verdict {
    walk(schema, schema)
}

fn walk(root: &At<'_>, schema: &At<'_>) -> Verdict {
    if schema.value().is_boolean() {
        return Ok(());
    }
    schema.object()?;
    for keyword in UNKNOWN {
        if let Some(field) = schema.get(keyword) {
            return Err(field.refused(format!("For this schema, property '{keyword}' is not supported")));
        }
    }
    let is_object = schema.value()["type"] == "object" || schema.get("properties").is_some();
    let is_closed = schema.value()["additionalProperties"] == false;
    schema
        .ensure(!is_object || is_closed, "For 'object' type, 'additionalProperties' must be explicitly set to false")?;
    if let Some(format) = schema.get("format") {
        format.word(&FORMATS)?;
    }
    if let Some(count) = schema.get("minItems") {
        count.count(0..=1)?;
    }
    if let Some(reference) = schema.get("$ref") {
        let target = reference.text()?.strip_prefix('#').and_then(|pointer| root.value().pointer(pointer));
        reference.ensure(target.is_some(), "external references are not supported")?;
        let is_recursive = target.is_some_and(|target| leads_to(root, target, reference.text().unwrap_or_default(), 0));
        reference.ensure(!is_recursive, "recursive schemas are not supported")?;
    }
    for name in ["properties", "$defs", "definitions"] {
        let Some(inner) = schema.get(name) else { continue };
        for (_, field) in inner.fields()? {
            walk(root, &field)?;
        }
    }
    for name in ["anyOf", "allOf"] {
        let Some(inner) = schema.get(name) else { continue };
        for item in inner.items()? {
            walk(root, &item)?;
        }
    }
    schema.get("items").map_or(Ok(()), |items| walk(root, &items))
}

/// Whether a reference leads back to itself.
fn leads_to(root: &At<'_>, target: &serde_json::Value, wanted: &str, depth: usize) -> bool {
    use serde_json::Value;
    if depth > 32 {
        return true;
    }
    match target {
        Value::Object(fields) => fields.iter().any(|(name, inner)| match inner.as_str().filter(|_| name == "$ref") {
            Some(reference) if reference == wanted => true,
            Some(reference) => (reference.strip_prefix('#').and_then(|pointer| root.value().pointer(pointer)))
                .is_some_and(|next| leads_to(root, next, wanted, depth + 1)),
            None => leads_to(root, inner, wanted, depth + 1),
        }),
        Value::Array(items) => items.iter().any(|inner| leads_to(root, inner, wanted, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

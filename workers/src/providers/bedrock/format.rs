//! Structured output: by Bedrock's own means where the model is known to have them, else by one more tool whose arguments
//! are the answer. That tool is known again by its name, so nothing has to be remembered between request and answer.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>.

use super::family::Family;
use super::wire::{InputSchema, ToolSpec};
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// What the name of the tool begins with that stands for the answer; the schema's name follows.
const ANSWER: &str = "json_answer__";

/// The longest name of a tool.
const LONGEST: usize = 64;

/// The deepest nesting that is looked into; what is deeper is the provider's to refuse.
const DEPTH: usize = 100;

/// What decides about values and is refused with Bedrock's own means.
const UNKNOWN: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// How an answer gets its shape.
#[derive(Debug)]
pub(super) enum Shape {
    /// It needs none.
    Free,
    /// By `outputConfig`.
    Native(Value),
    /// By this tool.
    Tool(ToolSpec),
}

/// Whether the tool of this name stands for the answer.
pub(super) fn is_answer(name: &str) -> bool {
    name.starts_with(ANSWER)
}

/// The shape that the caller's `response_format` asks for. A thinking model cannot be made to call a tool.
///
/// # Errors
/// When it is wrong, or holds what cannot be expressed.
pub(super) fn shape(format: Option<Value>, family: Family, thinks: Thinks, fit: &mut Fit) -> Result<Shape, Failure> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(Shape::Free) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Shape::Free),
        Some("json_object") if thinks == Thinks::No => Ok(tool("json_object", None, json!({"type": "object"}))),
        Some("json_schema") => schema(&format, family, thinks, fit),
        Some("json_object") => {
            fit.cannot("response_format", "on Bedrock, a model that thinks gives JSON by a schema only")?;
            Ok(Shape::Free)
        }
        _ => Err(wrong("response_format.type", "it is text, json_object or json_schema")),
    }
}

/// Whether the model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    Yes,
    No,
}

fn schema(format: &Value, family: Family, thinks: Thinks, fit: &mut Fit) -> Result<Shape, Failure> {
    let place = "response_format.json_schema";
    let given = format.get("json_schema").filter(|given| given.is_object());
    let given = given.ok_or_else(|| wrong(place, "it is missing"))?;
    let name = given.get("name").and_then(Value::as_str).unwrap_or("answer");
    let description = given.get("description").and_then(Value::as_str);
    let mut schema = given.get("schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    if !schema.is_object() {
        return Err(wrong(format!("{place}.schema"), "it is no object"));
    }
    let is_strict = given.get("strict").is_some_and(|strict| strict == true);
    // Bedrock's own means want every object closed, as strict schemas are.
    if family.binds_schemas() && (is_strict || thinks == Thinks::Yes) {
        for (field, keyword) in take_unknown(&mut schema, &format!("{place}.schema"), DEPTH) {
            fit.cannot(field, &format!("Bedrock does not take `{keyword}` in the schema of an answer"))?;
        }
        let mut json_schema = json!({ "name": name, "schema": schema.to_string() });
        if let Some(description) = description {
            json_schema["description"] = description.into();
        }
        let format = json!({ "type": "json_schema", "structure": { "jsonSchema": json_schema } });
        return Ok(Shape::Native(json!({ "textFormat": format })));
    }
    if thinks == Thinks::Yes && family.is_claude() {
        fit.cannot("response_format", "this model cannot think and give JSON by a schema at once")?;
        return Ok(Shape::Free);
    }
    if schema.get("type").is_some_and(|kind| kind != "object") {
        fit.cannot(format!("{place}.schema.type"), "on Bedrock, this model's answer must be an object")?;
        return Ok(Shape::Free);
    }
    Ok(tool(name, description, schema))
}

fn tool(name: &str, description: Option<&str>, schema: Value) -> Shape {
    let name = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    let name: String = ANSWER.chars().chain(name).take(LONGEST).collect();
    let what = "Gives the answer. Call it once, with the whole answer as its arguments.";
    let description = description.map_or(what.to_owned(), |words| format!("{what} {words}"));
    let input_schema = InputSchema { json: schema };
    Shape::Tool(ToolSpec { name, description: Some(description), input_schema, strict: None })
}

/// Takes out of a schema what Bedrock's own means refuse, and names it: place and keyword.
fn take_unknown(schema: &mut Value, place: &str, depth: usize) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let Some(fields) = schema.as_object_mut().filter(|_| depth > 0) else { return found };
    for keyword in UNKNOWN {
        if fields.shift_remove(keyword).is_some() {
            found.push((format!("{place}.{keyword}"), keyword));
        }
    }
    for (name, inner) in fields {
        let place = format!("{place}.{name}");
        match (name.as_str(), inner) {
            ("properties" | "$defs" | "definitions", Value::Object(fields)) => {
                for (name, inner) in fields {
                    found.extend(take_unknown(inner, &format!("{place}.{name}"), depth - 1));
                }
            }
            ("anyOf" | "allOf" | "oneOf", Value::Array(items)) => {
                for (index, inner) in items.iter_mut().enumerate() {
                    found.extend(take_unknown(inner, &format!("{place}[{index}]"), depth - 1));
                }
            }
            ("items", inner) => found.extend(take_unknown(inner, &place, depth - 1)),
            _ => {}
        }
    }
    found
}

//! Structured output: by Bedrock's own means where the model is known to have them, else by one more tool whose arguments
//! are the answer, else by words. That tool is known again by its name, so nothing has to be remembered between request and answer.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>.

use super::family::Family;
use super::wire::{InputSchema, ToolSpec};
use crate::closed_schema;
use crate::fit::{Fit, wrong};
use crate::tool_schema;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// What the name of the tool begins with that stands for the answer; the schema's name follows.
const ANSWER: &str = "json_answer__";

/// The longest name of a tool.
const LONGEST: usize = 64;

/// How an answer gets its shape.
#[derive(Debug)]
pub(super) enum Shape {
    /// It needs none.
    Free,
    /// By `outputConfig`.
    Native(Value),
    /// By this tool.
    Tool(ToolSpec),
    /// By these words: the model has nothing else, and the field is named.
    Words(String),
}

/// Whether the tool of this name stands for the answer.
pub(super) fn is_answer(name: &str) -> bool {
    name.starts_with(ANSWER)
}

/// Whether the model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    Yes,
    No,
}

/// The shape that the caller's `response_format` asks for. `is_forced`: the model can be made to call a tool.
///
/// # Errors
/// When it is wrong, or holds what cannot be expressed.
pub(super) fn shape(format: Option<Value>, family: Family, is_forced: bool, fit: &mut Fit) -> Result<Shape, Failure> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(Shape::Free) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Shape::Free),
        Some("json_object") if is_forced => Ok(tool("json_object", None, json!({"type": "object", "properties": {}}))),
        Some("json_schema") => schema(&format, family, is_forced, fit),
        Some("json_object") => {
            fit.omit("response_format");
            let words = "Answer with one JSON object and nothing else: no other text, no code fence.";
            Ok(Shape::Words(words.to_owned()))
        }
        _ => Err(wrong("response_format.type", "it is text, json_object or json_schema")),
    }
}

fn schema(format: &Value, family: Family, is_forced: bool, fit: &mut Fit) -> Result<Shape, Failure> {
    let place = "response_format.json_schema";
    let given = format.get("json_schema").filter(|given| given.is_object());
    let given = given.ok_or_else(|| wrong(place, "it is missing"))?;
    let name = given.get("name").and_then(Value::as_str).unwrap_or("answer");
    let description = given.get("description").and_then(Value::as_str);
    let schema = given.get("schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    if !schema.is_object() {
        return Err(wrong(format!("{place}.schema"), "it is no object"));
    }
    let closed = closed_schema::close(&schema, &format!("{place}.schema")).filter(|_| family.binds_schemas());
    if let Some(closed) = closed {
        closed.moved.into_iter().for_each(|bound| fit.omit(bound));
        let mut json_schema = json!({ "name": safe(name, LONGEST), "schema": closed.schema.to_string() });
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            json_schema["description"] = description.into();
        }
        let format = json!({ "type": "json_schema", "structure": { "jsonSchema": json_schema } });
        return Ok(Shape::Native(json!({ "textFormat": format })));
    }
    let is_object = schema.get("type").is_none_or(|kind| kind == "object") && !tool_schema::has_choice(&schema);
    if !is_forced || !is_object {
        fit.omit("response_format");
        return Ok(Shape::Words(format!(
            "Answer with one JSON value that follows this JSON schema, and nothing else: no other text, no code fence.\n{schema}"
        )));
    }
    let mut schema = schema;
    schema["type"] = "object".into();
    Ok(tool(name, description, schema))
}

/// A name in the characters that Bedrock allows.
fn safe(name: &str, longest: usize) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(safe).take(longest).collect()
}

fn tool(name: &str, description: Option<&str>, schema: Value) -> Shape {
    let name = safe(&format!("{ANSWER}{name}"), LONGEST);
    let what = "Gives the answer. Call it once, with the whole answer as its arguments.";
    let description = description.map_or(what.to_owned(), |words| format!("{what} {words}"));
    let input_schema = InputSchema { json: schema };
    Shape::Tool(ToolSpec { name, description: Some(description), input_schema, strict: None })
}

//! Tools, the choice among them and the shape of the answer: the same things as in a chat, one level flatter.
//! Source: <https://platform.openai.com/docs/guides/migrate-to-responses>.

use super::spelling::{Spelling, wrong};
use penstock_schemas::chat::Tool;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The tools.
pub(super) fn tools(tools: Vec<Tool>, spelling: &mut Spelling) -> Result<Vec<Value>, Failure> {
    let mut out = Vec::with_capacity(tools.len());
    for (at, tool) in tools.into_iter().enumerate() {
        let mut flat = Map::new();
        flat.insert("type".to_owned(), tool.kind.clone().into());
        match (tool.kind.as_str(), tool.function) {
            ("function", None) => return Err(wrong(format!("tools[{at}].function"), "it is missing")),
            ("function", Some(function)) => {
                flat.insert("name".to_owned(), function.name.into());
                flat.extend(function.description.map(|text| ("description".to_owned(), text.into())));
                let any = || json!({ "type": "object", "properties": {} });
                flat.insert("parameters".to_owned(), function.parameters.unwrap_or_else(any));
                // Absent means true here and false in a chat.
                flat.insert("strict".to_owned(), function.strict.unwrap_or(false).into());
                for (name, value) in function.extra {
                    unknown(&format!("tools[{at}].function.{name}"), &value, spelling)?;
                }
                for (name, value) in tool.extra {
                    unknown(&format!("tools[{at}].{name}"), &value, spelling)?;
                }
            }
            (kind, _) => {
                let mut extra = tool.extra;
                if let Some(Value::Object(inner)) = extra.remove(kind) {
                    flat.extend(inner); // {"type": "custom", "custom": {…}}
                    flatten_grammar(&mut flat);
                }
                flat.extend(extra);
            }
        }
        out.push(Value::Object(flat));
    }
    Ok(out)
}

/// `{"type": "grammar", "grammar": {"syntax", "definition"}}` → `{"type": "grammar", "syntax", "definition"}`.
fn flatten_grammar(tool: &mut Map<String, Value>) {
    let Some(Value::Object(format)) = tool.get_mut("format") else { return };
    if let Some(Value::Object(grammar)) = format.shift_remove("grammar") {
        format.extend(grammar);
    }
}

fn unknown(field: &str, value: &Value, spelling: &mut Spelling) -> Result<(), Failure> {
    if value.is_null() { Ok(()) } else { spelling.cannot(field.to_owned(), "the provider does not know it") }
}

/// `{"type": "function", "function": {"name"}}` → `{"type": "function", "name"}`, also within `allowed_tools`.
pub(super) fn choice(choice: Value) -> Value {
    let Value::Object(mut choice) = choice else { return choice };
    let Some(kind) = choice.get("type").and_then(Value::as_str).map(ToOwned::to_owned) else {
        return Value::Object(choice);
    };
    if let Some(Value::Object(inner)) = choice.remove(&kind) {
        choice.extend(inner);
    }
    if kind == "allowed_tools"
        && let Some(Value::Array(tools)) = choice.get_mut("tools")
    {
        for tool in tools {
            *tool = self::choice(tool.take());
        }
    }
    Value::Object(choice)
}

/// The tool that a chat's `web_search_options` stand for.
pub(super) fn web_search(options: &Value) -> Option<Value> {
    let options = options.as_object()?;
    let mut tool = Map::from_iter([("type".to_owned(), Value::from("web_search"))]);
    for (name, value) in options {
        let flat = match (name.as_str(), value.get("approximate").and_then(Value::as_object)) {
            ("user_location", Some(place)) => {
                let mut flat = place.clone();
                flat.insert("type".to_owned(), "approximate".into());
                Value::Object(flat)
            }
            _ => value.clone(),
        };
        tool.insert(name.clone(), flat);
    }
    Some(Value::Object(tool))
}

/// `text`: the shape of the answer, and how much it says.
pub(super) fn text(
    format: Option<Value>,
    verbosity: Option<&Value>,
    spelling: &mut Spelling,
) -> Result<Option<Value>, Failure> {
    let mut text = Map::new();
    if let Some(format) = format {
        match format.get("type").and_then(Value::as_str) {
            Some("json_schema") => {
                let Some(Value::Object(schema)) = format.get("json_schema") else {
                    return Err(wrong("response_format.json_schema".to_owned(), "it must be an object"));
                };
                let mut flat = Map::from_iter([("type".to_owned(), Value::from("json_schema"))]);
                flat.extend(schema.clone());
                text.insert("format".to_owned(), Value::Object(flat));
            }
            Some("json_object" | "text" | "grammar" | "python") => {
                text.insert("format".to_owned(), format);
            }
            Some(_) => spelling.cannot("response_format.type".to_owned(), "the provider does not know it")?,
            None => return Err(wrong("response_format.type".to_owned(), "it is missing")),
        }
    }
    text.extend(verbosity.map(|verbosity| ("verbosity".to_owned(), verbosity.clone())));
    Ok((!text.is_empty()).then_some(Value::Object(text)))
}

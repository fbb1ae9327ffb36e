//! What the model may call, and whether it must. Sources: <https://ai.google.dev/api/caching#Tool>,
//! <https://ai.google.dev/api/caching#FunctionCallingConfig>.

use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::Tool;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Google's own tools, which run on its side: our word for each, and Google's.
const SERVER: [(&str, &str); 8] = [
    ("google_search", "googleSearch"),
    ("google_search_retrieval", "googleSearchRetrieval"),
    ("code_execution", "codeExecution"),
    ("url_context", "urlContext"),
    ("google_maps", "googleMaps"),
    ("file_search", "fileSearch"),
    ("computer_use", "computerUse"),
    ("enterprise_web_search", "enterpriseWebSearch"),
];

/// The tools, in Google's words.
pub(super) fn tools(tools: Vec<Tool>, fit: &mut Fit) -> Result<Vec<Value>, Failure> {
    let (mut declarations, mut all) = (Vec::new(), Vec::new());
    for (at, tool) in tools.into_iter().enumerate() {
        let own = SERVER.iter().find(|(word, theirs)| tool.kind == *word || tool.kind == *theirs);
        if tool.kind == "function" {
            declarations.push(declaration(tool, at, fit)?);
        } else if let Some((word, theirs)) = own {
            let settings = tool.extra.get(*word).or_else(|| tool.extra.get(*theirs));
            all.push(json!({ *theirs: settings.cloned().unwrap_or_else(|| json!({})) }));
        } else {
            let kind: String = tool.kind.chars().take(64).collect();
            fit.cannot(format!("tools[{at}].type"), &format!("the provider has no tool of the kind `{kind}`"))?;
        }
    }
    if !declarations.is_empty() {
        all.insert(0, json!({ "functionDeclarations": declarations }));
    }
    Ok(all)
}

fn declaration(tool: Tool, at: usize, fit: &mut Fit) -> Result<Value, Failure> {
    let function = tool.function.ok_or_else(|| wrong(format!("tools[{at}].function"), "it is missing"))?;
    let mut declaration = Map::new();
    declaration.insert("name".to_owned(), function.name.into());
    if let Some(description) = function.description {
        declaration.insert("description".to_owned(), description.into());
    }
    match function.parameters {
        None | Some(Value::Null) => {}
        Some(schema @ Value::Object(_)) => {
            // All of JSON Schema may be sent here: what the model does not know is passed over.
            declaration.insert("parametersJsonSchema".to_owned(), schema);
        }
        Some(_) => return Err(wrong(format!("tools[{at}].function.parameters"), "it must be a JSON schema")),
    }
    if function.strict == Some(true) {
        fit.omit(format!("tools[{at}].function.strict"));
    }
    for field in function.extra.keys() {
        fit.cannot(format!("tools[{at}].function.{field}"), "the provider has no such field")?;
    }
    Ok(Value::Object(declaration))
}

/// The `functionCallingConfig` of a choice; `None` when it changes nothing.
pub(super) fn choice(choice: &Value, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let unknown = || wrong("tool_choice", "it must be none, auto, required, a function or a list of allowed tools");
    let name = |tool: &Value| Some(tool.get("function")?.get("name")?.as_str()?.to_owned());
    let config = match (choice.as_str(), choice.get("type").and_then(Value::as_str)) {
        (Some("auto"), _) => json!({ "mode": "AUTO" }),
        (Some("none"), _) => json!({ "mode": "NONE" }),
        (Some("required"), _) => json!({ "mode": "ANY" }),
        (_, Some("function")) => {
            let name = name(choice).ok_or_else(|| wrong("tool_choice.function.name", "it is missing"))?;
            json!({ "mode": "ANY", "allowedFunctionNames": [name] })
        }
        (_, Some("allowed_tools")) => {
            let allowed = choice.get("allowed_tools").ok_or_else(unknown)?;
            let tools = allowed.get("tools").and_then(Value::as_array).ok_or_else(unknown)?;
            let names = tools.iter().map(name).collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
            // Names may only be given with a mode that holds the model to its declarations.
            let mode = if allowed.get("mode").is_some_and(|mode| mode == "required") { "ANY" } else { "VALIDATED" };
            json!({ "mode": mode, "allowedFunctionNames": names })
        }
        (None, Some(_)) => {
            fit.cannot("tool_choice.type", "the provider can only be made to call functions")?;
            return Ok(None);
        }
        _ if choice.is_null() => return Ok(None),
        _ => return Err(unknown()),
    };
    Ok(Some(json!({ "functionCallingConfig": config })))
}

//! What the model may call, and whether it must. Sources: <https://ai.google.dev/api/caching#Tool>,
//! <https://ai.google.dev/api/caching#FunctionCallingConfig>.

use super::schema;
use crate::fit::{Fit, wrong};
use penstock_schemas::chat::Tool;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

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
    let (mut declarations, mut all, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for (at, tool) in tools.into_iter().enumerate() {
        let own = SERVER.iter().find(|(word, theirs)| tool.kind == *word || tool.kind == *theirs);
        if tool.kind == "function" {
            let declaration = declaration(tool, at, fit)?;
            if !names.insert(declaration["name"].clone()) {
                return Err(wrong(format!("tools[{at}].function.name"), "another tool has this name"));
            }
            declarations.push(declaration);
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
    if function.name.is_empty() {
        return Err(wrong(format!("tools[{at}].function.name"), "it is empty"));
    }
    let mut declaration = Map::new();
    declaration.insert("name".to_owned(), function.name.into());
    if let Some(description) = function.description {
        declaration.insert("description".to_owned(), description.into());
    }
    match function.parameters {
        None | Some(Value::Null) => {}
        Some(mut schema @ Value::Object(_)) => {
            let place = format!("tools[{at}].function.parameters");
            if schema.get("type").is_some_and(|kind| kind != "object") {
                return Err(wrong(format!("{place}.type"), "it must be `object`"));
            }
            schema["type"] = "object".into();
            // All of JSON Schema may be sent here: what the model does not know is passed over.
            schema::alone(&mut schema, &place)?;
            schema::require_known(&mut schema);
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

/// The names of the functions that are declared.
pub(super) fn names(tools: &[Value]) -> Vec<String> {
    let declared = tools.iter().filter_map(|tool| tool["functionDeclarations"].as_array()).flatten();
    declared.filter_map(|function| function["name"].as_str()).map(ToOwned::to_owned).collect()
}

/// The `functionCallingConfig` of a choice among these functions; `None` when it changes nothing.
pub(super) fn choice(choice: &Value, functions: &[String], fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let unknown = || wrong("tool_choice", "it must be none, auto, required, a function or a list of allowed tools");
    let name = |tool: &Value| Some(tool.get("function")?.get("name")?.as_str()?.to_owned());
    let (mode, allowed) = match (choice.as_str(), choice.get("type").and_then(Value::as_str)) {
        _ if choice.is_null() => return Ok(None),
        (Some("auto"), _) => ("AUTO", None),
        (Some("none"), _) => ("NONE", None),
        (Some("required"), _) => ("ANY", None),
        (_, Some("function")) => {
            let name = name(choice).ok_or_else(|| wrong("tool_choice.function.name", "it is missing"))?;
            if !functions.contains(&name) {
                return Err(wrong("tool_choice.function.name", "no tool has this name"));
            }
            ("ANY", Some(vec![name]))
        }
        (_, Some("allowed_tools")) => {
            let allowed = choice.get("allowed_tools").ok_or_else(unknown)?;
            let tools = allowed.get("tools").and_then(Value::as_array).ok_or_else(unknown)?;
            let names = tools.iter().map(name).collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
            let names: Vec<String> = names.into_iter().filter(|name| functions.contains(name)).collect();
            let is_required = allowed.get("mode").is_some_and(|mode| mode == "required");
            // Names may only be given with a mode that holds the model to its declarations.
            match (is_required, names.is_empty()) {
                (true, true) => return Err(wrong("tool_choice", "none of the tools is allowed")),
                (false, true) => ("NONE", None),
                (true, false) => ("ANY", Some(names)),
                (false, false) => ("VALIDATED", Some(names)),
            }
        }
        (None, Some(_)) => {
            fit.cannot("tool_choice.type", "the provider can only be made to call functions")?;
            return Ok(None);
        }
        _ => return Err(unknown()),
    };
    if functions.is_empty() {
        // A choice among nothing says nothing, unless it must be made.
        return if mode == "ANY" {
            Err(wrong("tool_choice", "there are no functions that it could choose from"))
        } else {
            Ok(None)
        };
    }
    let mut config = json!({ "mode": mode });
    if let Some(names) = allowed {
        config["allowedFunctionNames"] = names.into();
    }
    Ok(Some(json!({ "functionCallingConfig": config })))
}

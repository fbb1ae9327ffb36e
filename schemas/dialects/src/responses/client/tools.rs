//! Tools and the choice among them, as a chat has them: one level deeper, and without namespaces. A function in a namespace gets
//! a name of its own there, and its calls are returned with name and namespace apart. Knows nothing of other items.
//! Sources: <https://platform.openai.com/docs/guides/function-calling>,
//! <https://platform.openai.com/docs/guides/tools-tool-search>; `additional_tools` as Codex sends it.

use super::known_tools::KnownTool;
use super::wrong;
use crate::client::WrongRequest;
use penstock_schemas::chat::{Function, Tool};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The kind of an input item that brings tools.
pub(super) const ADDITIONAL: &str = "additional_tools";

/// The kind of an input item that tells which tools a client's search has found.
const FOUND: &str = "tool_search_output";

/// The kind of a tool that finds others. Where the client looks for them, a chat has a function of this name.
pub(super) const SEARCH: &str = "tool_search";

/// What the functions of a request are called in a chat.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By namespace and name.
    flat: HashMap<(String, String), String>,
    /// Namespace and name by that.
    own: HashMap<String, (String, String)>,
    /// What the client carries out and OpenAI's models know without being told.
    known: Vec<KnownTool>,
}

impl Names {
    /// Of all functions that a request names, in its tools and in its history: the same each time.
    pub(super) fn of(request: &Map<String, Value>) -> Self {
        let is_taken = |name: &str| lists(request).flatten().any(|tool| text(tool, "name") == Some(name));
        let known = lists(request).flatten().filter_map(KnownTool::of).filter(|known| !is_taken(known.name()));
        let mut names = Self { known: known.collect(), ..Self::default() };
        let mut plain = Vec::new();
        let mut nested = Vec::new();
        for tool in lists(request).flatten() {
            let name = text(tool, "name").unwrap_or_default();
            match (text(tool, "type"), tool.get("tools").and_then(Value::as_array)) {
                (Some("namespace"), Some(inner)) => {
                    let inner = inner.iter().filter_map(|tool| text(tool, "name"));
                    nested.extend(inner.map(|inner| (name.to_owned(), inner.to_owned())));
                }
                _ => plain.push(name.to_owned()),
            }
        }
        for item in items(request) {
            match (text(item, "namespace"), text(item, "name")) {
                (Some(space), Some(name)) => nested.push((space.to_owned(), name.to_owned())),
                (None, Some(name)) => plain.push(name.to_owned()),
                _ => {}
            }
        }
        for (space, name) in nested {
            if names.flat.contains_key(&(space.clone(), name.clone())) {
                continue;
            }
            let mut flat = join(&space, &name);
            while names.own.contains_key(&flat) || plain.contains(&flat) {
                flat.push('_');
            }
            names.own.insert(flat.clone(), (space.clone(), name.clone()));
            names.flat.insert((space, name), flat);
        }
        names
    }

    /// What a function is called in a chat.
    pub(super) fn flat(&self, space: Option<&str>, name: &str) -> String {
        let Some(space) = space else { return name.to_owned() };
        let known = self.flat.get(&(space.to_owned(), name.to_owned()));
        known.cloned().unwrap_or_else(|| join(space, name))
    }

    /// Which of the tools that OpenAI's models know a function stands for.
    pub(super) fn known(&self, flat: &str) -> Option<KnownTool> {
        self.known.iter().copied().find(|known| known.name() == flat)
    }

    /// What was found, in words for the model, which sees the tools themselves among the others.
    pub(super) fn found(&self, tools: &[Value]) -> String {
        let mut found = Vec::new();
        for tool in tools {
            let name = text(tool, "name").unwrap_or_default();
            match tool.get("tools").and_then(Value::as_array) {
                Some(inner) => {
                    let inner = inner.iter().filter_map(|one| text(one, "name"));
                    found.extend(inner.map(|one| self.flat(Some(name), one)));
                }
                None => found.push(name.to_owned()),
            }
        }
        if found.is_empty() { "No tools were found.".to_owned() } else { format!("Found: {}.", found.join(", ")) }
    }

    /// Namespace and name of a function by what it is called in a chat, where it has a namespace.
    pub(super) fn own(&self, flat: &str) -> Option<(&str, &str)> {
        self.own.get(flat).map(|(space, name)| (space.as_str(), name.as_str()))
    }
}

/// Codex's MCP servers have names such as `mcp__notes`, and their tools were called `mcp__notes__search` before.
fn join(space: &str, name: &str) -> String {
    if space.ends_with("__") || name.starts_with(&format!("{space}__")) {
        let space = if space.ends_with("__") && !name.starts_with(space) { space } else { "" };
        return format!("{space}{name}");
    }
    format!("{space}__{name}")
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn items(request: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    request.get("input").and_then(Value::as_array).into_iter().flatten()
}

/// Every list of tools: the request's, and those of its items, in their order.
fn lists(request: &Map<String, Value>) -> impl Iterator<Item = &Vec<Value>> {
    let of_items = items(request).filter(|item| matches!(text(item, "type"), Some(ADDITIONAL | FOUND)));
    let of_items = of_items.filter_map(|item| item.get("tools").and_then(Value::as_array));
    request.get("tools").and_then(Value::as_array).into_iter().chain(of_items)
}

/// All tools of a request, those that come in its items among them. One that comes again replaces the first.
pub(super) fn tools(request: &Map<String, Value>, names: &Names) -> Result<Vec<Tool>, WrongRequest> {
    if request.get("tools").is_some_and(|tools| !tools.is_array() && !tools.is_null()) {
        return Err(wrong("tools".to_owned(), "it must be a list"));
    }
    let mut all: Vec<Tool> = Vec::new();
    for list in lists(request) {
        for (at, tool) in list.iter().enumerate() {
            add(tool, &format!("tools[{at}]"), (None, names), &mut all)?;
        }
    }
    let mut kept: Vec<Tool> = Vec::with_capacity(all.len());
    for tool in all {
        let name = name_of(&tool).map(ToOwned::to_owned);
        match kept.iter_mut().find(|known| name.is_some() && name_of(known) == name.as_deref()) {
            Some(known) => *known = tool,
            None => kept.push(tool),
        }
    }
    Ok(kept)
}

fn name_of(tool: &Tool) -> Option<&str> {
    let custom = tool.extra.get("custom").and_then(|custom| text(custom, "name"));
    tool.function.as_ref().map(|function| function.name.as_str()).or(custom)
}

fn add(
    tool: &Value,
    place: &str,
    (space, names): (Option<&str>, &Names),
    all: &mut Vec<Tool>,
) -> Result<(), WrongRequest> {
    let Some(fields) = tool.as_object() else { return Err(wrong(place.to_owned(), "it must be an object")) };
    let Some(kind) = text(tool, "type") else { return Err(wrong(format!("{place}.type"), "it is missing")) };
    match kind {
        "namespace" => {
            let Some(space) = text(tool, "name") else { return Err(wrong(format!("{place}.name"), "it is missing")) };
            let inner = tool.get("tools").and_then(Value::as_array).into_iter().flatten();
            for (at, tool) in inner.enumerate() {
                add(tool, &format!("{place}.tools[{at}]"), (Some(space), names), all)?;
            }
        }
        "function" => {
            // What else a function may have says how OpenAI's own service loads and calls it.
            let known = fields.iter().filter(|(name, value)| {
                matches!(name.as_str(), "name" | "description" | "parameters" | "strict") && !value.is_null()
            });
            let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
            let read = serde_json::from_value(Value::Object(known));
            let mut function: Function = read.map_err(|error| wrong(place.to_owned(), &error.to_string()))?;
            function.name = names.flat(space, &function.name);
            all.push(Tool { kind: kind.to_owned(), function: Some(function), ..Tool::default() });
        }
        "custom" => {
            let Some(name) = text(tool, "name") else { return Err(wrong(format!("{place}.name"), "it is missing")) };
            let mut custom = Map::from_iter([("name".to_owned(), Value::from(names.flat(space, name)))]);
            custom.extend(text(tool, "description").map(|said| ("description".to_owned(), said.into())));
            custom.extend(tool.get("format").and_then(format).map(|format| ("format".to_owned(), format)));
            let extra = Map::from_iter([(kind.to_owned(), Value::Object(custom))]);
            all.push(Tool { kind: kind.to_owned(), extra, ..Tool::default() });
        }
        _ if names.known(kind).is_some_and(|known| KnownTool::of(tool) == Some(known)) => {
            let function = KnownTool::of(tool).map(|known| known.function(tool));
            all.push(Tool { kind: "function".to_owned(), function, ..Tool::default() });
        }
        // The provider would find tools that were not loaded; here all of them are.
        SEARCH => {}
        _ => {
            let mut extra = fields.clone();
            extra.shift_remove("type");
            all.push(Tool { kind: kind.to_owned(), extra, ..Tool::default() });
        }
    }
    Ok(())
}

/// `{"type": "grammar", "syntax", "definition"}` → `{"type": "grammar", "grammar": {"syntax", "definition"}}`.
fn format(format: &Value) -> Option<Value> {
    match text(format, "type")? {
        "grammar" => {
            let mut grammar = format.as_object()?.clone();
            grammar.shift_remove("type");
            Some(json!({ "type": "grammar", "grammar": grammar }))
        }
        _ => Some(format.clone()),
    }
}

/// `{"type": "function", "name"}` → `{"type": "function", "function": {"name"}}`, also within `allowed_tools`.
pub(super) fn choice(choice: Value, names: &Names) -> Value {
    let Value::Object(mut choice) = choice else { return choice };
    let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if names.known(&kind).is_some() {
        return json!({ "type": "function", "function": { "name": kind } });
    }
    if !matches!(kind.as_str(), "function" | "custom" | "allowed_tools") {
        return Value::Object(choice);
    }
    choice.remove("type");
    let space = choice.shift_remove("namespace");
    if let Some(Value::String(name)) = choice.get_mut("name") {
        *name = names.flat(space.as_ref().and_then(Value::as_str), name);
    }
    if let Some(Value::Array(tools)) = choice.get_mut("tools") {
        for tool in tools {
            *tool = self::choice(tool.take(), names);
        }
    }
    json!({ "type": kind, kind.as_str(): choice })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: &Value) -> (Vec<Value>, Names) {
        let request = request.as_object().unwrap();
        let names = Names::of(request);
        let tools = tools(request, &names).unwrap();
        (tools.iter().map(|tool| json!(tool)).collect(), names)
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "name": name, "defer_loading": true, "output_schema": {}})
    }

    #[test]
    fn namespaces_are_flattened_and_told_apart_again() {
        let space =
            |name: &str, inner: Value| json!({"type": "namespace", "name": name, "description": "d", "tools": inner});
        let more = json!({"type": "additional_tools", "tools": [space("multi_agent_v1", json!([function("spawn")])), function("f")]});
        let call =
            json!({"type": "function_call", "call_id": "c", "namespace": "gone", "name": "x", "arguments": "{}"});
        let (tools, names) = read(&json!({"input": [more, call], "tools": [
            space("mcp__notes", json!([function("search"), function("mcp__notes__list")])), function("mcp__notes__search"),
            {"type": "tool_search"}, {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "s"}}]}));
        let found: Vec<&str> = tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        assert_eq!(
            found,
            ["mcp__notes__search_", "mcp__notes__list", "mcp__notes__search", "multi_agent_v1__spawn", "f"]
        );
        assert_eq!(tools[0], json!({"type": "function", "function": {"name": "mcp__notes__search_"}}));
        let grammar = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "s"}});
        assert_eq!(tools[3]["custom"], json!({"name": "patch", "format": grammar}));
        assert_eq!(names.own("mcp__notes__search_"), Some(("mcp__notes", "search")));
        assert_eq!((names.own("mcp__notes__search"), names.own("gone__x")), (None, Some(("gone", "x"))));
        let chosen = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "namespace": "mcp__notes", "name": "search"}]});
        let chosen = choice(chosen, &names);
        assert_eq!(
            chosen["allowed_tools"]["tools"][0],
            json!({"type": "function", "function": {"name": "mcp__notes__search_"}})
        );
    }

    #[test]
    fn what_comes_again_in_a_later_item_is_one_tool() {
        let again =
            json!({"type": "additional_tools", "tools": [{"type": "function", "name": "f", "description": "new"}]});
        let (tools, _) = read(&json!({"tools": [function("f")], "input": [again]}));
        assert_eq!(tools, [json!({"type": "function", "function": {"name": "f", "description": "new"}})]);
        let wrong =
            |tools: Value| super::tools(json!({"tools": tools}).as_object().unwrap(), &Names::default()).unwrap_err();
        assert_eq!(wrong(json!("f")).param(), Some("tools"));
        assert_eq!(wrong(json!([{"type": "namespace", "name": "n", "tools": [3]}])).param(), Some("tools[0].tools[0]"));
    }
}

//! Tools whose names or kinds a provider does not take: spelt otherwise in its request, history included, and given back as
//! the caller knows them. A name becomes a shorter one, the same each time, so that a conversation's prompt stays the same
//! and caches hit; a tool of free text becomes a function of one text. Knows no provider: the rule is the adapter's.

mod client_tools;
mod custom;
mod older;
mod restore;
mod search;

pub use restore::reader;

use crate::provider::{Search, ToolRule};
use bytes::Bytes;
use custom::FreeText;
use penstock_schemas::chat::{ChatRequest, FunctionCall, ToolCall};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// What stands in a provider's answer for what the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolMap {
    /// The caller's names by those that were sent.
    names: HashMap<String, String>,
    /// Which of the names that were sent are tools of free text.
    free: HashSet<String>,
    /// Whether the caller wants one call at a time of a provider that cannot be told so.
    is_serial: bool,
    /// Whether the caller wants its calls as `function_call`.
    is_old: bool,
    /// The fields of the request that were left out.
    pub dropped: Vec<String>,
}

/// Of a request, what decides whether anything must change: reading no more than that is cheap.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Calls<'a>>>,
    #[serde(borrow, default)]
    web_search_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
}

#[derive(Deserialize)]
struct Calls<'a> {
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Named<'a>>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<Name<'a>>,
    #[serde(borrow, default)]
    custom: Option<Name<'a>>,
}

#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

impl Named<'_> {
    fn fits(&self, rule: &ToolRule) -> bool {
        let is_free = self.kind.as_deref() == Some("custom");
        let names = [&self.function, &self.custom].into_iter().flatten().filter_map(|named| named.name.as_deref());
        let is_other_search = search::is_changed(rule.search, self.kind.as_deref());
        let is_clients = !rule.client_tools && client_tools::is_one(self.kind.as_deref());
        (rule.free_text || !is_free)
            && !is_other_search
            && !is_clients
            && names.into_iter().all(|name| rule.takes(name))
    }
}

/// The agnostic request as the provider takes its tools, and what stands for what; `None` when nothing needs to change, and
/// for a body that is no chat, which the adapter says.
pub fn fit(body: &Bytes, rule: &ToolRule) -> Option<(Bytes, ToolMap)> {
    let glance = serde_json::from_slice::<Glance<'_>>(body).ok()?;
    let calls = glance.messages.iter().flatten().flat_map(|message| message.tool_calls.iter().flatten());
    let is_search_asked =
        matches!(rule.search, Search::Anthropic | Search::Google) && glance.web_search_options.is_some();
    let is_list_chosen =
        !rule.allowed_tools && glance.tool_choice.is_some_and(|choice| choice.get().contains("allowed_tools"));
    let is_serial = !rule.serial && glance.parallel_tool_calls == Some(false);
    let is_changed = is_list_chosen || is_search_asked || is_serial;
    if !is_changed && glance.tools.iter().flatten().chain(calls).all(|named| named.fits(rule)) {
        return None;
    }
    let mut request = serde_json::from_slice::<ChatRequest>(body).ok()?;
    if !rule.client_tools {
        client_tools::fit(&mut request);
    }
    let mut fitting = Fitting::of(&request, rule);
    fitting.fit(&mut request);
    let body = serde_json::to_vec(&request).expect("a chat request has a JSON form");
    Some((body.into(), fitting.map))
}

/// The tools that a choice allows, and the mode as the choice among them.
fn keep_allowed(request: &mut ChatRequest) {
    let Some(allowed) = request.tool_choice.as_ref().and_then(|choice| choice.get("allowed_tools")) else { return };
    let of_choice =
        |tool: &Value| ["function", "custom"].iter().find_map(|kind| Some(tool.get(kind)?.get("name")?.clone()));
    let names: Vec<Value> = allowed["tools"].as_array().into_iter().flatten().filter_map(of_choice).collect();
    let mode = if allowed["mode"] == "required" { "required" } else { "auto" };
    if let Some(tools) = &mut request.tools {
        tools.retain(|tool| {
            let custom = || tool.extra.get("custom").and_then(|custom| custom.get("name")?.as_str());
            let name = tool.function.as_ref().map(|function| function.name.as_str()).or_else(custom);
            name.is_some_and(|name| names.iter().any(|allowed| allowed == name))
        });
    }
    request.tool_choice = Some(mode.into());
}

/// A request being changed.
struct Fitting<'a> {
    rule: &'a ToolRule,
    /// Names by the caller's.
    spelt: HashMap<String, String>,
    map: ToolMap,
}

impl<'a> Fitting<'a> {
    /// Settles all names first, so that none that is made is also one that stays.
    fn of(request: &ChatRequest, rule: &'a ToolRule) -> Self {
        let tools = request.tools.iter().flatten().map(|tool| (tool.function.as_ref().map(|f| &f.name), &tool.extra));
        let calls = request.messages.iter().flat_map(|message| message.tool_calls.iter().flatten());
        let calls = calls.map(|call| (call.function.as_ref().and_then(|f| f.name.as_ref()), &call.extra));
        let named = |(name, extra): (Option<&String>, &serde_json::Map<String, Value>)| {
            name.cloned().or_else(|| Some(extra.get("custom")?.get("name")?.as_str()?.to_owned()))
        };
        let names: Vec<String> = tools.chain(calls).filter_map(named).collect();
        let mut taken: HashSet<String> = names.iter().filter(|name| rule.takes(name)).cloned().collect();
        let mut fitting = Self { rule, spelt: HashMap::new(), map: ToolMap::default() };
        for name in names.into_iter().filter(|name| !rule.takes(name)) {
            if fitting.spelt.contains_key(&name) {
                continue;
            }
            let is_free = |new: &String| !taken.contains(new);
            let new = (0..).map(|salt| rule.rename(&name, salt)).find(is_free).expect("there are endlessly many salts");
            taken.insert(new.clone());
            fitting.map.names.insert(new.clone(), name.clone());
            fitting.spelt.insert(name, new);
        }
        fitting
    }

    fn spelt(&self, name: &str) -> String {
        self.spelt.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn fit(&mut self, request: &mut ChatRequest) {
        self.map.dropped = search::fit(request, self.rule.search);
        if !self.rule.allowed_tools {
            keep_allowed(request);
        }
        self.map.is_serial = !self.rule.serial && request.parallel_tool_calls.take() == Some(false);
        for tool in request.tools.iter_mut().flatten() {
            let custom = tool.extra.get("custom").filter(|_| tool.kind == "custom" && !self.rule.free_text);
            if let Some(free) = custom.and_then(FreeText::read) {
                let name = self.spelt(free.name);
                self.map.free.insert(name.clone());
                tool.function = Some(free.as_function(name));
                tool.extra.shift_remove("custom");
                "function".clone_into(&mut tool.kind);
            } else if let Some(function) = &mut tool.function {
                function.name = self.spelt(&function.name);
            } else if let Some(Value::String(name)) = tool.extra.get_mut("custom").and_then(|c| c.get_mut("name")) {
                *name = self.spelt(name);
            }
        }
        for message in &mut request.messages {
            message.tool_calls.iter_mut().flatten().for_each(|call| self.fit_call(call));
            if let Some(Value::String(name)) = message.extra.get_mut("name").filter(|_| message.role == "tool") {
                *name = self.spelt(name);
            }
        }
        if let Some(choice) = &mut request.tool_choice {
            self.fit_choice(choice);
        }
    }

    fn fit_call(&self, call: &mut ToolCall) {
        if let Some(name) = call.function.as_mut().and_then(|function| function.name.as_mut()) {
            *name = self.spelt(name);
        }
        let Some(custom) = call.extra.get_mut("custom") else { return };
        let name = self.spelt(custom["name"].as_str().unwrap_or_default());
        if self.rule.free_text {
            custom["name"] = name.into();
            return;
        }
        let arguments = json!({ custom::INPUT: custom["input"].as_str().unwrap_or_default() }).to_string();
        call.extra.shift_remove("custom");
        call.kind = Some("function".to_owned());
        call.function = Some(FunctionCall { name: Some(name), arguments: Some(arguments), ..FunctionCall::default() });
    }

    /// `{"type": "function", "function": {"name"}}`, `{"type": "custom", …}`, and lists of both in `allowed_tools`.
    fn fit_choice(&self, choice: &mut Value) {
        if let Some(Value::Array(allowed)) = choice.get_mut("allowed_tools").and_then(|all| all.get_mut("tools")) {
            allowed.iter_mut().for_each(|one| self.fit_choice(one));
            return;
        }
        let Some(kind) = choice.get("type").and_then(Value::as_str).map(ToOwned::to_owned) else { return };
        let Some(name) = choice.get(&kind).and_then(|named| named.get("name")).and_then(Value::as_str) else { return };
        let kind = if kind == "custom" && !self.rule.free_text { "function".to_owned() } else { kind };
        *choice = json!({ "type": kind, kind.as_str(): { "name": self.spelt(name) } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(request: &Value, rule: &ToolRule) -> Option<(Value, ToolMap)> {
        let (body, map) = fit(&request.to_string().into(), rule)?;
        Some((serde_json::from_slice(&body).unwrap(), map))
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    #[test]
    fn names_that_are_not_taken_are_spelt_otherwise_in_tools_history_and_choice() {
        let long = format!("mcp__github__{}", "x".repeat(80));
        let call = json!({"id": "a", "type": "function", "function": {"name": long, "arguments": "{}"}});
        let request = json!({"model": "m", "tools": [function(&long), function("wetter.jetzt"), function("f")],
            "tool_choice": function(&long), "messages": [{"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "a", "name": long, "content": "x"}]});
        let (sent, map) = fitted(&request, &ToolRule::FUNCTIONS).unwrap();
        let name = sent["tools"][0]["function"]["name"].as_str().unwrap();
        assert!(name.len() == 64 && name.starts_with("mcp__github__xxx"), "{name}");
        assert!(sent["tools"][1]["function"]["name"].as_str().unwrap().starts_with("wetter_jetzt_"));
        assert_eq!(sent["tools"][2], function("f"));
        assert_eq!(sent["tool_choice"], function(name));
        assert_eq!(sent["messages"][0]["tool_calls"][0]["function"]["name"], name);
        assert_eq!(sent["messages"][1]["name"], name);
        assert_eq!(map.names[name], long);
        assert_eq!(fitted(&request, &ToolRule::FUNCTIONS).unwrap().0, sent, "the same each time");
        assert!(
            fitted(&json!({"model": "m", "messages": [], "tools": [function("f-1_x")]}), &ToolRule::FUNCTIONS)
                .is_none()
        );
    }

    #[test]
    fn one_call_at_a_time_is_asked_of_a_provider_that_can_be_told_so() {
        let request = json!({"model": "m", "messages": [], "tools": [function("f")], "parallel_tool_calls": false});
        assert!(fitted(&request, &ToolRule::FUNCTIONS).is_none());
        let plural = ToolRule { serial: false, ..ToolRule::FUNCTIONS };
        let (sent, map) = fitted(&request, &plural).unwrap();
        assert_eq!((sent.get("parallel_tool_calls"), map.is_serial), (None, true));
        let several = json!({"model": "m", "messages": [], "tools": [function("f")], "parallel_tool_calls": true});
        assert!(fitted(&several, &plural).is_none());
    }

    #[test]
    fn names_stay_apart_and_keep_to_every_rule() {
        let strict = ToolRule { longest: 24, others: "", any_start: false, ..ToolRule::FUNCTIONS };
        let all: Vec<String> =
            ["1f", "ä", "ü", "a-b", "a.b", "a b", ""].iter().map(|name| format!("{name}{}", "y".repeat(30))).collect();
        let tools: Vec<Value> = all.iter().map(|name| function(name)).collect();
        let (sent, map) = fitted(&json!({"model": "m", "messages": [], "tools": tools}), &strict).unwrap();
        let names: HashSet<&str> =
            sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        assert_eq!((names.len(), map.names.len()), (all.len(), all.len()));
        assert!(names.iter().all(|name| strict.takes(name)), "{names:?}");
        // A name that the rule makes and the caller uses itself.
        let long = "z".repeat(40);
        let made = strict.rename(&long, 0);
        let tools = [function(&long), function(&made)];
        let (sent, map) = fitted(&json!({"model": "m", "messages": [], "tools": tools}), &strict).unwrap();
        assert_eq!(sent["tools"][1]["function"]["name"], made);
        assert!(map.names.len() == 1 && !map.names.contains_key(&made));
    }

    #[test]
    fn a_tool_of_free_text_becomes_a_function_of_one_text() {
        let custom = |inner: Value| json!({"type": "custom", "custom": inner});
        let grammar = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: \"a\""}});
        let mut call = custom(json!({"name": "patch", "input": "*** \"x\"\n"}));
        call["id"] = json!("a");
        let allowed = json!({"mode": "required", "tools": [custom(json!({"name": "patch"}))]});
        let request = json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}],
            "tools": [custom(json!({"name": "patch", "description": "Patches.", "format": grammar})), function("other")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}});
        let (sent, map) = fitted(&request, &ToolRule::FUNCTIONS).unwrap();
        let function = &sent["tools"][0]["function"];
        assert_eq!(function["parameters"]["required"], json!(["input"]));
        let told = function["description"].as_str().unwrap();
        assert!(told.starts_with("Patches.") && told.contains("lark") && told.contains("start: \"a\""), "{told}");
        let sent_call = &sent["messages"][0]["tool_calls"][0];
        assert_eq!(sent_call["function"]["arguments"], "{\"input\":\"*** \\\"x\\\"\\n\"}");
        assert_eq!(
            (&sent_call["type"], &sent_call["id"], sent_call.get("custom")),
            (&json!("function"), &json!("a"), None)
        );
        assert_eq!((sent["tools"].as_array().unwrap().len(), &sent["tool_choice"]), (1, &json!("required")));
        let listed = fitted(&request, &ToolRule { allowed_tools: true, ..ToolRule::FUNCTIONS }).unwrap().0;
        assert_eq!(
            listed["tool_choice"]["allowed_tools"]["tools"][0],
            json!({"type": "function", "function": {"name": "patch"}})
        );
        assert_eq!(map.free, HashSet::from(["patch".to_owned()]));
        let taken = ToolRule { free_text: true, allowed_tools: true, ..ToolRule::FUNCTIONS };
        assert!(fitted(&request, &taken).is_none());
    }
}

//! The search of the web that a provider runs by itself, which each dialect calls otherwise: Anthropic's
//! `web_search_20250305`, OpenAI's `web_search`, Google's `google_search`. A client's word becomes the provider's. Sources:
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool>,
//! <https://platform.openai.com/docs/guides/tools-web-search>, <https://ai.google.dev/gemini-api/docs/google-search>.

use crate::provider::Search;
use penstock_schemas::chat::{ChatRequest, Tool};
use serde_json::{Map, Value, json};

/// The name of Anthropic's tool.
const NAME: &str = "web_search";

/// Whether a tool's kind is a search of the web in some dialect. `web_search_preview` and others bear a date behind.
pub(super) fn is_search(kind: &str) -> bool {
    kind.starts_with("web_search") || matches!(kind, "google_search" | "googleSearch" | "google_search_retrieval")
}

/// Whether it is in the provider's own words.
fn is_own(search: Search, kind: &str) -> bool {
    match search {
        Search::None => false,
        // Its kinds end with a day, OpenAI's with a day in parts.
        Search::Anthropic => kind
            .strip_prefix("web_search_")
            .is_some_and(|day| day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit())),
        Search::Openai => {
            kind == NAME
                || kind.starts_with("web_search_preview")
                || kind.starts_with("web_search_2") && kind.len() > 20
        }
        Search::Google => kind.starts_with("google"),
    }
}

/// Whether the request's search must change for this provider.
pub(super) fn is_changed(search: Search, kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| is_search(kind) && !is_own(search, kind))
}

/// Spells the searches of a request as the provider has them; what was left out.
pub(super) fn fit(request: &mut ChatRequest, search: Search) -> Vec<String> {
    let mut dropped = Vec::new();
    if matches!(search, Search::Anthropic | Search::Google)
        && let Some(Value::Object(options)) = request.extra.shift_remove("web_search_options")
    {
        let tool = Tool { kind: NAME.to_owned(), extra: options, ..Tool::default() };
        request.tools.get_or_insert_default().push(tool);
    }
    let Some(tools) = request.tools.take() else { return dropped };
    let has_functions = tools.iter().any(|tool| matches!(tool.kind.as_str(), "function" | "custom"));
    let is_chosen = request.tool_choice.as_ref().is_some_and(chooses_search);
    let is_optional = has_functions && !is_chosen && matches!(search, Search::None | Search::Google);
    let mut kept = Vec::with_capacity(tools.len());
    for (at, tool) in tools.into_iter().enumerate() {
        let is_other = is_search(&tool.kind) && !is_own(search, &tool.kind);
        if is_other && is_optional {
            dropped.push(format!("tools[{at}]"));
        } else if !is_other || search == Search::None {
            kept.push(tool);
        } else {
            kept.push(spell(tool, search));
        }
    }
    request.tools = Some(kept);
    if is_chosen && search == Search::Anthropic {
        request.tool_choice = Some(json!({ "type": "function", "function": { "name": NAME } }));
    } else if is_chosen && search == Search::Openai {
        request.tool_choice = Some(json!({ "type": NAME }));
    }
    dropped
}

fn chooses_search(choice: &Value) -> bool {
    let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default();
    is_search(kind) || choice.pointer("/function/name").is_some_and(|name| name == NAME)
}

fn spell(tool: Tool, search: Search) -> Tool {
    let domains = |name: &str| {
        let filters = tool.extra.get("filters");
        let found = tool.extra.get(name).or_else(|| filters.and_then(|filters| filters.get(name)));
        found.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())).cloned()
    };
    let (allowed, blocked) = (domains("allowed_domains"), domains("blocked_domains"));
    let place = tool.extra.get("user_location").filter(|place| place.is_object()).map(|place| {
        // A chat's options have it one level deeper.
        let mut place = place.get("approximate").unwrap_or(place).clone();
        place["type"] = "approximate".into();
        place
    });
    let mut extra = Map::new();
    let kind = match search {
        // What Google cannot narrow down, it refuses under its own name.
        Search::Google if allowed.is_some() || blocked.is_some() => return tool,
        Search::Google => "google_search",
        Search::Anthropic => {
            extra.insert("name".to_owned(), NAME.into());
            extra.extend(allowed.map(|allowed| ("allowed_domains".to_owned(), allowed)));
            extra.extend(blocked.map(|blocked| ("blocked_domains".to_owned(), blocked)));
            extra.extend(place.map(|place| ("user_location".to_owned(), place)));
            "web_search_20250305"
        }
        Search::Openai => {
            let filters: Map<String, Value> = [("allowed_domains", allowed), ("blocked_domains", blocked)]
                .into_iter()
                .filter_map(|(name, list)| Some((name.to_owned(), list?)))
                .collect();
            if !filters.is_empty() {
                extra.insert("filters".to_owned(), filters.into());
            }
            extra.extend(place.map(|place| ("user_location".to_owned(), place)));
            NAME
        }
        Search::None => return tool,
    };
    Tool { kind: kind.to_owned(), extra, ..Tool::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(tools: &Value, more: &Value, search: Search) -> (Value, Vec<String>) {
        let mut request = json!({ "model": "m", "messages": [], "tools": tools });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut request: ChatRequest = serde_json::from_value(request).unwrap();
        let dropped = fit(&mut request, search);
        (serde_json::to_value(request).unwrap(), dropped)
    }

    #[test]
    fn each_dialects_search_becomes_the_providers() {
        let place = json!({ "type": "approximate", "city": "Bern" });
        let openai = json!({ "type": "web_search", "external_web_access": true, "search_context_size": "low",
            "filters": { "allowed_domains": ["a.org"] }, "user_location": place });
        let anthropic = json!({ "type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"],
            "user_location": place });
        let google = json!({ "type": "google_search", "google_search": {} });
        let spelt = |tool: &Value, search| fitted(&json!([tool]), &json!({}), search).0["tools"][0].clone();
        assert_eq!(spelt(&openai, Search::Anthropic), anthropic);
        let back = json!({ "type": "web_search", "filters": { "allowed_domains": ["a.org"] }, "user_location": place });
        assert_eq!(spelt(&anthropic, Search::Openai), back);
        assert_eq!(spelt(&google, Search::Openai), json!({ "type": "web_search" }));
        assert_eq!(
            spelt(&json!({ "type": "web_search_20250305", "name": "web_search" }), Search::Google),
            json!({ "type": "google_search" })
        );
        assert_eq!(spelt(&openai, Search::Google), openai, "a narrow search stays, to be refused by name");
        for (own, search) in [(&openai, Search::Openai), (&anthropic, Search::Anthropic), (&google, Search::Google)] {
            assert_eq!(spelt(own, search), *own);
        }
        for (kind, search) in
            [("web_search_preview_2025_03_11", Search::Openai), ("web_search_2025_08_26", Search::Openai)]
        {
            assert!(!is_changed(search, Some(kind)) && is_changed(Search::Anthropic, Some(kind)), "{kind}");
        }
    }

    #[test]
    fn an_agents_search_is_left_out_and_named_where_there_is_none_beside_functions() {
        let function = json!({ "type": "function", "function": { "name": "f" } });
        let search = json!({ "type": "web_search", "external_web_access": false });
        for provider in [Search::None, Search::Google] {
            let (sent, dropped) = fitted(&json!([function, search]), &json!({}), provider);
            assert_eq!((&sent["tools"], dropped), (&json!([function]), vec!["tools[1]".to_owned()]));
        }
        let chosen = json!({ "tool_choice": { "type": "web_search" } });
        assert_eq!(fitted(&json!([function, search]), &chosen, Search::None).1, [""; 0]);
        assert_eq!(fitted(&json!([search]), &json!({}), Search::None).0["tools"], json!([search]));
        let (sent, _) = fitted(&json!([search]), &chosen, Search::Anthropic);
        assert_eq!(sent["tool_choice"], json!({ "type": "function", "function": { "name": "web_search" } }));
    }

    #[test]
    fn a_chats_search_options_are_the_providers_tool() {
        let options = json!({ "web_search_options": { "user_location": { "type": "approximate", "approximate": { "city": "Bern" } } } });
        let (sent, dropped) = fitted(&json!([]), &options, Search::Anthropic);
        let tool = json!({ "type": "web_search_20250305", "name": "web_search",
            "user_location": { "city": "Bern", "type": "approximate" } });
        assert_eq!((&sent["tools"], sent.get("web_search_options"), dropped.len()), (&json!([tool]), None, 0));
        assert_eq!(fitted(&json!([]), &options, Search::Google).0["tools"], json!([{ "type": "google_search" }]));
        assert!(fitted(&json!([]), &options, Search::None).0.get("web_search_options").is_some());
    }
}

//! Spells a chat request. Knows nothing of what is in its messages.

use super::messages;
use crate::chat_rules;
use crate::effort::{Effort, ReasoningWish};
use crate::fit::{Fit, OTHERS_OWN, wrong};
use crate::provider::{FormatRequest, RequestPath, Spelled, json_headers};
use crate::tool_pairs::paired;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// What has the same name there.
const KNOWN: [&str; 9] = [
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "documents",
    "citation_options",
    "safety_mode",
    "strict_tools",
    "priority",
];

/// What an answer means the same without.
const HARMLESS: [&str; 10] = [
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "stream_options",
    "prediction",
];

/// The most texts that end an answer. Source: <https://docs.cohere.com/reference/chat#request.body.stop_sequences>.
const MOST_STOPS: usize = 5;

/// The bounds of a budget for thoughts, and what each effort takes of the longest answer.
/// Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
const BUDGET: (u64, u64) = (1024, 128_000);

/// The request for `chat`.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut request: ChatRequest =
        serde_json::from_slice(ask.body).map_err(|error| wrong("messages", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    let mut out = Map::new();
    out.insert("model".to_owned(), ask.model.as_str().into());
    out.insert("stream".to_owned(), ask.wanted.delivery.is_stream().into());
    let limit = request.max_completion_tokens.or(request.max_tokens);
    if let Some(limit) = limit {
        out.insert("max_tokens".to_owned(), limit.into());
    }
    if request.n.is_some_and(|n| n != 1) {
        fit.cannot("n", "Cohere gives one answer")?;
    }
    if request.user.is_some() {
        fit.omit("user");
    }
    fit_fields(std::mem::take(&mut request.extra), &mut out, &mut fit)?;
    fit_thinking(&request, limit, ask, (&mut out, &mut fit));
    chat_rules::check_tools(&request)?;
    fit_tools(&mut request, &mut out, &mut fit)?;
    if let Some(format) = response_format(request.response_format.as_ref()) {
        out.insert("response_format".to_owned(), format);
    }
    out.insert("messages".to_owned(), messages::spell(paired(request.messages, |field| fit.omit(field)), &mut fit)?);
    let (path, headers) = (RequestPath::fixed("chat"), json_headers(ask.wanted.delivery));
    Ok(Spelled { path, headers, body: Value::Object(out).to_string().into(), dropped: fit.dropped() })
}

fn fit_fields(extra: Map<String, Value>, out: &mut Map<String, Value>, fit: &mut Fit) -> Result<(), Failure> {
    for (name, value) in extra {
        let is_nothing = value.is_null() || value == json!(false) || value == json!({}) || value == json!([]);
        match name.as_str() {
            // An empty object switches it on.
            "web_search_options" if !value.is_null() => fit.cannot(name, "Cohere's models do not search")?,
            _ if is_nothing => {}
            "top_p" => {
                // Both ends are out of its range: <https://docs.cohere.com/reference/chat#request.body.p>.
                let p = value.as_f64().map(|p| p.clamp(0.01, 0.99));
                out.insert("p".to_owned(), p.map_or(value, Value::from));
            }
            "top_k" => drop(out.insert("k".to_owned(), value)),
            "stop" => {
                let mut list = if value.is_array() { value } else { json!([value]) };
                if let Some(stops) = list.as_array_mut().filter(|stops| stops.len() > MOST_STOPS) {
                    fit.cannot(name, "Cohere takes five at most")?;
                    stops.truncate(MOST_STOPS);
                }
                out.insert("stop_sequences".to_owned(), list);
            }
            "modalities" if value == json!(["text"]) => {}
            name if KNOWN.contains(&name) => drop(out.insert(name.to_owned(), value)),
            name if HARMLESS.contains(&name) || OTHERS_OWN.contains(&name) => fit.omit(name),
            name => fit.cannot(name, "Cohere does not take it")?,
        }
    }
    Ok(())
}

/// Source: <https://docs.cohere.com/docs/reasoning>.
fn fit_thinking(
    request: &ChatRequest,
    limit: Option<u64>,
    ask: &FormatRequest<'_>,
    (out, fit): (&mut Map<String, Value>, &mut Fit),
) {
    let wish = ReasoningWish::of(request).0;
    let is_off = wish == ReasoningWish::Off;
    if wish == ReasoningWish::Unsaid {
        return;
    }
    if ask.card.is_some_and(|card| !card.capabilities.iter().any(|capability| capability == "reasoning")) {
        if !is_off {
            fit.omit("reasoning_effort");
        }
        return;
    }
    if is_off {
        out.insert("thinking".to_owned(), json!({"type": "disabled"}));
        return;
    }
    let longest = limit.or(ask.card.and_then(|card| card.max_output));
    let share = |effort: Effort| {
        longest.map(|longest| (longest.saturating_mul(effort.percent()) / 100).clamp(BUDGET.0, BUDGET.1))
    };
    let budget = match wish {
        ReasoningWish::Tokens(tokens) => Some(tokens),
        ReasoningWish::Word(word) => share(Effort::parse(word).unwrap_or(Effort::Medium)),
        ReasoningWish::Unsaid | ReasoningWish::Off | ReasoningWish::On => share(Effort::Medium),
    };
    let budget = budget.map(|budget| longest.map_or(budget, |longest| budget.min(longest.saturating_sub(1))));
    let mut thinking = json!({"type": "enabled"});
    if let Some(budget) = budget {
        thinking["token_budget"] = budget.into();
    }
    out.insert("thinking".to_owned(), thinking);
}

/// A choice of one function is that function alone, and the duty to call it.
/// Source: <https://docs.cohere.com/docs/tool-use-parameters>.
fn fit_tools(request: &mut ChatRequest, out: &mut Map<String, Value>, fit: &mut Fit) -> Result<(), Failure> {
    let choice = request.tool_choice.take().unwrap_or_default();
    let only = choice["function"]["name"].as_str();
    let (mut tools, mut are_strict) = (Vec::new(), true);
    for (at, tool) in request.tools.take().unwrap_or_default().into_iter().enumerate() {
        let Some(function) = tool.function.filter(|_| tool.kind == "function") else {
            fit.cannot(format!("tools[{at}].type"), "Cohere takes functions alone")?;
            continue;
        };
        if only.is_some_and(|only| only != function.name) {
            continue;
        }
        are_strict &= function.strict == Some(true);
        let parameters = function.parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut spelt = json!({"name": function.name, "parameters": parameters});
        if let Some(description) = function.description {
            spelt["description"] = description.into();
        }
        tools.push(json!({"type": "function", "function": spelt}));
    }
    if tools.is_empty() {
        return Ok(());
    }
    if are_strict {
        out.insert("strict_tools".to_owned(), true.into());
    }
    out.insert("tools".to_owned(), tools.into());
    let word = match choice.as_str() {
        Some("required") => Some("REQUIRED"),
        Some("none") => Some("NONE"),
        Some(_) => None,
        None if only.is_some() => Some("REQUIRED"),
        None if choice.is_null() => None,
        None => {
            fit.cannot("tool_choice", "Cohere takes `auto`, `none`, `required` or a function")?;
            None
        }
    };
    if let Some(word) = word {
        out.insert("tool_choice".to_owned(), word.into());
    }
    Ok(())
}

/// Source: <https://docs.cohere.com/docs/structured-outputs>.
fn response_format(format: Option<&Value>) -> Option<Value> {
    let format = format?;
    match format["type"].as_str()? {
        "json_schema" => Some(json!({"type": "json_object", "json_schema": format["json_schema"]["schema"]})),
        "json_object" => Some(json!({"type": "json_object"})),
        _ => None,
    }
}

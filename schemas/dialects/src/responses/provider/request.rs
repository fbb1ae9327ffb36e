//! Spells a request: the caller's own bytes with the model's name in them, or the agnostic form as items and options.
//! Source: <https://platform.openai.com/docs/api-reference/responses/create>.

use super::spelling::Spelling;
use super::{input, tools};
use crate::chat_rules;
use crate::effort::ReasoningWish;
use crate::fit::{OTHERS_OWN, wrong};
use crate::json::{Edit, Fields, RawObject, items, text};
use crate::openai::provider::parts::{lift_shown, tell_of_others};
use crate::openai::provider::{own_models, servers};
use crate::provider::{Form, FormatRequest, RequestPath, Spelled, json_headers, unsupported};
use crate::sampling;
use crate::strict_schema::{self, STRICT};
use crate::tool_pairs::paired;
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, Reasoning};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The smallest limit of an answer that is taken. Source: `max_output_tokens` of OpenAI's `POST /v1/responses`.
pub(super) const LEAST_OUTPUT: u64 = 16;

/// What a model's card calls a model that thinks.
const THINKS: &str = "reasoning";

/// What a count of tokens is asked for with; more is refused.
/// Source: <https://platform.openai.com/docs/api-reference/responses/input-tokens>.
const COUNTED: [&str; 11] = [
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "conversation",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];

/// The request for `responses`, or for `responses/input_tokens`.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    if !matches!(ask.wanted.operation, Operation::Chat | Operation::CountTokens) {
        return Err(unsupported("model", "it answers in the responses dialect alone, and that only chats"));
    }
    let (body, dropped) = match ask.wanted.form {
        Form::Own => own(ask)?,
        Form::Agnostic => agnostic(ask)?,
    };
    let (path, body) = match ask.wanted.operation {
        Operation::CountTokens => ("responses/input_tokens", to_count(&body)?),
        _ => ("responses", body),
    };
    Ok(Spelled { path: RequestPath::fixed(path), headers: json_headers(ask.wanted.delivery), body, dropped })
}

fn to_count(request: &Bytes) -> Result<Bytes, Failure> {
    let mut request = RawObject::read(request).map_err(|error| wrong("input", &error.to_string()))?;
    let others: Vec<String> = request.names().filter(|name| !COUNTED.contains(name)).map(ToOwned::to_owned).collect();
    others.iter().for_each(|name| request.remove(name));
    Ok(request.to_vec().into())
}

fn own(ask: &FormatRequest<'_>) -> Result<(Bytes, Vec<String>), Failure> {
    let body = text(ask.body)?;
    let fields = Fields::read(body)?;
    let mut dropped = Vec::new();
    let plain = without_seals(&fields, ask).map(|request| request.to_text());
    dropped.extend(plain.iter().map(|_| "include".to_owned()));
    let (body, fields) = match &plain {
        Some(plain) => (plain.as_str(), Fields::read(plain)?),
        None => (body, fields),
    };
    let taken = servers::fit(body, &fields, ask, &mut dropped)?;
    let (body, fields) = match &taken {
        Some(taken) => (taken.as_str(), Fields::read(taken)?),
        None => (body, fields),
    };
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &json!(ask.model.as_str()).to_string());
    if ask.wanted.delivery.is_stream() {
        edit.set(&fields, "stream", "true");
    } else if fields.last("stream").is_some() {
        edit.set(&fields, "stream", "false");
    }
    let effort = fields.last("reasoning").and_then(|reasoning| serde_json::from_str::<Value>(reasoning).ok());
    let effort = effort.as_ref().and_then(|reasoning| reasoning.get("effort")?.as_str());
    if sampling::is_fixed(ask.model.as_str(), effort) {
        for name in sampling::FIXED {
            let value = fields.last(name).and_then(|value| serde_json::from_str(value).ok());
            if value.is_some_and(|value| !sampling::is_default(&value)) {
                // The default, because a field cannot be taken out of bytes that stay as they are.
                edit.set(&fields, name, "1");
                dropped.push(name.to_owned());
            }
        }
    }
    Ok((edit.finish().into(), dropped))
}

/// The request of a model that never thinks, without asking for its sealed thoughts: it refuses that.
/// Source: <https://github.com/pydantic/pydantic-ai/issues/2865>.
fn without_seals(fields: &Fields<'_>, ask: &FormatRequest<'_>) -> Option<RawObject> {
    let include = fields.get("include").filter(|_| own_models::never_thinks(ask.settings, ask.model.as_str()))?;
    let all = items(include);
    let rest: Vec<_> = all.iter().filter(|one| one.get() != "\"reasoning.encrypted_content\"").collect();
    if rest.len() == all.len() {
        return None;
    }
    let mut request = RawObject::read(ask.body).ok()?;
    match rest.is_empty() {
        true => request.remove("include"),
        false => request.set("include", &rest),
    }
    Some(request)
}

fn agnostic(ask: &FormatRequest<'_>) -> Result<(Bytes, Vec<String>), Failure> {
    let mut request: ChatRequest = serde_json::from_slice(ask.body).map_err(|error| {
        Failure::gateway(FailureKind::BadRequest, format!("the request is not a chat request: {error}"))
    })?;
    let mut spelling = Spelling::new(ask.unsupported);
    spelling.set("model", ask.model.as_str());
    let messages = paired(std::mem::take(&mut request.messages), |field| spelling.dropped.push(field));
    let items = input::items(lift_shown(tell_of_others(messages)), &mut spelling)?;
    spelling.set("input", items);
    if ask.wanted.delivery.is_stream() {
        spelling.set("stream", true);
    }
    if let Some(most) = request.max_completion_tokens.or(request.max_tokens) {
        // The model's card says so too: as much is set aside.
        spelling.set("max_output_tokens", most.max(LEAST_OUTPUT));
    }
    chat_rules::check_tools(&request)?;
    chat_rules::name_format(&mut request.response_format);
    if strict_schema::loosen(&mut request) {
        spelling.dropped.push(STRICT.to_owned());
    }
    if request.n.is_some_and(|n| n != 1) {
        spelling.cannot("n".to_owned(), "there is one answer")?;
    }
    set_tools(&mut request, &mut spelling)?;
    if let Some(parallel) = request.parallel_tool_calls {
        spelling.set("parallel_tool_calls", parallel);
    }
    let thinks = ask.card.is_some_and(|card| card.capabilities.iter().any(|can| can == THINKS));
    reason(&mut spelling, request.reasoning_effort.as_deref(), request.reasoning, thinks);
    let format = request.response_format.filter(|format| !format.is_null());
    let verbosity = request.extra.get("verbosity").filter(|verbosity| !verbosity.is_null());
    if let Some(text) = tools::text(format, verbosity, &mut spelling)? {
        spelling.set("text", text);
    }
    settle_sampling(&mut request.extra, &mut spelling, ask.model.as_str());
    if let Some(user) = request.user {
        spelling.set("user", user);
    }
    others(request.extra, &mut spelling)?;
    if !spelling.include.is_empty() {
        let include = json!(spelling.include);
        spelling.set("include", include);
    }
    // Chats are not kept at the provider unless somebody says so; here they are by default.
    spelling.out.entry("store").or_insert(Value::Bool(false));
    Ok((Value::Object(spelling.out).to_string().into(), spelling.dropped))
}

/// The caller's tools, a search among them, and which it is to call.
fn set_tools(request: &mut ChatRequest, spelling: &mut Spelling) -> Result<(), Failure> {
    let own = request.tools.take().unwrap_or_default();
    let has_own = !own.is_empty();
    let mut tools = tools::tools(own, spelling)?;
    tools.extend(request.extra.get("web_search_options").and_then(tools::web_search));
    let has_tools = !tools.is_empty();
    if has_tools {
        spelling.set("tools", tools);
    }
    let is_spelt = |choice: &Value| !choice.is_null() && (has_own || has_tools && choice.is_string());
    if let Some(choice) = request.tool_choice.take().filter(is_spelt) {
        spelling.set("tool_choice", tools::choice(choice));
    }
    Ok(())
}

/// Models that think take no sampling but theirs.
fn settle_sampling(extra: &mut Map<String, Value>, spelling: &mut Spelling, model: &str) {
    let effort = spelling.out.get("reasoning").and_then(|reasoning| reasoning.get("effort")?.as_str());
    if !sampling::is_fixed(model, effort) {
        return;
    }
    for name in sampling::FIXED {
        if extra.get(name).is_some_and(|value| !sampling::is_default(value)) {
            extra.shift_remove(name);
            spelling.dropped.push(name.to_owned());
        }
    }
}

/// How much the model thinks; what it thought comes back both to read and for the next turn.
fn reason(spelling: &mut Spelling, effort: Option<&str>, reasoning: Option<Reasoning>, thinks: bool) {
    let asked = effort.is_some() || reasoning.is_some();
    let reasoning = reasoning.unwrap_or_default();
    let wish = ReasoningWish::of_fields(effort, Some(&reasoning)).0;
    let effort = wish.word();
    let is_off = wish == ReasoningWish::Off;
    if !is_off && (thinks || asked) {
        spelling.include.push("reasoning.encrypted_content");
    }
    let mut out = Map::new();
    if let Some(effort) = effort {
        out.insert("effort".to_owned(), effort.into());
    }
    let hidden = reasoning.extra.get("exclude") == Some(&Value::Bool(true));
    if let Some(summary) = reasoning.extra.get("summary") {
        out.insert("summary".to_owned(), summary.clone());
    } else if asked && !is_off && !hidden {
        out.insert("summary".to_owned(), "auto".into());
    }
    if !out.is_empty() {
        spelling.set("reasoning", out);
    }
}

/// Every other option of a chat.
fn others(extra: Map<String, Value>, spelling: &mut Spelling) -> Result<(), Failure> {
    const SAMPLING: &str = "the responses dialect has no such option";
    for (name, value) in extra {
        let is_empty = value == json!({}) || value == json!([]);
        let is_nothing = is_empty || value.is_null() || value == json!(false) || value.as_f64() == Some(0.0);
        match name.as_str() {
            "temperature"
            | "top_p"
            | "metadata"
            | "service_tier"
            | "safety_identifier"
            | "prompt_cache_key"
            | "prompt_cache_options"
            | "prompt_cache_retention"
            | "store"
                if !value.is_null() =>
            {
                spelling.out.insert(name, value);
            }
            "logprobs" if value == json!(true) => spelling.include.push("message.output_text.logprobs"),
            "top_logprobs" if !is_nothing => {
                spelling.out.insert(name, value);
            }
            "prediction" | "top_k" if !is_nothing => spelling.dropped.push(name),
            own if OTHERS_OWN.contains(&own) && !is_nothing => spelling.dropped.push(name),
            "seed" if !value.is_null() => spelling.dropped.push(name),
            "verbosity" | "web_search_options" | "cache_control" => {}
            "modalities" if value == json!(["text"]) => {}
            _ if is_nothing => {}
            _ => spelling.cannot(name, SAMPLING)?,
        }
    }
    Ok(())
}

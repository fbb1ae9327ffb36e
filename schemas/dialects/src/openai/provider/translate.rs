//! Spells a request out of the agnostic form for OpenAI and its copies: the named extensions that the server does not take
//! are struck out, and what it spells otherwise is spelt so. Knows the copies by their quirks alone.

use super::{LONGEST_ID, own_models, parts, request, servers, systems};
use crate::effort::ReasoningWish;
use crate::fit::{Fit, OTHERS_OWN, is_nothing, wrong};
use crate::json::Fields;
use crate::provider::{FormatRequest, Quirk, RequestPath, Spelled, json_headers};
use crate::sampling;
use crate::strict_schema::{self, STRICT};
use crate::tool_pairs::paired;
use crate::{chat_rules, message_marks, tool_ids};
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, StreamOptions, Tool};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value};

/// The extensions that most copies know.
/// Source: <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#extra-parameters>.
const EXTENSIONS: [&str; 4] = ["chat_template_kwargs", "include_reasoning", "min_p", "repetition_penalty"];

/// The fields of a chat that have no type of their own.
/// Source: <https://platform.openai.com/docs/api-reference/chat/create>.
const KNOWN: [&str; 24] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "metadata",
    "modalities",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
    "verbosity",
    "web_search_options",
];

/// The request for `chat/completions`.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let (body, dropped) = body(ask)?;
    Ok(Spelled {
        path: RequestPath::fixed("chat/completions"),
        headers: json_headers(ask.wanted.delivery),
        body,
        dropped,
    })
}

/// The request for `embeddings`, without what the vectors are for: OpenAI makes the same for every purpose.
pub(super) fn embeddings(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(ask.body).map_err(|error| wrong("input", &error.to_string()))?;
    if fields.shift_remove("input_type").is_none() {
        return request::spell(ask);
    }
    let body = Bytes::from(Value::Object(fields).to_string());
    let spelled = request::spell(&FormatRequest { body: &body, ..*ask })?;
    Ok(Spelled { dropped: vec!["input_type".to_owned()], ..spelled })
}

/// The body alone, and what was left out.
pub(super) fn body(ask: &FormatRequest<'_>) -> Result<(Bytes, Vec<String>), Failure> {
    let mut request: ChatRequest =
        serde_json::from_slice(ask.body).map_err(|error| wrong("messages", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    request.model = ask.model.as_str().to_owned();
    ask_for_stream(&mut request, ask);
    name_limit(&mut request, ask);
    settle_reasoning(&mut request, ask, &mut fit);
    settle_sampling(&mut request, ask, &mut fit);
    chat_rules::check_tools(&request)?;
    settle_tools(&mut request, ask, &mut fit)?;
    chat_rules::name_format(&mut request.response_format);
    if strict_schema::loosen(&mut request) {
        fit.omit(STRICT);
    }
    request.messages = paired(std::mem::take(&mut request.messages), |field| fit.omit(field));
    message_marks::lower(&mut request.messages);
    if is_strict(ask) {
        chat_rules::check_pairs(&request.messages)?;
        limit_stops(&mut request, &mut fit)?;
    }
    if !ask.settings.has(Quirk::TopK) && request.extra.shift_remove("top_k").is_some_and(|top_k| !top_k.is_null()) {
        fit.omit("top_k");
    }
    for name in OTHERS_OWN {
        if request.extra.shift_remove(name).is_some() {
            fit.omit(name);
        }
    }
    keep_known(&mut request.extra, ask, &mut fit)?;
    tool_ids::map(&mut request.messages, LONGEST_ID, |id| id.len() <= LONGEST_ID);
    let mut messages = std::mem::take(&mut request.messages);
    if !ask.settings.has(Quirk::CustomTools) {
        // OpenAI's own models alone, which that tells, are known to take the system's words anywhere.
        messages = systems::as_one(systems::lead(messages));
    }
    parts::forget_others(&mut messages, ask.model.as_str());
    request.messages = parts::fit_messages(messages, ask.settings, &mut fit)?;
    let body = serde_json::to_string(&request).map_err(|error| wrong("messages", &error.to_string()))?;
    let mut dropped = fit.dropped();
    let taken = servers::fit(&body, &Fields::read(&body)?, ask, &mut dropped)?;
    Ok((taken.unwrap_or(body).into(), dropped))
}

/// Whether it is OpenAI itself, which refuses what copies overlook.
fn is_strict(ask: &FormatRequest<'_>) -> bool {
    ask.settings.has(Quirk::CustomTools)
}

/// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop>.
fn limit_stops(request: &mut ChatRequest, fit: &mut Fit) -> Result<(), Failure> {
    if let Some(Value::Array(stops)) =
        request.extra.get_mut("stop").filter(|stop| stop.as_array().is_some_and(|all| all.len() > 4))
    {
        fit.cannot("stop", "the server takes four at most")?;
        stops.truncate(4);
    }
    Ok(())
}

/// What a caller's dialect has and a chat has not is never passed on as it is: a server may refuse it, or take it for
/// something else.
fn keep_known(extra: &mut Map<String, Value>, ask: &FormatRequest<'_>, fit: &mut Fit) -> Result<(), Failure> {
    let is_known = |name: &str| KNOWN.contains(&name) || !is_strict(ask) && EXTENSIONS.contains(&name);
    let names: Vec<String> = extra.keys().filter(|name| !is_known(name)).cloned().collect();
    for name in names {
        if extra.shift_remove(&name).is_some_and(|value| !is_nothing(&name, &value)) {
            fit.cannot(name, "the server knows no such field")?;
        }
    }
    Ok(())
}

fn ask_for_stream(request: &mut ChatRequest, ask: &FormatRequest<'_>) {
    let is_stream = ask.wanted.delivery.is_stream();
    request.stream = is_stream.then_some(true);
    request.stream_options = (is_stream && !ask.settings.has(Quirk::NoStreamOptions))
        .then(|| StreamOptions { include_usage: Some(true), ..request.stream_options.take().unwrap_or_default() });
}

fn name_limit(request: &mut ChatRequest, ask: &FormatRequest<'_>) {
    let limit = request.max_completion_tokens.take().or(request.max_tokens.take());
    request.max_tokens = None;
    if ask.settings.has(Quirk::MaxCompletionTokens) || own_models::thinks(ask.settings, ask.model.as_str()) {
        request.max_completion_tokens = limit;
    } else {
        request.max_tokens = limit;
    }
}

/// One knob: an effort.
fn settle_reasoning(request: &mut ChatRequest, ask: &FormatRequest<'_>, fit: &mut Fit) {
    if ask.settings.has(Quirk::ReasoningObject) {
        return;
    }
    let wish = ReasoningWish::of(request).0;
    let effort = if wish == ReasoningWish::On { Some("medium") } else { wish.word() };
    request.reasoning_effort = effort.map(str::to_owned);
    request.reasoning = None;
    // A model that does not reason refuses the knob, whichever way it is turned.
    let reasons = ask.card.is_none_or(|card| card.capabilities.iter().any(|capability| capability == "reasoning"));
    // Whether a model of the operator's own thinks is not known: such servers find out themselves.
    let is_overlooked = ask.settings.has(Quirk::OverlooksEffort)
        && matches!(request.reasoning_effort.as_deref(), Some("low" | "medium" | "high"));
    if !reasons && !is_overlooked && request.reasoning_effort.take().is_some_and(|effort| effort != "none") {
        fit.omit("reasoning_effort");
    }
}

/// OpenAI's own models that think take no sampling but theirs.
fn settle_sampling(request: &mut ChatRequest, ask: &FormatRequest<'_>, fit: &mut Fit) {
    let thinks = own_models::thinks(ask.settings, ask.model.as_str());
    if !thinks || !sampling::is_fixed(ask.model.as_str(), request.reasoning_effort.as_deref()) {
        return;
    }
    for name in sampling::FIXED {
        if request.extra.get(name).is_some_and(|value| !sampling::is_default(value)) {
            request.extra.shift_remove(name);
            fit.omit(name);
        }
    }
}

fn settle_tools(request: &mut ChatRequest, ask: &FormatRequest<'_>, fit: &mut Fit) -> Result<(), Failure> {
    if ask.settings.has(Quirk::NoParallelToolCalls) {
        request.parallel_tool_calls = None;
    }
    let tools = request.tools.take().unwrap_or_default();
    let mut kept = Vec::with_capacity(tools.len());
    for (at, mut tool) in tools.into_iter().enumerate() {
        if !is_spoken(&tool) {
            fit.cannot(format!("tools[{at}].type"), &format!("`{}` is another provider's own tool", tool.kind))?;
            continue;
        }
        if !ask.settings.has(Quirk::CacheControl) {
            tool.cache_control = None;
        }
        kept.push(tool);
    }
    if kept.is_empty() {
        // Neither may stand without tools.
        (request.tool_choice, request.parallel_tool_calls) = (None, None);
    } else {
        request.tools = Some(kept);
    }
    Ok(())
}

/// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools>.
fn is_spoken(tool: &Tool) -> bool {
    matches!(tool.kind.as_str(), "function" | "custom")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
    use penstock_schemas::name::ModelId;
    use serde_json::json;

    fn spelt(request: &Value, quirks: &[Quirk], unsupported: Unsupported) -> Result<(Value, Vec<String>), Failure> {
        let delivery = if request["stream"] == true { Delivery::Stream } else { Delivery::Whole };
        let (body, dropped) = body(&FormatRequest {
            wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery },
            body: &request.to_string().into(),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("m").unwrap(),
            card: None,
            settings: &FormatSettings { quirks: quirks.to_vec(), ..FormatSettings::default() },
            unsupported,
        })?;
        Ok((serde_json::from_slice(&body).unwrap(), dropped))
    }

    #[test]
    fn what_only_googles_clients_say_is_left_out_and_listed() {
        let request = json!({"model": "x", "messages": [], "safety_settings": [{"category": "C", "threshold": "T"}]});
        let (sent, dropped) = spelt(&request, &[], Unsupported::Refuse).unwrap();
        assert_eq!((sent, dropped), (json!({"model": "m", "messages": []}), vec!["safety_settings".to_owned()]));

        let spelled = embeddings(&FormatRequest {
            wanted: Wanted { operation: Operation::Embeddings, form: Form::Agnostic, delivery: Delivery::Whole },
            body: &json!({"model": "x", "input": ["a"], "input_type": "search_query"}).to_string().into(),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("m").unwrap(),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        })
        .unwrap();
        assert_eq!(json!({"model": "m", "input": ["a"]}).to_string(), spelled.body);
        assert_eq!(spelled.dropped, ["input_type"]);
    }

    #[test]
    fn what_openai_does_not_take_is_struck_out() {
        let request = json!({"model": "x", "stream": true, "max_tokens": 9, "reasoning": {"max_tokens": 2000},
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
                {"role": "assistant", "reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "x"}],
                    "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "a", "is_error": true, "content": [
                    {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
                {"role": "user", "content": "go on"}]});
        let image = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]});
        let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let sent = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 9,
            "reasoning_effort": "medium", "tools": [{"type": "function", "function": {"name": "f"}}],
            "messages": [{"role": "system", "content": "s"}, {"role": "assistant", "tool_calls": call},
                {"role": "tool", "tool_call_id": "a", "content": "Error:\nt"}, image, {"role": "user", "content": "go on"}]});
        let quirks = [Quirk::MaxCompletionTokens];
        assert_eq!(spelt(&request, &quirks, Unsupported::Refuse).unwrap(), (sent, Vec::new()));
    }

    #[test]
    fn a_copy_gets_what_it_takes() {
        let request = json!({"model": "x", "stream": true, "max_completion_tokens": 9, "top_k": 3,
            "messages": [{"role": "developer", "content": "d"}, {"role": "assistant", "content": "a", "reasoning_content": "hm"}]});
        let quirks = [Quirk::NoStreamOptions, Quirk::NoDeveloperRole, Quirk::Reasoning, Quirk::TopK];
        let sent = json!({"model": "m", "stream": true, "max_tokens": 9, "top_k": 3,
            "messages": [{"role": "system", "content": "d"}, {"role": "assistant", "content": "a", "reasoning": "hm"}]});
        assert_eq!(spelt(&request, &quirks, Unsupported::Refuse).unwrap().0, sent);
    }

    #[test]
    fn what_cannot_be_said_is_refused_or_left_out() {
        let file = json!({"type": "file", "file": {"file_url": "https://a.example/b.pdf"}});
        for (name, value, field) in [
            ("tools", json!([{"type": "web_search_20250305", "name": "web_search"}]), "tools[0].type"),
            ("messages", json!([{"role": "user", "content": [file]}]), "messages[0].content[0].file.file_url"),
        ] {
            let mut request = json!({"model": "x", "messages": []});
            request[name] = value;
            assert_eq!(spelt(&request, &[], Unsupported::Refuse).unwrap_err().param.as_deref(), Some(field));
            assert_eq!(spelt(&request, &[], Unsupported::Drop).unwrap().1, [field]);
        }
        let thinking = json!({"model": "x", "messages": [], "reasoning_effort": "high"});
        assert_eq!(spelt(&thinking, &[], Unsupported::Refuse).unwrap().0["reasoning_effort"], "high");
    }

    #[test]
    fn an_effort_reaches_a_server_that_overlooks_it_where_its_model_does_not_think() {
        let card = json!({"model": "m", "mode": "chat", "capabilities": []});
        let card = serde_json::from_value(card).unwrap();
        let sent = |effort: &str, quirks: &[Quirk]| {
            let request = json!({"model": "x", "messages": [], "reasoning_effort": effort}).to_string();
            let (body, dropped) = body(&FormatRequest {
                wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
                body: &request.into(),
                content_type: None,
                headers: &std::collections::BTreeMap::new(),
                model: &ModelId::parse("m").unwrap(),
                card: Some(&card),
                settings: &FormatSettings { quirks: quirks.to_vec(), ..FormatSettings::default() },
                unsupported: Unsupported::Refuse,
            })
            .unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            (body["reasoning_effort"].as_str().map(str::to_owned), dropped.join(","))
        };
        let word = |word: &str| Some(word.to_owned());
        assert_eq!(sent("high", &[Quirk::OverlooksEffort]), (word("high"), String::new()));
        assert_eq!(sent("minimal", &[Quirk::OverlooksEffort]), (None, "reasoning_effort".to_owned()));
        assert_eq!(sent("high", &[]), (None, "reasoning_effort".to_owned()));
    }
}

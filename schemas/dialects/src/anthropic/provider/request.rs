//! Spells a request: out of the caller's own bytes, in which only the model's name and the delivery change, or out of the
//! agnostic form. Source: <https://platform.claude.com/docs/en/api/messages/create>.

use super::wire::{Mark, Request};
use super::{cache_marks, messages, own, system_turns, thinking, tools};
use crate::claude::{Claude, is_claude};
use crate::fit::{Fit, OTHERS_OWN, is_nothing, wrong};
use crate::json::{Edit, Fields, text};
use crate::openai::provider::parts::lift_shown;
use crate::provider::{Form, FormatRequest, RequestPath, Spelled, json_headers, unsupported};
use crate::tool_pairs::paired;
use crate::{message_marks, tool_ids};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The version of the API that this code knows. Source: <https://platform.claude.com/docs/en/api/versioning>.
pub const VERSION: &str = "2023-06-01";

/// The longest answer, when neither the caller nor the catalogue says.
const MAX_TOKENS: u64 = 4096;

/// The length of a made tool-call id.
const ID_LENGTH: usize = 24;

/// The longest id of an end user. Source: <https://platform.claude.com/docs/en/api/messages/create>, `metadata`.
const LONGEST_USER: usize = 256;

/// The most marks for the cache. Source: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>.
const MOST_MARKS: usize = 4;

/// The previews that are switched on. Those of a caller of the dialect go along.
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// The request for `v1/messages`, or for `v1/messages/count_tokens`.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let path = match ask.wanted.operation {
        Operation::Chat => "v1/messages",
        Operation::CountTokens => "v1/messages/count_tokens",
        other => return Err(unsupported("model", &format!("this provider has no {other}"))),
    };
    let mut fit = Fit::new(ask.unsupported);
    let (body, previews) = match ask.wanted.form {
        Form::Own => (as_it_came(ask, &mut fit)?, Vec::new()),
        Form::Agnostic => agnostic(ask, &mut fit)?,
    };
    let headers = headers(ask, &previews)?;
    Ok(Spelled { path: RequestPath::fixed(path), headers, body, dropped: fit.dropped() })
}

fn headers(ask: &FormatRequest<'_>, previews: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = json_headers(ask.wanted.delivery);
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Failure::gateway(FailureKind::BadRequest, "a header holds characters that no header can hold"))
    };
    let version = ask.settings.api_version.as_deref().unwrap_or(VERSION);
    headers.insert(HeaderName::from_static("anthropic-version"), value(version)?);
    let carried = ask.headers.get(BETA.as_str()).map(String::as_str);
    let new = previews.iter().map(String::as_str);
    let new = new.filter(|preview| !carried.is_some_and(|carried| carried.contains(preview)));
    let all: Vec<&str> = carried.into_iter().chain(new).collect();
    if !all.is_empty() {
        headers.insert(BETA, value(&all.join(","))?);
    }
    Ok(headers)
}

/// The previews that fields and tools of a request need, which callers of other dialects cannot switch on: they are refused as
/// unknown without. Sources: <https://github.com/BerriAI/litellm/pull/27593>,
/// <https://github.com/experientiallabs/experiential/pull/679>, <https://platform.claude.com/docs/en/build-with-claude/context-editing>,
/// <https://platform.claude.com/docs/en/agents-and-tools/mcp-connector>,
/// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/computer-use-tool>.
fn previews(Request { rest, tools, .. }: &Request) -> Vec<String> {
    let edits = rest.get("context_management").and_then(|management| management.get("edits")?.as_array());
    let compacts = |edit: &Value| edit["type"].as_str().is_some_and(|kind| kind.starts_with("compact"));
    let mut previews = Vec::new();
    if edits.is_some_and(|edits| edits.iter().any(compacts)) {
        previews.push("compact-2026-01-12");
    }
    if rest.contains_key("context_management") && !edits.is_some_and(|edits| edits.iter().all(compacts)) {
        previews.push("context-management-2025-06-27");
    }
    if rest.get("speed").is_some_and(|speed| speed == "fast") {
        previews.push("fast-mode-2026-02-01");
    }
    let kinds = || tools.iter().filter_map(|tool| tool["type"].as_str());
    if rest.contains_key("mcp_servers") {
        // With sets of tools the connector is the newer one.
        let has_sets = kinds().any(|kind| kind == "mcp_toolset");
        previews.push(if has_sets { "mcp-client-2025-11-20" } else { "mcp-client-2025-04-04" });
    }
    let computers = kinds().filter_map(|kind| kind.strip_prefix("computer_"));
    let computers = computers.filter(|date| date.len() == 8 && date.is_ascii());
    let computers = computers.map(|date| format!("computer-use-{}-{}-{}", &date[..4], &date[4..6], &date[6..]));
    previews.into_iter().map(str::to_owned).chain(computers).collect()
}

/// The caller's bytes, every other one as it came.
fn as_it_came(ask: &FormatRequest<'_>, fit: &mut Fit) -> Result<Bytes, Failure> {
    let body = text(ask.body)?;
    let is_claude = is_claude(ask.model.as_str());
    let unmarked = if is_claude { None } else { cache_marks::plain(body, fit)? };
    let body = unmarked.as_deref().unwrap_or(body);
    let folded = system_turns::folded(body, ask.model.as_str())?;
    let body = folded.as_deref().unwrap_or(body);
    let fields = Fields::read(body)?;
    let taken = if is_claude { own::fitted(body, &fields, ask.model.as_str(), fit)? } else { None };
    let (body, fields) = match &taken {
        Some(taken) => (taken.as_str(), Fields::read(taken)?),
        None => (body, fields),
    };
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &json!(ask.model.as_str()).to_string());
    if ask.wanted.operation == Operation::Chat {
        if ask.wanted.delivery.is_stream() {
            edit.set(&fields, "stream", "true");
        } else if fields.last("stream").is_some() {
            edit.set(&fields, "stream", "false");
        }
    }
    Ok(edit.finish().into())
}

/// What the request comes to, and the previews that it needs.
fn agnostic(ask: &FormatRequest<'_>, fit: &mut Fit) -> Result<(Bytes, Vec<String>), Failure> {
    let mut chat: ChatRequest = serde_json::from_slice(ask.body)
        .map_err(|error| Failure::gateway(FailureKind::BadRequest, format!("the request cannot be read: {error}")))?;
    let claude = Claude::of(ask.model.as_str());
    chat.messages = paired(std::mem::take(&mut chat.messages), |field| fit.omit(field));
    message_marks::lower(&mut chat.messages);
    tool_ids::unique(&mut chat.messages);
    // Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
    tool_ids::map(&mut chat.messages, ID_LENGTH, |id| {
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    });
    let messages = lift_shown(std::mem::take(&mut chat.messages));
    let (system, turns) = messages::spell(messages, claude, fit)?;
    let longest = ask.card.and_then(|card| card.max_output).unwrap_or(MAX_TOKENS);
    let max_tokens = chat.max_completion_tokens.or(chat.max_tokens).unwrap_or(longest);
    let mut request = Request {
        model: ask.model.as_str().to_owned(),
        max_tokens: Some(max_tokens),
        system,
        messages: turns,
        tools: Vec::new(),
        tool_choice: None,
        thinking: None,
        output_config: Map::new(),
        rest: Map::new(),
    };
    thinking::spell(&chat, claude, &mut request, fit)?;
    tools::spell(&mut chat, ask, &mut request, fit)?;
    thinking::sampling(&chat, claude, &mut request, fit)?;
    rest(&chat, ask, &mut request, fit)?;
    few_marks(&mut request, fit);
    if ask.wanted.operation == Operation::CountTokens {
        request.max_tokens = None;
        request.rest.retain(|name, _| name == "cache_control");
    }
    let previews = previews(&request);
    let bytes = serde_json::to_vec(&request);
    let bytes = bytes.map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()))?;
    Ok((bytes.into(), previews))
}

/// Takes the first marks for the cache away where there are too many: the last ones cover the most. The provider counts
/// them in its order: tools, system, messages.
fn few_marks(request: &mut Request, fit: &mut Fit) {
    // The mark on top, which lets the provider choose, is one of them.
    let most = MOST_MARKS - usize::from(request.rest.contains_key("cache_control"));
    let mut marks = request.marks();
    let too_many = marks.len().saturating_sub(most);
    if too_many > 0 {
        marks.drain(..too_many).for_each(Mark::strike);
        fit.omit("cache_control");
    }
}

/// The fields that stand for themselves, and those that Anthropic has not.
fn rest(chat: &ChatRequest, ask: &FormatRequest<'_>, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    if chat.n.is_some_and(|n| n != 1) {
        fit.cannot("n", "the provider gives one answer")?;
    }
    match chat.user.as_deref() {
        None | Some("") => {}
        Some(user) if is_id(user) => drop(request.rest.insert("metadata".to_owned(), json!({ "user_id": user }))),
        Some(_) => fit.omit("user"),
    }
    if ask.wanted.delivery.is_stream() {
        request.rest.insert("stream".to_owned(), true.into());
    }
    for (name, value) in &chat.extra {
        if is_nothing(name, value) {
            continue;
        }
        match name.as_str() {
            "temperature" | "top_p" | "top_k" => {} // spelt with the thinking
            "stop" => {
                if let Some(stops) = stops(value, fit)? {
                    request.rest.insert("stop_sequences".to_owned(), stops);
                }
            }
            // A list is OpenAI's, which names no edit.
            "context_management" if !value.is_object() => fit.omit(name.as_str()),
            // Anthropic's own, from callers who speak its dialect.
            "cache_control" | "container" | "context_management" | "mcp_servers" | "speed" | "inference_geo" => {
                request.rest.insert(name.clone(), value.clone());
            }
            "service_tier" => match value.as_str() {
                Some("auto") => {}
                // OpenAI's word for it.
                Some("default") => drop(request.rest.insert(name.clone(), "standard_only".into())),
                _ => fit.omit(name.as_str()),
            },
            "metadata"
            | "store"
            | "prediction"
            | "prompt_cache_key"
            | "prompt_cache_options"
            | "prompt_cache_retention"
            | "safety_identifier"
            | "seed"
            | "verbosity" => fit.omit(name.as_str()),
            name if OTHERS_OWN.contains(&name) => fit.omit(name),
            _ => fit.cannot(name.as_str(), "the provider has nothing like it")?,
        }
    }
    Ok(())
}

/// Whether the provider takes it as an end user's id: it refuses what names a person, such as mail addresses and telephone
/// numbers.
fn is_id(user: &str) -> bool {
    let is_number = user.starts_with('+') && user.bytes().filter(u8::is_ascii_digit).count() >= 7;
    let is_mail = user.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    !is_mail && !is_number && user.chars().count() <= LONGEST_USER
}

fn stops(value: &Value, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let all = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(all) => all,
        _ => return Err(wrong("stop", "it must be a text or a list of texts")),
    };
    let mut stops = Vec::with_capacity(all.len());
    for stop in all {
        match stop.as_str() {
            None => return Err(wrong("stop", "it must be a text or a list of texts")),
            Some("") => {}
            Some(text) if text.trim().is_empty() => fit.cannot("stop", "the provider takes no white space alone")?,
            Some(text) => stops.push(text),
        }
    }
    Ok((!stops.is_empty()).then(|| json!(stops)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Unsupported};
    use penstock_schemas::name::ModelId;
    use std::collections::BTreeMap;

    fn previews_of(more: &Value, carried: Option<&str>) -> String {
        let mut request = json!({ "model": "m", "messages": [{ "role": "user", "content": "a" }] });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let headers: BTreeMap<_, _> =
            carried.map(|carried| (BETA.to_string(), carried.to_owned())).into_iter().collect();
        let spelled = spell(&FormatRequest {
            wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
            body: &Bytes::from(request.to_string()),
            content_type: None,
            headers: &headers,
            model: &ModelId::parse("claude-opus-4-8").unwrap(),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        });
        let headers = spelled.unwrap().headers;
        headers.get(&BETA).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_previews_that_a_chats_fields_need_at_claude_are_switched_on() {
        let edits = |kinds: &[&str]| {
            let edits: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
            json!({ "context_management": { "edits": edits } })
        };
        let servers = json!([{ "type": "url", "url": "https://mcp.example/sse", "name": "notes" }]);
        for (more, previews) in [
            (json!({}), ""),
            (edits(&["clear_tool_uses_20250919"]), "context-management-2025-06-27"),
            (edits(&["compact_20260112"]), "compact-2026-01-12"),
            (
                edits(&["compact_20260112", "clear_thinking_20251015"]),
                "compact-2026-01-12,context-management-2025-06-27",
            ),
            (json!({ "context_management": {} }), "context-management-2025-06-27"),
            (json!({ "speed": "fast" }), "fast-mode-2026-02-01"),
            (json!({ "speed": "standard" }), ""),
            (json!({ "mcp_servers": servers }), "mcp-client-2025-04-04"),
            (
                json!({ "mcp_servers": servers, "tools": [{ "type": "mcp_toolset", "mcp_server_name": "notes" }] }),
                "mcp-client-2025-11-20",
            ),
            (
                json!({ "tools": [{ "type": "computer_20251124", "name": "computer", "display_width_px": 9, "display_height_px": 9 }] }),
                "computer-use-2025-11-24",
            ),
        ] {
            assert_eq!(previews_of(&more, None), previews, "{more}");
        }
        let fast = json!({ "speed": "fast" });
        assert_eq!(previews_of(&fast, Some("one-2026-01-01")), "one-2026-01-01,fast-mode-2026-02-01");
        assert_eq!(previews_of(&fast, Some("fast-mode-2026-02-01")), "fast-mode-2026-02-01", "it is named once");
    }
}

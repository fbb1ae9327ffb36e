//! Spells a request: OpenAI's, in the fields that Mistral knows, because it refuses those it does not.

use crate::effort::ReasoningWish;
use crate::fit::{Fit, OTHERS_OWN, wrong};
use crate::openai::provider::parts::{fit_messages, is_silent};
use crate::openai::provider::systems;
use crate::provider::{FormatRequest, FormatSettings, Quirk, RequestPath, Spelled, json_headers};
use crate::tool_pairs::paired;
use crate::{chat_rules, tool_ids};
use penstock_schemas::chat::{ChatRequest, Content, Message, Part};
use penstock_schemas::failure::Failure;
use penstock_schemas::model::ModelCard;
use serde_json::{Map, Value, json};

/// What Mistral takes as OpenAI spells it, besides the fields that have a type of their own.
const KNOWN: [&str; 8] = [
    "temperature",
    "top_p",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "prediction",
    "prompt_mode",
    "safe_prompt",
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
    "user",
];

/// The length of its tool-call ids, which are letters and digits alone.
/// Source: <https://docs.mistral.ai/capabilities/function_calling/>; others are refused with code 3280.
const ID: usize = 9;

/// The request for `chat/completions`.
pub(super) fn chat(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut request: ChatRequest =
        serde_json::from_slice(ask.body).map_err(|error| wrong("messages", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    request.model = ask.model.as_str().to_owned();
    request.stream = Some(ask.wanted.delivery.is_stream());
    request.stream_options = None;
    request.max_tokens = request.max_completion_tokens.take().or(request.max_tokens);
    request.n = request.n.filter(|n| *n != 1);
    if request.user.take().is_some() {
        fit.omit("user");
    }
    fit_fields(&mut request.extra, &mut fit)?;
    fit_reasoning(&mut request, ask, &mut fit);
    chat_rules::check_tools(&request)?;
    fit_tools(&mut request, &mut fit)?;
    chat_rules::name_format(&mut request.response_format);
    request.messages = paired(std::mem::take(&mut request.messages), |field| fit.omit(field));
    chat_rules::check_pairs(&request.messages)?;
    tool_ids::map(&mut request.messages, ID, |id| {
        id.len() == ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let messages = std::mem::take(&mut request.messages).into_iter().map(fit_documents).map(own_thought).collect();
    // It knows no role `developer`; its thoughts stay until they are part of the content.
    let quirks = vec![Quirk::NoDeveloperRole, Quirk::ReasoningContent];
    let settings = FormatSettings { quirks, ..FormatSettings::default() };
    request.messages = fit_messages(systems::lead(messages), &settings, &mut fit)?;
    leave_out_videos(&mut request.messages, &mut fit)?;
    finish_messages(&mut request.messages, &mut fit);
    let thinks = ask.model.as_str().starts_with("magistral") || ask.card.is_some_and(is_reasoning);
    request.messages.iter_mut().for_each(|message| put_thought(message, thinks));
    request.messages.retain(|message| !is_silent(message));
    answer_results(&mut request.messages);
    let body = serde_json::to_vec(&request).map_err(|error| wrong("messages", &error.to_string()))?.into();
    let headers = json_headers(ask.wanted.delivery);
    Ok(Spelled { path: RequestPath::fixed("chat/completions"), headers, body, dropped: fit.dropped() })
}

fn is_reasoning(card: &ModelCard) -> bool {
    card.capabilities.iter().any(|capability| capability == "reasoning")
}

/// Keeps thoughts without a signature, as Mistral's are, and removes signed ones: only the provider that signed them can use them.
fn own_thought(mut message: Message) -> Message {
    let details = message.reasoning_details.take().unwrap_or_default();
    if details.iter().any(|detail| detail.format.is_some()) {
        message.reasoning_content = None;
    } else if message.reasoning_content.is_none() {
        let thought: String = details.into_iter().filter_map(|detail| detail.text).collect();
        message.reasoning_content = Some(thought).filter(|thought| !thought.is_empty());
    }
    message
}

/// Puts what an assistant thought where the model's own answers have it; others than reasoning models know no such part.
/// Source: <https://docs.mistral.ai/capabilities/reasoning/>.
fn put_thought(message: &mut Message, thinks: bool) {
    let Some(thought) = message.reasoning_content.take().filter(|_| thinks && message.role == "assistant") else {
        return;
    };
    let chunk = json!([{ "type": "text", "text": thought }]);
    let extra = Map::from_iter([("thinking".to_owned(), chunk)]);
    let mut parts = vec![Part { kind: "thinking".to_owned(), extra, ..Part::default() }];
    parts.extend(message.content.take().map(Content::into_parts).unwrap_or_default());
    parts.retain(|part| part.text.as_ref().is_none_or(|text| !text.is_empty()));
    message.content = Some(Content::Parts(parts));
}

/// It sees images, and no videos.
fn leave_out_videos(messages: &mut [Message], fit: &mut Fit) -> Result<(), Failure> {
    for (at, message) in messages.iter_mut().enumerate() {
        let Some(Content::Parts(parts)) = &mut message.content else { continue };
        if let Some(place) = parts.iter().position(|part| part.kind == "video_url") {
            fit.cannot(format!("messages[{at}].content[{place}].type"), "Mistral takes no videos")?;
            parts.retain(|part| part.kind != "video_url");
        }
    }
    Ok(())
}

fn fit_fields(extra: &mut Map<String, Value>, fit: &mut Fit) -> Result<(), Failure> {
    if let Some(seed) = extra.shift_remove("seed").filter(|seed| !seed.is_null()) {
        extra.insert("random_seed".to_owned(), seed);
    }
    let names: Vec<String> = extra.keys().cloned().collect();
    for name in names {
        if KNOWN.contains(&name.as_str()) || name == "random_seed" {
            continue;
        }
        let value = extra.shift_remove(&name).unwrap_or_default();
        let is_nothing = value.is_null() || value == json!(false) || value == json!({}) || value == json!([]);
        match name.as_str() {
            // An empty object switches it on.
            "web_search_options" if !value.is_null() => fit.cannot(name, "Mistral's models do not search")?,
            _ if is_nothing => {}
            "modalities" if value == json!(["text"]) => {}
            name if HARMLESS.contains(&name) || OTHERS_OWN.contains(&name) || name == "top_k" => fit.omit(name),
            name => fit.cannot(name, "Mistral does not take it")?,
        }
    }
    Ok(())
}

/// One knob with two positions. Source: <https://docs.mistral.ai/capabilities/reasoning/>.
fn fit_reasoning(request: &mut ChatRequest, ask: &FormatRequest<'_>, fit: &mut Fit) {
    let wish = ReasoningWish::of(request).0;
    let is_off = wish == ReasoningWish::Off;
    let is_on = !is_off && wish != ReasoningWish::Unsaid;
    (request.reasoning, request.reasoning_effort) = (None, None);
    let reasons = ask.card.is_none_or(is_reasoning);
    // Models of this name always reason, and know no knob.
    let is_fixed = ask.model.as_str().starts_with("magistral");
    if is_on && !reasons {
        fit.omit("reasoning_effort");
    } else if reasons && !is_fixed && (is_on || is_off) {
        request.reasoning_effort = Some(if is_on { "high" } else { "none" }.to_owned());
    }
}

fn fit_tools(request: &mut ChatRequest, fit: &mut Fit) -> Result<(), Failure> {
    let mut kept = Vec::new();
    for (at, mut tool) in request.tools.take().unwrap_or_default().into_iter().enumerate() {
        let Some(function) = tool.function.as_mut().filter(|_| tool.kind == "function") else {
            fit.cannot(format!("tools[{at}].type"), "Mistral takes functions alone")?;
            continue;
        };
        function.parameters.get_or_insert_with(|| json!({"type": "object", "properties": {}}));
        tool.cache_control = None;
        kept.push(tool);
    }
    if kept.is_empty() {
        (request.tool_choice, request.parallel_tool_calls) = (None, None);
        return Ok(());
    }
    request.tools = Some(kept);
    // Its older word for it; `auto`, `none` and a function by its name are spelt alike.
    match &request.tool_choice {
        Some(choice) if *choice == json!("required") => request.tool_choice = Some(json!("any")),
        Some(choice) if choice["type"] == "allowed_tools" || choice["type"] == "custom" => {
            request.tool_choice = None;
            fit.cannot("tool_choice", "Mistral takes `auto`, `none`, `required` or a function")?;
        }
        _ => {}
    }
    Ok(())
}

/// Documents and audio as Mistral spells them. Sources: <https://docs.mistral.ai/capabilities/document_ai/document_qna/>,
/// <https://docs.mistral.ai/capabilities/audio_transcription/>.
fn fit_documents(mut message: Message) -> Message {
    let Some(Content::Parts(parts)) = &mut message.content else { return message };
    for part in parts {
        if let Some(file) = part.file.take() {
            let url = file.file_data.or(file.file_url);
            let (kind, field, value) = match (url, file.file_id) {
                (Some(url), _) => ("document_url", "document_url", url),
                (None, id) => ("file", "file_id", id.unwrap_or_default()),
            };
            kind.clone_into(&mut part.kind);
            part.extra.insert(field.to_owned(), value.into());
            if let Some(name) = file.filename.filter(|_| kind == "document_url") {
                part.extra.insert("document_name".to_owned(), name.into());
            }
        }
        if let Some(audio) = part.input_audio.take() {
            part.extra.insert("input_audio".to_owned(), audio.data.into());
        }
    }
    message
}

/// The last word may not be an assistant's, unless it is to be gone on with; results of tools have a name field, not more.
fn finish_messages(messages: &mut [Message], fit: &mut Fit) {
    for (at, message) in messages.iter_mut().enumerate() {
        if message.role != "tool" && message.extra.get("name").is_some_and(|name| !name.is_null()) {
            fit.omit(format!("messages[{at}].name"));
        }
        message.refusal = None;
        // It refuses members that it does not know, and clients give back whatever an answer held.
        message.extra.retain(|name, _| message.role == "tool" && name == "name");
        message.tool_calls.iter_mut().flatten().for_each(|call| call.extra.clear());
        // A part of text is all that its assistants and systems may say.
        if let Some(Content::Parts(parts)) = &mut message.content {
            parts.retain(|part: &Part| part.kind != "refusal");
        }
    }
    if let Some(last) = messages.last_mut().filter(|last| last.role == "assistant" && last.tool_calls.is_none()) {
        last.extra.insert("prefix".to_owned(), true.into());
    }
}

/// What stands for the assistant's word that Mistral wants between results of tools and anyone else's.
const NOTED: &str = "Noted.";

/// Behind results of tools only an assistant may speak, or another result: else it refuses with code 3230, "Unexpected role
/// 'user' after role 'tool'". People who interrupt a tool, and images that a tool gave, come from the user.
/// Source: <https://github.com/mistralai/mistral-common/blob/main/src/mistral_common/protocol/instruct/validator.py>.
fn answer_results(messages: &mut Vec<Message>) {
    let mut at = 1;
    while at < messages.len() {
        let is_cut_short =
            messages[at - 1].role == "tool" && !matches!(messages[at].role.as_str(), "tool" | "assistant");
        if is_cut_short {
            let content = Some(Content::Text(NOTED.to_owned()));
            messages.insert(at, Message { role: "assistant".to_owned(), content, ..Message::default() });
        }
        at += 1;
    }
}

/// The request for `embeddings`. Source: <https://docs.mistral.ai/api/endpoint/embeddings>.
pub(super) fn embeddings(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let mut request: Map<String, Value> =
        serde_json::from_slice(ask.body).map_err(|error| wrong("input", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    request.insert("model".to_owned(), ask.model.as_str().into());
    if let Some(dimensions) = request.shift_remove("dimensions").filter(|dimensions| !dimensions.is_null()) {
        request.insert("output_dimension".to_owned(), dimensions);
    }
    // It makes the same vectors for every purpose.
    for name in ["user", "input_type"] {
        if request.shift_remove(name).is_some() {
            fit.omit(name);
        }
    }
    let (path, headers) = (RequestPath::fixed("embeddings"), json_headers(ask.wanted.delivery));
    let body = Value::Object(request).to_string().into();
    Ok(Spelled { path, headers, body, dropped: fit.dropped() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_results_of_tools_an_assistant_speaks_before_anyone_else() {
        let order = |roles: &[&str]| {
            let message = |role: &&str| Message { role: (*role).to_owned(), ..Message::default() };
            let mut messages: Vec<Message> = roles.iter().map(message).collect();
            answer_results(&mut messages);
            messages.iter().map(|message| message.role.clone()).collect::<Vec<_>>().join(" ")
        };
        let calls = ["user", "assistant", "tool", "tool"];
        assert_eq!(order(&calls), "user assistant tool tool");
        assert_eq!(order(&[&calls[..], &["assistant", "user"]].concat()), "user assistant tool tool assistant user");
        assert_eq!(order(&[&calls[..], &["user", "user"]].concat()), "user assistant tool tool assistant user user");
        assert_eq!(order(&["tool", "system"]), "tool assistant system");
        assert_eq!(order(&[]), "");
    }

    #[test]
    fn thoughts_that_nobody_signed_go_back_to_a_model_that_thinks() {
        let back = |message: Value, thinks: bool| {
            let mut message = own_thought(serde_json::from_value(message).unwrap());
            put_thought(&mut message, thinks);
            json!(message)
        };
        let thought = json!({"role": "assistant", "content": "391", "reasoning_content": "17 * 23"});
        let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "17 * 23"}]}, {"type": "text", "text": "391"}]);
        assert_eq!(back(thought.clone(), true), json!({"role": "assistant", "content": parts}));
        assert_eq!(back(thought.clone(), false), json!({"role": "assistant", "content": "391"}));
        let mut of_another = thought;
        of_another["reasoning_details"] =
            json!([{"type": "reasoning.text", "text": "17 * 23", "signature": "s", "format": "anthropic-claude-v1"}]);
        assert_eq!(back(of_another, true), json!({"role": "assistant", "content": "391"}));
    }

    #[test]
    fn an_assistant_that_says_and_calls_nothing_is_left_out() {
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: Some(Content::Text(content.to_owned())),
            ..Message::default()
        };
        assert!(is_silent(&message("assistant", " ")) && is_silent(&message("system", "")));
        assert!(!is_silent(&message("assistant", "a")) && !is_silent(&message("user", "")));
        assert!(!is_silent(&message("tool", "")));
    }
}

//! Fields of other APIs that clients put into a chat, in the agnostic form's own words: Anthropic's `thinking`, its thoughts as
//! LiteLLM's clients give them back, `thinking_blocks`, and Gemini's signatures of calls as Google's own OpenAI endpoint and
//! LiteLLM give them, `extra_content` and `provider_specific_fields`, Mistral's thoughts in the content, vLLM's `audio_url`; and
//! what its parts read. Knows no provider. Sources: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
//! <https://docs.litellm.ai/docs/reasoning_content>, <https://ai.google.dev/gemini-api/docs/thought-signatures#openai>.

use crate::data_url;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::chat::Issuer;
use serde_json::{Map, Value, json};

mod blocks;
mod functions;

const WISH: &str = "thinking";

const BLOCKS: &str = "thinking_blocks";

/// What a chat model painted, as OpenRouter gives it and as we do.
/// Source: <https://openrouter.ai/docs/features/multimodal/image-generation>.
const IMAGES: &str = "images";

/// Audio at an address.
/// Source: <https://docs.vllm.ai/en/latest/features/multimodal_inputs.html#audio-inputs>.
const AUDIO: &str = "audio_url";

/// Where a call has its signature: a member, and the way to it from there.
const SIGNED: [(&str, &str); 2] =
    [("extra_content", "/google/thought_signature"), ("provider_specific_fields", "/thought_signature")];

/// A request in the agnostic form's words.
pub(super) struct SettledBody {
    pub(super) body: Bytes,
    /// Whether its answer is to be in the words of `function_call`.
    pub(super) is_old: bool,
}

/// The request in the agnostic form's words; `None` when it is.
pub(super) fn settle(body: &Bytes) -> Option<SettledBody> {
    let has_own =
        [WISH, BLOCKS, IMAGES, AUDIO, SIGNED[0].0, SIGNED[1].0].iter().any(|name| has(body, &format!("\"{name}\"")));
    if !has_own && !functions::is_told(body) && !blocks::is_told(body) {
        return None;
    }
    let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let (has_functions, is_old) = functions::settle(&mut request);
    let are_settled = [
        settle_chunks(&mut request),
        blocks::settle(&mut request),
        settle_wish(&mut request),
        settle_thoughts(&mut request),
        settle_images(&mut request),
        has_functions,
    ];
    let body = Value::Object(request).to_string().into();
    are_settled.contains(&true).then_some(SettledBody { body, is_old })
}

/// A chat that goes to a server of its own dialect with the calls and tools of other dialects in a chat's words; `None` when it
/// has none.
pub(super) fn settle_calls(body: &Bytes) -> Option<Bytes> {
    if !blocks::is_told_of_calls(body) {
        return None;
    }
    let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    blocks::settle(&mut request).then(|| Value::Object(request).to_string().into())
}

/// A chat that goes to a server of its own dialect with the older words for tools in today's; `None` when it has none of them.
pub(super) fn settle_functions(body: &Bytes) -> Option<SettledBody> {
    if !functions::is_told(body) {
        return None;
    }
    let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let (is_settled, is_old) = functions::settle(&mut request);
    if is_old {
        // Some servers refuse it, and clients of `functions` are given the first call alone.
        request.shift_remove("parallel_tool_calls");
    }
    is_settled.then(|| SettledBody { body: Value::Object(request).to_string().into(), is_old })
}

fn has(body: &[u8], word: &str) -> bool {
    memmem::find(body, word.as_bytes()).is_some()
}

/// The value of a member whose name ends here; `None` when it was no name.
fn member_at(behind: &[u8]) -> Option<&[u8]> {
    Some(behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// `thinking` as `reasoning`.
fn settle_wish(request: &mut Map<String, Value>) -> bool {
    let Some(thinking) = request.get("thinking").filter(|thinking| thinking.is_object()) else { return false };
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
    let reasoning = match (thinking.get("type").and_then(Value::as_str), budget) {
        (Some("disabled"), _) => json!({ "enabled": false }),
        (_, Some(budget)) => json!({ "max_tokens": budget }),
        (Some("enabled" | "adaptive" | "auto"), None) => json!({ "enabled": true }),
        _ => return false,
    };
    request.shift_remove("thinking");
    let is_said =
        ["reasoning", "reasoning_effort"].iter().any(|name| request.get(*name).is_some_and(|it| !it.is_null()));
    if !is_said {
        request.insert("reasoning".to_owned(), reasoning);
    }
    true
}

/// Parts of messages: thoughts in chunks, as Mistral's answers have them, become `reasoning_content`; audio at a data URL is
/// what it holds. Source: <https://docs.mistral.ai/capabilities/reasoning/>.
fn settle_chunks(request: &mut Map<String, Value>) -> bool {
    let messages = request.get_mut("messages").and_then(Value::as_array_mut);
    let mut is_settled = false;
    for message in messages.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(Value::Array(parts)) = message.get_mut("content") else { continue };
        let is_thought = |part: &Value| part["type"] == "thinking" && part["thinking"].is_array();
        let texts = parts.iter().filter(|part| is_thought(part)).flat_map(|part| part["thinking"].as_array());
        let thought: String = texts.flatten().filter_map(|text| text["text"].as_str()).collect();
        let before = parts.len();
        parts.retain(|part| !is_thought(part));
        is_settled |= parts.len() != before;
        for part in parts.iter_mut().filter(|part| part["type"] == AUDIO) {
            if let Some(audio) = part.pointer("/audio_url/url").and_then(Value::as_str).and_then(audio) {
                *part = audio;
                is_settled = true;
            }
        }
        if !thought.is_empty() && message.get("reasoning_content").is_none_or(Value::is_null) {
            message.insert("reasoning_content".to_owned(), thought.into());
        }
    }
    is_settled
}

/// Audio in a data URL as a chat has it.
fn audio(url: &str) -> Option<Value> {
    let (kind, data) = data_url::parts(url)?;
    let format = match kind.split(';').next()?.trim().strip_prefix("audio/")? {
        "mpeg" => "mp3",
        "x-wav" | "wave" | "vnd.wave" => "wav",
        "x-m4a" | "mp4" => "m4a",
        other => other,
    };
    Some(json!({ "type": "input_audio", "input_audio": { "data": data, "format": format } }))
}

/// Thoughts and signatures of messages as `reasoning_details`, which count where a message has both.
fn settle_thoughts(request: &mut Map<String, Value>) -> bool {
    let messages = request.get_mut("messages").and_then(Value::as_array_mut);
    let mut is_settled = false;
    for message in messages.into_iter().flatten().filter_map(Value::as_object_mut) {
        let blocks = message.shift_remove(BLOCKS);
        let others = message.shift_remove(SIGNED[1].0);
        is_settled |= blocks.is_some() || others.is_some();
        let blocks = blocks.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut details: Vec<Value> = blocks.filter_map(detail).collect();
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            for (name, way) in SIGNED {
                let Some(member) = call.shift_remove(name) else { continue };
                is_settled = true;
                let signature = member.pointer(way).and_then(Value::as_str).filter(|signature| !signature.is_empty());
                details.extend(signature.map(|data| {
                    json!({ "type": "reasoning.encrypted", "data": data, "id": call.get("id"), "format": Issuer::Google })
                }));
            }
        }
        if !details.is_empty() && message.get("reasoning_details").is_none_or(Value::is_null) {
            message.insert("reasoning_details".to_owned(), details.into());
        }
    }
    is_settled
}

/// Images of an answer that comes back as parts of its content.
fn settle_images(request: &mut Map<String, Value>) -> bool {
    let messages = request.get_mut("messages").and_then(Value::as_array_mut);
    let mut is_settled = false;
    for message in messages.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(Value::Array(images)) = message.shift_remove(IMAGES) else { continue };
        is_settled = true;
        if images.is_empty() {
            continue;
        }
        let mut parts = match message.shift_remove("content") {
            Some(Value::String(text)) if !text.is_empty() => vec![json!({ "type": "text", "text": text })],
            Some(Value::Array(parts)) => parts,
            _ => Vec::new(),
        };
        let url = |image: &Value| image.pointer("/image_url/url").filter(|url| url.is_string()).cloned();
        parts.extend(
            images.iter().filter_map(url).map(|url| json!({ "type": "image_url", "image_url": { "url": url } })),
        );
        message.insert("content".to_owned(), parts.into());
    }
    is_settled
}

/// A block of Anthropic's as a detail. One without a signature is no one's to take back.
fn detail(block: &Value) -> Option<Value> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match block.get("type")?.as_str()? {
        "thinking" => Some(json!({
            "type": "reasoning.text",
            "text": text("thinking").unwrap_or_default(),
            "signature": text("signature")?,
            "format": Issuer::Anthropic,
        })),
        "redacted_thinking" => {
            Some(json!({ "type": "reasoning.encrypted", "data": text("data")?, "format": Issuer::Anthropic }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(body: &Bytes) -> Option<Bytes> {
        super::settle(body).map(|settled| settled.body)
    }

    #[test]
    fn thinking_is_reasoning() {
        let settled = |request: Value| {
            settle(&request.to_string().into()).map(|body| serde_json::from_slice::<Value>(&body).unwrap())
        };
        for (thinking, reasoning) in [
            (json!({"type": "enabled", "budget_tokens": 2048}), json!({"max_tokens": 2048})),
            (json!({"budget_tokens": 2048}), json!({"max_tokens": 2048})),
            (json!({"type": "disabled"}), json!({"enabled": false})),
            (json!({"type": "adaptive"}), json!({"enabled": true})),
        ] {
            let found = settled(json!({"model": "m", "thinking": thinking})).unwrap();
            assert_eq!(found, json!({"model": "m", "reasoning": reasoning}));
        }
        let both = settled(json!({"reasoning_effort": "low", "thinking": {"type": "enabled"}})).unwrap();
        assert_eq!(both, json!({"reasoning_effort": "low"}));
        for other in
            [json!({"messages": [{"content": "\"thinking\""}]}), json!({"thinking": true}), json!({"thinking": {}})]
        {
            assert_eq!(settled(other), None);
        }
    }

    #[test]
    fn images_of_an_answer_that_comes_back_are_parts_of_it() {
        let images = json!([{"type": "image_url", "index": 0, "image_url": {"url": "data:image/png;base64,AA=="}}]);
        let request = json!({"messages": [{"role": "assistant", "content": "Here", "images": images},
            {"role": "assistant", "content": null, "images": images}, {"role": "assistant", "content": "x", "images": []}]});
        let settled: Value = serde_json::from_slice(&settle(&request.to_string().into()).unwrap()).unwrap();
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        assert_eq!(
            settled["messages"],
            json!([{"role": "assistant", "content": [{"type": "text", "text": "Here"}, image]},
            {"role": "assistant", "content": [image]}, {"role": "assistant", "content": "x"}])
        );
    }

    #[test]
    fn thoughts_that_litellms_clients_give_back_are_details_of_their_issuer() {
        let blocks = json!([{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
            {"type": "thinking", "thinking": "unsigned"}]);
        let request = json!({"messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "thinking_blocks": blocks},
            {"role": "assistant", "content": "b", "thinking_blocks": null},
            {"role": "assistant", "content": "b", "thinking_blocks": blocks, "reasoning_details": []}]});
        let settled: Value = serde_json::from_slice(&settle(&request.to_string().into()).unwrap()).unwrap();
        let details = json!([{"type": "reasoning.text", "text": "", "signature": "s", "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"}]);
        assert_eq!(
            settled["messages"],
            json!([{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "reasoning_details": details}, {"role": "assistant", "content": "b"},
            {"role": "assistant", "content": "b", "reasoning_details": []}])
        );
        let call = |more: Value| {
            let mut call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call]}]})
        };
        let mut signed = call(json!({}));
        signed["messages"][0]["reasoning_details"] =
            json!([{"type": "reasoning.encrypted", "data": "s", "id": "c", "format": "google-gemini-v1"}]);
        for theirs in [
            json!({"extra_content": {"google": {"thought_signature": "s"}}}),
            json!({"provider_specific_fields": {"thought_signature": "s"}}),
        ] {
            let settled: Value = serde_json::from_slice(&settle(&call(theirs).to_string().into()).unwrap()).unwrap();
            assert_eq!(settled, signed);
        }
        let with = json!({"messages": [{"role": "user", "content": "of \"thinking\""}]});
        assert_eq!(settle(&with.to_string().into()), None);
    }

    #[test]
    fn thoughts_in_chunks_and_audio_at_a_data_url_are_a_chats_own() {
        let chunk = json!({"type": "thinking", "thinking": [{"type": "text", "text": "17 "}, {"type": "text", "text": "* 23"}], "closed": true});
        let audio = |url: &str| json!({"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": url}}]});
        let request = json!({"messages": [
            {"role": "assistant", "content": [chunk, {"type": "text", "text": "391"}]},
            audio("data:audio/mpeg;base64,AAAA"), audio("https://a.example/b.mp3")]});
        let settled: Value = serde_json::from_slice(&settle(&request.to_string().into()).unwrap()).unwrap();
        let said =
            json!({"role": "assistant", "content": [{"type": "text", "text": "391"}], "reasoning_content": "17 * 23"});
        assert_eq!(settled["messages"][0], said);
        let heard = json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]);
        assert_eq!(settled["messages"][1]["content"], heard);
        assert_eq!(settled["messages"][2], audio("https://a.example/b.mp3"));
    }
}

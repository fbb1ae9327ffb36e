//! Marks for the cache that stand on a whole message, as clients of LiteLLM and OpenRouter write them: they belong to the last
//! of what it says. A tool's result keeps its own. Knows no provider.
//! Sources: <https://github.com/MAXeaglet/commandcode-proxy/pull/5>, <https://github.com/BerriAI/litellm/issues/12695>.

use penstock_schemas::chat::{Content, Message};

/// Puts each such mark on the message's last call, or else on its last part.
pub(crate) fn lower(messages: &mut [Message]) {
    for message in messages.iter_mut().filter(|message| message.role != "tool") {
        let Some(mark) = message.cache_control.take() else { continue };
        if let Some(call) = message.tool_calls.iter_mut().flatten().last() {
            call.extra.entry("cache_control").or_insert(mark);
            continue;
        }
        let mut parts = message.content.take().map(Content::into_parts).unwrap_or_default();
        if let Some(last) = parts.last_mut() {
            last.cache_control.get_or_insert(mark);
            message.content = Some(Content::Parts(parts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mark_on_a_message_is_one_on_the_last_of_what_it_says() {
        let mark = json!({ "type": "ephemeral" });
        let text = |text: &str| json!({ "type": "text", "text": text });
        let marked = |text: &str| json!({ "type": "text", "text": text, "cache_control": mark });
        let call = json!({ "id": "c", "function": { "name": "f", "arguments": "{}" } });
        let mut marked_call = call.clone();
        marked_call["cache_control"] = mark.clone();
        let mut messages: Vec<Message> = serde_json::from_value(json!([
            { "role": "user", "content": "a", "cache_control": mark },
            { "role": "user", "content": [text("a"), text("b")], "cache_control": mark },
            { "role": "assistant", "content": "a", "tool_calls": [call, call], "cache_control": mark },
            { "role": "tool", "tool_call_id": "c", "content": "a", "cache_control": mark },
            { "role": "user", "content": "a" },
        ]))
        .unwrap();
        lower(&mut messages);
        let lowered: Vec<Message> = serde_json::from_value(json!([
            { "role": "user", "content": [marked("a")] },
            { "role": "user", "content": [text("a"), marked("b")] },
            { "role": "assistant", "content": "a", "tool_calls": [call, marked_call] },
            { "role": "tool", "tool_call_id": "c", "content": "a", "cache_control": mark },
            { "role": "user", "content": "a" },
        ]))
        .unwrap();
        assert_eq!(messages, lowered);
    }
}

//! A request without the thoughts that its provider does not take back, because they were sealed for another account or model,
//! or came back changed: an answer without them is better than none. Knows nothing of who tries again.
//! Sources: <https://github.com/pydantic/pydantic-ai/pull/4621>, <https://github.com/ding113/claude-code-hub/issues/518>,
//! <https://github.com/sifxprime/krouter/pull/17>, <https://github.com/NoeFabris/opencode-antigravity-auth/issues/368>.

use crate::json::RawObject;
use crate::provider::Form;
use bytes::Bytes;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value};

/// What such a request lacks, in the list of what was left out.
pub(crate) const NAME: &str = "reasoning";

/// Whether a provider refuses a request for its earlier thoughts. Only OpenAI has a code for it.
pub(crate) fn are_refused(failure: &Failure) -> bool {
    let says = |words: &str| failure.message.contains(words);
    failure.kind == FailureKind::BadRequest
        && (failure.provider_code.as_deref() == Some("invalid_encrypted_content")
            || says("Invalid `signature` in `thinking` block")
            || says("hought signature is not valid")
            || says("orrupted thought signature"))
}

/// The request without them; `None` when it holds none.
pub(crate) fn without(form: Form, caller: Dialect, body: &Bytes) -> Option<Bytes> {
    let mut request = RawObject::read(body).ok()?;
    let is_changed = match (form, caller.form()) {
        (Form::Own, Dialect::Responses) => change(&mut request, "input", |items| {
            let is_sealed = |item: &Value| item["type"] == "reasoning" && item["encrypted_content"].is_string();
            remove(items, is_sealed)
        }),
        (Form::Own, Dialect::Anthropic) => forget_claude(&mut request),
        (Form::Own, Dialect::Google) => change(&mut request, "contents", |contents| {
            each(contents, "parts").map(|part| take(part, &["thoughtSignature", "thought_signature"])).fold(false, or)
        }),
        _ => change(&mut request, "messages", |messages| {
            let calls = each(messages, "tool_calls").map(|call| take(call, &["extra_content"])).fold(false, or);
            let messages = messages.iter_mut().filter_map(Value::as_object_mut);
            messages.map(|message| take(message, &["reasoning_details"])).fold(calls, or)
        }),
    };
    is_changed.then(|| request.to_vec().into())
}

/// Claude's: without the thoughts of the turn that is going on, it is asked not to think, which it otherwise insists on.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#toggling-thinking-modes-in-conversations>.
fn forget_claude(request: &mut RawObject) -> bool {
    let mut is_in_turn = false;
    let is_changed = change(request, "messages", |messages| {
        let is_thought = |block: &Value| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"));
        let mut is_changed = false;
        for content in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
            is_changed |= remove(content, is_thought);
        }
        messages.retain(|message| message["content"].as_array().is_none_or(|content| !content.is_empty()));
        let last = messages.iter().rfind(|message| message["role"] == "assistant");
        let blocks = last.and_then(|message| message["content"].as_array()).into_iter().flatten();
        is_in_turn = blocks.into_iter().any(|block| block["type"] == "tool_use");
        is_changed
    });
    let thinking = request.get("thinking").map(|thinking| thinking.get().contains("\"enabled\""));
    if is_changed && is_in_turn && thinking == Some(true) {
        request.remove("thinking");
        request.remove("context_management"); // that of thoughts is refused where there are none
    }
    is_changed
}

/// Changes a list of the request; whether it did.
fn change(request: &mut RawObject, name: &str, with: impl FnOnce(&mut Vec<Value>) -> bool) -> bool {
    let list = request.get(name).and_then(|list| serde_json::from_str::<Vec<Value>>(list.get()).ok());
    let Some(mut list) = list else { return false };
    let is_changed = with(&mut list);
    if is_changed {
        request.set(name, &list);
    }
    is_changed
}

/// The objects in this list of each item.
fn each<'a>(items: &'a mut [Value], name: &'a str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let lists = items.iter_mut().filter_map(move |item| item.get_mut(name)?.as_array_mut());
    lists.flatten().filter_map(Value::as_object_mut)
}

fn take(object: &mut Map<String, Value>, names: &[&str]) -> bool {
    names.iter().map(|name| object.shift_remove(*name).is_some()).fold(false, or)
}

fn remove(items: &mut Vec<Value>, is_wanted: impl Fn(&Value) -> bool) -> bool {
    let before = items.len();
    items.retain(|item| !is_wanted(item));
    items.len() < before
}

fn or(one: bool, other: bool) -> bool {
    one || other
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(form: Form, caller: Dialect, request: &Value) -> Option<Value> {
        without(form, caller, &request.to_string().into())
            .map(|left| serde_json::from_slice(&left).expect("it is JSON"))
    }

    #[test]
    fn thoughts_go_and_what_was_said_stays_in_every_dialect() {
        let said = json!({"type": "text", "text": "b"});
        let thought = json!({"type": "thinking", "thinking": "t", "signature": "s"});
        let item = json!({"type": "message", "role": "user", "content": "a"});
        for (form, caller, request, expected) in [
            (
                Form::Own,
                Dialect::Responses,
                json!({"input": [item, {"type": "reasoning", "encrypted_content": "x"}, {"type": "reasoning", "id": "rs_1"}]}),
                json!({"input": [item, {"type": "reasoning", "id": "rs_1"}]}),
            ),
            (
                Form::Own,
                Dialect::Anthropic,
                json!({"thinking": {"type": "enabled"}, "messages": [{"role": "assistant", "content": [thought, said]}]}),
                json!({"thinking": {"type": "enabled"}, "messages": [{"role": "assistant", "content": [said]}]}),
            ),
            (
                Form::Own,
                Dialect::Google,
                json!({"contents": [{"parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s"}]}]}),
                json!({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}),
            ),
            (
                Form::Agnostic,
                Dialect::Anthropic,
                json!({"messages": [{"role": "assistant", "content": "b", "reasoning_details": [{}]}]}),
                json!({"messages": [{"role": "assistant", "content": "b"}]}),
            ),
        ] {
            assert_eq!(left(form, caller, &request), Some(expected.clone()), "{request}");
            assert_eq!(left(form, caller, &expected), None, "{expected}");
        }
    }

    #[test]
    fn claude_does_not_think_on_in_a_turn_whose_thoughts_are_gone() {
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        let thought = json!({"type": "redacted_thinking", "data": "d"});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]});
        let request = |thinking: &str, blocks: Value| {
            json!({"thinking": {"type": thinking}, "context_management": {"edits": []},
                "messages": [{"role": "assistant", "content": blocks}, result]})
        };
        let kept = left(Form::Own, Dialect::Anthropic, &request("enabled", json!([thought, call])));
        assert_eq!(kept, Some(json!({"messages": [{"role": "assistant", "content": [call]}, result]})));
        let adaptive = left(Form::Own, Dialect::Anthropic, &request("adaptive", json!([thought, call])));
        assert_eq!(adaptive, Some(request("adaptive", json!([call]))));
    }
}

//! What the system says between the turns of a caller's own request, as Claude Code writes it for the newest models: older ones
//! refuse it, and so do most copies of the dialect. There it stands in a turn of the user's, marked as what it is, and at its
//! place, so that what is cached before it stays so. Knows no copy by its name.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages>,
//! <https://github.com/BerriAI/litellm/pull/33807>, <https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1399>,
//! <https://github.com/anthropics/claude-code/issues/63469>, <https://github.com/anthropics/claude-agent-sdk-typescript/issues/350>.

use crate::claude::{Claude, is_claude};
use crate::json::{Fields, JsonKind, RawObject, items, kind};
use crate::openai::provider::glance::values;
use crate::openai::provider::systems::reminder;
use memchr::memmem::Finder;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::LazyLock;

/// The request as this model takes it; `None` when it takes it as it is.
pub(super) fn folded(body: &str, model: &str) -> Result<Option<String>, Failure> {
    static ROLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""role""#));
    let is_heard = is_claude(model) && Claude::of(model).hears_system;
    if is_heard || !values(&ROLE, body.as_bytes()).any(|role| role.starts_with(br#""system""#)) {
        return Ok(None);
    }
    let bad = |error: serde_json::Error| Failure::gateway(FailureKind::BadRequest, error.to_string());
    let mut request = RawObject::read(body.as_bytes()).map_err(bad)?;
    let Some(turns) = request.get("messages").map(turns).transpose().map_err(bad)?.flatten() else { return Ok(None) };
    request.set("messages", &turns);
    Ok(Some(request.to_text()))
}

type Blocks = Vec<Box<RawValue>>;

/// The turns without any of the system's; `None` when there are none.
fn turns(messages: &RawValue) -> Result<Option<Blocks>, serde_json::Error> {
    let (mut turns, mut waiting, mut is_changed) = (Blocks::new(), Blocks::new(), false);
    for message in items(messages) {
        let fields = Fields::of(message);
        match fields.last("role") {
            Some(r#""system""#) => {
                is_changed = true;
                let said = reminders(fields.get("content"))?;
                match turns.last_mut().filter(|turn| Fields::of(turn).last("role") == Some(r#""user""#)) {
                    Some(turn) => {
                        let mut content = blocks(Fields::of(turn).get("content"))?;
                        content.extend(said);
                        *turn = with(turn, &content)?;
                    }
                    None => waiting.extend(said),
                }
            }
            Some(r#""user""#) if !waiting.is_empty() => {
                let mut content = blocks(fields.get("content"))?;
                // Results stand first in their turn.
                let is_result = |block: &RawValue| Fields::of(block).last("type") == Some(r#""tool_result""#);
                let results = content.iter().take_while(|block| is_result(block)).count();
                content.splice(results..results, waiting.drain(..));
                turns.push(with(message, &content)?);
            }
            _ => {
                if !waiting.is_empty() {
                    turns.push(to_raw_value(&json!({ "role": "user", "content": waiting }))?);
                    waiting.clear();
                }
                turns.push(message.to_owned());
            }
        }
    }
    if !waiting.is_empty() {
        turns.push(to_raw_value(&json!({ "role": "user", "content": waiting }))?);
    }
    Ok(is_changed.then_some(turns))
}

fn with(turn: &RawValue, content: &Blocks) -> Result<Box<RawValue>, serde_json::Error> {
    let mut turn = RawObject::read(turn.get().as_bytes())?;
    turn.set("content", content);
    to_raw_value(&turn)
}

fn blocks(content: Option<&RawValue>) -> Result<Blocks, serde_json::Error> {
    match content {
        Some(text) if kind(text) == JsonKind::Text => Ok(vec![to_raw_value(&json!({ "type": "text", "text": text }))?]),
        content => Ok(content.map(items).unwrap_or_default().into_iter().map(ToOwned::to_owned).collect()),
    }
}

/// What the system says, each text marked as its.
fn reminders(content: Option<&RawValue>) -> Result<Blocks, serde_json::Error> {
    let mut said = Blocks::new();
    for block in blocks(content)? {
        let Some(text) =
            Fields::of(&block).get("text").and_then(|text| serde_json::from_str::<String>(text.get()).ok())
        else {
            continue;
        };
        if !text.trim().is_empty() {
            let mut block = RawObject::read(block.get().as_bytes())?;
            block.set("text", &reminder(&text));
            said.push(to_raw_value(&block)?);
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn sent(messages: &Value, model: &str) -> Option<Value> {
        let body = json!({ "system": "s", "messages": messages }).to_string();
        let folded = folded(&body, model).unwrap()?;
        Some(serde_json::from_str::<Value>(&folded).unwrap()["messages"].clone())
    }

    #[test]
    fn what_the_system_says_is_in_the_turn_before_it_or_else_in_the_one_behind() {
        let user = json!({ "role": "user", "content": "a" });
        let (system, said) = (json!({ "role": "system", "content": "x" }), "<system-reminder>\nx\n</system-reminder>");
        let text = |text: &str| json!({ "type": "text", "text": text });
        let marked = json!({ "role": "system", "content": [{ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }] });
        let kept = json!({ "type": "text", "text": said, "cache_control": { "type": "ephemeral" } });
        let call = json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": { "n": 1.50 } }] });
        let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": "r" });
        let turn = |content: Value| json!({ "role": "user", "content": content });
        for (messages, expected) in [
            (json!([user, system]), json!([turn(json!([text("a"), text(said)]))])),
            (json!([user, marked]), json!([turn(json!([text("a"), kept]))])),
            (json!([system, user]), json!([turn(json!([text(said), text("a")]))])),
            (
                json!([user, call, system, turn(json!([result, text("b")]))]),
                json!([user, call, turn(json!([result, text(said), text("b")]))]),
            ),
            (
                json!([call, system, call, system]),
                json!([call, turn(json!([text(said)])), call, turn(json!([text(said)]))]),
            ),
            (json!([user, { "role": "system", "content": " " }]), json!([turn(json!([text("a")]))])),
        ] {
            assert_eq!(sent(&messages, "qwen3-coder"), Some(expected), "{messages}");
        }
        assert_eq!(sent(&json!([user, call]), "qwen3-coder"), None);
    }

    #[test]
    fn models_that_hear_the_system_there_get_it_as_it_came() {
        let messages = json!([{ "role": "user", "content": "a" }, { "role": "system", "content": "x" }]);
        for (model, is_heard) in [
            ("claude-opus-4-8", true),
            ("claude-fable-5-1", true),
            ("claude-sonnet-5-5", true),
            ("claude-haiku-5-5", true),
            ("claude-opus-4-7", false),
            ("claude-sonnet-5", false),
            ("claude-haiku-4-5-20251001", false),
            ("glm-5", false),
        ] {
            assert_eq!(sent(&messages, model).is_none(), is_heard, "{model}");
        }
    }
}

//! Fields of other APIs that clients put into a chat, in the agnostic form's own words: Anthropic's `thinking`. Knows no provider.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The request with `thinking` as `reasoning`; `None` when it has none.
pub(super) fn settle(body: &Bytes) -> Option<Bytes> {
    memchr::memmem::find(body, b"\"thinking\"")?;
    let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let thinking = request.get("thinking").filter(|thinking| thinking.is_object())?;
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
    let reasoning = match (thinking.get("type").and_then(Value::as_str), budget) {
        (Some("disabled"), _) => json!({ "enabled": false }),
        (_, Some(budget)) => json!({ "max_tokens": budget }),
        (Some("enabled" | "adaptive" | "auto"), None) => json!({ "enabled": true }),
        _ => return None,
    };
    request.shift_remove("thinking");
    let is_said =
        ["reasoning", "reasoning_effort"].iter().any(|name| request.get(*name).is_some_and(|it| !it.is_null()));
    if !is_said {
        request.insert("reasoning".to_owned(), reasoning);
    }
    Some(Value::Object(request).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! How likely each token was, as OpenAI's chats have it, from copies that give it as completions of texts do, or in a shape of
//! their own. Knows nothing of what was said.

use serde_json::{Map, Value, json};

/// Mends the likelihoods of a choice; whether they needed it.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices>.
pub(super) fn mend(choice: &mut Map<String, Value>) -> bool {
    let is_spelt = |logprobs: &Value| match logprobs {
        Value::Null => true,
        Value::Object(fields) => {
            fields.get("content").is_some_and(|all| all.is_array() || all.is_null() && fields.len() < 3)
        }
        _ => false,
    };
    if choice.contains_key("text") || choice.get("logprobs").is_none_or(is_spelt) {
        return false;
    }
    let theirs = choice.get("logprobs").cloned().unwrap_or_default();
    let list = |name: &str| theirs.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let tokens: Vec<Value> = list("tokens")
        .into_iter()
        .zip(list("token_logprobs"))
        .filter(|(token, likely)| token.is_string() && likely.is_number())
        .map(|(token, logprob)| {
            let bytes = token.as_str().map(str::as_bytes).map(<[u8]>::to_vec);
            json!({ "token": token, "logprob": logprob, "bytes": bytes, "top_logprobs": [] })
        })
        .collect();
    let ours = if tokens.is_empty() { Value::Null } else { json!({ "content": tokens, "refusal": null }) };
    choice.insert("logprobs".to_owned(), ours);
    true
}

//! Fields that stand in an `extra_body` of the request: in OpenAI's and Anthropic's SDKs that is a parameter whose fields go
//! beside the others, and clients of other makes send it as it is written there. Google's endpoint for OpenAI's clients has a
//! field of this name, which stays. Knows no dialect.
//! Sources: <https://github.com/openai/openai-python#undocumented-request-params>,
//! <https://ai.google.dev/gemini-api/docs/openai#extra-body>.

use crate::json::{Fields, RawObject};
use bytes::Bytes;
use memchr::memmem;

/// The request with such fields beside the others; one that stands there already counts.
pub(crate) fn lifted(body: Bytes) -> Bytes {
    if memmem::find(&body, b"\"extra_body\"").is_none() {
        return body;
    }
    lift(&body).map_or(body, Bytes::from)
}

fn lift(body: &[u8]) -> Option<Vec<u8>> {
    let mut request = RawObject::read(body).ok()?;
    let extra = request.get("extra_body")?.get().to_owned();
    let extra = Fields::read(&extra).ok()?;
    // Another model than the one that is asked for is refused where it stands.
    if ["google", "model"].iter().any(|name| extra.last(name).is_some()) {
        return None;
    }
    request.remove("extra_body");
    for (name, value) in extra.into_iter() {
        if request.get(&name).is_none() {
            request.set(&name, &value);
        }
    }
    serde_json::to_vec(&request).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn fields_of_an_extra_body_stand_beside_the_others() {
        let sent =
            |request: Value| -> Value { serde_json::from_slice(&lifted(Bytes::from(request.to_string()))).unwrap() };
        let request = json!({"model": "m", "top_k": 2, "extra_body": {"chat_template_kwargs": {"enable_thinking": false}, "top_k": 5}});
        assert_eq!(
            sent(request),
            json!({"model": "m", "top_k": 2, "chat_template_kwargs": {"enable_thinking": false}})
        );
        for stays in [
            json!({"model": "m", "extra_body": {"google": {"thinking_config": {"thinking_budget": 0}}}}),
            json!({"model": "m", "extra_body": "text"}),
            json!({"model": "m", "extra_body": {"model": "other", "top_k": 5}}),
            json!({"model": "m", "messages": [{"role": "user", "content": "\"extra_body\""}]}),
        ] {
            assert_eq!(sent(stays.clone()), stays);
        }
        assert_eq!(lifted(Bytes::from_static(b"\"extra_body\"")), Bytes::from_static(b"\"extra_body\""));
    }
}

//! The head of a request: what the pipeline must know, and the types of what it need not. What blocks say stays unread.
//! Source: <https://platform.claude.com/docs/en/api/messages/create>.

use crate::client::fields::{Rule, check, measure, text, wrong};
use crate::client::{ClientRequest, Purpose, WrongRequest};
use crate::json::{Fields, JsonKind, items, kind};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};

/// Reads the head of a request for a message, or for the count of its tokens.
pub(crate) fn read(operation: Operation, body: Bytes) -> Result<ClientRequest, WrongRequest> {
    let fields = Fields::of_body(text(&body)?)?;
    fields.check(rule)?;
    let extent = measure(Dialect::Anthropic, operation, &body)?;
    let model = fields.text("model")?.filter(|model| !model.is_empty()).ok_or(WrongRequest::MissingField("model"))?;
    let messages = fields.get("messages").ok_or(WrongRequest::MissingField("messages"))?;
    let messages = items(messages);
    if messages.is_empty() {
        return Err(wrong("messages", "it must hold at least one message".to_owned()));
    }
    for (at, message) in messages.into_iter().enumerate() {
        let place = format!("messages[{at}]");
        if kind(message) != JsonKind::Object {
            return Err(wrong(&place, "it must be an object".to_owned()));
        }
        let message = Fields::of(message);
        for (name, rule) in [("role", Rule::Text), ("content", Rule::TextOrList)] {
            let place = format!("{place}.{name}");
            let value = message.get(name).ok_or_else(|| wrong(&place, "it is missing".to_owned()))?;
            check(value, rule, || place)?;
        }
    }
    let metadata = fields.get("metadata").map(Fields::of).unwrap_or_default();
    if let Some(user) = metadata.get("user_id") {
        check(user, Rule::Text, || "metadata.user_id".to_owned())?;
    }
    let user = metadata.text("user_id")?;
    let is_stream = operation == Operation::Chat && fields.is_true("stream");
    let delivery = if is_stream { Delivery::Stream } else { Delivery::Whole };
    Ok(ClientRequest {
        dialect: Dialect::Anthropic,
        operation,
        model,
        user,
        delivery,
        body,
        content_type: None,
        extent,
        purpose: Purpose::Answer,
    })
}

fn rule(field: &str) -> Option<Rule> {
    Some(match field {
        "model" => Rule::Text,
        "messages" | "stop_sequences" | "tools" => Rule::List,
        "system" => Rule::TextOrList,
        "max_tokens" | "top_k" => Rule::Whole(0),
        "temperature" | "top_p" => Rule::Number,
        "stream" => Rule::Bool,
        "metadata" | "thinking" | "output_config" | "tool_choice" => Rule::Object,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<ClientRequest, WrongRequest> {
        super::read(Operation::Chat, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn what_the_pipeline_must_know_is_read() {
        let asked = read(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"metadata":{"user_id":"ann"}}"#,
        );
        let asked = asked.unwrap();
        assert_eq!((&*asked.model, asked.user.as_deref(), asked.delivery), ("m", Some("ann"), Delivery::Stream));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (r#"{"messages":[{"role":"user","content":"hi"}]}"#, "model"),
            (r#"{"model":3,"messages":[{"role":"user","content":"hi"}]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":["hi"]}"#, "messages[0]"),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":"many"}"#, "max_tokens"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"user_id":7}}"#,
                "metadata.user_id",
            ),
        ] {
            assert_eq!(read(body).unwrap_err().param(), Some(param), "{body}");
        }
    }
}

//! The messages of a chat request as Cohere spells them. Knows nothing of the request around them.
//! Source: <https://docs.cohere.com/reference/chat#request.body.messages>.

use crate::fit::{Fit, wrong};
use crate::openai::provider::parts::{fit_messages, is_silent};
use crate::provider::FormatSettings;
use penstock_schemas::chat::{Content, Message, Part, ToolCall};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The messages, with images of tools' results in a message of the user's behind them.
pub(super) fn spell(messages: Vec<Message>, fit: &mut Fit) -> Result<Value, Failure> {
    let messages = fit_messages(messages, &FormatSettings::default(), fit)?;
    let messages = messages.into_iter().filter(|message| !is_silent(message));
    let spelt = messages.enumerate().map(|(at, message)| spell_message(message, at, fit));
    Ok(Value::Array(spelt.collect::<Result<_, _>>()?))
}

fn spell_message(message: Message, at: usize, fit: &mut Fit) -> Result<Value, Failure> {
    let mut out = Map::new();
    let role = match message.role.as_str() {
        "developer" => "system",
        role @ ("system" | "user" | "assistant" | "tool") => role,
        other => return Err(wrong(format!("messages[{at}].role"), &format!("`{other}` is no role"))),
    };
    out.insert("role".to_owned(), role.into());
    let content = message.content.or(message.refusal.map(Content::Text));
    let calls = message.tool_calls.filter(|calls| !calls.is_empty());
    match (calls, content) {
        (Some(calls), content) => {
            // What an assistant says before it calls is a plan there.
            let plan = content.map(|content| content.text()).filter(|plan| !plan.is_empty());
            if let Some(plan) = plan {
                out.insert("tool_plan".to_owned(), plan.into());
            }
            out.insert("tool_calls".to_owned(), calls.into_iter().map(spell_call).collect());
        }
        (None, Some(Content::Text(text))) => drop(out.insert("content".to_owned(), text.into())),
        (None, Some(Content::Parts(parts))) => {
            drop(out.insert("content".to_owned(), spell_parts(parts, at, fit)?));
        }
        (None, None) => drop(out.insert("content".to_owned(), "".into())),
    }
    if let Some(id) = message.tool_call_id {
        out.insert("tool_call_id".to_owned(), id.into());
    }
    Ok(Value::Object(out))
}

fn spell_call(call: ToolCall) -> Value {
    let function = call.function.unwrap_or_default();
    json!({"id": call.id, "type": "function", "function": {"name": function.name, "arguments": function.arguments}})
}

fn spell_parts(parts: Vec<Part>, at: usize, fit: &mut Fit) -> Result<Value, Failure> {
    let mut spelt = Vec::with_capacity(parts.len());
    for (place, part) in parts.into_iter().enumerate() {
        match (part.kind.as_str(), part.text, part.image_url) {
            ("text" | "refusal", Some(text), _) => spelt.push(json!({"type": "text", "text": text})),
            ("refusal", None, _) => spelt.push(json!({"type": "text", "text": part.extra.get("refusal")})),
            ("image_url", _, Some(image)) => {
                let mut image_url = json!({"url": image.url});
                if let Some(detail) = image.detail {
                    image_url["detail"] = detail.into();
                }
                spelt.push(json!({"type": "image_url", "image_url": image_url}));
            }
            (kind, ..) => {
                let field = format!("messages[{at}].content[{place}].type");
                fit.cannot(field, &format!("Cohere takes texts and images, no `{kind}`"))?;
            }
        }
    }
    Ok(spelt.into())
}

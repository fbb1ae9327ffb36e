//! Pairs calls and results of tools in a request in the caller's own form, after its provider has refused it for that: each call
//! gets a result, and a result without a call becomes text. Requests in the agnostic form are paired by `tool_pairs` before they are
//! sent. Knows nothing of who tries again.
//! Sources: <https://github.com/weave-os/router/pull/866>, <https://github.com/router-for-me/CLIProxyAPI/issues/2368>,
//! <https://github.com/anthropics/claude-code/issues/8847>.

use crate::json::RawObject;
use crate::provider::Form;
use crate::tool_pairs::{NO_CALL, NO_RESULT, paired};
use bytes::Bytes;
use penstock_schemas::chat::Message;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Value, json};
use std::collections::HashSet;

/// What such a request lacks, in the list of what was left out.
pub(crate) const NAME: &str = "tool_call_id";

/// How providers say it: Anthropic, OpenAI's chats and their copies, its responses.
const REFUSALS: [&str; 6] = [
    "unexpected `tool_use_id` found in `tool_result` blocks",
    "`tool_use` ids were found without `tool_result` blocks immediately after",
    "must be followed by tool messages responding to each 'tool_call_id'",
    "must be a response to a prec", // `preceeding` with OpenAI, `preceding` elsewhere
    "No tool output found for function call",
    "No tool call found for function call output",
];

/// Whether a provider refuses a request for that.
pub(crate) fn is_refused(failure: &Failure) -> bool {
    failure.kind == FailureKind::BadRequest && REFUSALS.iter().any(|words| failure.message.contains(words))
}

/// The request as it is taken; `None` when there is nothing to mend.
pub(crate) fn mended(form: Form, caller: Dialect, body: &Bytes) -> Option<Bytes> {
    let mut request = RawObject::read(body).ok()?;
    let name = if caller.form() == Dialect::Responses { "input" } else { "messages" };
    let list = |request: &RawObject| serde_json::from_str::<Vec<Value>>(request.get(name)?.get()).ok();
    let (before, after) = match (form, caller.form()) {
        (Form::Own, Dialect::Anthropic) => (list(&request)?, turns(list(&request)?)),
        (Form::Own, Dialect::Openai) => {
            let messages: Vec<Message> = serde_json::from_str(request.get(name)?.get()).ok()?;
            let before = serde_json::to_value(&messages).ok()?;
            let after = serde_json::to_value(paired(messages, drop)).ok()?;
            (before.as_array()?.clone(), after.as_array()?.clone())
        }
        // What stands in an earlier response may be what is missing here.
        (Form::Own, Dialect::Responses) if !request.has("previous_response_id") && !request.has("conversation") => {
            (list(&request)?, items(list(&request)?))
        }
        _ => return None,
    };
    if before == after {
        return None;
    }
    request.set(name, &after);
    Some(request.to_vec().into())
}

/// Anthropic's turns: results stand first in the turn behind their calls.
fn turns(turns: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(turns.len());
    let mut open: Vec<String> = Vec::new();
    for mut turn in turns {
        let is_users = turn["role"] == "user";
        if !is_users && !open.is_empty() {
            out.push(json!({ "role": "user", "content": missing(&mut open) }));
        }
        if let Some(blocks) = turn.get_mut("content").filter(|_| is_users).and_then(Value::as_array_mut) {
            let (mut results, mut rest) = (Vec::new(), Vec::new());
            for block in std::mem::take(blocks) {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                match open.iter().position(|open| open == id) {
                    _ if block["type"] != "tool_result" => rest.push(block),
                    Some(at) => {
                        open.remove(at);
                        results.push(block);
                    }
                    None => rest.extend(told(&block["content"])),
                }
            }
            results.extend(missing(&mut open));
            *blocks = [results, rest].concat();
        } else if is_users && !open.is_empty() {
            let mut blocks = missing(&mut open);
            blocks.push(json!({ "type": "text", "text": turn["content"] }));
            turn["content"] = blocks.into();
        }
        let calls = turn["content"].as_array().into_iter().flatten().filter(|block| block["type"] == "tool_use");
        open.extend(calls.filter_map(|call| call["id"].as_str().map(ToOwned::to_owned)));
        out.push(turn);
    }
    out
}

fn missing(open: &mut Vec<String>) -> Vec<Value> {
    let result = |id| json!({ "type": "tool_result", "tool_use_id": id, "content": NO_RESULT });
    open.drain(..).map(result).collect()
}

/// The blocks of a result whose call is gone, of those that may stand outside of one.
fn told(content: &Value) -> Vec<Value> {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let may_stand = |block: &&Value| matches!(block["type"].as_str(), Some("text" | "image" | "document"));
    match content {
        Value::String(said) => vec![text(&format!("{NO_CALL}\n{said}"))],
        content => {
            let blocks = content.as_array().into_iter().flatten().filter(may_stand).cloned();
            std::iter::once(text(NO_CALL)).chain(blocks).collect()
        }
    }
}

/// The items of a response's input: an output may stand anywhere behind its call.
fn items(items: Vec<Value>) -> Vec<Value> {
    let id = |item: &Value| item["call_id"].as_str().map(ToOwned::to_owned);
    let kind = |item: &Value| item["type"].as_str().unwrap_or_default().to_owned();
    let ids = |end: &str| -> HashSet<String> {
        items.iter().filter(|item| kind(item).ends_with(end)).filter_map(id).collect()
    };
    let (calls, outputs) = (ids("_call"), ids("_call_output"));
    let mut out = Vec::with_capacity(items.len());
    let count = items.len();
    for (at, item) in items.into_iter().enumerate() {
        let (kind, id) = (kind(&item), id(&item));
        match id {
            Some(id) if matches!(kind.as_str(), "function_call" | "custom_tool_call") => {
                let is_open = !outputs.contains(&id) && at + 1 < count;
                out.push(item);
                if is_open {
                    out.push(json!({ "type": format!("{kind}_output"), "call_id": id, "output": NO_RESULT }));
                }
            }
            id if kind.ends_with("_call_output") && id.as_ref().is_none_or(|id| !calls.contains(id)) => {
                out.push(heard(&item["output"]));
            }
            _ => out.push(item),
        }
    }
    out
}

/// The output of no call, as the user's words.
fn heard(output: &Value) -> Value {
    let text = |text: &str| json!({ "type": "input_text", "text": text });
    let content = match output {
        Value::Array(parts) => std::iter::once(text(NO_CALL)).chain(parts.iter().cloned()).collect(),
        Value::String(said) => vec![text(&format!("{NO_CALL}\n{said}"))],
        other => vec![text(&format!("{NO_CALL}\n{other}"))],
    };
    json!({ "type": "message", "role": "user", "content": content })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(caller: Dialect, name: &str, list: &Value) -> Option<Value> {
        let body = json!({ "model": "m", name: list }).to_string();
        let sent = mended(Form::Own, caller, &body.into())?;
        Some(serde_json::from_slice::<Value>(&sent).unwrap()[name].clone())
    }

    #[test]
    fn claudes_turns_have_a_result_for_each_call_and_none_without() {
        let (call, result) = (
            |id: &str| json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": id, "name": "f", "input": {} }] }),
            |id: &str, said: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": said }),
        );
        let user = |content: Value| json!({ "role": "user", "content": content });
        let text = |text: &str| json!({ "type": "text", "text": text });
        let gone = text(&format!("{NO_CALL}\n1"));
        for (turns, expected) in [
            (json!([user(json!("a")), call("t"), user(json!([result("t", "1")]))]), None),
            (json!([user(json!("a")), call("t")]), None),
            (
                json!([user(json!("a")), user(json!([result("x", "1"), text("b")]))]),
                Some(json!([user(json!("a")), user(json!([gone, text("b")]))])),
            ),
            (
                json!([call("t"), user(json!([result("x", "1"), result("t", "2")]))]),
                Some(json!([call("t"), user(json!([result("t", "2"), gone]))])),
            ),
            (
                json!([call("t"), user(json!("b"))]),
                Some(json!([call("t"), user(json!([result("t", NO_RESULT), text("b")]))])),
            ),
            (
                json!([call("t"), call("u"), user(json!([result("u", "1")]))]),
                Some(json!([
                    call("t"),
                    user(json!([result("t", NO_RESULT)])),
                    call("u"),
                    user(json!([result("u", "1")]))
                ])),
            ),
        ] {
            assert_eq!(sent(Dialect::Anthropic, "messages", &turns), expected, "{turns}");
        }
    }

    #[test]
    fn chats_and_responses_have_a_result_for_each_call_and_none_without() {
        let call = json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] });
        let user = json!({ "role": "user", "content": "a", "x_unknown": 1 });
        let orphan = json!({ "role": "tool", "tool_call_id": "x", "content": "1" });
        let left = sent(Dialect::Openai, "messages", &json!([user, call, orphan, user])).unwrap();
        let told: Vec<&Value> = left.as_array().unwrap().iter().map(|message| &message["content"]).collect();
        assert_eq!(told, [&json!("a"), &Value::Null, &json!(NO_RESULT), &json!(format!("{NO_CALL}\n1")), &json!("a")]);
        assert_eq!(left[0], user);
        assert_eq!(sent(Dialect::Openai, "messages", &json!([user, call])), None);

        let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
        let output = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "1" });
        let heard = |said: &str| json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": said }] });
        let said = json!({ "role": "user", "content": "a" });
        let nothing = json!({ "type": "function_call_output", "call_id": "c", "output": NO_RESULT });
        for (items, expected) in [
            (json!([said, call, said, output("c")]), None),
            (json!([said, call]), None),
            (
                json!([said, output("x"), call, said]),
                Some(json!([said, heard(&format!("{NO_CALL}\n1")), call, nothing, said])),
            ),
        ] {
            assert_eq!(sent(Dialect::Responses, "input", &items), expected, "{items}");
        }
        let body = json!({ "previous_response_id": "resp_1", "input": [output("x")] }).to_string();
        assert_eq!(mended(Form::Own, Dialect::Responses, &body.into()), None);
    }

    #[test]
    fn a_refusal_for_it_is_told_from_others() {
        let failure = |message: &str| Failure::provider(FailureKind::BadRequest, message);
        assert!(is_refused(&failure(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        )));
        assert!(is_refused(&failure("No tool output found for function call call_u.")));
        assert!(!is_refused(&failure("messages.1.content.0: Invalid `signature` in `thinking` block")));
    }
}

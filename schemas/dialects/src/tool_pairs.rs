//! Calls and results of tools that do not belong together in a history, as agents write it that were stopped, taken up again or
//! cut short: every later request of that conversation would be refused too. Knows no provider.
//! Sources: <https://github.com/router-for-me/CLIProxyAPI/issues/5375>, <https://github.com/weave-os/router/pull/866>,
//! <https://github.com/router-for-me/CLIProxyAPI/issues/3366>.

use crate::tool_results::{joined, tell_failure};
use penstock_schemas::chat::{Content, Message, Part};
use std::collections::{HashMap, HashSet};

/// What stands for the result of a call that has none.
pub(crate) const NO_RESULT: &str = "There is no result: the call was not carried out to its end.";

/// What stands before a result whose call is gone.
pub(crate) const NO_CALL: &str = "The result of a tool whose call is no longer part of this conversation:";

/// The messages with one result right behind each call. A result that stands later is moved there. A result without a call becomes
/// a message of the user, and its field goes to `omit`. A call without a result gets [`NO_RESULT`], but not where it stands last: its
/// result may still come.
pub(crate) fn paired(messages: Vec<Message>, mut omit: impl FnMut(String)) -> Vec<Message> {
    let messages = joined(messages);
    if are_paired(&messages) {
        return messages;
    }
    let mut turns: Vec<(Message, Vec<Message>)> = Vec::with_capacity(messages.len());
    let mut waiting: HashMap<String, usize> = HashMap::new();
    for (at, message) in messages.into_iter().enumerate() {
        if message.role != "tool" {
            waiting.extend(ids(&message).map(|id| (id.to_owned(), turns.len())));
            turns.push((message, Vec::new()));
            continue;
        }
        match message.tool_call_id.as_deref().and_then(|id| waiting.remove(id)) {
            Some(turn) => turns[turn].1.push(message),
            None => {
                omit(format!("messages[{at}].tool_call_id"));
                turns.push((told(message), Vec::new()));
            }
        }
    }
    let last = turns.len().saturating_sub(1);
    let all = turns.into_iter().enumerate().flat_map(|(at, (message, mut results))| {
        if at < last {
            let known: HashSet<&str> = results.iter().filter_map(|result| result.tool_call_id.as_deref()).collect();
            let missing: Vec<Message> = ids(&message).filter(|id| !known.contains(id)).map(nothing).collect();
            results.extend(missing);
        }
        std::iter::once(message).chain(results)
    });
    all.collect()
}

/// Whether each result stands right behind its call, and only the last calls have none.
fn are_paired(messages: &[Message]) -> bool {
    if messages.iter().flat_map(|message| message.tool_calls.iter().flatten()).any(|call| call.id.is_none()) {
        return true; // which belong together cannot be told
    }
    let mut open: HashSet<&str> = HashSet::new();
    messages.iter().all(|message| {
        if message.role == "tool" {
            return message.tool_call_id.as_deref().is_some_and(|id| open.remove(id));
        }
        let is_settled = open.is_empty();
        open.extend(ids(message));
        is_settled
    })
}

fn ids(message: &Message) -> impl Iterator<Item = &str> {
    message.tool_calls.iter().flatten().filter_map(|call| call.id.as_deref())
}

fn nothing(id: &str) -> Message {
    let content = Some(Content::Text(NO_RESULT.to_owned()));
    Message { role: "tool".to_owned(), tool_call_id: Some(id.to_owned()), content, ..Message::default() }
}

fn told(mut result: Message) -> Message {
    tell_failure(&mut result);
    let content = match result.content {
        Some(Content::Parts(parts)) => Content::Parts([vec![Part::text(NO_CALL)], parts].concat()),
        Some(Content::Text(text)) => Content::Text(format!("{NO_CALL}\n{text}")),
        None => Content::Text(NO_CALL.to_owned()),
    };
    Message { role: "user".to_owned(), content: Some(content), ..Message::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(messages: &Value) -> (Value, Vec<String>) {
        let mut omitted = Vec::new();
        let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
        (json!(paired(messages, |field| omitted.push(field))), omitted)
    }

    #[test]
    fn each_call_has_its_result_behind_it_and_what_has_no_call_is_told() {
        let user = json!({ "role": "user", "content": "a" });
        let calls = |ids: &[&str]| {
            let calls: Vec<Value> =
                ids.iter().map(|id| json!({ "id": id, "function": { "name": "f", "arguments": "{}" } })).collect();
            json!({ "role": "assistant", "tool_calls": calls })
        };
        let result = |id: &str, content: &str| json!({ "role": "tool", "tool_call_id": id, "content": content });
        let told = |text: &str| json!({ "role": "user", "content": format!("{NO_CALL}\n{text}") });
        for (messages, expected, omitted) in [
            // It stands as it came.
            (json!([user, calls(&["a", "b"]), result("b", "2"), result("a", "1"), user]), None, &[][..]),
            (json!([user, calls(&["a"])]), None, &[]),
            (json!([user, calls(&["a", "b"]), result("a", "1")]), None, &[]),
            (
                json!([user, calls(&["a"]), user, result("a", "1")]),
                Some(json!([user, calls(&["a"]), result("a", "1"), user])),
                &[],
            ),
            (
                json!([user, calls(&["a", "b"]), result("b", "2"), user]),
                Some(json!([user, calls(&["a", "b"]), result("b", "2"), result("a", NO_RESULT), user])),
                &[],
            ),
            (
                json!([user, result("x", "1"), user]),
                Some(json!([user, told("1"), user])),
                &["messages[1].tool_call_id"],
            ),
            (
                json!([calls(&["a"]), result("x", "1"), { "role": "tool", "content": "2" }, result("a", "3")]),
                Some(json!([calls(&["a"]), result("a", "3"), told("1"), told("2")])),
                &["messages[1].tool_call_id", "messages[2].tool_call_id"],
            ),
            // Two turns that give their calls the same id.
            (
                json!([calls(&["a"]), user, calls(&["a"]), result("a", "1"), user]),
                Some(json!([calls(&["a"]), result("a", NO_RESULT), user, calls(&["a"]), result("a", "1"), user])),
                &[],
            ),
        ] {
            let (sent, named) = sent(&messages);
            let order = |messages: &Value| serde_json::from_value::<Vec<Message>>(messages.clone()).unwrap();
            assert_eq!(order(&sent), order(expected.as_ref().unwrap_or(&messages)), "{messages}");
            assert_eq!(named, omitted, "{messages}");
        }
    }

    #[test]
    fn a_failure_and_an_image_of_a_call_that_is_gone_are_told_too() {
        let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } });
        let failed = json!({ "role": "tool", "tool_call_id": "x", "is_error": true, "content": [image] });
        let (sent, _) = sent(&json!([failed]));
        let parts = sent[0]["content"].as_array().unwrap();
        assert_eq!((&parts[0]["text"], &parts[1]["text"], &parts[2]), (&json!(NO_CALL), &json!("Error:"), &image));
    }

    #[test]
    fn very_many_calls_and_results_are_paired_in_one_pass() {
        let call = |at: usize| json!({ "id": format!("c{at}"), "function": { "name": "f", "arguments": "{}" } });
        let result = |at: usize| json!({ "role": "tool", "tool_call_id": format!("c{at}"), "content": "1" });
        let mut messages =
            vec![json!({ "role": "assistant", "tool_calls": (0..20_000).map(call).collect::<Vec<_>>() })];
        messages.push(json!({ "role": "user", "content": "a" }));
        messages.extend((0..40_000).map(result));
        let (sent, omitted) = sent(&json!(messages));
        assert_eq!((sent.as_array().unwrap().len(), omitted.len()), (40_002, 20_000));
    }
}

//! Results of tools in a history: several of one call, as agents write them that report in pieces, and those of calls that
//! failed, for providers that have no word for it. Knows no provider.

use penstock_schemas::chat::{Content, Message, Part};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The prefix that marks the result of a failed tool, where a dialect has no field for it.
const FAILED: &str = "Error: ";

/// The messages with one result for each call: of several behind the same turn, the later ones go on in the first.
pub(crate) fn joined(messages: Vec<Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::with_capacity(messages.len());
    // Where the results of the calls behind the last turn stand.
    let mut places: HashMap<String, usize> = HashMap::new();
    for message in messages {
        let Some(id) = message.tool_call_id.clone().filter(|_| message.role == "tool") else {
            if message.role != "tool" {
                places.clear();
            }
            joined.push(message);
            continue;
        };
        match places.entry(id) {
            Entry::Occupied(first) => go_on(&mut joined[*first.get()], message),
            Entry::Vacant(place) => {
                place.insert(joined.len());
                joined.push(message);
            }
        }
    }
    joined
}

fn go_on(first: &mut Message, more: Message) {
    first.is_error = first.is_error.or(more.is_error);
    first.cache_control = first.cache_control.take().or(more.cache_control);
    first.content = match (first.content.take(), more.content) {
        (Some(Content::Text(mut first)), Some(Content::Text(more))) => {
            first.push('\n');
            first.push_str(&more);
            Some(Content::Text(first))
        }
        (Some(first), Some(more)) => {
            let mut parts = first.into_parts();
            parts.extend(more.into_parts());
            Some(Content::Parts(parts))
        }
        (first, more) => first.or(more),
    };
}

/// Says in its text that a call failed, where that is not said already; the provider has no other place for it.
pub(crate) fn tell_failure(message: &mut Message) {
    if message.is_error.take() != Some(true) {
        return;
    }
    let said = message.content.as_ref().map(Content::text).unwrap_or_default().to_ascii_lowercase();
    if ["error", "<error", "<tool_use_error"].iter().any(|word| said.trim_start().starts_with(word)) {
        return;
    }
    message.content = Some(match message.content.take() {
        Some(Content::Parts(parts)) => Content::Parts([vec![Part::text(FAILED.trim_end())], parts].concat()),
        Some(Content::Text(text)) => Content::Text(format!("{FAILED}{text}")),
        None => Content::Text(FAILED.trim_end().to_owned()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn messages(messages: &Value) -> Vec<Message> {
        serde_json::from_value(messages.clone()).unwrap()
    }

    #[test]
    fn results_of_one_call_are_one_and_those_of_a_later_turn_are_its_own() {
        let result = |id: &str, content: &str| json!({"role": "tool", "tool_call_id": id, "content": content});
        let call = json!({"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]});
        let all = json!([
            result("a", "1"),
            call,
            result("a", "2"),
            result("b", "3"),
            result("a", "4"),
            call,
            result("a", "5")
        ]);
        let joined = joined(messages(&all));
        let said: Vec<String> = joined.iter().filter_map(|message| Some(message.content.as_ref()?.text())).collect();
        assert_eq!(said, ["1", "2\n4", "3", "5"]);
    }

    #[test]
    fn as_many_results_as_a_request_may_have_are_joined_in_one_pass() {
        let result = |id: String, content: &str| Message {
            role: "tool".to_owned(),
            tool_call_id: Some(id),
            content: Some(Content::Text(content.to_owned())),
            ..Message::default()
        };
        let long = "a".repeat(1_000);
        let of_one = joined((0..20_000).map(|_| result("a".to_owned(), &long)).collect());
        assert_eq!(of_one.len(), 1);
        assert_eq!(of_one[0].content.as_ref().unwrap().text().len(), 20_000 * 1_001 - 1);
        assert_eq!(joined((0..20_000).map(|at| result(format!("c{at}"), "b")).collect()).len(), 20_000);
    }

    #[test]
    fn a_failure_is_told_once() {
        for (content, told) in [
            (json!("no such file"), json!("Error: no such file")),
            (json!("Error: no such file"), json!("Error: no such file")),
            (json!("<tool_use_error>no</tool_use_error>"), json!("<tool_use_error>no</tool_use_error>")),
            (Value::Null, json!("Error:")),
            (
                json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
                json!([{"type": "text", "text": "Error:"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
            ),
        ] {
            let failed = json!([{"role": "tool", "tool_call_id": "a", "is_error": true, "content": content}]);
            let mut message = messages(&failed).remove(0);
            tell_failure(&mut message);
            assert_eq!(json!(message)["content"], told, "{content}");
            assert_eq!(message.is_error, None);
        }
    }
}

//! Servers that answer the other way than they were asked: a stream where a whole response was wanted, and a whole one where a
//! stream was. Each becomes what was wanted. Knows nothing of what the response says.

use super::answer::{Kind, kind, list, text};
use super::broken;
use crate::openai::provider::other_way::{events, named_event};
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The response that a stream comes to. Some leave its output out at the end: then it is what was finished on the way.
///
/// # Errors
/// When the stream ended before its last event.
pub(super) fn whole(body: &[u8]) -> Result<Value, Failure> {
    let mut items: BTreeMap<u64, Value> = BTreeMap::new();
    for event in events(body) {
        let Ok(mut data) = serde_json::from_slice::<Value>(&event.data) else { continue };
        let kind = text(&data, "type").unwrap_or_default().to_owned();
        match kind.as_str() {
            "response.output_item.done" => {
                let at = data["output_index"].as_u64().unwrap_or(items.len() as u64);
                items.insert(at, data["item"].take());
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let mut response = data["response"].take();
                if list(&response, "output").is_empty() && response.is_object() {
                    response["output"] = items.into_values().collect();
                }
                return Ok(response);
            }
            _ if kind == "error" || data.get("error").is_some_and(|error| !error.is_null()) => {
                let error = data.get("error").filter(|error| !error.is_null()).unwrap_or(&data);
                return Ok(json!({ "error": error }));
            }
            _ => {}
        }
    }
    Err(broken("the provider's answer is a stream that is cut short"))
}

/// A whole response as the events of a stream, each with its name; `None` when it is none.
pub(super) fn events_of(whole: &[u8]) -> Option<Vec<sse::Event>> {
    let response: Value = serde_json::from_slice(whole).ok()?;
    let items = response.get("output")?.as_array()?.clone();
    if response.get("error").is_some_and(|error| !error.is_null()) {
        return None;
    }
    let mut begun = response.clone();
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun.as_object_mut()?.shift_remove("usage");
    let mut all = vec![("response.created", json!({ "response": begun }))];
    for (at, item) in items.into_iter().enumerate() {
        let mut new = item.clone();
        new["status"] = "in_progress".into();
        for (name, empty) in [("content", json!([])), ("arguments", json!("")), ("input", json!(""))] {
            if new.get(name).is_some() {
                new[name] = empty;
            }
        }
        all.push(("response.output_item.added", json!({ "output_index": at, "item": new })));
        let id = item.get("id").cloned().unwrap_or_default();
        match kind(&item) {
            Kind::Message => {
                let parts = list(&item, "content").iter().enumerate();
                all.extend(parts.flat_map(|(number, part)| said(&id, (at, number), part)));
            }
            Kind::Call => {
                let arguments = text(&item, "arguments").unwrap_or_default();
                let place = |more: &str| json!({ "item_id": id, "output_index": at, more: arguments });
                all.push(("response.function_call_arguments.delta", place("delta")));
                all.push(("response.function_call_arguments.done", place("arguments")));
            }
            _ => {}
        }
        all.push(("response.output_item.done", json!({ "output_index": at, "item": item })));
    }
    let last = if response["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
    all.push((last, json!({ "response": response })));
    Some(all.into_iter().enumerate().map(|(number, (name, data))| event(name, data, number)).collect())
}

fn said(id: &Value, (at, number): (usize, usize), part: &Value) -> Vec<(&'static str, Value)> {
    let place =
        |name: &str, value: &Value| json!({ "item_id": id, "output_index": at, "content_index": number, name: value });
    let mut new = part.clone();
    let (delta, done, field) = match text(part, "type") {
        Some("refusal") => ("response.refusal.delta", "response.refusal.done", "refusal"),
        _ => ("response.output_text.delta", "response.output_text.done", "text"),
    };
    new[field] = "".into();
    let words = part.get(field).cloned().unwrap_or_default();
    let mut events = vec![
        ("response.content_part.added", place("part", &new)),
        (delta, place("delta", &words)),
        (done, place(field, &words)),
    ];
    for (index, annotation) in list(part, "annotations").iter().enumerate() {
        let mut cited = place("annotation", annotation);
        cited["annotation_index"] = index.into();
        events.insert(events.len() - 1, ("response.output_text.annotation.added", cited));
    }
    events.push(("response.content_part.done", place("part", part)));
    events
}

fn event(name: &str, mut data: Value, number: usize) -> sse::Event {
    data["type"] = name.into();
    data["sequence_number"] = number.into();
    named_event(name, &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, ProviderFormat, Step, Wanted};
    use crate::responses::provider::Responses;
    use bytes::Bytes;
    use penstock_schemas::envelope::{Delivery, Operation};
    use penstock_schemas::failure::FailureKind;

    const WHOLE: Wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole };

    fn response() -> Value {
        let text = json!({"type": "output_text", "text": "ab", "annotations": []});
        let message =
            json!({"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]});
        let call = json!({"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"});
        json!({"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": null,
            "output": [message, call], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
    }

    fn stream(last: &Value) -> String {
        let item = |at: usize| json!({"type": "response.output_item.done", "output_index": at, "item": response()["output"][at]});
        let last = json!({"type": "response.completed", "response": last});
        format!("event: x\ndata: {}\n\ndata: {}\n\ndata: {last}\n\n", item(0), item(1))
    }

    #[test]
    fn a_stream_where_a_whole_response_was_wanted_is_the_response_that_it_comes_to() {
        let mut without = response();
        without["output"] = json!([]);
        for last in [response(), without] {
            let body = Bytes::from(stream(&last));
            let whole = Responses.read_whole(WHOLE, &body).unwrap();
            let answer: Value = serde_json::from_slice(&whole.bytes).unwrap();
            let message = &answer["choices"][0]["message"];
            assert_eq!((&message["content"], &message["tool_calls"][0]["id"]), (&json!("ab"), &json!("c")));
            assert_eq!(whole.observed.usage.unwrap().input, Some(3));
            let own = Responses.read_whole(Wanted { form: Form::Own, ..WHOLE }, &body).unwrap();
            let own: Value = serde_json::from_slice(&own.bytes).unwrap();
            assert_eq!((&own["output"], &own["usage"]["total_tokens"]), (&response()["output"], &json!(5)));
        }
        let cut = stream(&response()).split_once("data: {\"type\":\"response.completed\"").unwrap().0.to_owned();
        assert_eq!(Responses.read_whole(WHOLE, &cut.into()).unwrap_err().kind, FailureKind::Broken);
        let error = Bytes::from_static(
            b"event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"x\"}\n\n",
        );
        assert_eq!(Responses.read_whole(WHOLE, &error).unwrap_err().kind, FailureKind::RateLimited);
    }

    #[test]
    fn a_whole_response_where_a_stream_was_wanted_goes_out_as_one() {
        for (form, is_chat) in [(Form::Own, false), (Form::Agnostic, true)] {
            let mut reader = Responses.stream(Wanted { form, delivery: Delivery::Stream, ..WHOLE });
            let raw = Bytes::from(response().to_string());
            let Ok(Step::Content(bytes)) = reader.read(&sse::Event { raw, event: None, data: Bytes::new() }) else {
                panic!("it is content");
            };
            let sent: Vec<Value> =
                events(&bytes).iter().map(|event| serde_json::from_slice(&event.data).unwrap()).collect();
            if is_chat {
                let said: String = sent.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
                assert_eq!(
                    (said.as_str(), &sent.last().unwrap()["choices"][0]["finish_reason"]),
                    ("ab", &json!("tool_calls"))
                );
            } else {
                assert_eq!(sent[0]["type"], "response.created");
                assert_eq!(sent.last().unwrap()["response"]["output"], response()["output"]);
                let numbers: Vec<u64> = sent.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
                assert_eq!(numbers, (0..sent.len() as u64).collect::<Vec<_>>());
            }
            assert!(reader.is_done() && reader.finish().is_ok());
            assert_eq!(reader.observed().usage.unwrap().input, Some(3));
        }
    }
}

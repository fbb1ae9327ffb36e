//! A response as the events of a stream, out of what is kept of it: for callers who come back for one that was made in the
//! background. What it says comes in one delta each. The numbers of the events are the same each time, so that a caller can go
//! on where it was. Knows nothing of where responses are kept.
//! Source: <https://platform.openai.com/docs/guides/background#streaming-a-background-response>.

use serde_json::{Value, json};

/// The events of a stream, each with its number.
#[derive(Debug, Default)]
pub struct ReplayedEvents(Vec<Value>);

/// Whether a response is still being made.
pub fn is_under_way(response: &Value) -> bool {
    matches!(response["status"].as_str(), Some("queued" | "in_progress"))
}

impl ReplayedEvents {
    /// Those of a response as far as it is: the first two, and all when it is finished.
    pub fn of(response: &Value) -> Self {
        let mut begun = response.clone();
        for (name, value) in [
            ("status", json!("in_progress")),
            ("output", json!([])),
            ("usage", Value::Null),
            ("error", Value::Null),
            ("completed_at", Value::Null),
            ("incomplete_details", Value::Null),
        ] {
            begun[name] = value;
        }
        let mut events = Self::default();
        events.add("response.created", json!({ "response": begun }));
        events.add("response.in_progress", json!({ "response": begun }));
        if is_under_way(response) {
            return events;
        }
        for (at, item) in response["output"].as_array().into_iter().flatten().enumerate() {
            events.item(at, item);
        }
        let last = match response["status"].as_str() {
            Some("completed") => "response.completed",
            Some("incomplete") => "response.incomplete",
            _ => "response.failed",
        };
        events.add(last, json!({ "response": response }));
        events
    }

    /// From a number on, as they are written.
    pub fn from(&self, number: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.iter().skip(number).for_each(|event| super::put(event, &mut out));
        out
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.0.len().into();
        self.0.push(event);
    }

    fn item(&mut self, at: usize, item: &Value) {
        let mut begun = item.clone();
        if begun.get("status").is_some() {
            begun["status"] = "in_progress".into();
        }
        for (name, empty) in
            [("content", json!([])), ("summary", json!([])), ("arguments", json!("")), ("input", json!(""))]
        {
            if begun.get(name).is_some() {
                begun[name] = empty;
            }
        }
        self.add("response.output_item.added", json!({ "output_index": at, "item": begun }));
        let place = json!({ "item_id": item["id"], "output_index": at });
        match item["type"].as_str() {
            Some("message") => {
                for (index, part) in item["content"].as_array().into_iter().flatten().enumerate() {
                    self.part(&with(&place, &[("content_index", index.into())]), part);
                }
            }
            Some("reasoning") => {
                for (index, part) in item["summary"].as_array().into_iter().flatten().enumerate() {
                    let place = with(&place, &[("summary_index", index.into())]);
                    let kind = |what: &str| format!("response.reasoning_summary_{what}");
                    let empty = json!({ "type": "summary_text", "text": "" });
                    self.add(&kind("part.added"), with(&place, &[("part", empty)]));
                    self.add(&kind("text.delta"), with(&place, &[("delta", part["text"].clone())]));
                    self.add(&kind("text.done"), with(&place, &[("text", part["text"].clone())]));
                    self.add(&kind("part.done"), with(&place, &[("part", part.clone())]));
                }
            }
            Some("function_call") => self.call("function_call_arguments", "arguments", (&place, item)),
            Some("custom_tool_call") => self.call("custom_tool_call_input", "input", (&place, item)),
            _ => {}
        }
        self.add("response.output_item.done", json!({ "output_index": at, "item": item }));
    }

    fn part(&mut self, place: &Value, part: &Value) {
        let (kind, name) = match part["type"].as_str() {
            Some("refusal") => ("refusal", "refusal"),
            _ => ("output_text", "text"),
        };
        let mut empty = part.clone();
        empty[name] = "".into();
        self.add("response.content_part.added", with(place, &[("part", empty)]));
        let logprobs = part.get("logprobs").cloned().unwrap_or_else(|| json!([]));
        let said = |what: &str| [(what.to_owned(), part[name].clone()), ("logprobs".to_owned(), logprobs.clone())];
        for (step, what) in [("delta", "delta"), ("done", name)] {
            let fields = said(what);
            let fields: Vec<(&str, Value)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            self.add(&format!("response.{kind}.{step}"), with(place, &fields));
        }
        self.add("response.content_part.done", with(place, &[("part", part.clone())]));
    }

    fn call(&mut self, kind: &str, name: &str, (place, item): (&Value, &Value)) {
        self.add(&format!("response.{kind}.delta"), with(place, &[("delta", item[name].clone())]));
        self.add(
            &format!("response.{kind}.done"),
            with(place, &[(name, item[name].clone()), ("name", item["name"].clone())]),
        );
    }
}

fn with(place: &Value, fields: &[(&str, Value)]) -> Value {
    let mut event = place.clone();
    for (name, value) in fields {
        event[*name] = value.clone();
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_response_is_told_in_numbered_events_from_anywhere() {
        let text = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []});
        let output = json!([
            {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"id": "msg", "type": "message", "status": "completed", "role": "assistant", "content": [text]},
            {"id": "fc", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
        ]);
        let response = json!({"id": "resp", "status": "completed", "output": output, "usage": {}});
        let events = ReplayedEvents::of(&response);
        let kinds: Vec<&str> =
            events.0.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "created",
                "in_progress",
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "completed",
            ]
        );
        assert!(events.0.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
        assert_eq!((&events.0[10]["delta"], &events.0[11]["text"]), (&json!("Hello"), &json!("Hello")));
        assert_eq!((&events.0[0]["response"]["output"], &events.0[18]["response"]), (&json!([]), &response));
        let rest = String::from_utf8(events.from(18)).unwrap();
        assert!(rest.starts_with("event: response.completed\ndata: {") && rest.ends_with("}\n\n"), "{rest}");
        let under_way = ReplayedEvents::of(&json!({"id": "resp", "status": "queued"}));
        assert_eq!((under_way.count(), ReplayedEvents::of(&json!({"status": "failed"})).count()), (2, 3));
    }
}

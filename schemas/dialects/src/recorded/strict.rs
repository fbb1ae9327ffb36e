//! Whether an answer is as OpenAI's reference has it. Knows nothing of who wrote it.

use serde_json::{Map, Value};

type Fields = Map<String, Value>;
type Is = fn(&Value) -> bool;

/// What is wrong with a whole answer, or with a piece of a stream.
pub(super) fn check(op: &str, is_stream: bool, answer: &Value) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    match (op, is_stream) {
        ("embeddings", _) => faults.embeddings(answer),
        ("images", _) => faults.members("", answer, &[("created", count)]),
        ("responses", true) => faults.event(answer),
        ("responses", false) => faults.response(answer),
        _ => faults.chat(answer, is_stream),
    }
    faults.0
}

struct Faults(Vec<String>);

const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];
const TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

fn text(value: &Value) -> bool {
    value.is_string()
}

fn count(value: &Value) -> bool {
    value.is_u64()
}

fn list(value: &Value) -> bool {
    value.is_array()
}

fn text_or_null(value: &Value) -> bool {
    value.is_string() || value.is_null()
}

fn any(_: &Value) -> bool {
    true
}

impl Faults {
    fn no(&mut self, what: String) {
        self.0.push(what);
    }

    /// Members that must be there.
    fn members(&mut self, place: &str, value: &Value, wanted: &[(&str, Is)]) {
        for (name, is) in wanted {
            match value.get(*name) {
                Some(found) if is(found) => {}
                found => self.no(format!("{place}/{name} is {found:?}")),
            }
        }
    }

    /// Members that may be missing.
    fn may(&mut self, place: &str, value: &Value, wanted: &[(&str, Is)]) {
        for (name, is) in wanted {
            if let Some(found) = value.get(*name).filter(|found| !is(found)) {
                self.no(format!("{place}/{name} is {found}"));
            }
        }
    }

    fn chat(&mut self, answer: &Value, is_stream: bool) {
        let tier: Is = |tier| tier.is_null() || TIERS.iter().any(|known| tier == known);
        self.members("", answer, &[("choices", list)]);
        let head: [(&str, Is); 6] = [
            ("id", text),
            ("created", count),
            ("model", text),
            ("service_tier", tier),
            ("system_fingerprint", text_or_null),
            ("usage", |usage| usage.is_object() || usage.is_null()),
        ];
        self.may("", answer, &head);
        let object = if is_stream { "chat.completion.chunk" } else { "chat.completion" };
        if answer.get("object").is_some_and(|found| found != object) {
            self.no(format!("/object is {}", answer["object"]));
        }
        if let Some(Value::Object(usage)) = answer.get("usage") {
            self.usage(usage);
        }
        for choice in answer["choices"].as_array().into_iter().flatten() {
            self.choice(choice, is_stream);
        }
    }

    fn usage(&mut self, usage: &Fields) {
        let usage = Value::Object(usage.clone());
        self.members(
            "/usage",
            &usage,
            &[("prompt_tokens", count), ("completion_tokens", count), ("total_tokens", count)],
        );
        for name in ["prompt_tokens_details", "completion_tokens_details"] {
            for (part, value) in usage[name].as_object().into_iter().flatten() {
                if !value.is_u64() {
                    self.no(format!("/usage/{name}/{part} is {value}"));
                }
            }
        }
    }

    fn choice(&mut self, choice: &Value, is_stream: bool) {
        let reason: Is = |reason| REASONS.iter().any(|known| reason == known);
        let reason_or_null: Is = |reason| reason.is_null() || REASONS.iter().any(|known| reason == known);
        self.members("/choices", choice, &[("index", count)]);
        let said = if is_stream { "delta" } else { "message" };
        self.members("/choices", choice, &[(said, Value::is_object)]);
        if is_stream {
            self.may("/choices", choice, &[("finish_reason", reason_or_null)]);
        } else {
            self.members("/choices", choice, &[("finish_reason", reason)]);
            self.members("/message", &choice[said], &[("content", text_or_null), ("role", |role| role == "assistant")]);
        }
        let texts: [(&str, Is); 4] = [
            ("content", text_or_null),
            ("refusal", text_or_null),
            ("reasoning_content", text_or_null),
            ("role", |role| role == "assistant" || role.is_null()),
        ];
        self.may("/said", &choice[said], &texts);
        match &choice["logprobs"] {
            Value::Null => {}
            logprobs => self.members("/logprobs", logprobs, &[("content", |all| all.is_array() || all.is_null())]),
        }
        match choice[said].get("tool_calls") {
            None => {}
            Some(Value::Array(calls)) if is_stream || !calls.is_empty() => {
                calls.iter().for_each(|call| self.call(call, is_stream));
            }
            Some(other) => self.no(format!("/tool_calls is {other}")),
        }
    }

    fn call(&mut self, call: &Value, is_stream: bool) {
        if is_stream {
            self.members("/tool_calls", call, &[("index", count)]);
            self.may(
                "/tool_calls",
                call,
                &[("id", text), ("type", |kind| kind == "function"), ("function", Value::is_object)],
            );
            self.may("/function", &call["function"], &[("name", text), ("arguments", text)]);
            return;
        }
        self.members("/tool_calls", call, &[("type", |kind| kind == "function")]);
        let is_json: Is = |text| serde_json::from_str::<Value>(text.as_str().unwrap_or("?")).is_ok();
        self.members("/function", &call["function"], &[("name", text), ("arguments", is_json)]);
    }

    fn embeddings(&mut self, answer: &Value) {
        self.members("", answer, &[("object", |object| object == "list"), ("data", list), ("usage", Value::is_object)]);
        self.members("/usage", &answer["usage"], &[("prompt_tokens", count), ("total_tokens", count)]);
        let vector: Is =
            |vector| vector.as_array().is_some_and(|all| all.iter().all(Value::is_number)) || vector.is_string();
        for item in answer["data"].as_array().into_iter().flatten() {
            self.members(
                "/data",
                item,
                &[("index", count), ("embedding", vector), ("object", |object| object == "embedding")],
            );
        }
    }

    /// Every event of a stream of a response has its number, and says what it is about.
    fn event(&mut self, event: &Value) {
        self.members("", event, &[("type", text), ("sequence_number", count)]);
        let kind = event["type"].as_str().unwrap_or_default();
        if kind.contains(".output_item.") || kind.contains("_text.") || kind.contains(".content_part.") {
            self.members(kind, event, &[("output_index", count)]);
        }
        if kind.contains("output_text.") || kind.contains(".content_part.") {
            self.members(kind, event, &[("content_index", count), ("item_id", text)]);
        }
        if let Some(item) = event.get("item") {
            self.item(item);
        }
        if let Some(response) = event.get("response") {
            self.response(response);
        }
    }

    fn response(&mut self, response: &Value) {
        let wanted: [(&str, Is); 11] = [
            ("id", text),
            ("object", |object| object == "response"),
            ("created_at", count),
            ("status", text),
            ("model", text),
            ("output", list),
            ("parallel_tool_calls", Value::is_boolean),
            ("tool_choice", any),
            ("tools", list),
            ("error", any),
            ("incomplete_details", any),
        ];
        self.members("/response", response, &wanted);
        response["output"].as_array().into_iter().flatten().for_each(|item| self.item(item));
        if !response["usage"].is_null() {
            let details: Is = Value::is_object;
            let usage: [(&str, Is); 5] = [
                ("input_tokens", count),
                ("output_tokens", count),
                ("total_tokens", count),
                ("input_tokens_details", details),
                ("output_tokens_details", details),
            ];
            self.members("/usage", &response["usage"], &usage);
        }
    }

    fn item(&mut self, item: &Value) {
        match item["type"].as_str() {
            Some("message") => {
                self.members("/item", item, &[("id", text), ("role", text), ("status", text), ("content", list)]);
                for part in item["content"].as_array().into_iter().flatten() {
                    self.members("/content", part, &[("text", text), ("annotations", list)]);
                }
            }
            Some("function_call") => {
                self.members("/item", item, &[("call_id", text), ("name", text), ("arguments", text)]);
            }
            other => self.no(format!("an item is of type {other:?}")),
        }
    }
}

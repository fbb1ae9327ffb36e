//! Whether an answer is as Anthropic's reference has it, and what a stream comes to, as Claude Code adds it up: a block's text,
//! thought and arguments come in its deltas alone, each at a block that is open and of its kind. Knows nothing of who wrote it.
//! Sources: <https://github.com/anthropics/anthropic-sdk-python/tree/main/src/anthropic/types>,
//! <https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/lib/streaming/_messages.py>,
//! <https://github.com/anthropics/claude-code/issues/10484> (the part that reads a stream).

use penstock_schemas::sse;
use serde_json::{Map, Value, json};

const REASONS: [&str; 7] =
    ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"];

/// What is wrong with it, and the message that it is or comes to.
pub(super) fn read(bytes: &[u8], is_stream: bool) -> (Vec<String>, Value) {
    let mut reading = Reading::default();
    if is_stream {
        reading.stream(bytes);
    } else {
        reading.message = serde_json::from_slice(bytes).expect("it is JSON");
        let message = reading.message.clone();
        reading.head(&message);
        reading.reason(&message["stop_reason"]);
        for block in message["content"].as_array().into_iter().flatten() {
            reading.block(block);
        }
    }
    (reading.faults, reading.message)
}

/// A block of a stream.
struct Open {
    block: Value,
    arguments: String,
    has_ended: bool,
}

#[derive(Default)]
struct Reading {
    faults: Vec<String>,
    message: Value,
    blocks: Vec<Open>,
    has_ended: bool,
}

impl Reading {
    fn no(&mut self, what: String) {
        self.faults.push(what);
    }

    fn is(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.no(what());
        }
    }

    /// What every message has.
    fn head(&mut self, message: &Value) {
        let is_text = |name: &str| message[name].is_string();
        self.is(message["type"] == "message", || format!("/type is {}", message["type"]));
        self.is(message["role"] == "assistant", || format!("/role is {}", message["role"]));
        self.is(is_text("id") && is_text("model"), || {
            format!("/id, /model are {}, {}", message["id"], message["model"])
        });
        self.is(message["content"].is_array(), || format!("/content is {}", message["content"]));
        self.sequence(message);
        let usage = &message["usage"];
        self.is(usage["input_tokens"].is_u64(), || format!("/usage/input_tokens is {}", usage["input_tokens"]));
        self.usage(usage);
    }

    fn sequence(&mut self, value: &Value) {
        let sequence = value.get("stop_sequence");
        let is_right = sequence.is_some_and(|sequence| sequence.is_null() || sequence.is_string());
        self.is(is_right, || format!("/stop_sequence is {sequence:?}"));
    }

    fn usage(&mut self, usage: &Value) {
        self.is(usage["output_tokens"].is_u64(), || format!("/usage/output_tokens is {}", usage["output_tokens"]));
        for name in ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"] {
            self.is(usage[name].is_null() || usage[name].is_u64(), || format!("/usage/{name} is {}", usage[name]));
        }
    }

    fn reason(&mut self, reason: &Value) {
        self.is(REASONS.iter().any(|known| reason == known), || format!("/stop_reason is {reason}"));
    }

    fn block(&mut self, block: &Value) {
        let is_text = |name: &str| block[name].is_string();
        let is_right = match block["type"].as_str() {
            Some("text") => is_text("text"),
            Some("thinking") => is_text("thinking") && is_text("signature"),
            Some("tool_use") => {
                is_text("name") && block["id"].as_str().is_some_and(|id| !id.is_empty()) && block["input"].is_object()
            }
            other => other.is_some(),
        };
        self.is(is_right, || format!("a block is {block}"));
    }

    fn stream(&mut self, bytes: &[u8]) {
        let mut parser = sse::Parser::new(bytes.len() + 1);
        parser.push(bytes);
        while let Some(event) = parser.next_event().expect("it is short") {
            let is_comment = event.event.is_none()
                && event.data.is_empty()
                && event.raw.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.starts_with(b":"));
            if is_comment {
                continue;
            }
            let Ok(data) = serde_json::from_slice::<Value>(&event.data) else {
                self.no(format!("no JSON: {:?}", event.raw));
                continue;
            };
            let kind = data["type"].as_str().unwrap_or_default().to_owned();
            self.is(event.event.as_deref() == Some(kind.as_bytes()), || format!("{:?} names no {kind}", event.raw));
            self.is(!self.has_ended, || format!("{kind} behind the end"));
            self.event(&kind, &data);
        }
        self.is(self.has_ended, || "it does not end".to_owned());
        let reason = self.message["stop_reason"].clone();
        self.reason(&reason);
        self.message["content"] = self.blocks.drain(..).map(|open| open.block).collect();
    }

    fn event(&mut self, kind: &str, data: &Value) {
        if self.message.is_null() && !matches!(kind, "message_start" | "ping") {
            return self.no(format!("{kind} before message_start"));
        }
        match kind {
            "message_start" => {
                self.is(self.message.is_null(), || "message_start again".to_owned());
                self.head(&data["message"]);
                self.is(data["message"]["content"] == json!([]), || "it starts with content".to_owned());
                self.message = data["message"].clone();
            }
            "content_block_start" => self.start(data),
            "content_block_delta" => self.delta(data),
            "content_block_stop" => match self.open(data) {
                None => self.no(format!("no block ends: {data}")),
                Some(open) => {
                    open.has_ended = true;
                    let arguments = std::mem::take(&mut open.arguments);
                    if open.block["type"] == "tool_use" {
                        let text = if arguments.is_empty() { "{}" } else { &arguments };
                        open.block["input"] = serde_json::from_str(text).unwrap_or_default();
                    }
                    let block = open.block.clone();
                    self.block(&block);
                }
            },
            "message_delta" => self.message_delta(data),
            "message_stop" => self.has_ended = true,
            _ => {}
        }
    }

    fn start(&mut self, data: &Value) {
        let mut block = data["content_block"].clone();
        let next = self.blocks.len();
        self.is(data["index"] == next, || format!("it should be block {next}: {data}"));
        self.block(&block);
        let is_whole = |open: &Open| open.has_ended || open.block["type"] == "tool_use";
        let are_whole = self.blocks.iter().all(is_whole);
        self.is(are_whole, || format!("a block is open: {data}"));
        for name in ["text", "thinking"] {
            if block[name].is_string() {
                self.is(block[name] == "", || format!("it has {name} already: {data}"));
                block[name] = "".into();
            }
        }
        if block["type"] == "tool_use" {
            self.is(block["input"] == json!({}), || format!("it has input already: {data}"));
        }
        self.blocks.push(Open { block, arguments: String::new(), has_ended: false });
    }

    fn open(&mut self, data: &Value) -> Option<&mut Open> {
        let at = usize::try_from(data["index"].as_u64()?).ok()?;
        self.blocks.get_mut(at).filter(|open| !open.has_ended)
    }

    fn delta(&mut self, data: &Value) {
        let delta = &data["delta"];
        let Some(open) = self.open(data) else { return self.no(format!("no block is open: {data}")) };
        let grow = |open: &mut Open, name: &str| {
            let text = open.block[name].as_str().unwrap_or_default().to_owned();
            open.block[name] = (text + delta[name].as_str().unwrap_or_default()).into();
            delta[name].is_string()
        };
        let is_right = match (open.block["type"].as_str(), delta["type"].as_str()) {
            (Some("text"), Some("text_delta")) => grow(open, "text"),
            (Some("thinking"), Some("thinking_delta")) => grow(open, "thinking"),
            (Some("thinking"), Some("signature_delta")) => grow(open, "signature"),
            (Some("tool_use" | "server_tool_use"), Some("input_json_delta")) => {
                open.arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
                delta["partial_json"].is_string()
            }
            _ => false,
        };
        self.is(is_right, || format!("its block is of another kind: {data}"));
    }

    fn message_delta(&mut self, data: &Value) {
        let have_ended = self.blocks.iter().all(|open| open.has_ended);
        self.is(have_ended, || "a block is open at the end".to_owned());
        self.is(data["delta"].is_object(), || format!("no delta: {data}"));
        self.sequence(&data["delta"]);
        self.usage(&data["usage"]);
        if let Some(delta) = data["delta"].as_object() {
            for name in ["stop_reason", "stop_sequence"] {
                self.message[name] = delta.get(name).cloned().unwrap_or_default();
            }
        }
        let told: Map<String, Value> = data["usage"].as_object().cloned().unwrap_or_default();
        if let Some(usage) = self.message["usage"].as_object_mut() {
            usage.extend(told.into_iter().filter(|(_, count)| !count.is_null()));
        }
    }
}

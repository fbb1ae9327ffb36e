//! Answers as servers that copy OpenAI, Anthropic or Google really give them, one line of a table each, with who reported it: a
//! client of the dialect reads each as if its maker had written it, member by member, and a client of OpenAI's reads what it is
//! translated to. What has no clock here (an answer's id, its time, its model where there is none) is added by the worker.
//! Sources of what is right: <https://platform.openai.com/docs/api-reference>, as the types of openai-python have it, and what
//! the modules of the other dialects name.

use crate::provider::{Form, Observed, Step, Wanted};
use crate::{answers, format_of};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strict::check;

mod google;
mod joined;
mod messages;
mod strict;

/// One line of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    server: String,
    source: String,
    #[serde(default)]
    op: String,
    /// A whole answer, or the events of a stream: their data, or an event as it came.
    whole: Option<Value>,
    stream: Option<Vec<Value>>,
    #[serde(default)]
    asks_usage: bool,
    /// What must stand where, in the whole answer or in what a stream comes to.
    is: Map<String, Value>,
    /// The same of the translation to OpenAI's, where the dialect is another.
    chat: Option<Map<String, Value>>,
    /// Words of the failure, where it is one.
    fails: Option<String>,
    /// The same, where only the translation is one.
    chat_fails: Option<String>,
}

impl Recorded {
    fn wanted(&self, form: Form) -> (Dialect, Wanted) {
        let (dialect, operation) = match self.op.as_str() {
            "embeddings" => (Dialect::Openai, Operation::Embeddings),
            "images" => (Dialect::Openai, Operation::Images),
            "responses" => (Dialect::Responses, Operation::Chat),
            "messages" => (Dialect::Anthropic, Operation::Chat),
            "google" => (Dialect::Google, Operation::Chat),
            _ => (Dialect::Openai, Operation::Chat),
        };
        let delivery = match (&self.stream, self.asks_usage) {
            (None, _) => Delivery::Whole,
            (Some(_), false) => Delivery::Stream,
            (Some(_), true) => Delivery::StreamWithUsage,
        };
        (dialect, Wanted { operation, form, delivery })
    }

    /// What a client reads, and in which form.
    fn read(&self, form: Form) -> Result<(Bytes, Form), Failure> {
        let (dialect, wanted) = self.wanted(form);
        let format = format_of(dialect);
        let form = |observed: &Observed| if observed.is_translated { Form::Agnostic } else { wanted.form };
        if let Some(whole) = &self.whole {
            let whole = answers::read_whole(format, wanted, &Bytes::from(whole.to_string()))?;
            return Ok((whole.bytes, form(&whole.observed)));
        }
        let mut reader = answers::reader(format, wanted);
        let mut parser = sse::Parser::new(1 << 20);
        for event in self.stream.iter().flatten() {
            match event {
                Value::String(raw) => parser.push(raw.as_bytes()),
                data if dialect == Dialect::Anthropic => {
                    parser.push(format!("event: {}\n", data["type"].as_str().unwrap_or_default()).as_bytes());
                    parser.push(format!("data: {data}\n\n").as_bytes());
                }
                data => parser.push(format!("data: {data}\n\n").as_bytes()),
            }
        }
        let mut out = Vec::new();
        let mut take = |step: Step| match step {
            Step::Hold(bytes) | Step::Content(bytes) => out.extend_from_slice(&bytes),
            Step::Hide => {}
        };
        while let Some(event) = parser.next_event().expect("it is short") {
            take(reader.read(&event)?);
        }
        if let Some(event) = parser.finish().expect("it is short") {
            take(reader.read(&event)?);
        }
        take(Step::Hold(reader.finish()?));
        Ok((out.into(), form(reader.observed())))
    }

    /// What is wrong with what a client reads.
    fn faults(&self, form: Form) -> Vec<String> {
        let words = self.fails.as_ref().or(self.chat_fails.as_ref().filter(|_| form == Form::Agnostic));
        let (read, form) = match (self.read(form), words) {
            (Ok(read), None) => read,
            (Ok(_), Some(words)) => return vec![format!("it is no failure with {words}")],
            (Err(failure), Some(words)) if failure.message.contains(words) => return Vec::new(),
            (Err(failure), _) => return vec![format!("{:?}: {}", failure.kind, failure.message)],
        };
        let is_own = form == Form::Own;
        let is_stream = self.stream.is_some();
        let (mut faults, answer) = match (self.op.as_str(), form) {
            ("messages", Form::Own) => messages::read(&read, is_stream),
            ("google", Form::Own) => google::read(&read, is_stream),
            ("messages" | "google", Form::Agnostic) => as_openais("", &read, is_stream),
            (op, Form::Own) => as_openais(op, &read, is_stream),
            ("", Form::Agnostic) => as_openais("", &read, is_stream),
            (_, Form::Agnostic) => return Vec::new(),
        };
        let wanted = self.chat.as_ref().filter(|_| !is_own).unwrap_or(&self.is);
        for (place, value) in wanted {
            let found = answer.pointer(place).cloned().unwrap_or_default();
            if found != *value && (is_own || place != "/id") {
                faults.push(format!("{place} is {found}, not {value}"));
            }
        }
        faults
    }
}

/// What is wrong with an answer in OpenAI's dialect, and what it comes to.
fn as_openais(op: &str, read: &[u8], is_stream: bool) -> (Vec<String>, Value) {
    let pieces = if is_stream { chunks(read) } else { vec![serde_json::from_slice(read).expect("it is JSON")] };
    let faults = pieces.iter().flat_map(|piece| check(op, is_stream, piece)).collect();
    let whole = if is_stream { joined::whole(op, &pieces) } else { pieces.into_iter().next().unwrap_or_default() };
    (faults, whole)
}

/// The data of events, as openai-python reads them: every event that is more than comments has JSON in it.
fn chunks(stream: &[u8]) -> Vec<Value> {
    let mut parser = sse::Parser::new(stream.len() + 1);
    parser.push(stream);
    let mut chunks = Vec::new();
    while let Some(event) = parser.next_event().expect("it is short") {
        if event.data.starts_with(b"[DONE]") {
            break;
        }
        let is_comment = event.data.is_empty()
            && event.raw.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.starts_with(b":"));
        if !is_comment {
            chunks
                .push(serde_json::from_slice(&event.data).unwrap_or_else(|_| json!({ "no JSON": event.raw.to_vec() })));
        }
    }
    chunks
}

/// What is wrong with the answers of a table.
fn check_all(table: &str) {
    let mut faults = Vec::new();
    let (mut lines, mut wrong) = (0, 0);
    for line in table.lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines += 1;
        let before = faults.len();
        for form in [Form::Own, Form::Agnostic] {
            if form == Form::Agnostic && matches!(recorded.op.as_str(), "embeddings" | "images") {
                continue;
            }
            for fault in recorded.faults(form) {
                faults.push(format!("{} {} {form:?}: {fault}", recorded.server, recorded.source));
            }
        }
        wrong += usize::from(faults.len() > before);
    }
    assert!(faults.is_empty(), "{wrong} of {lines} are wrong:\n{}", faults.join("\n"));
}

#[test]
fn a_client_of_openais_reads_what_a_copy_wrote_as_if_openai_had() {
    check_all(include_str!("recorded/answers.jsonl"));
}

#[test]
fn a_client_of_anthropics_or_googles_reads_what_a_copy_wrote_as_if_they_had_and_one_of_openais_its_translation() {
    check_all(include_str!("recorded/messages.jsonl"));
}

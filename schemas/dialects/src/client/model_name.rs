//! Puts the model's name that the caller asked for into answers that pass otherwise untouched, whole or streamed. A client
//! keeps state by that name (Claude Code drops the thoughts of a model that it did not ask for); who answered stands in
//! `x-penstock-target`. Knows where each dialect names the model, and nothing else of an answer.

use super::ClientRequest;
use bytes::{Bytes, BytesMut};
use memchr::{memchr_iter, memchr2, memchr3, memrchr};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::sse::EVENT_BYTES;
use std::ops::Range;

/// The longest line of a stream in which the name is looked for, in bytes: as long as the longest event. A longer one passes.
const LINE_BYTES: usize = EVENT_BYTES;

/// The members that lead to the name, from the outside in.
type Place = &'static [&'static str];

/// The name for one answer.
#[derive(Debug)]
pub(crate) struct ModelName {
    /// As a JSON string.
    spelled: Vec<u8>,
    in_whole: Place,
    in_event: Place,
    /// Whether one event of a stream names the model for all.
    is_named_once: bool,
    is_over: bool,
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
}

impl ModelName {
    /// The name that was asked for; `None` where an answer that passes untouched names no model.
    pub(super) fn of(asked: &ClientRequest) -> Option<Self> {
        use Operation::{Chat, Completions, Embeddings, ImageEdits, ImageVariations, Images, Moderations, Rerank};
        let (in_whole, in_event): (Place, Place) = match (asked.dialect, asked.operation) {
            (
                Dialect::Openai,
                Chat | Completions | Embeddings | Images | ImageEdits | ImageVariations | Moderations | Rerank,
            ) => (&["model"], &["model"]),
            (Dialect::Anthropic, Chat) => (&["model"], &["message", "model"]),
            (Dialect::Google, Chat) => (&["modelVersion"], &["modelVersion"]),
            _ => return None,
        };
        Some(Self {
            spelled: serde_json::to_vec(&asked.model).expect("a text has a JSON form"),
            in_whole,
            in_event,
            is_named_once: asked.dialect == Dialect::Anthropic,
            is_over: false,
            begun: BytesMut::new(),
        })
    }

    /// A whole answer with the name.
    pub(super) fn put_into(&mut self, answer: Bytes) -> Bytes {
        match self.find(&answer, self.in_whole) {
            None => answer,
            Some(old) => [&answer[..old.start], &self.spelled, &answer[old.end..]].concat().into(),
        }
    }

    /// The next bytes of a stream with the name; what they leave of a line waits for its end.
    pub(super) fn put_into_next(&mut self, bytes: Bytes) -> Bytes {
        if self.is_over {
            return bytes;
        }
        if self.begun.is_empty() && bytes.last() == Some(&b'\n') {
            return self.put_into_lines(&bytes).unwrap_or(bytes);
        }
        self.begun.extend_from_slice(&bytes);
        let complete = match memrchr(b'\n', &self.begun) {
            Some(end) => self.begun.split_to(end + 1).freeze(),
            None if self.begun.len() > LINE_BYTES => self.begun.split().freeze(),
            None => return Bytes::new(),
        };
        let complete = self.put_into_lines(&complete).unwrap_or(complete);
        // With the name in its place, nothing waits any more.
        if self.is_over { [complete, self.begun.split().freeze()].concat().into() } else { complete }
    }

    /// What still waits when the stream has ended.
    pub(super) fn end(&mut self) -> Bytes {
        let rest = self.begun.split().freeze();
        self.put_into_lines(&rest).unwrap_or(rest)
    }

    /// The lines with the name; `None` when they stay as they are.
    fn put_into_lines(&mut self, lines: &[u8]) -> Option<Bytes> {
        let mut out = Vec::new();
        let (mut copied, mut start) = (0, 0);
        for end in memchr_iter(b'\n', lines).chain([lines.len()]) {
            if self.is_over {
                break;
            }
            let line = &lines[start..end];
            if let Some(data) = line.strip_prefix(b"data:")
                && let Some(old) = self.find(data, self.in_event)
            {
                let offset = end - data.len();
                out.reserve(lines.len() - copied + self.spelled.len());
                out.extend_from_slice(&lines[copied..offset + old.start]);
                out.extend_from_slice(&self.spelled);
                copied = offset + old.end;
            }
            start = end + 1;
        }
        if copied == 0 {
            return None;
        }
        out.extend_from_slice(&lines[copied..]);
        Some(out.into())
    }

    /// Where another name stands; `None` when there is none, or it is this one.
    fn find(&mut self, json: &[u8], place: Place) -> Option<Range<usize>> {
        let found = member(json, place)?;
        let value = &json[found.clone()];
        if !value.starts_with(b"\"") {
            return None;
        }
        self.is_over |= self.is_named_once;
        (value != self.spelled).then_some(found)
    }
}

/// Where the value at `place` stands in the text of a JSON object; `None` also when the text is not one. Reads no further
/// than to that value, and what it skips only as far as to find its end.
fn member(json: &[u8], place: &[&str]) -> Option<Range<usize>> {
    let (wanted, deeper) = place.split_first()?;
    let mut at = skip_space(json, 0);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    loop {
        at = skip_space(json, at + 1);
        let name = at..end_of_string(json, at)?;
        at = skip_space(json, name.end);
        if json.get(at) != Some(&b':') {
            return None;
        }
        let start = skip_space(json, at + 1);
        let is_wanted = &json[name.start + 1..name.end - 1] == wanted.as_bytes();
        if is_wanted && !deeper.is_empty() {
            let found = member(&json[start..], deeper)?;
            return Some(start + found.start..start + found.end);
        }
        let end = end_of_value(json, start)?;
        if is_wanted {
            return Some(start..end);
        }
        at = skip_space(json, end);
        if json.get(at) != Some(&b',') {
            return None;
        }
    }
}

fn skip_space(json: &[u8], from: usize) -> usize {
    let rest = json.get(from..).unwrap_or_default();
    let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    from + spaces
}

/// The end of the value that begins at `start`.
fn end_of_value(json: &[u8], start: usize) -> Option<usize> {
    let (open, close) = match *json.get(start)? {
        b'"' => return end_of_string(json, start),
        b'{' => (b'{', b'}'),
        b'[' => (b'[', b']'),
        _ => return Some(start + memchr3(b',', b'}', b']', &json[start..])?),
    };
    // Brackets of the other kind are closed in between, where the text is JSON.
    let (mut depth, mut at) = (0_usize, start);
    loop {
        at += memchr3(b'"', open, close, json.get(at..)?)?;
        if json[at] == b'"' {
            at = end_of_string(json, at)?;
            continue;
        }
        depth = if json[at] == open { depth + 1 } else { depth - 1 };
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The end of the string that begins at `start`, behind its quotation mark.
fn end_of_string(json: &[u8], start: usize) -> Option<usize> {
    if json.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Endpoint;

    fn name(dialect: Dialect, model: &str) -> ModelName {
        let body = match dialect {
            Dialect::Google => r#"{"contents":[{}]}"#.to_owned(),
            _ => format!(r#"{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":"Hi"}}]}}"#),
        };
        let model = (dialect == Dialect::Google).then(|| model.to_owned());
        let endpoint = Endpoint { model, ..Endpoint::new(dialect, Operation::Chat) };
        ModelName::of(&endpoint.read(body.into(), None).unwrap()).unwrap()
    }

    #[test]
    fn the_name_is_put_where_the_dialect_has_it_and_nowhere_else() {
        use Dialect::{Anthropic, Google, Openai};
        for (dialect, answer, named) in [
            (Openai, r#"{"id":"model","model":"m-1","x":1}"#, r#"{"id":"model","model":"p/m","x":1}"#),
            (Openai, r#" { "x": {"model":"no"}, "model" : "m-1" } "#, r#" { "x": {"model":"no"}, "model" : "p/m" } "#),
            (
                Openai,
                r#"{"a":"\"model\":\"no\"","b":["model",{"model":"no"}],"model":""}"#,
                r#"{"a":"\"model\":\"no\"","b":["model",{"model":"no"}],"model":"p/m"}"#,
            ),
            (
                Openai,
                r#"{"a":"}]{[\\","b":[[],{}],"c":-1.5e3,"d":null,"model":"m"}"#,
                r#"{"a":"}]{[\\","b":[[],{}],"c":-1.5e3,"d":null,"model":"p/m"}"#,
            ),
            (Openai, r#"{"model":"p/m"}"#, r#"{"model":"p/m"}"#),
            (Openai, r#"{"model":null}"#, r#"{"model":null}"#),
            (Openai, r#"{"data":[{"model":"no"}]}"#, r#"{"data":[{"model":"no"}]}"#),
            (Openai, r#"["model","no"]"#, r#"["model","no"]"#),
            (Openai, r#"{"model" "no"}"#, r#"{"model" "no"}"#),
            (Openai, r#"{"a":"cut"#, r#"{"a":"cut"#),
            (Openai, "", ""),
            (
                Anthropic,
                r#"{"content":[{"input":{"model":"no"}}],"model":"m"}"#,
                r#"{"content":[{"input":{"model":"no"}}],"model":"p/m"}"#,
            ),
            (
                Google,
                r#"{"candidates":[{"model":"no"}],"model":"no","modelVersion":"m"}"#,
                r#"{"candidates":[{"model":"no"}],"model":"no","modelVersion":"p/m"}"#,
            ),
        ] {
            let found = name(dialect, "p/m").put_into(Bytes::copy_from_slice(answer.as_bytes()));
            assert_eq!(found, named.as_bytes(), "{dialect:?} {answer}");
        }
    }

    /// What a client gets of a stream that comes in pieces of this size.
    fn streamed(dialect: Dialect, stream: &str, size: usize) -> String {
        let mut name = name(dialect, "p/m");
        let pieces = stream.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        let mut out: Vec<u8> = pieces.flat_map(|piece| name.put_into_next(piece)).collect();
        out.extend_from_slice(&name.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_of_a_stream_has_the_name_wherever_its_bytes_are_cut() {
        let openai = "data: {\"id\":\"1\",\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"\\\"model\\\":\\\"m-1\\\"\"}}]}\n\n\
            : m-1\r\n\r\ndata:{\"model\":\"m-1\"}\r\n\r\ndata: {\"choices\":[],\"model\":\"m-1\"}\n\ndata: [DONE]\n\ndata: {\"model\":\"m-1\"}";
        let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"1\",\"model\":\"m-1\"}}\n\n\
            event: content_block_delta\ndata: {\"model\":\"m-1\",\"message\":{\"model\":\"m-1\"}}\n\n";
        for size in 1..=openai.len() {
            let named = openai.replace(r#""model":"m-1""#, r#""model":"p/m""#);
            assert_eq!(streamed(Dialect::Openai, openai, size), named, "in pieces of {size}");
            // Only the first event of Anthropic's names the model.
            let named = anthropic.replacen("m-1", "p/m", 1);
            assert_eq!(streamed(Dialect::Anthropic, anthropic, size), named, "in pieces of {size}");
        }
    }
}

//! Answers with the tools' names and kinds as the caller knows them, whole and in chunks. Knows nothing of requests.

use super::custom::{Unwrapping, text_of};
use super::{ToolMap, older};
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::asked_tools::AskedTools;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::{Map, Value, json};

impl ToolMap {
    /// A whole agnostic answer.
    pub fn whole(&self, answer: &Bytes) -> Bytes {
        if self.changes_nothing() {
            return answer.clone();
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(answer) else { return answer.clone() };
        for choice in value.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
            let called = choice.get_mut("message").and_then(|message| message.get_mut("tool_calls"));
            if let Some(Value::Array(called)) = called.filter(|_| self.is_serial) {
                called.truncate(1);
            }
            for call in calls(choice.get_mut("message")) {
                let name = self.rename(call);
                if self.is_free(name.as_deref()) {
                    let arguments = call.get("function").and_then(|function| function.get("arguments")?.as_str());
                    let input = text_of(arguments.unwrap_or_default());
                    self.free(call, name.as_deref(), &input);
                }
            }
            if self.is_old {
                older::call(choice, "message");
            }
        }
        serde_json::to_vec(&value).map_or_else(|_| answer.clone(), Bytes::from)
    }

    /// With answers that call by `function_call`, and nothing else.
    pub(crate) fn of_functions() -> Self {
        let mut map = Self::default();
        map.answer_with_functions();
        map
    }

    /// Has answers call by `function_call`, one function each.
    pub(crate) fn answer_with_functions(&mut self) {
        (self.is_old, self.is_serial) = (true, true);
    }

    /// Whether answers stay as they are.
    fn changes_nothing(&self) -> bool {
        self.names.is_empty() && self.free.is_empty() && !self.is_serial && !self.is_old
    }

    /// The caller's names of tools that were asked for by the names that were sent.
    pub fn own_names(&self, sent: &AskedTools) -> AskedTools {
        sent.names().iter().map(|name| self.names.get(name).unwrap_or(name).as_str()).collect()
    }

    /// Gives a call the caller's name for its tool; the name that was sent, if there is one in this piece.
    fn rename(&self, call: &mut Map<String, Value>) -> Option<String> {
        let name = call.get_mut("function")?.get_mut("name")?;
        let sent = name.as_str()?.to_owned();
        if let Some(own) = self.names.get(&sent) {
            *name = own.as_str().into();
        }
        Some(sent)
    }

    fn is_free(&self, sent: Option<&str>) -> bool {
        sent.is_some_and(|sent| self.free.contains(sent))
    }

    /// Turns a call of a function, or a piece of one, into one of free text.
    fn free(&self, call: &mut Map<String, Value>, sent: Option<&str>, input: &str) {
        call.shift_remove("function");
        let mut custom = Map::new();
        if let Some(sent) = sent {
            let name = self.names.get(sent).map_or(sent, String::as_str);
            custom.insert("name".to_owned(), name.into());
            call.insert("type".to_owned(), "custom".into());
        }
        custom.insert("input".to_owned(), input.into());
        call.insert("custom".to_owned(), custom.into());
    }
}

fn calls(said: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let calls = said.and_then(|said| said.get_mut("tool_calls")).and_then(Value::as_array_mut);
    calls.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// A reader of a stream in the agnostic form that gives the tools back as the caller knows them.
pub fn reader(inner: Box<dyn StreamReader>, map: Option<ToolMap>) -> Box<dyn StreamReader> {
    match map {
        Some(map) if map.changes_nothing() => inner,
        Some(map) => Box::new(Reader { inner, map, open: Vec::new(), first: Vec::new() }),
        None => inner,
    }
}

#[derive(Debug)]
struct Reader {
    inner: Box<dyn StreamReader>,
    map: ToolMap,
    /// The calls of free text that are under way, by choice and index.
    open: Vec<((u64, u64), Unwrapping)>,
    /// The first call of each choice, by index, where only that is given back.
    first: Vec<(u64, u64)>,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        Ok(match self.inner.read(event)? {
            Step::Hold(bytes) => Step::Hold(self.restore(bytes)),
            Step::Content(bytes) => Step::Content(self.restore(bytes)),
            Step::Hide => Step::Hide,
        })
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let last = self.inner.finish()?;
        Ok(self.restore(last))
    }

    fn observed(&self) -> &Observed {
        self.inner.observed()
    }
}

impl Reader {
    /// The events of these bytes; those that hold no call and end nothing stay as they are.
    fn restore(&mut self, bytes: Bytes) -> Bytes {
        let is_telling = |word: &str| memchr::memmem::find(&bytes, word.as_bytes()).is_some();
        let ends = !self.open.is_empty() && is_telling("\"finish_reason\":\"");
        if !ends && !is_telling("\"tool_calls\"") {
            return bytes;
        }
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let chunk = line.strip_prefix(b"data: ").and_then(|json| serde_json::from_slice::<Value>(json).ok());
            match chunk {
                Some(mut chunk) => {
                    self.restore_chunk(&mut chunk);
                    out.extend_from_slice(format!("data: {chunk}\n").as_bytes());
                }
                None => out.extend_from_slice(line),
            }
        }
        out.into()
    }

    fn restore_chunk(&mut self, chunk: &mut Value) {
        for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
            let of = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            if self.map.is_serial {
                self.keep_first(of, choice.get_mut("delta"));
            }
            for call in calls(choice.get_mut("delta")) {
                self.restore_call(of, call);
            }
            if choice.get("finish_reason").is_some_and(Value::is_string) {
                self.end(of, choice);
            }
            if self.map.is_old {
                older::call(choice, "delta");
            }
        }
    }

    /// Leaves out the pieces of all calls of a choice but its first.
    fn keep_first(&mut self, choice: u64, delta: Option<&mut Value>) {
        let Some(delta) = delta.and_then(Value::as_object_mut) else { return };
        let Some(called) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
        called.retain(|call| {
            let index = call.get("index").and_then(Value::as_u64).unwrap_or(0);
            match self.first.iter().find(|(of, _)| *of == choice) {
                Some((_, first)) => *first == index,
                None => {
                    self.first.push((choice, index));
                    true
                }
            }
        });
        if called.is_empty() {
            delta.shift_remove("tool_calls");
        }
    }

    fn restore_call(&mut self, choice: u64, call: &mut Map<String, Value>) {
        let place = (choice, call.get("index").and_then(Value::as_u64).unwrap_or(0));
        let sent = self.map.rename(call);
        if self.map.is_free(sent.as_deref()) && !self.open.iter().any(|(open, _)| *open == place) {
            self.open.push((place, Unwrapping::default()));
        }
        let Some((_, unwrapping)) = self.open.iter_mut().find(|(open, _)| *open == place) else { return };
        let piece = call.get("function").and_then(|function| function.get("arguments")?.as_str());
        let input = unwrapping.add(piece.unwrap_or_default());
        self.map.free(call, sent.as_deref(), &input);
    }

    /// What is left of the calls of a choice that ends here.
    fn end(&mut self, of: u64, choice: &mut Value) {
        let mut rest = Vec::new();
        for ((_, index), unwrapping) in self.open.iter_mut().filter(|((choice, _), _)| *choice == of) {
            let input = unwrapping.finish();
            if !input.is_empty() {
                rest.push(json!({ "index": index, "custom": { "input": input } }));
            }
        }
        self.open.retain(|((choice, _), _)| *choice != of);
        if rest.is_empty() {
            return;
        }
        if !choice.get("delta").is_some_and(Value::is_object) {
            choice["delta"] = json!({});
        }
        match choice["delta"].get_mut("tool_calls").and_then(Value::as_array_mut) {
            Some(calls) => calls.extend(rest),
            None => choice["delta"]["tool_calls"] = rest.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::Openai;
    use crate::provider::{Form, ProviderFormat, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation};

    fn map() -> ToolMap {
        ToolMap {
            names: [("short_1".to_owned(), "a.long.name".to_owned()), ("patch_1".to_owned(), "patch".to_owned())]
                .into(),
            free: ["patch_1".to_owned()].into(),
            ..ToolMap::default()
        }
    }

    #[test]
    fn a_whole_answer_calls_the_tools_as_the_caller_knows_them() {
        let call = |name: &str, arguments: &str| json!({"id": "i", "type": "function", "function": {"name": name, "arguments": arguments}});
        let message = json!({"role": "assistant", "tool_calls": [
            call("short_1", "{}"), call("f", "{}"), call("patch_1", "{\"input\":\"x\\n\"}")]});
        let answer = json!({"id": "", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        let restored = map().whole(&answer.to_string().into());
        let restored: Value = serde_json::from_slice(&restored).unwrap();
        let custom = json!({"id": "i", "type": "custom", "custom": {"name": "patch", "input": "x\n"}});
        let expected = json!([call("a.long.name", "{}"), call("f", "{}"), custom]);
        assert_eq!(restored["choices"][0]["message"]["tool_calls"], expected);
    }

    #[test]
    fn who_wants_one_call_at_a_time_gets_the_first_of_each_choice() {
        let serial = ToolMap { is_serial: true, ..ToolMap::default() };
        let call =
            |index: u32, name: &str| json!({"index": index, "id": name, "function": {"name": name, "arguments": "{}"}});
        let message = json!({"role": "assistant", "tool_calls": [call(0, "f"), call(1, "g")]});
        let answer = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"},
            {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"}]});
        let kept: Value = serde_json::from_slice(&serial.whole(&answer.to_string().into())).unwrap();
        assert_eq!(kept["choices"][0]["message"]["tool_calls"], json!([call(0, "f")]));
        assert_eq!(kept["choices"][1], answer["choices"][1]);

        let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Stream };
        let mut reader = reader(Openai.stream(wanted), Some(serial));
        let chunk = |choice: u32, calls: Value, reason: Value| json!({"choices": [{"index": choice, "delta": {"tool_calls": calls}, "finish_reason": reason}]});
        let piece = |index: u32| json!({"index": index, "function": {"arguments": "1"}});
        let chunks = [
            chunk(0, json!([call(0, "f")]), Value::Null),
            chunk(1, json!([call(0, "h")]), Value::Null),
            chunk(0, json!([piece(0), call(1, "g")]), Value::Null),
            chunk(0, json!([piece(1)]), Value::Null),
            chunk(0, json!([piece(1)]), json!("tool_calls")),
        ];
        let mut found = Vec::new();
        for chunk in chunks {
            let (raw, data) = (Bytes::from(format!("data: {chunk}\n\n")), Bytes::from(chunk.to_string()));
            let Step::Content(bytes) = reader.read(&sse::Event { raw, event: None, data }).unwrap() else { continue };
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let chunk: Value = serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
            let choice = &chunk["choices"][0];
            let calls = choice["delta"]["tool_calls"].as_array().map_or(0, Vec::len);
            found.push((choice["index"].as_u64().unwrap(), calls, choice["finish_reason"].is_string()));
        }
        assert_eq!(found, [(0, 1, false), (1, 1, false), (0, 1, false), (0, 0, false), (0, 0, true)]);
    }

    #[test]
    fn a_stream_calls_them_so_piece_by_piece() {
        let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Stream };
        let mut reader = reader(Openai.stream(wanted), Some(map()));
        let piece = |index: u32, function: Value| json!({"tool_calls": [{"index": index, "function": function}]});
        let mut begun = piece(0, json!({"name": "patch_1", "arguments": ""}));
        begun["tool_calls"][0]["id"] = json!("i");
        let deltas = [
            begun,
            piece(0, json!({"arguments": "{\"inp"})),
            piece(1, json!({"name": "short_1", "arguments": "{}"})),
            piece(0, json!({"arguments": "ut\": \"a\\"})),
            piece(0, json!({"arguments": "nb\"}"})),
            piece(2, json!({"name": "patch_1", "arguments": "{\"odd\": 1, \"input\": \"c\"}"})),
            json!({"content": "d"}),
        ];
        let (mut inputs, mut names) = ([String::new(), String::new(), String::new()], Vec::new());
        let chunk =
            |delta: &Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        let last = chunk(&json!({}), json!("tool_calls"));
        for chunk in deltas.iter().map(|delta| chunk(delta, Value::Null)).chain([last]) {
            let data = Bytes::from(chunk.to_string());
            let raw = Bytes::from(format!("data: {chunk}\n\n"));
            let Step::Content(bytes) = reader.read(&sse::Event { raw, event: None, data }).unwrap() else { continue };
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let found: Value = serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
            for call in found["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                inputs[index].push_str(call["custom"]["input"].as_str().unwrap_or_default());
                let name = call["custom"]["name"].as_str().or(call["function"]["name"].as_str());
                names.extend(name.map(|name| format!("{index} {name} {}", call["type"].as_str().unwrap_or("-"))));
            }
        }
        assert_eq!(inputs, ["a\nb", "", "c"]);
        assert_eq!(names, ["0 patch custom", "1 a.long.name function", "2 patch custom"]);
    }
}

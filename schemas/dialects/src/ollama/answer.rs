//! OpenAI's answers as Ollama's: one JSON object, or one a line. Calls come whole, as Ollama's do, and the last line has the
//! counts and times. Source: <https://docs.ollama.com/api/chat>.

use super::Method;
use crate::client::{Now, read_chunk};
use penstock_schemas::UnixMicros;
use penstock_schemas::chat::{Completion, CompletionUsage, Content, ToolCall};
use penstock_schemas::rfc3339;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An error: `{"error": "…"}`.
pub fn error(message: &str) -> Vec<u8> {
    json!({ "error": message }).to_string().into_bytes()
}

/// What turns a whole answer into Ollama's.
pub struct Answers {
    method: Method,
    now: Now,
    since: UnixMicros,
}

/// What turns a stream's chunks into lines.
pub struct LineWriter {
    answers: Answers,
    /// Until the first content.
    waited: Option<u64>,
    model: String,
    calls: Vec<ToolCall>,
    finish_reason: Option<String>,
    usage: Option<CompletionUsage>,
    has_failed: bool,
}

#[derive(Deserialize)]
struct Vectors<'a> {
    #[serde(borrow)]
    data: Vec<Vector<'a>>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: Option<CompletionUsage>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(default)]
    index: usize,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

impl Answers {
    /// For the answer to a request that comes now.
    pub fn new(method: Method, now: Now) -> Self {
        Self { method, now, since: now() }
    }

    /// A whole answer.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn whole(&self, answer: &[u8]) -> Result<Vec<u8>, String> {
        let unreadable = |error: serde_json::Error| format!("the answer cannot be read: {error}");
        if matches!(self.method, Method::Embed | Method::Embeddings) {
            return self.vectors(serde_json::from_slice(answer).map_err(unreadable)?);
        }
        let answer: Completion = serde_json::from_slice(answer).map_err(unreadable)?;
        let choice = answer.choices.into_iter().next().ok_or("the answer holds no choice")?;
        let calls = calls(choice.message.tool_calls.unwrap_or_default())?;
        let text = choice.message.content.as_ref().map(Content::text).unwrap_or_default();
        let mut line = self.line(&answer.model, &text, choice.message.reasoning_content, calls);
        self.close(&mut line, choice.finish_reason.as_deref(), answer.usage.as_ref(), 0);
        Ok(line.to_string().into_bytes())
    }

    fn vectors(&self, mut answer: Vectors<'_>) -> Result<Vec<u8>, String> {
        answer.data.sort_by_key(|vector| vector.index);
        let vectors: Vec<&RawValue> = answer.data.iter().map(|vector| vector.embedding).collect();
        let answer = if self.method == Method::Embeddings {
            json!({ "embedding": vectors.first().ok_or("the answer holds no vector")? })
        } else {
            json!({
                "model": answer.model,
                "embeddings": vectors,
                "total_duration": self.nanos(),
                "load_duration": 0,
                "prompt_eval_count": answer.usage.map(|usage| usage.prompt_tokens),
            })
        };
        Ok(answer.to_string().into_bytes())
    }

    /// One object that is not the last.
    fn line(&self, model: &str, text: &str, thinking: Option<String>, calls: Vec<Value>) -> Value {
        let mut line = json!({ "model": model, "created_at": rfc3339::write((self.now)()) });
        let said = if self.method == Method::Chat {
            line["message"] = json!({ "role": "assistant", "content": text });
            &mut line["message"]
        } else {
            line["response"] = text.into();
            &mut line
        };
        if let Some(thinking) = thinking.filter(|thinking| !thinking.is_empty()) {
            said["thinking"] = thinking.into();
        }
        if !calls.is_empty() {
            said["tool_calls"] = calls.into();
        }
        line["done"] = false.into();
        line
    }

    /// Makes it the last one.
    fn close(&self, line: &mut Value, reason: Option<&str>, usage: Option<&CompletionUsage>, waited: u64) {
        let total = self.nanos();
        let waited = if waited == 0 { total } else { waited };
        line["done"] = true.into();
        line["done_reason"] = if reason == Some("length") { "length" } else { "stop" }.into();
        line["total_duration"] = total.into();
        line["load_duration"] = 0.into();
        line["prompt_eval_count"] = usage.map_or(0, |usage| usage.prompt_tokens).into();
        line["prompt_eval_duration"] = waited.into();
        line["eval_count"] = usage.map_or(0, |usage| usage.completion_tokens).into();
        line["eval_duration"] = (total - waited.min(total)).into();
    }

    /// The time since the request, in nanoseconds, which is Ollama's unit.
    fn nanos(&self) -> u64 {
        (self.now)().0.saturating_sub(self.since.0).saturating_mul(1000)
    }
}

impl LineWriter {
    /// For the answer to a request that comes now.
    pub fn new(method: Method, now: Now) -> Self {
        Self {
            answers: Answers::new(method, now),
            waited: None,
            model: String::new(),
            calls: Vec::new(),
            finish_reason: None,
            usage: None,
            has_failed: false,
        }
    }

    /// The next event of OpenAI's stream.
    pub fn chunk(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.has_failed || data == b"[DONE]" || data.is_empty() {
            return;
        }
        #[derive(Deserialize)]
        struct Failed {
            error: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        if let Ok(failed) = serde_json::from_slice::<Failed>(data) {
            return self.fail(&failed.error.message, out);
        }
        let chunk = match read_chunk(data) {
            Ok(chunk) => chunk,
            Err(failure) => return self.fail(&failure.to_string(), out),
        };
        self.model = chunk.model;
        self.usage = chunk.usage.or(self.usage.take());
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            for call in choice.delta.tool_calls.unwrap_or_default() {
                self.call(call);
            }
            let text = choice.delta.content.unwrap_or_default();
            let thinking = choice.delta.reasoning_content.filter(|thinking| !thinking.is_empty());
            if !text.is_empty() || thinking.is_some() {
                let since = self.answers.nanos();
                self.waited.get_or_insert(since);
                put(&self.answers.line(&self.model, &text, thinking, Vec::new()), out);
            }
        }
    }

    /// The last lines.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        if self.finish_reason.is_none() {
            return self.fail("the answer ended before it was complete", out);
        }
        match calls(std::mem::take(&mut self.calls)) {
            Ok(calls) if calls.is_empty() => {}
            Ok(calls) => put(&self.answers.line(&self.model, "", None, calls), out),
            Err(why) => return self.fail(&why, out),
        }
        let mut last = self.answers.line(&self.model, "", None, Vec::new());
        let waited = self.waited.unwrap_or_default();
        self.answers.close(&mut last, self.finish_reason.as_deref(), self.usage.as_ref(), waited);
        put(&last, out);
    }

    fn fail(&mut self, message: &str, out: &mut Vec<u8>) {
        self.has_failed = true;
        out.extend_from_slice(&error(message));
        out.push(b'\n');
    }

    /// Adds a piece of a call.
    fn call(&mut self, piece: ToolCall) {
        let known = self.calls.iter_mut().find(|call| call.index.is_some() && call.index == piece.index);
        let Some(call) = known else { return self.calls.push(piece) };
        let (Some(function), Some(more)) = (&mut call.function, piece.function) else { return };
        if let Some(more) = more.arguments {
            function.arguments.get_or_insert_default().push_str(&more);
        }
    }
}

fn put(line: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

/// Calls with their arguments as objects; one whose arguments are none was cut, and must not be made with others.
fn calls(calls: Vec<ToolCall>) -> Result<Vec<Value>, String> {
    let one = |(at, call): (usize, ToolCall)| {
        let function = call.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = function.arguments.filter(|arguments| !arguments.trim().is_empty());
        let arguments: Value = match arguments.as_deref().map(serde_json::from_str) {
            None => json!({}),
            Some(Ok(arguments @ Value::Object(_))) => arguments,
            Some(_) => return Err(format!("the model's call of `{name}` is not complete")),
        };
        Ok(json!({ "id": call.id, "function": { "index": at, "name": name, "arguments": arguments } }))
    };
    calls.into_iter().enumerate().map(one).collect()
}

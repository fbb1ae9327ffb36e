//! Completions of a text in front of providers that only chat: the prompt becomes a turn of the user's, and the turn that
//! answers it the text. Knows no provider: it stands around the format of one.
//! Source: <https://platform.openai.com/docs/api-reference/completions/create>.

use crate::client::read_chunk;
use crate::errors::ErrorParts;
use crate::fit::Fit;
use crate::framing::Framing;
use crate::provider::{
    FormatRequest, FormatSettings, Observed, ProviderFormat, Spelled, Step, StreamReader, ToolRule, Wanted, Whole,
    unsupported,
};
use bytes::Bytes;
use penstock_schemas::chat::{Completion, Content};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::{Map, Value, json};

/// A format that completes texts by chatting.
#[derive(Debug)]
pub struct Texts<F: ?Sized + 'static>(pub &'static F);

impl<F: ProviderFormat + ?Sized> ProviderFormat for Texts<F> {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        let mut fit = Fit::new(ask.unsupported);
        let body = chat(ask.body, &mut fit)?;
        let mut spelled = self.0.spell(&FormatRequest { wanted: as_chat(ask.wanted), body: &body, ..*ask })?;
        spelled.dropped.extend(fit.dropped());
        Ok(spelled)
    }

    fn takes_urls(&self) -> bool {
        self.0.takes_urls()
    }

    fn takes_document_urls(&self) -> bool {
        self.0.takes_document_urls()
    }

    fn tools(&self, settings: &FormatSettings) -> ToolRule {
        self.0.tools(settings)
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        let whole = self.0.read_whole(as_chat(wanted), body)?;
        Ok(Whole { bytes: text(&whole.bytes)?, ..whole })
    }

    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(Reader(self.0.stream(as_chat(wanted))))
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        self.0.kind_of_error(status, parts)
    }
}

fn as_chat(wanted: Wanted) -> Wanted {
    Wanted { operation: Operation::Chat, ..wanted }
}

/// The request as a chat.
fn chat(body: &Bytes, fit: &mut Fit) -> Result<Bytes, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        Failure::gateway(FailureKind::BadRequest, format!("the request is not a JSON object: {error}"))
    })?;
    let prompt = match fields.remove("prompt") {
        Some(Value::String(prompt)) => prompt,
        Some(Value::Array(mut prompts)) if prompts.len() == 1 && prompts[0].is_string() => {
            prompts.remove(0).as_str().unwrap_or_default().to_owned()
        }
        _ => return Err(unsupported("prompt", "this provider only chats: one text at a time, and no tokens")),
    };
    for (name, means_nothing) in
        [("suffix", json!("")), ("echo", json!(false)), ("best_of", json!(1)), ("logprobs", json!(0))]
    {
        let value = fields.remove(name).unwrap_or_default();
        if !value.is_null() && value != means_nothing {
            fit.cannot(name, "this provider only chats")?;
        }
    }
    fields.insert("messages".to_owned(), json!([{ "role": "user", "content": prompt }]));
    Ok(Value::Object(fields).to_string().into())
}

/// A whole answer as a text.
fn text(answer: &[u8]) -> Result<Bytes, Failure> {
    let answer: Completion = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
    let choices = answer.choices.into_iter().map(|choice| {
        let text = choice.message.content.as_ref().map(Content::text).unwrap_or_default();
        json!({ "text": text, "index": choice.index, "logprobs": null, "finish_reason": choice.finish_reason })
    });
    let choices: Vec<Value> = choices.collect();
    let mut out = json!({
        "id": answer.id, "object": "text_completion", "created": answer.created, "model": answer.model,
        "choices": choices,
    });
    if let Some(usage) = &answer.usage {
        out["usage"] = json!(usage);
    }
    Ok(out.to_string().into())
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::gateway(FailureKind::Internal, format!("an answer in the agnostic form cannot be read: {error}"))
}

/// Reads a chat's stream as that of a text.
#[derive(Debug)]
struct Reader(Box<dyn StreamReader>);

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let step = self.0.read(event)?;
        let (Step::Hold(bytes) | Step::Content(bytes)) = &step else { return Ok(Step::Hide) };
        let bytes = texts(bytes)?;
        Ok(match step {
            _ if bytes.is_empty() => Step::Hide,
            Step::Content(_) => Step::Content(bytes),
            Step::Hold(_) | Step::Hide => Step::Hold(bytes),
        })
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        texts(&self.0.finish()?)
    }

    fn observed(&self) -> &Observed {
        self.0.observed()
    }
}

/// Whole events of the agnostic form as those of a text; those that say nothing of it are left out.
fn texts(events: &Bytes) -> Result<Bytes, Failure> {
    let mut out = Vec::with_capacity(events.len());
    let mut parser = sse::Parser::new(events.len() + 1);
    parser.push(events);
    while let Ok(Some(event)) = parser.next_event() {
        if !event.data.starts_with(b"{") {
            out.extend_from_slice(&event.raw); // `[DONE]`, and comments
            continue;
        }
        let chunk = read_chunk(&event.data)?;
        let choices = chunk.choices.into_iter().filter_map(|choice| {
            let text = choice.delta.content.unwrap_or_default();
            let says_something = !text.is_empty() || choice.finish_reason.is_some();
            let choice =
                json!({ "text": text, "index": choice.index, "logprobs": null, "finish_reason": choice.finish_reason });
            says_something.then_some(choice)
        });
        let choices: Vec<Value> = choices.collect();
        if choices.is_empty() && chunk.usage.is_none() {
            continue;
        }
        let mut event = json!({
            "id": chunk.id, "object": "text_completion", "created": chunk.created, "model": chunk.model,
            "choices": choices,
        });
        if let Some(usage) = &chunk.usage {
            event["usage"] = json!(usage);
        }
        out.extend_from_slice(format!("data: {event}\n\n").as_bytes());
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Unsupported;

    fn asked(request: &Value) -> Result<Value, Failure> {
        let body = chat(&request.to_string().into(), &mut Fit::new(Unsupported::Refuse))?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_prompt_becomes_a_turn_and_what_a_chat_cannot_do_is_refused_by_name() {
        let turns = json!([{ "role": "user", "content": "Once upon" }]);
        for prompt in [json!("Once upon"), json!(["Once upon"])] {
            let request =
                json!({ "model": "m", "prompt": prompt, "max_tokens": 5, "echo": false, "best_of": 1, "suffix": null });
            assert_eq!(asked(&request).unwrap(), json!({ "model": "m", "max_tokens": 5, "messages": turns }));
        }
        for (field, value) in [
            ("prompt", json!(["a", "b"])),
            ("prompt", json!([1, 2])),
            ("echo", json!(true)),
            ("suffix", json!("end")),
            ("best_of", json!(2)),
            ("logprobs", json!(3)),
        ] {
            let mut request = json!({ "model": "m", "prompt": "a" });
            request[field] = value;
            assert_eq!(asked(&request).unwrap_err().param.as_deref(), Some(field));
        }
    }

    #[test]
    fn a_chats_events_become_a_texts() {
        let chunk = |delta: Value, reason: Value| {
            format!(
                "data: {}\n\n",
                json!({ "id": "c", "created": 1, "model": "m",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
            )
        };
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 });
        let events = [
            chunk(json!({ "role": "assistant", "content": "" }), Value::Null),
            chunk(json!({ "reasoning_content": "Hm." }), Value::Null),
            chunk(json!({ "content": " a time" }), Value::Null),
            chunk(json!({}), json!("stop")),
            format!("data: {}\n\n", json!({ "id": "c", "created": 1, "model": "m", "choices": [], "usage": usage })),
            "data: [DONE]\n\n".to_owned(),
        ];
        let out = texts(&events.concat().into()).unwrap();
        let text = |text: &str, reason: Value| {
            json!({ "id": "c", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{ "text": text, "index": 0, "logprobs": null, "finish_reason": reason }] })
        };
        let last = json!({ "id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [], "usage": usage });
        let expected =
            [text(" a time", Value::Null), text("", json!("stop")), last].map(|event| format!("data: {event}\n\n"));
        assert_eq!(String::from_utf8_lossy(&out), expected.concat() + "data: [DONE]\n\n");
    }
}

//! Servers that answer the other way than they were asked: a stream where a whole answer was wanted, and a whole answer where a
//! stream was. Each becomes what was wanted. Knows nothing of what the answer says.

use super::agnostic::Mender;
use crate::provider::{Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::chat::{Choice, FunctionCall};
use penstock_schemas::chat::{
    ChunkChoice, Completion, CompletionChunk, Content, Delta, Message, ReasoningDetail, ToolCall,
};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::{Map, Value, json};

/// Whether a body is no JSON object but begins as server-sent events do.
pub(crate) fn is_stream(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [b"data:".as_slice(), b"event:", b"id:", b":"].iter().any(|start| body.starts_with(start))
}

/// The events of a body that is a stream, those with data.
pub(crate) fn events(body: &[u8]) -> Vec<sse::Event> {
    let mut parser = sse::Parser::new(body.len() + 1);
    parser.push(body);
    let mut events = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        events.push(event);
    }
    events.extend(parser.finish().ok().flatten());
    events.retain(|event| !event.data.is_empty());
    events
}

/// The whole answer that the chunks of a stream come to, or the chunk that says an error.
///
/// # Errors
/// When the stream ended before it was complete, or a chunk is no JSON.
pub(crate) fn completion_of(body: &[u8]) -> Result<Bytes, Failure> {
    let broken = || Failure::provider(FailureKind::Broken, "the provider's answer is a stream that is cut short");
    let (mut mender, mut made, mut is_done) = (Mender::default(), Completion::default(), false);
    for event in events(body) {
        if event.data.trim_ascii() == b"[DONE]" {
            is_done = true;
            continue;
        }
        let value: Value = serde_json::from_slice(&event.data).map_err(|_| broken())?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(event.data);
        }
        let chunk = serde_json::from_slice(&mender.mend(&event.data)?).map_err(|_| broken())?;
        add(&mut made, chunk);
    }
    made.object = "chat.completion".to_owned();
    let has_ended = is_done || made.choices.iter().all(|choice| choice.finish_reason.is_some());
    if made.choices.is_empty() || !has_ended {
        return Err(broken());
    }
    serde_json::to_vec(&made).map(Bytes::from).map_err(|_| broken())
}

fn add(made: &mut Completion, chunk: CompletionChunk) {
    for (known, new) in [(&mut made.id, chunk.id), (&mut made.model, chunk.model)] {
        if known.is_empty() {
            *known = new;
        }
    }
    made.created = made.created.max(chunk.created);
    made.usage = chunk.usage.or(made.usage.take());
    made.extra.extend(chunk.extra);
    for ChunkChoice { index, delta, finish_reason, extra } in chunk.choices {
        let at = made.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            let message = Message { role: "assistant".to_owned(), ..Message::default() };
            made.choices.push(Choice { index, message, ..Choice::default() });
            made.choices.len() - 1
        });
        let choice = &mut made.choices[at];
        choice.finish_reason = finish_reason.or(choice.finish_reason.take());
        join(&mut choice.extra, extra);
        say(&mut choice.message, delta);
    }
}

/// Lists are added to, also within objects, as in `logprobs`; of anything else the last counts.
fn join(known: &mut Map<String, Value>, new: Map<String, Value>) {
    for (name, value) in new.into_iter().filter(|(_, value)| !value.is_null()) {
        match (known.get_mut(&name), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(Value::Object(all)), Value::Object(more)) => join(all, more),
            (_, value) => drop(known.insert(name, value)),
        }
    }
}

fn say(message: &mut Message, delta: Delta) {
    if let Some(text) = delta.content {
        let before = message.content.take().map(|content| content.text()).unwrap_or_default();
        message.content = Some(Content::Text(before + &text));
    }
    for (known, more) in
        [(&mut message.refusal, delta.refusal), (&mut message.reasoning_content, delta.reasoning_content)]
    {
        if let Some(more) = more {
            known.get_or_insert_default().push_str(&more);
        }
    }
    for piece in delta.reasoning_details.into_iter().flatten() {
        think(message.reasoning_details.get_or_insert_default(), piece);
    }
    for call in delta.tool_calls.into_iter().flatten() {
        add_call(message.tool_calls.get_or_insert_default(), call);
    }
    join(&mut message.extra, delta.extra);
}

fn think(details: &mut Vec<ReasoningDetail>, piece: ReasoningDetail) {
    let same = details.iter_mut().find(|one| one.index.is_some() && one.index == piece.index && one.kind == piece.kind);
    let Some(same) = same else { return details.push(piece) };
    for (known, more) in [
        (&mut same.text, piece.text),
        (&mut same.summary, piece.summary),
        (&mut same.data, piece.data),
        (&mut same.signature, piece.signature),
    ] {
        if let Some(more) = more {
            known.get_or_insert_default().push_str(&more);
        }
    }
    same.id = piece.id.or(same.id.take());
    same.format = piece.format.or(same.format);
}

fn add_call(calls: &mut Vec<ToolCall>, piece: ToolCall) {
    let Some(known) = calls.iter_mut().find(|call| call.index == piece.index) else { return calls.push(piece) };
    known.id = known.id.take().or(piece.id);
    if let Some(FunctionCall { name, arguments, .. }) = piece.function {
        let function = known.function.get_or_insert_default();
        function.name = function.name.take().or(name);
        function.arguments.get_or_insert_default().push_str(&arguments.unwrap_or_default());
    }
    join(&mut known.extra, piece.extra);
}

/// A whole answer as the events of a stream: what it says, and what it consumed if it tells. `None` when it is no answer.
pub(super) fn chunks(whole: &[u8]) -> Option<Vec<sse::Event>> {
    let mut answer: Map<String, Value> = serde_json::from_slice(whole).ok()?;
    let choices = answer.get_mut("choices")?.as_array_mut().filter(|choices| !choices.is_empty())?;
    for choice in choices {
        let mut delta = choice.get_mut("message")?.take();
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
        for (at, call) in calls.enumerate() {
            call["index"] = at.into();
        }
        let choice = choice.as_object_mut()?;
        choice.shift_remove("message");
        choice.insert("delta".to_owned(), delta);
    }
    answer.insert("object".to_owned(), "chat.completion.chunk".into());
    let usage = answer.shift_remove("usage").filter(|usage| !usage.is_null());
    let last = usage.map(|usage| {
        let mut last = answer.clone();
        last.insert("choices".to_owned(), json!([]));
        last.insert("usage".to_owned(), usage);
        last
    });
    Some(std::iter::once(answer).chain(last).map(|chunk| event(&Value::Object(chunk))).collect())
}

/// Reads events that one answer came to; what they say goes out together.
///
/// # Errors
/// When one of them is an error.
pub(crate) fn read_all(reader: &mut impl StreamReader, events: &[sse::Event]) -> Result<Step, Failure> {
    let (mut out, mut has_content) = (Vec::new(), false);
    for event in events {
        let step = reader.read(event)?;
        has_content |= matches!(step, Step::Content(_));
        if let Step::Hold(bytes) | Step::Content(bytes) = step {
            out.extend_from_slice(&bytes);
        }
    }
    Ok(if has_content { Step::Content(out.into()) } else { Step::Hold(out.into()) })
}

/// An event without a name.
pub(crate) fn event(data: &Value) -> sse::Event {
    raw_event(&data.to_string())
}

/// An event with a name.
pub(crate) fn named_event(name: &str, data: &Value) -> sse::Event {
    let data = data.to_string();
    let raw = format!("event: {name}\ndata: {data}\n\n").into();
    sse::Event { raw, event: Some(Bytes::copy_from_slice(name.as_bytes())), data: data.into() }
}

/// An event without data that is nothing but comments, without its blank line: SDKs take that for the end of an event once
/// some event had an id. Source: <https://github.com/openai/openai-python/issues/2722>.
pub(crate) fn comment(raw: &Bytes) -> Option<Bytes> {
    let is_comment = raw.split(|byte| *byte == b'\n').all(|line| matches!(line, [] | [b'\r'] | [b':', ..]));
    let end = raw.trim_ascii_end().len();
    is_comment.then(|| [&raw[..end], b"\n"].concat().into())
}

/// An event of JSON on one line.
pub(crate) fn raw_event(data: &str) -> sse::Event {
    let data = data.to_owned();
    sse::Event { raw: format!("data: {data}\n\n").into(), event: None, data: data.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::Openai;
    use crate::provider::{Form, ProviderFormat, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation};

    const WHOLE: Wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole };

    fn chunk(delta: &Value, reason: &Value) -> String {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
        )
    }

    fn read(body: &str) -> Result<Value, Failure> {
        let whole = Openai.read_whole(WHOLE, &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok(serde_json::from_slice(&whole.bytes).unwrap())
    }

    #[test]
    fn a_stream_where_a_whole_answer_was_wanted_is_the_answer_that_it_comes_to() {
        let call = |more: Value| {
            let mut call = json!({"index": 0});
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"tool_calls": [call]})
        };
        let pieces = [
            chunk(&json!({"role": "assistant", "content": ""}), &Value::Null),
            ": comment\n\n".to_owned(),
            chunk(&json!({"reasoning": "h"}), &Value::Null),
            chunk(&json!({"reasoning": "m"}), &Value::Null),
            chunk(&json!({"content": "a"}), &Value::Null),
            chunk(&json!({"content": "b"}), &Value::Null),
            chunk(&call(json!({"id": "i", "type": "function", "function": {"name": "f", "arguments": "{"}})), &Value::Null),
            chunk(&call(json!({"function": {"arguments": "}"}})), &json!("tool_calls")),
            "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2, \"total_tokens\": 5}}\n\n".to_owned(),
        ];
        let answer = read(&(pieces.concat() + "data: [DONE]\n\n")).unwrap();
        let message = &answer["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("ab"), &json!("hm")));
        assert_eq!(message["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{}"}));
        assert_eq!(
            (&answer["choices"][0]["finish_reason"], &answer["usage"]["total_tokens"]),
            (&json!("tool_calls"), &json!(5))
        );
        let whole = Openai.read_whole(WHOLE, &Bytes::from(pieces.concat())).unwrap();
        assert_eq!(whole.observed.usage.unwrap().input, Some(3));
        assert_eq!(read(&pieces[..6].concat()).unwrap_err().kind, FailureKind::Broken, "it did not end");
        let refused = read("data: {\"error\": {\"message\": \"slow down\", \"code\": 429}}\n\n").unwrap_err();
        assert_eq!(refused.kind, FailureKind::RateLimited);
    }

    #[test]
    fn a_whole_answer_where_a_stream_was_wanted_goes_out_as_one() {
        let message = json!({"role": "assistant", "content": "ab", "tool_calls": [
            {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        for form in [Form::Own, Form::Agnostic] {
            let wanted = Wanted { delivery: Delivery::Stream, form, ..WHOLE };
            let mut reader = Openai.stream(wanted);
            let raw = Bytes::from(serde_json::to_string_pretty(&whole).unwrap());
            let Ok(Step::Content(bytes)) = reader.read(&sse::Event { raw, event: None, data: Bytes::new() }) else {
                panic!("it is content");
            };
            let sent = events(&bytes);
            let chunk: Value = serde_json::from_slice(&sent[0].data).unwrap();
            let delta = &chunk["choices"][0]["delta"];
            assert_eq!((&delta["content"], &delta["tool_calls"][0]["index"]), (&json!("ab"), &json!(0)));
            assert_eq!((sent.len(), chunk.get("usage")), (1, None), "nobody asked for it");
            assert_eq!(reader.observed().usage.unwrap().input, Some(3));
            assert_eq!(reader.finish().unwrap(), Bytes::from_static(b"data: [DONE]\n\n"));
        }
        let silent =
            json!({"id": "c", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]});
        assert_eq!(chunks(silent.to_string().as_bytes()).unwrap().len(), 1, "it tells no usage");
    }

    #[test]
    fn a_note_of_the_servers_own_in_a_stream_is_no_chunk_for_a_client() {
        let mut reader = Openai.stream(Wanted { delivery: Delivery::Stream, form: Form::Own, ..WHOLE });
        for (chunk, is_sent) in [
            (json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}), true),
            (json!({"warning": "no usage"}), false),
            (json!({"choices": [], "prompt_filter_results": []}), true),
        ] {
            assert_eq!(reader.read(&event(&chunk)).unwrap() != Step::Hide, is_sent, "{chunk}");
        }
    }
}

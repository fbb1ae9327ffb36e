//! A stream where a whole answer was asked for, as some servers answer whatever they are asked: what its events come to. Knows
//! no dialect; each has a reader of its own streams.

use crate::openai::provider::other_way::{completion_of, events, is_stream};
use crate::provider::{Form, ProviderFormat, Step, Wanted, Whole};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::Value;

/// The answer that a body's events come to; `None` when it is no stream. `own` puts events together in the dialect's own form.
///
/// # Errors
/// When the stream holds an error, or ended before it was complete.
pub(crate) fn read(
    format: &dyn ProviderFormat,
    wanted: Wanted,
    body: &Bytes,
    own: impl FnOnce(&[sse::Event]) -> Option<Value>,
) -> Result<Option<Whole>, Failure> {
    if wanted.operation != Operation::Chat || !is_stream(body) {
        return Ok(None);
    }
    let mut reader = format.stream(Wanted { delivery: Delivery::StreamWithUsage, ..wanted });
    let mut chunks = Vec::new();
    for event in &events(body) {
        add(reader.read(event)?, &mut chunks);
    }
    chunks.extend_from_slice(&reader.finish()?);
    let bytes = match wanted.form {
        Form::Own => own(&events(&chunks)).map(|answer| Bytes::from(answer.to_string())).ok_or_else(broken)?,
        Form::Agnostic => completion_of(&chunks)?,
    };
    Ok(Some(Whole { bytes, observed: reader.observed().clone() }))
}

fn add(step: Step, chunks: &mut Vec<u8>) {
    if let Step::Hold(bytes) | Step::Content(bytes) = step {
        chunks.extend_from_slice(&bytes);
    }
}

fn broken() -> Failure {
    Failure::provider(FailureKind::Broken, "the provider's answer is a stream that cannot be put together")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::provider::Anthropic;
    use crate::bedrock::Bedrock;
    use crate::cohere::Cohere;
    use crate::google::provider::Service;
    use crate::mistral::Mistral;
    use crate::responses::provider::Responses;
    use serde_json::json;

    const ANTHROPIC: [&str; 9] = [
        r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"n\":"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":5}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    const GOOGLE: [&str; 2] = [
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]},"index":0}],"modelVersion":"g"}"#,
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"b"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5,"totalTokenCount":14},"modelVersion":"g"}"#,
    ];
    const COHERE: [&str; 5] = [
        r#"{"type":"message-start","id":"m","delta":{"message":{"role":"assistant"}}}"#,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"ab"}}}}"#,
        r#"{"type":"content-end","index":0}"#,
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":9,"output_tokens":5}}}}"#,
    ];
    const MISTRAL: [&str; 2] = [
        r#"{"id":"m","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"role":"assistant","content":[{"type":"text","text":"a"}]},"finish_reason":null}]}"#,
        r#"{"id":"m","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}"#,
    ];

    fn body(events: &[&str]) -> Bytes {
        let kind = |data: &str| serde_json::from_str::<Value>(data).unwrap()["type"].as_str().map(str::to_owned);
        let named = |data: &&str| kind(data).map(|kind| format!("event: {kind}\n")).unwrap_or_default();
        events.iter().map(|data| format!("{}data: {data}\n\n", named(data))).collect::<String>().into()
    }

    fn read_as(format: &dyn ProviderFormat, form: Form, events: &[&str]) -> (Value, Option<u64>) {
        let wanted = Wanted { operation: Operation::Chat, form, delivery: Delivery::Whole };
        let whole = format.read_whole(wanted, &body(events)).unwrap();
        let input = whole.observed.usage.and_then(|usage| usage.input);
        (serde_json::from_slice(&whole.bytes).unwrap(), input)
    }

    #[test]
    fn a_stream_where_a_whole_answer_was_wanted_is_the_answer_that_it_comes_to_in_every_dialect() {
        let all: [(&dyn ProviderFormat, &[&str]); 4] =
            [(&Anthropic, &ANTHROPIC), (&Service::Gemini, &GOOGLE), (&Cohere, &COHERE), (&Mistral, &MISTRAL)];
        for (format, events) in all {
            let (answer, input) = read_as(format, Form::Agnostic, events);
            assert_eq!(answer["choices"][0]["message"]["content"], "ab", "{format:?} {answer}");
            assert_eq!(input, Some(9), "{format:?}");
            let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole };
            let cut = format.read_whole(wanted, &body(&events[..1])).unwrap_err();
            assert_eq!(cut.kind, FailureKind::Broken, "{format:?}: it did not end");
        }
        let (answer, _) = read_as(&Anthropic, Form::Agnostic, &ANTHROPIC);
        assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"n\":1}");
    }

    #[test]
    fn such_a_stream_is_put_together_in_its_own_form_too() {
        let (message, input) = read_as(&Anthropic, Form::Own, &ANTHROPIC);
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"n": 1}});
        assert_eq!(message["content"], json!([{"type": "text", "text": "ab"}, call]));
        assert_eq!((&message["stop_reason"], input), (&json!("tool_use"), Some(9)));
        assert_eq!(message["usage"], json!({"input_tokens": 9, "output_tokens": 5}));
        let (answer, _) = read_as(&Service::Gemini, Form::Own, &GOOGLE);
        let candidate = &answer["candidates"][0];
        assert_eq!(candidate["content"]["parts"], json!([{"text": "a"}, {"text": "b"}]));
        assert_eq!(
            (&candidate["finishReason"], &answer["usageMetadata"]["totalTokenCount"]),
            (&json!("STOP"), &json!(14))
        );
    }

    #[test]
    fn an_answer_that_failed_tells_what_it_consumed_in_every_dialect() {
        let all: [(&dyn ProviderFormat, Value); 4] = [
            (
                &Bedrock,
                json!({"stopReason": "malformed_model_output", "usage": {"inputTokens": 9, "outputTokens": 5, "totalTokens": 14}}),
            ),
            (
                &Responses,
                json!({"status": "failed", "error": {"code": "server_error", "message": "m"}, "usage": {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}}),
            ),
            (
                &Mistral,
                json!({"choices": [{"index": 0, "message": {}, "finish_reason": "error"}], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}}),
            ),
            (
                &Cohere,
                json!({"finish_reason": "ERROR", "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 5}}}),
            ),
        ];
        for (format, body) in all {
            let observed = format.observe_failed(&body.to_string().into());
            assert_eq!(observed.usage.and_then(|usage| usage.input), Some(9), "{format:?}");
        }
    }
}

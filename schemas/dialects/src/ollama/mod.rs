//! Ollama's API as a client speaks it: its requests as OpenAI's, and OpenAI's answers as its lines. Everything between is
//! OpenAI's path. Knows no HTTP. Source: <https://docs.ollama.com/api>.

mod answer;
mod request;

pub use answer::{Answers, LineWriter, error};
pub use request::{chat, embed, embeddings, generate};

/// Which of Ollama's endpoints is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
    /// `/api/embed`.
    Embed,
    /// The older form of it, for one text.
    Embeddings,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use penstock_schemas::UnixMicros;
    use serde_json::{Value, json};

    fn now() -> UnixMicros {
        UnixMicros(1_795_341_600_000_000)
    }

    fn spelled(read: fn(&Bytes) -> Result<Bytes, crate::client::WrongRequest>, body: &Value) -> Value {
        serde_json::from_slice(&read(&body.to_string().into()).unwrap()).unwrap()
    }

    #[test]
    fn a_chat_becomes_openais_with_calls_and_results_paired_by_ids() {
        let schema = json!({ "type": "object", "properties": {} });
        let tool = json!({ "type": "function", "function": { "name": "get_time", "parameters": schema } });
        let call = |name: &str| json!({ "function": { "name": name, "arguments": { "zone": "Oslo" } } });
        let body = json!({
            "model": "m", "keep_alive": "5m", "tools": [tool], "think": "low", "format": schema,
            "options": { "temperature": 0.5, "num_predict": 9, "num_ctx": 4096, "stop": ["x"], "seed": 7, "top_k": 3 },
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="] },
                { "role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call("get_time"), call("get_time"), call("look")] },
                { "role": "tool", "tool_name": "look", "content": "a gate" },
                { "role": "tool", "content": "one" },
                { "role": "tool", "tool_name": "get_time", "content": "two" },
            ],
        });
        let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{\"zone\":\"Oslo\"}" } });
        assert_eq!(
            spelled(chat, &body),
            json!({
                "model": "m",
                "messages": [
                    { "role": "system", "content": "Be brief." },
                    { "role": "user", "content": [
                        { "type": "text", "text": "What is this?" },
                        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
                    ] },
                    { "role": "assistant", "content": "", "tool_calls": [
                        call("call_0", "get_time"), call("call_1", "get_time"), call("call_2", "look"),
                    ] },
                    { "role": "tool", "content": "a gate", "tool_call_id": "call_2" },
                    { "role": "tool", "content": "one", "tool_call_id": "call_0" },
                    { "role": "tool", "content": "two", "tool_call_id": "call_1" },
                ],
                "tools": [tool],
                "reasoning_effort": "low",
                "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } },
                "temperature": 0.5, "max_tokens": 9, "stop": ["x"], "seed": 7, "top_k": 3,
                "stream": true, "stream_options": { "include_usage": true },
            })
        );
        let short = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }], "stream": false, "think": false,
            "format": "json", "options": { "num_predict": -1 } });
        assert_eq!(
            spelled(chat, &short),
            json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }], "response_format": { "type": "json_object" }, "stream": false })
        );
    }

    #[test]
    fn a_prompt_becomes_a_turn_and_texts_a_list() {
        let body = json!({ "model": "m", "system": "Be brief.", "prompt": "Hi", "stream": false });
        let turns = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }]);
        assert_eq!(spelled(generate, &body), json!({ "model": "m", "messages": turns, "stream": false }));
        let vectors = json!({ "model": "m", "input": ["a"], "encoding_format": "float" });
        assert_eq!(spelled(embeddings, &json!({ "model": "m", "prompt": "a" })), vectors);
        assert_eq!(spelled(embed, &json!({ "model": "m", "input": ["a"], "truncate": true })), vectors);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (read, body, place) in [
            (chat as fn(&Bytes) -> _, json!({ "messages": [] }), Some("model")),
            (
                chat,
                json!({ "model": "m", "messages": [{ "role": "user", "content": 3 }] }),
                Some("messages[0].content"),
            ),
            (chat, json!({ "model": "m", "messages": [], "format": 3 }), Some("format")),
            (generate, json!({ "model": "m", "prompt": "a", "suffix": "b" }), Some("suffix")),
            (embed, json!({ "model": "m" }), Some("input")),
            (chat, json!([]), None),
        ] {
            let refusal = read(&body.to_string().into()).unwrap_err();
            assert_eq!(refusal.param(), place, "{body}: {refusal}");
        }
        let twice = br#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#;
        assert_eq!(chat(&Bytes::from_static(twice)).unwrap_err().param(), Some("messages[0].content"));
    }

    #[test]
    fn a_stream_becomes_lines_with_whole_calls_and_the_counts_at_the_end() {
        let chunk = |delta: Value, reason: Value| json!({ "model": "p/m", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
        let call = |call: Value| chunk(json!({ "tool_calls": [call] }), Value::Null);
        let usage = json!({ "model": "p/m", "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 } });
        let chunks = [
            chunk(json!({ "role": "assistant", "content": "" }), Value::Null),
            chunk(json!({ "reasoning_content": "Hm." }), Value::Null),
            chunk(json!({ "content": "Let me see." }), Value::Null),
            call(json!({ "index": 0, "id": "a", "function": { "name": "get_time", "arguments": "{\"zone\"" } })),
            call(json!({ "index": 1, "id": "b", "function": { "name": "look", "arguments": "" } })),
            call(json!({ "index": 0, "function": { "arguments": ":1.50}" } })),
            chunk(json!({}), json!("tool_calls")),
            usage,
        ];
        let mut lines = LineWriter::new(Method::Chat, now);
        let mut out = Vec::new();
        for chunk in &chunks {
            lines.chunk(chunk.to_string().as_bytes(), &mut out);
        }
        lines.end(&mut out);
        let text = String::from_utf8(out).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().unwrap();
        let messages: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
        let calls = json!([
            { "id": "a", "function": { "index": 0, "name": "get_time", "arguments": { "zone": 1.5 } } },
            { "id": "b", "function": { "index": 1, "name": "look", "arguments": {} } },
        ]);
        assert_eq!(
            messages,
            [
                &json!({ "role": "assistant", "content": "", "thinking": "Hm." }),
                &json!({ "role": "assistant", "content": "Let me see." }),
                &json!({ "role": "assistant", "content": "", "tool_calls": calls }),
            ]
        );
        assert!(lines.iter().all(|line| line["done"] == false && line["model"] == "p/m"));
        assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
        assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(10), &json!(5)));
    }

    #[test]
    fn a_call_that_was_cut_is_an_error_and_no_call_with_other_arguments() {
        let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"a\":" } });
        let chunk = json!({ "model": "m", "choices": [{ "index": 0, "delta": { "tool_calls": [call] }, "finish_reason": "length" }] });
        let mut out = Vec::new();
        let mut lines = LineWriter::new(Method::Chat, now);
        lines.chunk(chunk.to_string().as_bytes(), &mut out);
        lines.end(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("{\"error\":") && !text.contains("tool_calls") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn whole_answers_have_the_shape_of_their_endpoint() {
        let answer = json!({ "model": "p/m", "choices": [{ "index": 0, "finish_reason": "length", "message": { "role": "assistant", "content": "Hi" } }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 } });
        let whole = |method: Method, answer: &Value| -> Value {
            let answer = Answers::new(method, now).whole(answer.to_string().as_bytes()).unwrap();
            serde_json::from_slice(&answer).unwrap()
        };
        let chat = whole(Method::Chat, &answer);
        assert_eq!(
            (&chat["message"], &chat["done_reason"]),
            (&json!({ "role": "assistant", "content": "Hi" }), &json!("length"))
        );
        let text = whole(Method::Generate, &answer);
        assert_eq!((&text["response"], &text["eval_count"], &text["message"]), (&json!("Hi"), &json!(5), &Value::Null));
        let vectors = json!({ "model": "p/m", "data": [{ "index": 1, "embedding": [2.50] }, { "index": 0, "embedding": [1] }],
            "usage": { "prompt_tokens": 3, "total_tokens": 3 } });
        let embed = whole(Method::Embed, &vectors);
        assert_eq!((&embed["embeddings"], &embed["prompt_eval_count"]), (&json!([[1], [2.5]]), &json!(3)));
        assert_eq!(whole(Method::Embeddings, &vectors), json!({ "embedding": [1] }));
        assert!(Answers::new(Method::Chat, now).whole(b"{").is_err());
    }
}

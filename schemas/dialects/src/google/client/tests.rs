//! Google's requests in their agnostic form, and agnostic answers in Google's words.

use super::*;
use crate::client::Rewriter;
use penstock_schemas::UnixMicros;
use penstock_schemas::frame::Summary;
use penstock_schemas::usage::{Usage, UsageSource};
use serde_json::{Value, json};

fn asked(method: &str, body: &Value) -> Result<ClientRequest, WrongRequest> {
    raw(method, body.to_string())
}

fn raw(method: &str, body: String) -> Result<ClientRequest, WrongRequest> {
    read(read_path(&format!("alpha/m:{method}")).unwrap(), body.into())
}

fn translated(body: &Value) -> Value {
    serde_json::from_slice(&asked("generateContent", body).unwrap().agnostic().unwrap()).unwrap()
}

fn refused(method: &str, body: &Value) -> (Option<String>, String) {
    let refusal = asked(method, body).and_then(|asked| asked.agnostic()).unwrap_err();
    (refusal.param().map(ToOwned::to_owned), refusal.to_string())
}

fn summary() -> Summary {
    let usage = Usage { input: Some(4), cache_read: Some(6), output: Some(1), reasoning: Some(2), ..Usage::default() };
    Summary { usage, usage_source: UsageSource::Provider, cost: None }
}

fn rewriter(method: &str) -> Rewriter {
    let body = match method {
        "batchEmbedContents" => json!({"requests": [{}]}),
        "embedContent" => json!({"content": {}}),
        _ => json!({"contents": [{}]}),
    };
    Rewriter::of(
        &asked(method, &body).unwrap(),
        RequestId::parse("01900000-0000-7000-8000-000000000007").unwrap(),
        None,
        || UnixMicros(1_795_341_600_000_000),
    )
}

fn whole(method: &str, answer: &Value) -> Value {
    serde_json::from_slice(&rewriter(method).whole(answer.to_string().into(), &summary()).unwrap()).unwrap()
}

fn streamed(chunks: &[Value]) -> Vec<Value> {
    let mut rewriter = rewriter("streamGenerateContent");
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(rewriter.next(format!("data: {chunk}\n\n").into()).unwrap());
    }
    out.extend(rewriter.end("data: [DONE]\n\n".into(), &summary()).unwrap());
    let text = String::from_utf8(out).unwrap();
    let events = text.split_terminator("\r\n\r\n").map(|event| event.strip_prefix("data: ").unwrap());
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn chunk(delta: &Value) -> Value {
    json!({"id": "r", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

#[test]
fn texts_and_settings_in_either_case_become_agnostic() {
    let camel = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "And kind."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Ho"}]}, {"parts": [{"text": "a"}, {"text": "b"}]}],
        "generationConfig": {"temperature": 0.5, "topP": 0.9, "topK": 40.0, "maxOutputTokens": 10, "stopSequences": ["E"], "seed": 7,
            "candidateCount": 2, "presencePenalty": 0.1, "responseLogprobs": true, "logprobs": 3, "responseModalities": ["TEXT"]},
        "safetySettings": [{"category": "c", "threshold": "BLOCK_NONE"}], "labels": {"a": "b"}, "notYetKnown": {"x": 1},
    });
    let snake = json!({
        "system_instruction": {"parts": [{"text": "Be brief."}, {"text": "And kind."}]},
        "contents": camel["contents"],
        "generation_config": {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_output_tokens": 10, "stop_sequences": ["E"], "seed": 7,
            "candidate_count": 2, "presence_penalty": 0.1, "response_logprobs": true, "logprobs": 3, "response_modalities": ["TEXT"]},
        "safety_settings": [{"category": "c", "threshold": "BLOCK_NONE"}], "labels": {"a": "b"}, "not_yet_known": {"x": 1},
    });
    let agnostic = json!({
        "model": "alpha/m",
        "messages": [{"role": "system", "content": "Be brief.\n\nAnd kind."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "presence_penalty": 0.1, "max_completion_tokens": 10, "n": 2,
        "stop": ["E"], "logprobs": true, "top_logprobs": 3,
        "safety_settings": [{"category": "c", "threshold": "BLOCK_NONE"}], "metadata": {"a": "b"}, "not_yet_known": {"x": 1},
    });
    assert_eq!(translated(&camel), agnostic);
    assert_eq!(translated(&snake), agnostic);
    let text = json!({"systemInstruction": "Be brief.", "contents": [{"parts": [{"text": "Hi"}]}]});
    assert_eq!(translated(&text)["messages"][0], json!({"role": "system", "content": "Be brief."}));
}

#[test]
fn calls_and_results_are_paired_by_id_or_by_name_and_keep_their_numbers() {
    let body = r#"{"contents": [{"role": "user", "parts": [{"text": "?"}]},
        {"role": "model", "parts": [{"thought": true, "text": "Hm"}, {"text": "I look."},
            {"functionCall": {"name": "f", "args": {"n": 12345678901234567890123}}, "thoughtSignature": "c2ln"},
            {"function_call": {"id": "own", "name": "g"}}, {"functionCall": {"name": "f", "args": {"second": true}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "own", "name": "g", "response": {"error": "no"}}},
            {"functionResponse": {"name": "f", "response": {"big": 9007199254740993.0}}},
            {"function_response": {"name": "f", "response": {"output": "yes"}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "-_8"}}]}},
            {"text": "And?"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}},
            {"name": "g", "parametersJsonSchema": {"type": "object"}}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "any", "allowedFunctionNames": ["f"]}}}"#;
    let agnostic = raw("generateContent", body.to_owned()).unwrap().agnostic().unwrap();
    let text = String::from_utf8(agnostic.to_vec()).unwrap();
    assert!(text.contains(r#""arguments":"{\"n\": 12345678901234567890123}""#), "{text}");
    assert!(text.contains("{\\\"big\\\": 9007199254740993.0}"), "{text}");
    let agnostic: Value = serde_json::from_str(&text).unwrap();
    let messages = agnostic["messages"].as_array().unwrap();
    assert_eq!(messages[1]["reasoning_content"], "Hm");
    assert_eq!(
        messages[1]["reasoning_details"][1],
        json!({"type": "reasoning.encrypted", "data": "c2ln", "id": "call_0", "format": "google-gemini-v1"})
    );
    let short =
        |message: &Value| json!([message["role"], message["tool_call_id"], message["is_error"], message["content"]]);
    let calls: Vec<&Value> = messages[1]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    assert_eq!(calls, ["call_0", "own", "call_2"]);
    assert_eq!(short(&messages[2]), json!(["tool", "own", true, "no"]));
    assert_eq!(short(&messages[3]), json!(["tool", "call_0", null, "{\"big\": 9007199254740993.0}"]));
    let with_image = json!([{"type": "text", "text": "yes"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,+/8="}}]);
    assert_eq!(short(&messages[4]), json!(["tool", "call_2", null, with_image]));
    assert_eq!(short(&messages[5]), json!(["user", null, null, "And?"]));
    assert_eq!(
        agnostic["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {"n": {"type": "integer"}}})
    );
    assert_eq!(agnostic["tools"][2], json!({"type": "google_search", "google_search": {}}));
    assert_eq!(agnostic["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
}

#[test]
fn media_structure_and_thinking_become_agnostic() {
    let body = json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "-_8"}},
        {"inline_data": {"mime_type": "application/pdf", "data": "cGRm", "displayName": "a.pdf"}}, {"inlineData": {"mimeType": "audio/mpeg", "data": "YXU="}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://a.test/i.png"}}, {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}},
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 2000}}});
    let agnostic = translated(&body);
    assert_eq!(
        agnostic["messages"][0]["content"],
        json!([
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,-_8".replace("-_8", "+/8=")}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,cGRm", "filename": "a.pdf"}},
            {"type": "input_audio", "input_audio": {"data": "YXU=", "format": "mp3"}},
            {"type": "image_url", "image_url": {"url": "https://a.test/i.png"}},
            {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/a"}},
        ])
    );
    let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}});
    assert_eq!(
        agnostic["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
    );
    assert_eq!(agnostic["reasoning"], json!({"max_tokens": 2000}));
    let level =
        translated(&json!({"contents": [{}], "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}));
    assert_eq!(level["reasoning_effort"], "low");
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (method, body, place) in [
        ("generateContent", json!({}), Some("contents")),
        ("generateContent", json!({"contents": []}), Some("contents")),
        ("generateContent", json!({"contents": "hi"}), Some("contents")),
        ("generateContent", json!({"contents": [7]}), Some("contents[0]")),
        ("generateContent", json!({"contents": [{"role": "robot"}]}), Some("contents[0].role")),
        ("generateContent", json!({"contents": [{"parts": [{"text": 7}]}]}), Some("contents[0].parts[0].text")),
        (
            "generateContent",
            json!({"contents": [{"parts": [{"hologram": {}}]}]}),
            Some("contents[0].parts[0].hologram"),
        ),
        (
            "generateContent",
            json!({"contents": [{}], "generation_config": {"max_output_tokens": "many"}}),
            Some("generationConfig.maxOutputTokens"),
        ),
        (
            "generateContent",
            json!({"contents": [{}], "tools": [{"functionDeclarations": [{}]}]}),
            Some("tools[0].functionDeclarations[0].name"),
        ),
        ("embedContent", json!({}), Some("content")),
        ("batchEmbedContents", json!({"requests": []}), Some("requests")),
        ("embedContent", json!({"content": {"parts": [{"inlineData": {}}]}}), Some("content.parts[0].text")),
        ("generateContent", json!([]), None),
    ] {
        assert_eq!(refused(method, &body).0.as_deref(), place, "{body}");
    }
    assert!(raw("generateContent", "[".repeat(100_000)).is_err());
    assert!(raw("generateContent", format!("{{\"contents\":{}", "[".repeat(100_000))).is_err());
}

#[test]
fn whole_answers_become_googles() {
    let answer = json!({"id": "r", "model": "m-1", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Ö won.",
        "reasoning_content": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "signature": "c2ln", "format": "google-gemini-v1"},
            {"type": "reasoning.encrypted", "data": "Y2FsbA==", "id": "c1", "format": "google-gemini-v1"}],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"n\":1}"}}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 6}}]}}]});
    let expected = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm", "thought": true, "thoughtSignature": "c2ln"}, {"text": "Ö won."},
            {"functionCall": {"id": "c1", "name": "f", "args": {"n": 1}}, "thoughtSignature": "Y2FsbA=="}]}, "finishReason": "STOP", "index": 0,
        "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
            "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 7}, "groundingChunkIndices": [0]}]}}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1, "thoughtsTokenCount": 2, "cachedContentTokenCount": 6, "totalTokenCount": 13},
        "modelVersion": "alpha/m", "responseId": "r"});
    assert_eq!(whole("generateContent", &answer), expected);
    for (reason, theirs) in [("stop", "STOP"), ("length", "MAX_TOKENS"), ("content_filter", "SAFETY")] {
        let answer = json!({"choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": "x"}}]});
        assert_eq!(whole("generateContent", &answer)["candidates"][0]["finishReason"], theirs);
    }
    assert_eq!(whole("countTokens", &json!({"input_tokens": 7})), json!({"totalTokens": 7}));
    let vectors = json!({"data": [{"index": 1, "embedding": [2.50]}, {"index": 0, "embedding": [1]}]});
    assert_eq!(whole("batchEmbedContents", &vectors)["embeddings"], json!([{"values": [1]}, {"values": [2.5]}]));
    assert_eq!(whole("embedContent", &vectors)["embedding"], json!({"values": [1]}));
}

#[test]
fn streams_become_googles_with_whole_calls_and_the_usage_last() {
    let events = streamed(&[
        chunk(&json!({"role": "assistant", "content": ""})),
        chunk(
            &json!({"reasoning_content": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0, "format": "anthropic-claude-v1"}]}),
        ),
        chunk(
            &json!({"reasoning_details": [{"type": "reasoning.text", "signature": "EqQB", "index": 0, "format": "anthropic-claude-v1"}]}),
        ),
        chunk(&json!({"content": "I "})),
        chunk(&json!({"content": "look."})),
        chunk(
            &json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}, {"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]}),
        ),
        chunk(&json!({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]})),
        chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":9007199254740993}"}}]})),
        json!({"id": "r", "model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ]);
    let parts: Vec<&Value> = events.iter().map(|event| &event["candidates"][0]["content"]["parts"]).collect();
    assert_eq!(*parts[0], json!([{"text": "Hm", "thought": true}]));
    let sealed = parts[1][0]["thoughtSignature"].as_str().unwrap();
    assert_eq!(parts[2..4], [&json!([{"text": "I "}]), &json!([{"text": "look."}])]);
    assert_eq!(
        *parts[4],
        json!([{"functionCall": {"id": "a", "name": "f", "args": {"x": 9_007_199_254_740_993_u64}}}, {"functionCall": {"id": "b", "name": "g", "args": {}}}])
    );
    let last = events.last().unwrap();
    assert_eq!(
        (events.len(), &last["candidates"][0]["finishReason"], &last["usageMetadata"]["totalTokenCount"]),
        (5, &json!("STOP"), &json!(13))
    );

    // A client keeps each piece as a content of its own, and sends its bytes in the other alphabet.
    let contents: Vec<Value> = parts.iter().map(|parts| json!({"role": "model", "parts": parts})).collect();
    let body = json!({"contents": contents}).to_string().replace(sealed, &sealed.replace('+', "-").replace('/', "_"));
    let back = raw("generateContent", body).unwrap();
    assert!(back.holds_seal());
    let agnostic: Value = serde_json::from_slice(&back.agnostic().unwrap()).unwrap();
    assert_eq!(agnostic["messages"].as_array().unwrap().len(), 1);
    assert_eq!(
        agnostic["messages"][0]["reasoning_details"],
        json!([{"type": "reasoning.text", "text": "Hm", "signature": "EqQB", "format": "anthropic-claude-v1"}])
    );
}

#[test]
fn embeddings_become_openais() {
    let read = |method: &str, body: &Value| -> Value {
        serde_json::from_slice(&asked(method, body).unwrap().agnostic().unwrap()).unwrap()
    };
    let one = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8, "taskType": "RETRIEVAL_QUERY"});
    let agnostic = json!({"model": "alpha/m", "input": ["a"], "encoding_format": "float", "dimensions": 8, "input_type": "search_query"});
    assert_eq!(read("embedContent", &one), agnostic);
    let many = json!({"requests": [{"model": "models/x", "content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]});
    assert_eq!(read("batchEmbedContents", &many)["input"], json!(["a", "b"]));
}

#[test]
fn no_bytes_panic() {
    let seed = json!({"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "cHNyMS5n"}, {"thought": true, "text": "é", "thoughtSignature": "cHNyMS5nb29nbGUue30="}]},
        {"parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}]}], "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "generationConfig": {"topK": 1.0, "thinkingConfig": {"thinkingBudget": -1}, "responseSchema": {}}}).to_string().into_bytes();
    let mut state = 7u64;
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % (bytes.len() - 1).max(1);
            match state >> 20 & 3 {
                0 => bytes[at] = u8::try_from(state >> 8 & 127).unwrap(),
                1 if bytes.len() > 2 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]\",:01"[at % 9]),
                _ => bytes.truncate(at.max(2)),
            }
        }
        for method in ["generateContent", "countTokens", "embedContent"] {
            let endpoint = read_path(&format!("m:{method}")).unwrap();
            drop(read(endpoint, bytes.clone().into()).and_then(|asked| asked.agnostic()));
        }
        drop(rewriter("streamGenerateContent").next([b"data: ", &bytes[..], b"\n\n"].concat().into()));
    }
}

#[test]
fn one_object_where_a_list_should_be_is_a_list_of_one() {
    let body =
        r#"{"contents": {"role": "user", "parts": {"text": "?"}}, "tools": {"functionDeclarations": {"name": "f"}}}"#;
    let agnostic = raw("generateContent", body.to_owned()).unwrap().agnostic().unwrap();
    let agnostic: Value = serde_json::from_slice(&agnostic).unwrap();
    assert_eq!(agnostic["tools"][0]["function"]["name"], "f");
    assert_eq!((&agnostic["messages"][0]["role"], agnostic["messages"].as_array().unwrap().len()), (&json!("user"), 1));
}

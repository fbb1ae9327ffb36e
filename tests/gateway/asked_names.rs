//! The model's name in answers: always the one that the caller asked for, whoever answers, in every client's dialect; who
//! answered stands in `x-penstock-target`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use penstock_tests::{Ask, Reply, Upstream, World, words};
use serde_json::{Value, json};

/// What each provider answers: its name, its dialect, the end of its base URL, and an answer, whole and as a stream.
fn providers() -> [(&'static str, &'static str, &'static str, String, Vec<String>); 4] {
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 10, "output_tokens": 1 } });
    let mut whole = message.clone();
    whole["content"] =
        json!([{ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" }, { "type": "text", "text": "hello" }]);
    whole["stop_reason"] = "end_turn".into();
    let named = |data: &Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let claude = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "hello" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 5 } }),
        json!({ "type": "message_stop" }),
    ];
    let gemini = json!({ "candidates": [{ "content": { "parts": [{ "text": "hello" }], "role": "model" }, "finishReason": "STOP" }],
        "usageMetadata": { "promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13 },
        "modelVersion": "m-2026", "responseId": "r1" });
    let item = json!({ "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": "hello", "annotations": [] }] });
    let response = |status: &str, output: &[&Value]| {
        json!({ "id": "resp_1", "object": "response", "created_at": 1,
        "status": status, "model": "m-2026", "output": output, "error": null,
        "usage": { "input_tokens": 10, "output_tokens": 5, "total_tokens": 15 } })
    };
    let responses = [
        json!({ "type": "response.created", "sequence_number": 0, "response": response("in_progress", &[]) }),
        json!({ "type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": "hello" }),
        json!({ "type": "response.completed", "sequence_number": 2, "response": response("completed", &[&item]) }),
    ];
    [
        ("chatter", "openai", "/v1", words::whole("hello"), words::stream("hello")),
        ("claude", "anthropic", "", whole.to_string(), claude.iter().map(named).collect()),
        ("gem", "google", "/v1beta", gemini.to_string(), vec![format!("data: {gemini}\r\n\r\n")]),
        (
            "thinker",
            "responses",
            "/v1",
            response("completed", &[&item]).to_string(),
            responses.iter().map(named).collect(),
        ),
    ]
}

/// A world with the providers, each with a virtual model `own-NAME`.
async fn world() -> (World, Vec<Upstream>) {
    let (mut config, mut upstreams) = (String::new(), Vec::new());
    for (name, dialect, base, _, _) in providers() {
        let upstream = Upstream::start(name).await;
        let url = upstream.url().replace("/v1", base);
        config += &format!(
            "[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{url}\"\nkeys = [\"a-key\"]\nprobe = false\n\
             [models.own-{name}]\ntargets = [{{ model = \"{name}/m\" }}]\n"
        );
        upstreams.push(upstream);
    }
    (World::setup().config(&config).start().await, upstreams)
}

/// A request for a model in each dialect of the clients.
fn asks(world: &World, model: &str, is_stream: bool) -> [Ask; 4] {
    let chat = world.ask(model).field("stream", json!(is_stream));
    let method = if is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let googles = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello!" }] }] });
    [
        chat.clone(),
        chat.path("/v1/messages").field("max_tokens", json!(10)),
        world.post("/v1/responses", &json!({ "model": model, "input": "Hello!", "stream": is_stream })),
        world.post(&format!("/v1beta/models/{model}:{method}"), &googles),
    ]
}

/// Every name of a model in an answer, whole or streamed.
fn names(answer: &str) -> Vec<String> {
    let data = |line: &str| line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok());
    let objects: Vec<Value> = match serde_json::from_str(answer) {
        Ok(whole) => vec![whole],
        Err(_) => answer.lines().filter_map(data).collect(),
    };
    let places = ["/model", "/message/model", "/response/model", "/modelVersion"];
    let found = objects.iter().flat_map(|object| places.iter().filter_map(|place| object.pointer(place)?.as_str()));
    found.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn every_answer_names_the_model_as_it_was_asked_for() {
    let (world, upstreams) = world().await;
    for (at, (provider, _, _, whole, stream)) in providers().into_iter().enumerate() {
        for is_stream in [false, true] {
            let reply = if is_stream { Reply::stream(stream.clone()) } else { Reply::whole(200, whole.clone()) };
            upstreams[at].replies(reply).always();
            for model in [format!("{provider}/m"), format!("own-{provider}")] {
                for (dialect, ask) in asks(&world, &model, is_stream).into_iter().enumerate() {
                    let answer = ask.await;
                    let (raw, names) = (answer.raw(), names(&answer.raw()));
                    assert!(answer.status == 200 && raw.contains("hello"), "{model} {dialect}: {raw}");
                    assert!(!names.is_empty() && names.iter().all(|name| *name == model), "{model} {dialect}: {raw}");
                    assert!(!raw.contains("m-2026"), "{model} {dialect}: {raw}");
                    assert_eq!(answer.header("x-penstock-target"), format!("{provider}/m"));
                }
            }
        }
    }
}

#[tokio::test]
async fn thoughts_of_a_prefixed_model_go_back_to_it_signed() {
    let (world, upstreams) = world().await;
    upstreams[1].replies(Reply::whole(200, providers()[1].3.clone())).always();
    let ask = |turns: &Value| {
        let ask = world.ask("own-claude").path("/v1/messages").field("max_tokens", json!(2000));
        ask.field("thinking", json!({ "type": "enabled", "budget_tokens": 1024 })).field("messages", turns.clone())
    };
    let first = ask(&json!([{ "role": "user", "content": "Hi" }])).await.json();
    let turns = json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": first["content"] },
        { "role": "user", "content": "Go on" }]);
    assert_eq!(ask(&turns).await.status, 200);
    let sent = upstreams[1].received(2).await.json();
    let thought = json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" });
    assert_eq!((&sent["model"], &sent["messages"][1]["content"][0]), (&json!("m"), &thought));
}

#[tokio::test]
async fn answers_that_are_no_chats_name_the_model_as_it_was_asked_for() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    let embedded = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5],"model":"no"}],"model":"e-2026","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let moderated = r#"{"id":"1","model":"e-2026","results":[{"flagged":false}]}"#;
    let completed = r#"{"id":"1","object":"text_completion","created":1,"model":"e-2026","choices":[{"index":0,"text":"x","finish_reason":"stop"}]}"#;
    let list = json!({ "model": "alpha/e", "input": "x" });
    for (path, body, answer) in [
        ("/v1/embeddings", list.clone(), embedded),
        ("/v1/moderations", list, moderated),
        ("/v1/completions", json!({ "model": "alpha/e", "prompt": "x" }), completed),
    ] {
        alpha.replies(Reply::whole(200, answer)).always();
        assert_eq!(world.post(path, &body).await.raw(), answer.replace("e-2026", "alpha/e"), "{path}");
    }
}

//! The simulator, read by the adapter that reads real providers; its time is simulated too, but for the last test.

use super::{chat, serve};
use axum::body::to_bytes;
use bytes::Bytes;
use penstock_dialects::openai::provider::Openai;
use penstock_dialects::provider::{Form, Observed, ProviderFormat, Wanted};
use penstock_schemas::chat::{Completion, CompletionChunk, Content, ToolCall};
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn request(model: &str, asked: &str, more: &Value) -> Value {
    let mut request = json!({"model": model, "messages": [{"role": "user", "content": asked}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

async fn ask(request: &Value) -> (u16, Option<String>, Result<Bytes, axum::Error>) {
    let response = chat(Bytes::from(request.to_string())).await;
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), retry_after, to_bytes(response.into_body(), usize::MAX).await)
}

fn wanted(delivery: Delivery) -> Wanted {
    Wanted { operation: Operation::Chat, form: Form::Own, delivery }
}

async fn whole(request: &Value) -> (Completion, Observed) {
    let (status, _, body) = ask(request).await;
    assert_eq!(status, 200);
    let body = body.unwrap();
    (serde_json::from_slice(&body).unwrap(), Openai.read_whole(wanted(Delivery::Whole), &body).unwrap().observed)
}

/// The chunks of a stream, and what the adapter makes of it.
async fn stream(request: &Value) -> (Vec<CompletionChunk>, Result<Observed, Failure>) {
    let mut request = request.clone();
    request["stream"] = true.into();
    request["stream_options"] = json!({"include_usage": true});
    let (_, _, body) = ask(&request).await;
    let mut parser = Parser::new(1 << 20);
    parser.push(&body.unwrap());
    let mut reader = Openai.stream(wanted(Delivery::StreamWithUsage));
    let mut chunks = Vec::new();
    while let Some(event) = parser.next_event().unwrap() {
        match reader.read(&event) {
            Ok(_) if reader.is_done() => {}
            Ok(_) => chunks.push(serde_json::from_slice(&event.data).unwrap()),
            Err(failure) => return (chunks, Err(failure)),
        }
    }
    let last = reader.finish();
    (chunks, last.map(|_| reader.observed().clone()))
}

/// The text of choice `index`, put together.
fn text(chunks: &[CompletionChunk], index: u32) -> String {
    let choices = chunks.iter().flat_map(|chunk| &chunk.choices).filter(|choice| choice.index == index);
    choices.filter_map(|choice| choice.delta.content.clone()).collect()
}

/// The calls, put together.
fn calls(chunks: &[CompletionChunk]) -> Vec<ToolCall> {
    let mut calls: Vec<ToolCall> = Vec::new();
    let pieces = chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|choice| choice.delta.tool_calls.clone());
    for piece in pieces.flatten() {
        let number = piece.index.unwrap() as usize;
        match calls.get_mut(number) {
            None => calls.push(ToolCall { index: None, ..piece }),
            Some(call) => {
                let more = piece.function.unwrap().arguments.unwrap();
                call.function.as_mut().unwrap().arguments.as_mut().unwrap().push_str(&more);
            }
        }
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_what_the_whole_answer_says() {
    for (model, more) in [
        ("fast", json!({})),
        ("slow", json!({"n": 3})),
        ("reasoner", json!({"max_completion_tokens": 5})),
        ("echo", json!({"max_tokens": 2})),
        ("fast~c50", json!({})),
    ] {
        let request = request(model, "Tell me about Paris", &more);
        let (completion, observed) = whole(&request).await;
        let (chunks, streamed) = stream(&request).await;
        let observed = Observed { provider_request_id: None, ..observed };
        assert_eq!(Observed { provider_request_id: None, ..streamed.unwrap() }, observed, "{model}");
        assert!(observed.usage.is_some() && !observed.usage_mismatch, "{model}");
        for choice in &completion.choices {
            assert_eq!(choice.message.content, Some(Content::Text(text(&chunks, choice.index))), "{model}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_is_and_stops_where_it_is_told_to() {
    let (completion, observed) = whole(&request("fast", "Hi", &json!({}))).await;
    let Some(Content::Text(said)) = &completion.choices[0].message.content else { panic!("a text") };
    assert!(said.starts_with("This is demo/fast, a simulation"));
    let usage = observed.usage.unwrap();
    assert_eq!((usage.input, usage.output), (Some(1), Some(said.chars().count().div_ceil(4) as u64)));
    assert_eq!(observed.finish_reason.as_deref(), Some("stop"));
    let (_, cut) = whole(&request("fast", "Hi", &json!({"max_tokens": 3}))).await;
    assert_eq!((cut.usage.unwrap().output, cut.finish_reason.as_deref()), (Some(3), Some("length")));
    let (_, reasoned) = whole(&request("reasoner", "Hi", &json!({}))).await;
    assert!(reasoned.usage.unwrap().reasoning.unwrap() > 50);
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_when_the_message_asks_for_it() {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
    };
    let tools = json!({"tools": [tool("get_weather"), tool("get_population")]});
    for (asked, called) in [
        ("What's the weather in Paris?", vec!["get_weather"]),
        ("Weather and population of Paris", vec!["get_weather", "get_population"]),
        ("Use a tool on Paris", vec!["get_weather"]),
        ("Hello", vec![]),
    ] {
        let request = request("fast", asked, &tools);
        let (completion, observed) = whole(&request).await;
        let found = completion.choices[0].message.tool_calls.clone().unwrap_or_default();
        let functions: Vec<_> = found.iter().map(|call| call.function.clone().unwrap()).collect();
        assert_eq!(functions.iter().map(|function| function.name.clone().unwrap()).collect::<Vec<_>>(), called);
        assert!(functions.iter().all(|function| function.arguments.as_deref() == Some(r#"{"city":"Paris"}"#)));
        assert_eq!(observed.finish_reason.as_deref(), Some(if called.is_empty() { "stop" } else { "tool_calls" }));
        assert_eq!(calls(&stream(&request).await.0), found);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_come_as_they_are_asked_for() {
    let (status, retry_after, body) = ask(&request("fast~s429~r7", "Hi", &json!({}))).await;
    assert_eq!((status, retry_after.as_deref()), (429, Some("7")));
    assert!(String::from_utf8_lossy(&body.unwrap()).contains("rate_limit_exceeded"));

    let (status, _, body) = ask(&request("gpt-4o", "Hi", &json!({}))).await;
    assert_eq!(status, 404);
    assert!(String::from_utf8_lossy(&body.unwrap()).contains("model_not_found"));

    assert!(ask(&request("fast~a0", "Hi", &json!({}))).await.2.is_err());
    assert!(ask(&request("fast~a3", "Hi", &json!({"stream": true}))).await.2.is_err());

    for (model, kind) in [("fast~e", FailureKind::ServerError), ("fast~m", FailureKind::Broken)] {
        let body = ask(&request(model, "Hi", &json!({}))).await.2.unwrap();
        assert_eq!(Openai.read_whole(wanted(Delivery::Whole), &body).unwrap_err().kind, kind);
        assert_eq!(stream(&request(model, "Hi", &json!({}))).await.1.unwrap_err().kind, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_take_as_long_as_they_are_told_to() {
    let request = request("fast~c50~d1000~l20000", "Hi", &json!({"stream": true}));
    let begun = tokio::time::Instant::now();
    ask(&request).await.2.unwrap();
    let millis = begun.elapsed().as_millis();
    assert!((70..=180).contains(&millis), "20 ms and 50 times 1 ms, on a clock of whole ones: {millis} ms");
}

#[tokio::test]
async fn it_serves_until_it_is_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = async {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let body = request("echo~l0~d0", "Hi", &json!({"stream": true})).to_string();
        let length = body.len();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("data: [DONE]"), "{answer}");
        stop.send(()).unwrap();
    };
    tokio::join!(client, serve(listener, async { drop(stopped.await) }));
}

//! A provider that speaks Bedrock's Converse: requests are signed as they arrive, and streams of Amazon's binary messages
//! reach an OpenAI client as its own.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use penstock_tests::{Call, Gate, Part, Reply, World, in_short};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

const ID: &str = "AKIAEXAMPLE";

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

async fn world() -> World {
    let section = "[providers.bedrock]\nbase_url = \"{alpha}\"\n";
    let setup = World::setup().config(section).env("AWS_REGION", "eu-central-1");
    setup.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET).start().await
}

fn message(kind: &'static str, name: &'static str, data: &Value) -> Vec<u8> {
    let name_header = if kind == "event" { ":event-type" } else { ":exception-type" };
    let header = |header: &'static str, text: &'static str| Header::new(header, HeaderValue::String(text.into()));
    let headers = vec![header(":message-type", kind), header(name_header, name)];
    let mut bytes = Vec::new();
    write_message_to(&Message::new_from_parts(headers, Bytes::from(data.to_string())), &mut bytes)
        .expect("a short message can be written");
    bytes
}

pub(crate) fn event(name: &'static str, data: &Value) -> Vec<u8> {
    message("event", name, data)
}

fn text(text: &str) -> Vec<u8> {
    event("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": text } }))
}

pub(crate) fn begin() -> Vec<u8> {
    event("messageStart", &json!({ "role": "assistant" }))
}

fn end() -> Vec<u8> {
    let usage = json!({ "inputTokens": 10, "outputTokens": 5, "totalTokens": 35, "cacheReadInputTokens": 20 });
    [
        event("contentBlockStop", &json!({ "contentBlockIndex": 0 })),
        event("messageStop", &json!({ "stopReason": "end_turn" })),
        event("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 1 } })),
    ]
    .concat()
}

/// A stream whose pieces are cut where no message ends.
pub(crate) fn stream(bytes: &[u8]) -> Reply {
    let parts = bytes.chunks(7).map(|piece| Part::Send(Bytes::copy_from_slice(piece)));
    Reply::stream(parts).header("content-type", "application/vnd.amazon.eventstream")
}

/// The signature of what arrived, as Amazon's own crate makes it with the operator's secret.
fn signature(call: &Call, path: &str) -> String {
    let identity = Credentials::new(ID, SECRET, None, None, "test").into();
    let when = call.header("x-amz-date");
    let when: jiff::civil::DateTime = when.trim_end_matches('Z').parse().expect("x-amz-date is a moment");
    let when = when.to_zoned(jiff::tz::TimeZone::UTC).expect("a moment of UTC").timestamp();
    let seconds = u64::try_from(when.as_second()).expect("now is after 1970");
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("bedrock")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .settings(SigningSettings::default())
        .build()
        .expect("everything is given")
        .into();
    let url = format!("http://{}{path}", call.header("host"));
    let headers = [("host", call.header("host")), ("content-type", call.header("content-type"))];
    let signable = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(&call.body));
    let signed = sign(signable.expect("the request can be signed"), &params).expect("the request can be signed");
    signed.signature().to_owned()
}

#[tokio::test]
async fn an_openai_client_talks_to_bedrock_and_every_request_is_signed() {
    let world = world().await;
    world.upstream("alpha").replies(stream(&[begin(), text("Hello, "), text("wörld"), end()].concat())).always();
    let model = format!("bedrock/{MODEL}");
    let ask = world.ask(&model).stream().field("stream_options", json!({ "include_usage": true }));
    let answer = ask.field("max_tokens", json!(100)).await;
    assert_eq!(answer.text(), "Hello, wörld");
    assert!(answer.raw().ends_with("data: [DONE]\n\n"));
    assert_eq!(answer.header("x-penstock-target"), model);
    let events = answer.events();
    let usage = &events.last().expect("a stream has events")["usage"];
    assert_eq!([&usage["prompt_tokens"], &usage["total_tokens"]], [30, 35]);

    let call = world.upstream("alpha").received(1).await;
    let expected = json!({
        "messages": [{ "role": "user", "content": [{ "text": "Hello!" }] }],
        "inferenceConfig": { "maxTokens": 100 },
    });
    assert_eq!(call.json(), expected);
    let path = "/v1/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream";
    let (day, _) = call.header("x-amz-date").split_once('T').expect("x-amz-date has a day");
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/{day}/eu-central-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature={}",
        signature(&call, path)
    );
    assert_eq!(call.header("authorization"), authorization);
    let rows = world.requests(1).await;
    assert_eq!(rows.len(), 1);
    let columns = "SELECT provider, outcome, input_tokens, cache_read_tokens, output_tokens FROM attempts";
    let rows = world.sql_until(columns, |rows| rows.iter().any(|row| row["outcome"] == "served")).await;
    let expected = json!([{ "provider": "bedrock", "outcome": "served", "input_tokens": 10, "cache_read_tokens": 20,
        "output_tokens": 5 }]);
    assert_eq!(json!(rows), expected);
}

#[tokio::test]
async fn a_whole_answer_of_bedrock_and_its_refusals_reach_the_client_in_its_own_shape() {
    let world = world().await;
    let said = json!({ "role": "assistant", "content": [{ "text": "hi" }] });
    let usage = json!({ "inputTokens": 10, "outputTokens": 5, "totalTokens": 15 });
    let body = json!({ "output": { "message": said }, "stopReason": "max_tokens", "usage": usage });
    world.upstream("alpha").replies(Reply::whole(200, body.to_string())).once();
    let refusal = json!({ "message": "The provided model identifier is invalid." }).to_string();
    let refusal = Reply::whole(400, refusal).header("x-amzn-errortype", "ValidationException:http://a.example/");
    world.upstream("alpha").replies(refusal).once();
    let denied = Reply::whole(403, r#"{"message":"No."}"#).header("x-amzn-errortype", "AccessDeniedException");
    world.upstream("alpha").replies(denied).always();
    let model = format!("bedrock/{MODEL}");
    let answer = world.ask(&model).await;
    assert_eq!((answer.text(), &answer.json()["choices"][0]["finish_reason"]), ("hi".to_owned(), &json!("length")));
    let refused = world.ask(&model).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.message(), "The provided model identifier is invalid.");
    let denied = world.ask(&model).await;
    assert_eq!((denied.status.as_u16(), denied.json()["error"]["code"].as_str()), (502, Some("provider_auth")));
    let refused = world.ask(&model).field("n", json!(2)).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["param"].as_str()), (400, Some("n")));
}

#[tokio::test]
async fn a_stream_of_bedrock_that_breaks_is_an_error_to_the_client() {
    let world = world().await;
    let model = format!("bedrock/{MODEL}");
    let throttled = message("exception", "throttlingException", &json!({ "message": "Too many tokens." }));
    let mut damaged = text("lo");
    damaged[20] ^= 1;
    for (rest, class) in [
        (throttled.clone(), "rate_limit"),
        (damaged, "damaged"),
        (Vec::new(), "ended before"),
        (text("lo")[..30].to_vec(), "in the middle"),
    ] {
        let gate = Gate::new();
        let first = Part::Send([begin(), text("Hel")].concat().into());
        let reply = Reply::stream([first, Part::Wait(gate.clone()), Part::Send(rest.into())]);
        world.upstream("alpha").replies(reply).always();
        let mut open = world.ask(&model).stream().open().await;
        open.until("Hel").await;
        gate.open();
        let answer = open.rest().await;
        assert_eq!(answer.status, 200, "{}", answer.raw());
        let events = answer.events();
        let last = events.last().expect("a stream has events");
        assert!(!last["error"].is_null(), "{}", answer.raw());
        assert!(format!("{} {}", in_short(&last["error"]), last["error"]["message"]).contains(class), "{last}");
        assert!(!answer.raw().contains("[DONE]"), "{}", answer.raw());
    }
    // Before the first content the client gets a plain refusal, as from elsewhere.
    world.upstream("alpha").replies(stream(&throttled)).always();
    assert_eq!(world.ask(&model).stream().await.status, 429);
}

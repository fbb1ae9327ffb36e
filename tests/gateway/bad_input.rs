//! What cannot be understood or is too large or too slow: each refused with its own status, in OpenAI's error shape, with the
//! request's id, and without a call to any provider.

use crate::copies::compressed;
use crate::raw::{head, raw};
use http::Method;
use penstock_tests::World;
use serde_json::json;

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_the_place_of_the_mistake() {
    let world = World::start().await;
    for (body, place) in [
        ("", "line 1 column 0"),
        ("{", "line 1 column 1"),
        ("{\"model\": \"fast\",\n \"messages\": [}", "line 2 column 15"),
        ("{\"model\": \"fast\", \"messages\": [{}]} and more", "line 1 column 37"),
        ("[]", "it must be an object"),
    ] {
        let answer = world.ask("fast").body(body).await;
        assert_eq!(answer.error(), "400 invalid_request_error invalid_json", "{body}");
        assert!(answer.message().contains(place), "{body}: {}", answer.message());
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn a_field_that_is_missing_or_wrong_is_named() {
    let world = World::start().await;
    let message = json!({ "role": "user", "content": "Hello!" });
    for (body, error) in [
        (json!({ "messages": [message] }), "missing_required_parameter (model)"),
        (json!({ "model": "", "messages": [message] }), "missing_required_parameter (model)"),
        (json!({ "model": null, "messages": [message] }), "missing_required_parameter (model)"),
        (json!({ "model": 3, "messages": [message] }), "invalid_value (model)"),
        (json!({ "model": "fast" }), "missing_required_parameter (messages)"),
        (json!({ "model": "fast", "messages": [] }), "invalid_value (messages)"),
        (json!({ "model": "fast", "messages": "Hello!" }), "invalid_value (messages)"),
        (json!({ "model": "fast", "messages": [message], "stream": "yes" }), "invalid_value (stream)"),
        (json!({ "model": "fast", "messages": [message], "user": 3 }), "invalid_value (user)"),
        (json!({ "model": "fast", "messages": [message], "stream_options": 3 }), "invalid_value (stream_options)"),
    ] {
        let answer = world.ask("fast").body(body.to_string()).await;
        assert_eq!(answer.error(), format!("400 invalid_request_error {error}"), "{body}");
    }
}

#[tokio::test]
async fn what_is_wrong_deep_in_a_request_is_named_with_its_place() {
    let world = World::start().await;
    let message = json!({ "role": "user", "content": "Hello!" });
    for (more, place) in [
        (json!({ "messages": ["Hello!"] }), "messages[0]"),
        (json!({ "messages": [message, { "content": "Hello!" }] }), "messages[1].role"),
        (json!({ "messages": [{ "role": "user", "content": 3 }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "user", "content": ["Hello!"] }] }), "messages[0].content[0]"),
        (json!({ "messages": [message], "tools": {} }), "tools"),
        (json!({ "messages": [message], "tools": ["f"] }), "tools[0]"),
        (json!({ "messages": [message], "tools": [{ "type": "function", "function": {} }] }), "tools[0].function.name"),
        (json!({ "messages": [message], "tool_choice": 1 }), "tool_choice"),
        (json!({ "messages": [message], "max_tokens": "10" }), "max_tokens"),
        (json!({ "messages": [message], "max_completion_tokens": "ten" }), "max_completion_tokens"),
        (json!({ "messages": [message], "n": 0 }), "n"),
        (json!({ "messages": [message], "temperature": "hot" }), "temperature"),
        (json!({ "messages": [message], "response_format": "json" }), "response_format"),
        (
            json!({ "messages": [message], "stream_options": { "include_usage": "yes" } }),
            "stream_options.include_usage",
        ),
    ] {
        let mut body = more;
        body["model"] = json!("fast");
        let answer = world.ask("fast").body(body.to_string()).await;
        assert_eq!(answer.error(), format!("400 invalid_request_error invalid_value ({place})"), "{body}");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

/// Every path that takes a request for a model.
const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/rerank",
    "/v2/rerank",
];

#[tokio::test]
async fn no_bytes_at_any_path_are_answered_with_500() {
    let world = World::start().await;
    let deep = format!("{{\"model\":\"fast\",\"input\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [(&[u8], &str); 7] = [
        (b"", "line 1 column 0"),
        (b"\xff\xfe", "UTF-8 from byte 0"),
        (b"{\"model\":\"fast\xff\"}", "UTF-8 from byte 14"),
        (deep.as_bytes(), "nested"),
        (b"{\"model\":\"\\ud800\",\"x\":1}", "model"),
        (b"\"fast\"", "it must be an object"),
        (b"{\"model\":\"fast\"", "EOF"),
    ];
    for path in PATHS {
        for (body, told) in bodies {
            let answer = world.ask("fast").path(path).body(body.to_vec()).await;
            let error = answer.error();
            assert!(error.starts_with("400 invalid_request_error invalid_"), "{path}: {error}");
            assert!(answer.message().contains(told), "{path}: {}", answer.message());
        }
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn a_body_in_an_unknown_encoding_is_refused() {
    let world = World::start().await;
    for path in PATHS {
        let answer = world.ask("fast").path(path).header("content-encoding", "compress").await;
        assert_eq!(answer.error(), "415 invalid_request_error unsupported_content_encoding", "{path}");
        assert!(answer.message().contains("compress"), "{}", answer.message());
    }
}

#[tokio::test]
async fn a_compressed_body_is_read_as_it_was_and_what_swells_beyond_the_limit_is_refused() {
    let world = World::setup().env("PENSTOCK_INGRESS_BODY_LIMIT", "100000").start().await;
    let body = |length: usize| {
        json!({ "model": "alpha/m", "messages": [{ "role": "user", "content": "x".repeat(length) }] }).to_string()
    };
    for encoding in ["zstd", "gzip", "br", "deflate"] {
        let ask = |bytes: Vec<u8>| world.ask("alpha/m").header("content-encoding", encoding).body(bytes);
        world.upstream("alpha").answers("hello").once();
        let answer = ask(compressed(encoding, body(5000).as_bytes()).await).await;
        assert_eq!(answer.text(), "hello", "{encoding}: {}", answer.raw());
        let long = compressed(encoding, body(1 << 20).as_bytes()).await;
        assert!(long.len() < 10_000, "{encoding}");
        assert_eq!(ask(long).await.error(), "413 invalid_request_error request_too_large", "{encoding}");
        let answer = ask(b"{\"model\": \"alpha/m\"}".to_vec()).await;
        assert_eq!(answer.error(), "400 invalid_request_error incomplete_body", "{encoding}: it is not compressed");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 4);
}

#[tokio::test]
async fn a_length_of_ten_gigabytes_is_refused_before_a_byte_of_it_is_read() {
    let world = World::start().await;
    for length in ["10737418240", "9223372036854775807"] {
        let answer = raw(&world, head(&world, &[&format!("content-length: {length}")])).await;
        assert_eq!(answer.error(), "413 invalid_request_error request_too_large", "{length}");
    }
}

#[tokio::test]
async fn an_unknown_model_is_refused_with_the_nearest_names() {
    let world = World::start().await;
    let answer = world.ask("fasst").await;
    assert_eq!(answer.error(), "404 invalid_request_error model_not_found (model)");
    assert!(answer.message().contains("`fasst`") && answer.message().contains("`fast`"), "{}", answer.message());
    let answer = world.ask("m").await;
    assert_eq!(answer.error(), "404 invalid_request_error model_not_found (model)");
    let both = answer.message().contains("`alpha/m`") && answer.message().contains("`beta/m`");
    assert!(both, "several providers have it: {}", answer.message());
    let answer = world.ask("nobody/m").await;
    assert_eq!(answer.error(), "404 invalid_request_error model_not_found (model)");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_its_length_is_told() {
    let world = World::setup().env("PENSTOCK_INGRESS_BODY_LIMIT", "64KB").start().await;
    let fits = world.ask("fast").field("x", json!("x".repeat(60_000)));
    assert_eq!(fits.await.status, 200);
    let answer = world.ask("fast").field("x", json!("x".repeat(70_000))).await;
    assert_eq!(answer.error(), "413 invalid_request_error request_too_large");
    assert!(answer.message().contains("65536"), "{}", answer.message());

    let mut request = head(&world, &["transfer-encoding: chunked"]);
    for _ in 0..5 {
        request += &format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    }
    let answer = raw(&world, request + "0\r\n\r\n").await;
    assert_eq!(answer.error(), "413 invalid_request_error request_too_large");
}

#[tokio::test]
async fn another_content_type_than_json_is_refused() {
    let world = World::start().await;
    for (content_type, status) in [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("", 200), // curl users forget it
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
    ] {
        let answer = world.ask("fast").header("content-type", content_type).await;
        assert_eq!(answer.status, status, "{content_type}");
        if status == 415 {
            assert_eq!(answer.error(), "415 invalid_request_error unsupported_content_type");
        }
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_answered_with_408() {
    let world = World::setup().env("PENSTOCK_INGRESS_HEAD_TIMEOUT", "200ms").start().await;
    let answer = raw(&world, "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n".to_owned()).await;
    assert_eq!(answer.error(), "408 invalid_request_error request_timeout");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_answered_with_408() {
    let world = World::setup().env("PENSTOCK_INGRESS_BODY_TIMEOUT", "200ms").start().await;
    let answer = raw(&world, head(&world, &["content-length: 100"]) + "{\"model\": ").await;
    assert_eq!(answer.error(), "408 invalid_request_error request_timeout");
    assert!(answer.message().contains("200ms"), "{}", answer.message());
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_refused() {
    let world = World::start().await;
    let answer = world.ask("fast").path("/v1/chat/completion").await;
    assert_eq!(answer.error(), "404 invalid_request_error unknown_url");
    assert!(answer.message().contains("/v1/chat/completion"), "{}", answer.message());
    let answer = world.ask("fast").method(Method::PUT).await;
    assert_eq!(answer.error(), "405 invalid_request_error method_not_allowed");
    assert_eq!(world.get("/v3").await.error(), "404 invalid_request_error unknown_url");
    let no_text = world.get("/v1/files/%ff").key(world.key()).await;
    assert_eq!(no_text.error(), "404 invalid_request_error unknown_url", "{}", no_text.raw());
}

#[tokio::test]
async fn a_header_of_ours_that_is_wrong_is_refused_rather_than_ignored() {
    let world = World::start().await;
    for (name, value) in [
        ("x-penstock-tags", "feature"),
        ("x-penstock-tags", "=search"),
        ("x-penstock-timeout-ms", "soon"),
        ("x-penstock-timeout-ms", "0"),
        ("x-penstock-timeout-ms", "-1"),
    ] {
        let answer = world.ask("fast").header(name, value).await;
        assert_eq!(answer.error(), "400 invalid_request_error invalid_header", "{name}: {value}");
        assert!(answer.message().contains(name), "{}", answer.message());
    }
}

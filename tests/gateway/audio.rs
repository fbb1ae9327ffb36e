//! Speech from texts, and texts from speech: bytes that pass as they come, forms that pass untouched but for the model.

use penstock_tests::{Ask, Gate, Part, Reply, World};
use serde_json::{Value, json};

const PRICES: &str = "[[prices]]\nmodel = \"alpha/tts\"\ncharacters_usd_per_million = \"15\"\n
[[prices]]\nmodel = \"alpha/whisper\"\nusd_per_second = \"0.0001\"";

fn speech(parts: impl IntoIterator<Item = Part>) -> Reply {
    Reply::stream(parts).header("content-type", "audio/mpeg")
}

fn sound(bytes: &'static [u8]) -> Part {
    Part::Send(bytes.into())
}

#[tokio::test]
async fn speech_passes_as_it_comes_and_its_characters_are_counted() {
    let world = World::setup().config(PRICES).start().await;
    let gate = Gate::new();
    let parts = [sound(b"\xff\xfbfirst"), Part::Wait(gate.clone()), sound(b"\0last")];
    world.upstream("alpha").replies(speech(parts)).always();
    let request = json!({"model": "alpha/tts", "input": "Grüße!", "voice": "alloy"});
    let mut answer = world.post("/v1/audio/speech", &request).open().await;
    assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &"audio/mpeg".parse().unwrap()));
    assert_eq!(&answer.next().await.unwrap()[..], b"\xff\xfbfirst", "before the rest is there");
    gate.open();
    assert_eq!(&answer.rest().await.body[..], b"\0last");
    let call = world.upstream("alpha").received(1).await;
    assert_eq!((call.path.as_str(), call.header("accept")), ("audio/speech", "*/*"));
    let sql = "SELECT operation, outcome, characters, usage_source, toString(cost_usd) AS cost FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    let expected = json!({"operation": "speech", "outcome": "served", "characters": 6, "usage_source": "counted", "cost": "0.00009"});
    assert_eq!(rows[0], expected);
}

#[tokio::test]
async fn speech_that_breaks_off_is_broken_off_and_never_looks_complete() {
    let world = World::start().await;
    world.upstream("alpha").replies(speech([sound(b"first"), Part::Cut])).always();
    let request = json!({"model": "fast", "input": "Hi", "voice": "alloy"});
    let (bytes, is_complete) = world.post("/v1/audio/speech", &request).open().await.until_the_end().await;
    assert_eq!((&bytes[..], is_complete), (&b"first"[..], false));
    assert_eq!(world.attempts(1).await, ["alpha 200 broken"]);
}

#[tokio::test]
async fn a_providers_key_that_comes_in_two_pieces_of_a_sound_reaches_nobody() {
    let world = World::setup().env("BETA_KEY", "a-secret-of-beta").start().await;
    let request = json!({"model": "beta/m", "input": "Hi", "voice": "alloy"});
    for [first, second] in [[&b"one a"[..], &b"-secret-of-betatwo"[..]], [b"one a-secret-of-b", b"etatwo"]] {
        let gate = Gate::new();
        let parts = [sound(first), Part::Wait(gate.clone()), sound(second)];
        world.upstream("beta").replies(speech(parts)).once();
        let mut answer = world.post("/v1/audio/speech", &request).open().await;
        assert_eq!(&answer.next().await.unwrap()[..], b"one ", "what cannot be a key does not wait");
        gate.open();
        assert_eq!(&answer.rest().await.body[..], b"***two");
    }
    world.upstream("beta").replies(speech([sound(b"it ends with a-sec")])).once();
    assert_eq!(world.post("/v1/audio/speech", &request).await.raw(), "it ends with a-sec");
}

#[tokio::test]
async fn speech_is_had_from_elsewhere_while_nothing_has_come() {
    let world = World::start().await;
    world.upstream("alpha").fails(503).once();
    world.upstream("alpha").replies(speech([Part::Cut])).once();
    world
        .upstream("alpha")
        .replies(Reply::whole(200, json!({"error": {"message": "no", "code": "server_error"}}).to_string()))
        .always();
    world.upstream("beta").replies(speech([sound(b"beta")])).always();
    let answer = world.post("/v1/audio/speech", &json!({"model": "fast", "input": "Hi", "voice": "v"})).await;
    assert_eq!((answer.raw().as_str(), answer.header("x-penstock-target")), ("beta", "beta/m"));
    assert_eq!(world.attempts(4).await, ["alpha 503", "alpha 200 broken", "alpha 200 server_error", "beta 200"]);
}

#[tokio::test]
async fn speech_as_events_ends_with_its_tokens() {
    let world = World::start().await;
    let delta = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAA=\"}\n\n";
    let done = "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":2,\"output_tokens\":9,\"total_tokens\":11}}\n\n";
    world.upstream("alpha").replies(Reply::stream([delta, done])).once();
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::stream([delta.into(), Part::Wait(gate.clone())])).always();
    let request = json!({"model": "alpha/m", "input": "Hi", "voice": "v", "stream_format": "sse"});
    let answer = world.post("/v1/audio/speech", &request).await;
    assert_eq!((answer.raw(), answer.header("content-type")), (format!("{delta}{done}"), "text/event-stream"));
    let mut cut = world.post("/v1/audio/speech", &request).open().await;
    assert_eq!(cut.until("\n\n").await, delta);
    gate.open();
    assert!(cut.rest().await.raw().contains("\"error\""));
    let sql = "SELECT output_audio_tokens AS audio, usage_source FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0], json!({"audio": 9, "usage_source": "provider"}));
}

const FORM: &str = "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nMODEL\r\n--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\0\x01\r\n--b\r\n\r\n--b0\r\nContent-Disposition: form-data; name=\"temperature\"\r\n\r\n0.20\r\n--b0--\r\n";

fn form(world: &World, path: &str, body: &str) -> Ask {
    world.post(path, &Value::Null).header("content-type", "multipart/form-data; boundary=b0").body(body.to_owned())
}

#[tokio::test]
async fn a_form_passes_untouched_but_for_its_model() {
    let world = World::setup().config(PRICES).start().await;
    let text = r#"{ "text":"Hi there.","usage":{"type":"duration","seconds":9} }"#;
    world.upstream("alpha").replies(Reply::whole(200, text)).always();
    for (path, upstream) in
        [("/v1/audio/transcriptions", "audio/transcriptions"), ("/v1/audio/translations", "audio/translations")]
    {
        let answer = form(&world, path, &FORM.replace("MODEL", "alpha/whisper")).await;
        assert_eq!((answer.raw().as_str(), answer.header("content-type")), (text, "application/json"));
        assert_eq!(answer.header("x-penstock-cost-usd"), "0.0009");
        let call = world.upstream("alpha").calls().pop().unwrap();
        assert_eq!((call.path.as_str(), call.header("content-type")), (upstream, "multipart/form-data; boundary=b0"));
        assert_eq!(String::from_utf8_lossy(&call.body), FORM.replace("MODEL", "whisper"));
    }
    let sql = "SELECT operation, seconds FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    assert_eq!(
        rows,
        [json!({"operation": "transcriptions", "seconds": 9}), json!({"operation": "translations", "seconds": 9})]
    );
}

#[tokio::test]
async fn a_transcript_may_be_text_or_a_stream() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::whole(200, "WEBVTT\n\n").header("content-type", "text/vtt; charset=utf-8")).once();
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\n";
    let done = "data: {\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":2,\"total_tokens\":16,\"input_token_details\":{\"text_tokens\":0,\"audio_tokens\":14}}}\n\n";
    alpha.replies(Reply::stream([delta, done])).once();
    alpha.replies(Reply::whole(200, "{\"text\":\"Hi\"}")).once();
    let path = "/v1/audio/transcriptions";
    let body = FORM.replace("MODEL", "alpha/m");
    let answer = form(&world, path, &body).await;
    assert_eq!((answer.raw().as_str(), answer.header("content-type")), ("WEBVTT\n\n", "text/vtt; charset=utf-8"));
    let stream = body.replace("name=\"temperature\"\r\n\r\n0.20", "name=\"stream\"\r\n\r\ntrue");
    let answer = form(&world, path, &stream).await;
    assert_eq!((answer.raw(), answer.header("content-type")), (format!("{delta}{done}"), "text/event-stream"));
    let answer = form(&world, path, &stream).await;
    assert_eq!(
        (answer.raw().as_str(), answer.header("content-type")),
        ("{\"text\":\"Hi\"}", "application/json"),
        "some models cannot stream"
    );
    let sql = "SELECT input_audio_tokens AS heard, output_tokens AS written, toString(cost_usd) AS cost FROM attempts WHERE outcome = 'served' AND stream ORDER BY started_at LIMIT 1";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0], json!({"heard": 14, "written": 2, "cost": "0.000034"}));
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_named() {
    let world = World::start().await;
    let path = "/v1/audio/transcriptions";
    for (body, error) in [
        (
            FORM.replace("name=\"model\"", "name=\"modell\""),
            "400 invalid_request_error missing_required_parameter (model)",
        ),
        (
            FORM.replace("name=\"file\"", "name=\"sound\""),
            "400 invalid_request_error missing_required_parameter (file)",
        ),
        (FORM.replace("--b0--", ""), "400 invalid_request_error invalid_value (body)"),
        (String::new(), "400 invalid_request_error invalid_value (body)"),
        (FORM.replace("MODEL", "nobody/m"), "404 invalid_request_error model_not_found (model)"),
    ] {
        assert_eq!(form(&world, path, &body).await.error(), error, "{body}");
    }
    let answer = world.post(path, &json!({"model": "alpha/m"})).await;
    assert_eq!(answer.error(), "415 invalid_request_error unsupported_content_type");
    assert!(answer.message().contains("multipart/form-data"), "{}", answer.message());
}

#[tokio::test]
async fn a_form_that_is_made_to_cost_work_is_refused_before_a_provider_is_called() {
    let world = World::start().await;
    let path = "/v1/audio/transcriptions";
    let whole = FORM.replace("MODEL", "alpha/m");
    let part = "--b0\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n";
    for (body, limit) in [
        (part.repeat(200_000) + &whole, "100 parts"),
        (whole.replace("a.wav", &"a".repeat(4 << 20)), "8192 bytes"),
        (whole.replace("--b0--", &"--b1--\r\n".repeat(100_000)), "cut short"),
    ] {
        let answer = form(&world, path, &body).await;
        assert_eq!(answer.error(), "400 invalid_request_error invalid_value (body)");
        assert!(answer.message().contains(limit), "{}", answer.message());
    }
    let kind = format!("multipart/form-data; boundary={}", "b".repeat(5_000));
    let answer = world.post(path, &Value::Null).header("content-type", &kind).body(whole).await;
    assert!(answer.status == 400 && answer.message().contains("70 bytes"), "{}", answer.message());
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn the_demo_speaks_and_listens() {
    let world = World::setup().demo().start().await;
    let answer = world.post("/v1/audio/speech", &json!({"model": "demo/voice", "input": "Hi you", "voice": "v"})).await;
    assert_eq!((answer.header("content-type"), answer.body.len()), ("audio/wav", 16_044));
    let answer = form(&world, "/v1/audio/transcriptions", &FORM.replace("MODEL", "demo/listen")).await;
    assert!(answer.json()["text"].as_str().unwrap().contains("demo/listen"), "{}", answer.raw());
    assert_eq!(world.attempts(2).await, ["demo 200", "demo 200"]);
    assert_eq!(world.count("SELECT count() FROM attempts WHERE cost_usd > 0").await, 2);
}

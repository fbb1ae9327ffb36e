//! Answers that break, lie or stay out: had from elsewhere as long as nothing reached the caller, told to the caller after.

use super::memory::peak;
use penstock_tests::{Gate, Part, Reply, World, in_short, words};
use serde_json::json;

/// Like `fast`, but with one attempt at `alpha`; `hasty`, which waits little for a first
/// token, and `restless`, which waits little for the next.
const MODELS: &str = r#"
[models.once]
targets = [{ model = "alpha/m", retries = 0 }, { model = "beta/m" }]
[models.hasty]
targets = [{ model = "alpha/m", first_token = "3s" }, { model = "beta/m" }]
[models.restless]
targets = [{ model = "alpha/m", idle = "500ms" }]
"#;

async fn world() -> World {
    World::setup().config(MODELS).start().await
}

#[tokio::test]
async fn an_answer_that_is_an_error_or_is_not_json_is_had_from_elsewhere() {
    let world = world().await;
    let error = words::error("The engine is overloaded", "server_error", None, Some("engine_overloaded_error"));
    for (body, attempt) in [
        (error.to_string(), "alpha 200 overloaded"),
        ("{\"id\": \"chatcmpl-1\", \"choices\": [".to_owned(), "alpha 200 broken"),
        ("<html>Bad Gateway</html>".to_owned(), "alpha 200 broken"),
    ] {
        let before = world.attempts(0).await.len();
        world.upstream("alpha").replies(Reply::whole(200, body)).always();
        assert_eq!(world.ask("once").await.text(), "hello");
        assert_eq!(world.attempts(before + 2).await[before..], [attempt, "beta 200"]);
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_token_is_had_from_elsewhere() {
    let world = world().await;
    let error = words::error("The server had an error", "server_error", None, None);
    let event = |data: &str| Part::from(format!("data: {data}\n\n"));
    for (parts, attempt) in [
        (vec![event(&error.to_string())], "alpha 200 server_error"),
        (vec![words::role().into(), event(&error.to_string())], "alpha 200 server_error"),
        (vec![Part::from(format!("event: error\ndata: {error}\n\n"))], "alpha 200 server_error"),
        (vec![words::role().into(), event("{\"choices\": [")], "alpha 200 broken"),
        (vec![words::role().into(), Part::Cut], "alpha 200 broken"),
        (vec![words::role().into(), words::DONE.into()], "alpha 200 broken"),
    ] {
        let before = world.attempts(0).await.len();
        world.upstream("alpha").replies(Reply::stream(parts)).always();
        assert_eq!(world.ask("once").stream().await.text(), "hello");
        assert_eq!(world.attempts(before + 2).await[before..], [attempt, "beta 200"]);
    }
}

#[tokio::test]
async fn fallback_stops_once_a_token_was_sent() {
    let world = world().await;
    let error = words::error("The server had an error", "server_error", None, None);
    let event = |data: String| Part::from(format!("data: {data}\n\n"));
    for (end, code) in
        [(Part::Cut, "broken"), (event(error.to_string()), "server_error"), (event("{".to_owned()), "broken")]
    {
        let gate = Gate::new();
        let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), end];
        world.upstream("alpha").replies(Reply::stream(parts)).always();
        let mut open = world.ask("fast").stream().open().await;
        open.until("one ").await;
        gate.open();
        let answer = open.rest().await;
        let error = &answer.events()[0]["error"];
        assert_eq!(in_short(error), format!("server_error {code}"));
        assert_eq!(error["request_id"], answer.header("x-request-id"));
        assert!(answer.status == 200 && !answer.raw().contains("[DONE]"), "{}", answer.raw());
    }
    assert_eq!(world.attempts(3).await, ["alpha 200 broken", "alpha 200 server_error", "alpha 200 broken"]);
    let rows = world.sql("SELECT DISTINCT outcome FROM attempts UNION ALL SELECT DISTINCT outcome FROM requests").await;
    assert_eq!(rows, [json!({ "outcome": "broken" }), json!({ "outcome": "broken" })]);
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_provider_that_is_silent_before_its_first_token_is_left() {
    let world = world().await;
    world.upstream("alpha").replies(Reply::stream([words::role().into(), Part::Silence])).once();
    world.upstream("alpha").replies(Reply::answer("late").held(&Gate::new())).always();
    assert_eq!(world.ask("hasty").stream().await.text(), "hello");
    assert_eq!(world.ask("hasty").stream().await.text(), "hello");
    assert_eq!(world.attempts(4).await, ["alpha 200 timeout", "beta 200", "alpha timeout", "beta 200"]);
    for call in world.upstream("alpha").calls() {
        call.closed().await;
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_after_a_token_ends_with_a_typed_error() {
    let world = world().await;
    world.upstream("alpha").replies(Reply::stream([words::content("one ").into(), Part::Silence])).always();
    let answer = world.ask("restless").stream().await;
    let events = answer.events();
    assert_eq!(in_short(&events.last().unwrap()["error"]), "timeout_error timeout");
    assert!(!answer.raw().contains("[DONE]"));
    assert_eq!(world.attempts(1).await, ["alpha 200 timeout"]);
    assert_eq!(world.sql("SELECT outcome FROM attempts").await, [json!({ "outcome": "broken" })]);
}

#[tokio::test]
async fn the_callers_own_deadline_ends_the_request_with_504() {
    let world = world().await;
    world.upstream("alpha").replies(Reply::answer("late").held(&Gate::new())).always();
    for ask in [world.ask("fast"), world.ask("fast").stream()] {
        let answer = ask.header("x-penstock-timeout-ms", "4000").await;
        assert_eq!(answer.status, 504);
        assert!(answer.error().starts_with("504 timeout_error "), "{}", answer.error());
    }
    assert_eq!(world.attempts(2).await.len(), 2, "beta is not asked when nobody waits any more");
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_stream_that_never_ends_is_ended_by_its_clock_however_fast_it_comes() {
    const LINKS: &str = r#"
[models.patient]
targets = [{ model = "alpha/m", retries = 0, first_token = "2s", idle = "2s", total = "3s" }]
"#;
    let mut world = World::setup().config(LINKS).start().await;
    let flood = |bytes: String| Part::Flood(bytes.into());
    let content = words::content(&"x".repeat(1_000));
    // Where two ends stand, the one that comes first is right: so many bytes, or so much time.
    let rows: [(Vec<Part>, &[&str]); 5] = [
        (vec![words::role().into(), flood(content.repeat(20))], &["timeout"]),
        (vec![flood(": heartbeat\n\n".repeat(100))], &["timeout"]),
        (vec![flood(words::role().repeat(100))], &["timeout", "broken"]),
        (vec![flood("x".repeat(10_000))], &["timeout", "broken"]),
        (vec![Part::Endless("x".into())], &["timeout"]),
    ];
    let before = peak(&mut world);
    for (at, (parts, ends)) in rows.into_iter().enumerate() {
        world.upstream("alpha").replies(Reply::stream(parts)).always();
        let answer = world.ask("patient").stream().await;
        let error = if at == 0 { in_short(&answer.events().last().unwrap()["error"]) } else { answer.error() };
        assert!(ends.iter().any(|end| error.contains(end)) && !answer.raw().contains("[DONE]"), "{at}: {error}");
        world.upstream("alpha").received(at + 1).await.closed().await;
        let attempt = world.attempts(at + 1).await[at].clone();
        assert!(ends.iter().any(|end| attempt == format!("alpha 200 {end}")), "{at}: {attempt}");
    }
    let more = peak(&mut world).saturating_sub(before) >> 20;
    println!("{more} MB more");
    assert!(more < 200, "{more} MB more");
}

//! Sessions (`/v1/realtime`): a WebSocket from the client to the provider, whose responses are attempts, each paid for before
//! it can begin.

mod client;
mod upstream;

use crate::made::key;
use client::Client;
use penstock_tests::{World, checkout, tool, until};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use upstream::Provider;

/// What a response of the scripted provider costs, in dollars: 40 of text, 30 cached, 30 of audio in; 10 of text, 40 of audio
/// out.
const COST: &str = "0.001163";

/// The most that one may cost: 131,072 of audio in, 32,768 of audio out.
const WORST: &str = "1.96608";

const ATTEMPTS: &str = "SELECT outcome, failure, toString(cost_usd) AS cost, toString(charged_usd) AS charged, finish_reason \
    FROM attempts WHERE operation = 'realtime' ORDER BY number";

async fn world(provider: &Provider) -> World {
    World::setup().config(&provider.config()).start().await
}

async fn budget(world: &World, limit: &str) {
    let budgets = json!({ "budgets": { "calls": { "name": "calls", "limit_usd": limit, "cycle": "total" } } });
    world.manage(budgets, &[world.address()]).await;
}

fn served() -> Value {
    json!({ "outcome": "served", "failure": null, "cost": COST, "charged": COST, "finish_reason": "completed" })
}

#[tokio::test]
async fn a_conversation_of_several_responses_is_passed_on_and_each_is_in_the_ledger_at_its_cost() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    budget(&world, "10").await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    assert!(client.head.contains("x-penstock-target: rt/m"), "{}", client.head);
    let begun = client.next().await;
    assert_eq!((&begun["type"], &begun["session"]["model"]), (&json!("session.created"), &json!("rt/m")));
    client.say(json!({ "type": "session.update", "session": { "type": "realtime", "model": "rt/m", "instructions": "hi" } })).await;
    let updated = client.next().await;
    assert_eq!((&updated["type"], &updated["session"]["model"]), (&json!("session.updated"), &json!("rt/m")));
    assert_eq!(updated["session"]["audio"]["input"]["turn_detection"]["create_response"], true);
    let item = json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Hi" }] });
    client.say(json!({ "type": "conversation.item.create", "item": item })).await;
    assert_eq!(client.next().await["item"], item);
    for number in 1..=3 {
        client.ask("speak").await;
        assert_eq!(client.next().await["response"]["id"], format!("resp_{number}"));
        assert_eq!(client.next().await["type"], "response.output_audio.delta");
        let done = client.next().await;
        assert_eq!((&done["type"], &done["response"]["usage"]), (&json!("response.done"), &upstream::usage()));
    }
    client.leave().await;
    provider.closed(1).await;
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 3).await;
    assert_eq!(rows, [served(), served(), served()]);
    let tokens = "SELECT input_tokens, cache_read_tokens, input_audio_tokens, output_tokens, output_audio_tokens, \
        provider_request_id FROM attempts WHERE operation = 'realtime' ORDER BY number LIMIT 1";
    assert_eq!(
        world.sql(tokens).await,
        [json!({ "input_tokens": 40, "cache_read_tokens": 30, "input_audio_tokens": 30, "output_tokens": 10,
            "output_audio_tokens": 40, "provider_request_id": "resp_1" })]
    );
    let requests = "SELECT operation, model, outcome, attempts, toString(cost_usd) AS cost, status FROM requests WHERE operation = 'realtime'";
    let rows = world.sql_until(requests, |rows| rows.len() == 1).await;
    let row = json!({ "operation": "realtime", "model": "rt/m", "outcome": "served", "attempts": 3, "cost": "0.003489", "status": 200 });
    assert_eq!(rows, [row]);
    let head = &provider.heads()[0];
    assert!(head.contains("GET /v1/realtime?model=m HTTP/1.1") && head.contains("Bearer sk-beta-the-only"), "{head}");
    let updates = provider.events("session.update");
    assert_eq!(updates[0]["session"]["audio"]["input"]["turn_detection"]["create_response"], false);
    assert_eq!(updates[1]["session"]["model"], "m");
    settled(&world, "0.003489").await;
}

/// Waits until nothing is set aside any more, and so much is spent.
async fn settled(world: &World, spent: &str) {
    let path = "/admin/v1/budgets/calls";
    until("a budget to be settled", async || {
        let budget = world.get(path).key(world.admin_key()).await.json();
        let shown = budget.to_string();
        (shown.contains(&format!("\"{spent}\"")) && !shown.contains(WORST)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_may_not_come_is_refused_over_http_before_there_is_a_session() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    world.upstream("alpha").answers("hi").always();
    for (query, secret, status, code) in [
        ("model=rt/m", "psk_wrong_wrong_wrong", 401, "invalid_api_key"),
        ("model=nothing", world.key(), 404, "model_not_found"),
        ("model=rt/refused", world.key(), 404, "model_not_found"),
        ("", world.key(), 400, "invalid_value"),
        ("model=rt/m&intent=transcription", world.key(), 400, "invalid_value"),
    ] {
        let Err((found, body)) = Client::connect(&world, query, secret).await else { panic!("{query}") };
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{query}: {body}");
    }
    let few = key(&world, &json!({ "project": "one", "models": ["alpha/*"] })).await;
    let Err((status, body)) = Client::connect(&world, "model=rt/m", &few).await else { panic!("it may not") };
    assert_eq!((status, &body["error"]["code"]), (403, &json!("model_forbidden")));
    budget(&world, "1").await;
    let Err((status, body)) = Client::connect(&world, "model=rt/m", world.key()).await else { panic!("no money") };
    assert_eq!((status, &body["error"]["code"]), (429, &json!("budget_exceeded")), "{body}");
    assert_eq!(provider.heads().len(), 1, "only the model that its provider does not know is asked for");
    for path in ["/v1/realtime", "/v1/realtime/client_secrets", "/v1/realtime/sessions", "/v1/realtime/calls"] {
        let answer = world.post(path, &json!({})).await;
        assert_eq!(answer.error(), "404 invalid_request_error websocket_required", "{path}");
    }
    let answer = world.get("/v1/realtime?model=rt/m").key(world.key()).await;
    assert_eq!(answer.error(), "404 invalid_request_error websocket_required");
}

#[tokio::test]
async fn a_budget_that_is_used_up_ends_a_session_with_an_error_that_names_it() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    // Room for one, and for the worst that a second may come to.
    budget(&world, "1.968").await;
    let mut client = Client::connect(&world, "model=voice", world.key()).await.expect("a session");
    for _ in 0..2 {
        client.ask("speak").await;
        client.until("response.done").await;
    }
    client.ask("speak").await;
    let ended = client.end().await;
    let (code, message) = ended.error();
    assert_eq!((code.as_str(), ended.code), ("insufficient_quota budget", 4429), "{message}");
    assert!(message.contains("the budget `calls` has nothing left"), "{message}");
    assert!(ended.reason.contains("the budget `calls`"), "{}", ended.reason);
    provider.closed(1).await;
    assert_eq!(provider.events("response.create").len(), 2);
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 2).await;
    assert_eq!(rows, [served(), served()]);
    settled(&world, "0.002326").await;
}

#[tokio::test]
async fn a_response_that_its_provider_never_ends_counts_at_its_worst() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    budget(&world, "10").await;
    for how in ["vanish", "close"] {
        let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
        client.ask(how).await;
        let ended = client.end().await;
        assert_eq!((ended.error().0.as_str(), ended.code), ("server_error broken", 4502), "{how}");
    }
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 2).await;
    let lost =
        json!({ "outcome": "broken", "failure": "broken", "cost": null, "charged": WORST, "finish_reason": null });
    assert_eq!(rows, [lost.clone(), lost]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_pays_what_was_made_until_then() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    budget(&world, "10").await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.ask("silence").await;
    client.until("response.output_audio.delta").await;
    client.leave().await;
    provider.closed(1).await;
    assert_eq!(provider.events("response.cancel").len(), 1);
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 1).await;
    let cut = json!({ "outcome": "cancelled", "failure": "cancelled", "cost": COST, "charged": COST, "finish_reason": "cancelled" });
    assert_eq!(rows, [cut]);
    settled(&world, COST).await;
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_its_sessions() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let made = world.tool(&["keys", "create"]).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let mut client =
        until("the new key to be known", async || Client::connect(&world, "model=rt/m", secret).await.ok()).await;
    client.next().await;
    assert_eq!(world.run(&["keys", "revoke", id]).await.code, 0);
    let ended = client.end().await;
    assert_eq!((ended.error().0.as_str(), ended.code), ("authentication_error revoked", 4401));
    provider.closed(1).await;
    let requests = "SELECT outcome, failure FROM requests WHERE operation = 'realtime'";
    let rows = world.sql_until(requests, |rows| rows.len() == 1).await;
    assert_eq!(rows, [json!({ "outcome": "broken", "failure": "revoked" })]);
}

#[tokio::test]
async fn a_browser_names_its_key_in_a_protocol() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let named = format!(
        "sec-websocket-protocol: realtime, openai-insecure-api-key.{}, openai-beta.realtime-v1\r\n",
        world.key()
    );
    let mut client = Client::connect_at(world.address(), "model=rt/m", &named).await.expect("a session");
    assert!(client.head.contains("sec-websocket-protocol: realtime\r\n"), "{}", client.head);
    assert_eq!(client.next().await["type"], "session.created");
    assert!(provider.heads()[0].to_ascii_lowercase().contains("openai-beta: realtime=v1"), "{:?}", provider.heads());
    assert!(!provider.heads()[0].contains(world.key()) && !world.logs().contains(world.key()));
}

#[tokio::test]
async fn a_turn_that_the_provider_finds_is_answered_once_it_is_paid_for() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    budget(&world, "10").await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.say(json!({ "type": "input_audio_buffer.append", "audio": "AAAA" })).await;
    client.until("input_audio_buffer.committed").await;
    client.until("response.done").await;
    let off = json!({ "type": "server_vad", "create_response": false });
    let update = json!({ "type": "realtime", "audio": { "input": { "turn_detection": off } } });
    client.say(json!({ "type": "session.update", "session": update })).await;
    let shown = client.until("session.updated").await;
    assert_eq!(shown["session"]["audio"]["input"]["turn_detection"]["create_response"], false);
    client.say(json!({ "type": "input_audio_buffer.append", "audio": "AAAA" })).await;
    client.until("input_audio_buffer.committed").await;
    client.say(json!({ "type": "conversation.item.create", "item": "last" })).await;
    assert_eq!(client.next().await["item"], "last", "no response comes that nobody wants");
    client.leave().await;
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 1).await;
    assert_eq!(rows, [served()]);
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_and_the_session_goes_on() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.next().await;
    for (session, param) in [
        (json!({ "audio": { "input": { "transcription": { "model": "w" } } } }), "session.audio.input.transcription"),
        (json!({ "tools": [{ "type": "mcp", "server_url": "x" }] }), "session.tools"),
        (json!({ "type": "transcription" }), "session.type"),
    ] {
        client.say(json!({ "type": "session.update", "event_id": "e", "session": session })).await;
        let error = client.next().await;
        assert_eq!((&error["error"]["param"], &error["error"]["event_id"]), (&json!(param), &json!("e")), "{error}");
    }
    client.ask("refuse").await;
    let error = client.next().await;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["event_id"]),
        (&json!("conversation_already_has_active_response"), &json!("mine"))
    );
    client.ask("speak").await;
    client.until("response.done").await;
    client.leave().await;
    assert_eq!(provider.events("session.update").len(), 1, "only our own");
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 2).await;
    let refused =
        json!({ "outcome": "refused", "failure": "bad_request", "cost": null, "charged": "0", "finish_reason": null });
    assert_eq!(rows, [refused, served()]);
}

#[tokio::test]
async fn a_response_that_nobody_asked_for_is_ended_where_there_is_no_money_for_it() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    budget(&world, "2").await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.ask("unasked").await;
    let ended = client.end().await;
    assert_eq!((ended.error().0.as_str(), ended.code), ("insufficient_quota budget", 4429));
    provider.closed(1).await;
    assert_eq!(provider.events("response.cancel")[0]["response_id"], "resp_unasked");
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 2).await;
    let cut = json!({ "outcome": "cancelled", "failure": "cancelled", "cost": COST, "charged": COST, "finish_reason": "cancelled" });
    assert_eq!(rows, [served(), cut]);
}

#[tokio::test]
async fn a_providers_key_reaches_no_client_of_a_session_in_an_event_nor_at_its_end() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.next().await;
    client.ask("betray").await;
    let ended = client.end().await;
    let said = format!("{:?} {}", ended.events, ended.reason);
    assert!(said.contains("***") && !said.contains("sk-beta"), "{said}");
}

#[tokio::test]
async fn an_event_that_is_too_long_or_no_text_ends_the_session() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    for (message, code) in [(Message::text("x".repeat(2 * 1024 * 1024 + 1)), 4413), (Message::binary("{}"), 4400)] {
        let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
        client.next().await;
        client.send(message).await;
        assert_eq!(client.end().await.code, code);
    }
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.next().await;
    let long = json!({ "type": "conversation.item.create", "item": "x".repeat(1024 * 1024) });
    client.say(long.clone()).await;
    assert_eq!(client.next().await["item"], long["item"]);
}

#[tokio::test]
async fn a_worker_that_is_killed_ends_its_sessions_and_what_runs_counts_at_its_worst() {
    let provider = Provider::start().await;
    let mut world = World::setup().apart().start().await;
    world.folder().write("back.toml", &provider.config());
    let worker = world.worker().await;
    let mut client =
        until("the worker to be known", async || Client::connect(&world, "model=rt/m", world.key()).await.ok()).await;
    client.ask("silence").await;
    client.until("response.output_audio.delta").await;
    worker.kill();
    let ended = client.end().await;
    assert_eq!((ended.error().0.as_str(), ended.code), ("server_error lost", 4502));
    // Once it is known that the worker is gone.
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 1 && rows[0]["charged"] != "0").await;
    assert_eq!((&rows[0]["outcome"], &rows[0]["charged"]), (&json!("unknown"), &json!(WORST)), "{rows:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_provider_back_and_nobody_else() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    world.upstream("alpha").answers("hi").always();
    let mut client = Client::connect(&world, "model=rt/m", world.key()).await.expect("a session");
    client.ask("flood").await;
    // What the sockets of the machine, the bus and both processes hold of it; then nothing more is taken.
    let sent = until("the provider to be held back", async || {
        let before = provider.sent();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        (before > 0 && provider.sent() == before).then_some(before)
    })
    .await;
    assert!(sent < 64 << 20, "{sent} bytes were taken for a client that reads none");
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    drop(client);
    provider.closed(1).await;
}

#[tokio::test]
async fn openais_own_client_holds_a_session() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let mut command = Command::new(tool("PENSTOCK_TEST_PYTHON"));
    command.arg(checkout().join("tests/sdk/realtime.py")).kill_on_drop(true);
    command.env("PENSTOCK_URL", world.url()).env("PENSTOCK_KEY", world.key());
    let output = command.output().await.expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = [
        "session.created rt/m",
        "session.updated",
        "conversation.item.added",
        "response.created",
        "response.output_audio.delta",
        "response.done completed 150",
        "refused 404",
    ];
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().collect::<Vec<_>>(), lines, "{errors}");
    let rows = world.sql_until(ATTEMPTS, |rows| rows.len() == 1).await;
    assert_eq!(rows, [served()]);
}

/// <https://github.com/BerriAI/litellm/issues/8828>
#[tokio::test]
async fn an_older_client_with_a_key_in_two_headers_has_a_session_by_a_virtual_name() {
    let provider = Provider::start().await;
    let world = world(&provider).await;
    let key = world.key();
    let lines = format!("authorization: Bearer {key}\r\napi_key: Bearer {key}\r\nOpenAI-Beta: realtime=v1\r\n");
    let mut client = Client::connect_at(world.address(), "model=voice", &lines).await.expect("a session");
    let begun = client.next().await;
    assert_eq!((&begun["type"], &begun["session"]["model"]), (&json!("session.created"), &json!("voice")));
    client.leave().await;
}

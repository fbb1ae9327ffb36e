//! Keys that end while they are in use: in every ingress at once, also for what is in flight.

use penstock_tests::{Answer, Ask, Gate, Open, Part, Reply, World, in_short, until, words};
use serde_json::{Value, json};
use std::time::Instant;

async fn create(world: &World, at: &[&str], arguments: &[&str]) -> (String, String) {
    let made = world.tool(&[&["keys", "create"], arguments].concat()).await;
    let text = |name: &str| made[name].as_str().expect("a new key has an id and a secret").to_owned();
    let (id, secret) = (text("id"), text("key"));
    for address in at {
        let ask = Ask::models(world, address, &secret);
        until("the new key to be known", async || (ask.clone().await.status == 200).then_some(())).await;
    }
    (id, secret)
}

/// Asks for what needs no provider.
trait Models {
    fn models(world: &World, address: &str, secret: &str) -> Ask;
}

impl Models for Ask {
    fn models(world: &World, address: &str, secret: &str) -> Ask {
        world.get("/v1/models").at(address).key(secret)
    }
}

fn address(world: &World) -> String {
    world.url().trim_start_matches("http://").to_owned()
}

async fn second_ingress(world: &mut World) -> (penstock_tests::Process, String) {
    let (ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    (ingress, address.expect("an ingress says where it listens").to_owned())
}

/// A stream that says `one ` and then nothing, for ever.
fn endless(world: &World) {
    let parts = [words::role().into(), words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
}

/// The error in the last event of a stream.
fn last_error(answer: &Answer) -> Value {
    answer.events().last().expect("a stream has events")["error"].clone()
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_streams_and_requests_at_every_ingress() {
    let mut world = World::start().await;
    let (first, (_ingress, second)) = (address(&world), second_ingress(&mut world).await);
    endless(&world);
    let late = Reply::answer("late").held(&Gate::new());
    world.upstream("beta").replies(late).always();
    let (id, secret) = create(&world, &[&first, &second], &[]).await;
    let mut streams: Vec<Open> = Vec::new();
    for at in [&first, &second] {
        let mut open = world.ask("alpha/m").at(at).key(&secret).stream().open().await;
        open.until("one ").await;
        streams.push(open);
    }
    let waiting = [&first, &second].map(|at| world.ask("beta/m").at(at).key(&secret).send());
    let waiting = futures_util::future::join_all(waiting);
    let mine = world.ask("alpha/m").at(&second).stream().open();
    let revoke = async {
        world.upstream("beta").received(2).await;
        let begun = Instant::now();
        assert_eq!(world.run(&["keys", "revoke", &id]).await.code, 0);
        println!("revoked: the command line took {:?}, its start and its connection included", begun.elapsed());
        Instant::now()
    };
    let (refused, mut other, revoked) = tokio::join!(waiting, mine, revoke);
    for answer in &refused {
        assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
        assert!(answer.message().contains(&id) && answer.message().contains("revoked"), "{}", answer.message());
    }
    println!("revoked: waiting requests were refused {:?} after the command line had ended", revoked.elapsed());
    for open in streams {
        let answer = open.rest().await;
        assert_eq!(in_short(&last_error(&answer)), "authentication_error revoked");
        assert!(!answer.raw().contains("[DONE]"));
    }
    println!("revoked: streams at both ingresses were over {:?} after it", revoked.elapsed());
    for upstream in ["alpha", "beta"] {
        for call in [1, 2] {
            let at = world.upstream(upstream).received(call).await.closed().await;
            println!("revoked: {upstream} saw its call closed {:?} after it", at.saturating_duration_since(revoked));
        }
    }
    for at in [&first, &second] {
        let answer = world.ask("fast").at(at).key(&secret).await;
        assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
    }
    other.until("one ").await; // of another key
    drop(other);
    let outcomes = "SELECT outcome, failure FROM requests WHERE key_id = 'KEY' AND model = 'alpha/m'";
    let rows = world.sql_until(&outcomes.replace("KEY", &id), |rows| rows.len() == 2).await;
    assert!(rows.iter().all(|row| *row == json!({ "outcome": "broken", "failure": "revoked" })), "{rows:?}");
}

#[tokio::test]
async fn every_dialect_hears_in_its_own_words_that_the_key_is_over() {
    let world = World::start().await;
    endless(&world);
    let (id, secret) = create(&world, &[&address(&world)], &[]).await;
    let body = json!({ "model": "alpha/m", "max_tokens": 9, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
    let messages = world.post("/v1/messages", &body).key(&secret).open();
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hi" }] }] });
    let path = "/v1beta/models/alpha/m:streamGenerateContent?alt=sse";
    let generate = world.post(path, &contents).key(&secret).open();
    let respond =
        world.post("/v1/responses", &json!({ "model": "alpha/m", "input": "Hi", "stream": true })).key(&secret).open();
    let (mut messages, mut generate, mut respond) = tokio::join!(messages, generate, respond);
    for open in [&mut messages, &mut generate, &mut respond] {
        open.until("one").await;
    }
    assert_eq!(world.run(&["keys", "disable", &id]).await.code, 0);
    let (messages, generate, respond) = tokio::join!(messages.rest(), generate.rest(), respond.rest());
    let error = last_error(&messages);
    assert_eq!(error["type"], "authentication_error", "{error}");
    assert!(error["message"].as_str().unwrap().contains("is disabled"), "{error}");
    let raw = generate.raw();
    let event = raw.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!((&event["error"]["status"], &event["error"]["code"]), (&json!("UNAUTHENTICATED"), &json!(401)));
    assert!(respond.raw().contains("is disabled"), "{}", respond.raw());
    let answer = world.ask("alpha/m").key(&secret).await;
    assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
    assert!(answer.message().contains("disabled"), "{}", answer.message());
    assert_eq!(world.run(&["keys", "enable", &id]).await.code, 0);
    world.upstream("alpha").answers("again");
    until("the key to be good again", async || (world.ask("alpha/m").key(&secret).await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_key_ends_at_its_time_in_the_middle_of_a_stream() {
    let world = World::start().await;
    endless(&world);
    let (id, secret) = create(&world, &[&address(&world)], &["--expires", "3s"]).await;
    let mut open = world.ask("alpha/m").key(&secret).stream().open().await;
    open.until("one ").await;
    assert_eq!(in_short(&last_error(&open.rest().await)), "authentication_error revoked");
    let answer = world.ask("alpha/m").key(&secret).await;
    assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
    assert!(answer.message().contains(&id) && answer.message().contains("expired"), "{}", answer.message());
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_for_the_overlap_and_none_holds_longer_than_asked() {
    let world = World::start().await;
    let (id, first) = create(&world, &[&address(&world)], &[]).await;
    let rotate = async |arguments: &[&str]| {
        let made = world.tool(&[&["keys", "rotate", &id], arguments].concat()).await;
        let secret = made["key"].as_str().unwrap().to_owned();
        until("the new secret to be known", async || {
            (world.ask("fast").key(&secret).await.status == 200).then_some(())
        })
        .await;
        secret
    };
    let second = rotate(&[]).await;
    assert_eq!(world.ask("fast").key(&first).await.status, 200, "both hold for a day");
    let list = world.tool(&["keys", "list"]).await;
    let entry = list.as_array().unwrap().iter().find(|key| key["id"] == id.as_str()).unwrap();
    let (prefixes, ends): (Vec<_>, Vec<_>) =
        entry["secrets"].as_array().unwrap().iter().map(|secret| (&secret["prefix"], secret["until"].is_u64())).unzip();
    assert_eq!((prefixes, ends), (vec![&json!(first[..8]), &json!(second[..8])], vec![true, false]));
    assert!(!list.to_string().contains("hmac") && !list.to_string().contains(&first[8..]), "{list}");

    endless(&world);
    let mut open = world.ask("alpha/m").key(&first).stream().open().await;
    open.until("one ").await;
    world.upstream("alpha").answers("hello");
    let third = rotate(&["--overlap", "0"]).await;
    assert_eq!(in_short(&last_error(&open.rest().await)), "authentication_error revoked");
    for gone in [&first, &second] {
        let answer = world.ask("fast").key(gone).await;
        assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
        assert!(answer.message().contains("newer secret"), "{}", answer.message());
    }
    assert_eq!(world.ask("fast").key(&third).await.status, 200);
}

#[tokio::test]
async fn with_a_master_key_the_hash_key_is_sealed_and_a_process_without_it_is_told_so() {
    let master = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let mut world = World::setup().env("PENSTOCK_MASTER_KEY", master).start().await;
    let (_ingress, second) = second_ingress(&mut world).await;
    create(&world, &[&address(&world), &second], &[]).await;
    let stored = world.stored();
    assert!(stored.contains("\"sealed\"") && !stored.contains("\"plain\""), "the hash key is in NATS, and sealed");
    let without = world.run_without("PENSTOCK_MASTER_KEY", &["keys", "create"]).await;
    assert!(without.code == 1 && without.err.contains("PENSTOCK_MASTER_KEY"), "{}", without.err);
    let wrong = world.run_with(("PENSTOCK_MASTER_KEY", &"ff".repeat(32)), &["keys", "create"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("does not open it"), "{}", wrong.err);
    let bad = world.run_with(("PENSTOCK_MASTER_KEY", "short"), &["check"]).await;
    assert!(bad.code == 64 && bad.err.contains("PENSTOCK_MASTER_KEY: must be 32 bytes"), "{}", bad.err);
}

#[tokio::test]
async fn a_project_or_a_user_that_is_disabled_loses_what_is_in_flight() {
    let world = World::start().await;
    endless(&world);
    let (_, secret) = create(&world, &[&address(&world)], &["--project", "search"]).await;
    let mut of_project = world.ask("alpha/m").key(&secret).stream().open().await;
    let mut of_user = world.ask("alpha/m").field("user", json!("eve")).stream().open().await;
    let mut other = world.ask("alpha/m").stream().open().await;
    for open in [&mut of_project, &mut of_user, &mut other] {
        open.until("one ").await;
    }
    for (path, body) in [
        ("projects", json!({ "name": "search", "enabled": false })),
        ("users", json!({ "name": "eve", "enabled": false })),
    ] {
        let made = world.post(&format!("/admin/v1/{path}"), &body).key(world.admin_key()).await;
        assert_eq!(made.status, 201, "{}", made.raw());
    }
    for (open, what) in [(of_project, "the project `search` is disabled"), (of_user, "the user `eve` is disabled")] {
        let error = last_error(&open.rest().await);
        assert_eq!((in_short(&error).as_str(), &error["message"]), ("authentication_error revoked", &json!(what)));
    }
    let answer = world.ask("fast").key(&secret).await;
    assert_eq!(answer.error(), "403 permission_error caller_disabled");
    let answer = world.ask("fast").field("user", json!("eve")).await;
    assert_eq!(answer.error(), "403 permission_error caller_disabled");
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("fast").await.text(), "hello", "others go on");
    drop(other);
}

#[tokio::test]
async fn a_project_s_models_narrow_those_of_its_keys() {
    let world = World::start().await;
    let (_, secret) = create(&world, &[&address(&world)], &["--project", "search", "--models", "alpha/*,beta/*"]).await;
    assert_eq!(world.ask("alpha/m").key(&secret).await.status, 200);
    let body = json!({ "name": "search", "models": ["beta/*"] });
    assert_eq!(world.post("/admin/v1/projects", &body).key(world.admin_key()).await.status, 201);
    let answer = until("the project to be known", async || {
        let answer = world.ask("alpha/m").key(&secret).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.error(), "403 permission_error model_forbidden (model)");
    assert!(answer.message().contains("project search"), "{}", answer.message());
    assert_eq!(world.ask("beta/m").key(&secret).await.status, 200);
    assert_eq!(world.ask("fast").key(&secret).await.status, 403, "not all of its targets are allowed");
    let list = world.get("/v1/models").key(&secret).await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["beta/m"]);
}

//! The keys that providers are called with: replaced while everything runs, set aside when a provider refuses one, and never
//! seen anywhere but by the provider.

use http::Method;
use penstock_tests::{Ask, Gate, Reply, World, until, words};
use serde_json::{Value, json};
use std::time::Instant;

/// The keys that the calls to an upstream came with, from call number `from` on.
fn keys_used(world: &World, upstream: &str, from: usize) -> Vec<String> {
    let calls = world.upstream(upstream).calls();
    calls[from..].iter().map(|call| call.header("authorization").trim_start_matches("Bearer ").to_owned()).collect()
}

/// A provider without a key of the configuration.
async fn world() -> World {
    World::setup().config("[providers.gamma]\ndialect = \"openai\"\nbase_url = \"{beta}\"\nkeys = []\n").start().await
}

async fn add(world: &World, arguments: &[&str], secret: &str) -> Value {
    let added = world.run_given(secret, &[&["providers", "keys", "add", "gamma"], arguments].concat()).await;
    assert_eq!(added.code, 0, "{}", added.err);
    serde_json::from_str(&added.out).expect("JSON was asked for")
}

#[tokio::test]
async fn a_key_is_replaced_while_calls_are_in_flight_and_none_fails() {
    let world = world().await;
    let (first, second) = ("sk-managed-first-aaaa", "sk-managed-second-bbbb");
    let json = ["--format", "json"];
    let added = add(&world, &[&json[..], &["--id", "a"]].concat(), first).await;
    assert_eq!((&added["id"], &added["source"], &added["hint"]), (&json!("a"), &json!("sealed"), &json!("aaaa")));
    let uses = async |key: &str| {
        until("the key to be used", async || {
            assert_eq!(world.ask("gamma/m").await.status, 200);
            keys_used(&world, "beta", 0).last().is_some_and(|last| last == key).then_some(())
        })
        .await;
    };
    uses(first).await;

    let (gate, before) = (Gate::new(), world.upstream("beta").calls().len());
    world.upstream("beta").replies(Reply::answer("with the old key").held(&gate)).once();
    world.upstream("beta").answers("hello");
    let waiting = world.ask("gamma/m").send();
    let replace = async {
        world.upstream("beta").received(before + 1).await;
        add(&world, &[&json[..], &["--id", "b"]].concat(), second).await;
        let removed = world.run(&["providers", "keys", "remove", "gamma", "a"]).await;
        let since = Instant::now();
        assert_eq!(removed.code, 0, "{}", removed.err);
        uses(second).await;
        println!("replaced: calls had the new key {:?} after the command line had ended", since.elapsed());
        let now = world.upstream("beta").calls().len();
        for _ in 0..4 {
            assert_eq!(world.ask("gamma/m").await.text(), "hello");
        }
        assert_eq!(keys_used(&world, "beta", now), [second; 4]);
        gate.open();
    };
    let (answer, ()) = tokio::join!(waiting, replace);
    assert_eq!(answer.text(), "with the old key", "the call that was under way finished");
    assert_eq!(keys_used(&world, "beta", before)[0], first);

    let list = world.tool(&["providers", "keys", "list", "gamma"]).await;
    let ids: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|key| key["id"].as_str()).collect();
    assert_eq!(ids, ["b"]);
    for (what, text) in [("NATS", world.stored()), ("the logs", world.logs()), ("the list", list.to_string())] {
        assert!(!text.is_empty());
        for secret in [first, second, "sk-alpha-the-first", "sk-beta-the-only"] {
            assert!(!text.contains(secret), "{secret} is in {what}");
        }
    }
    assert!(world.stored().contains("provider_keys"), "what is searched is what is kept");
}

#[tokio::test]
async fn a_key_is_disabled_and_one_of_the_configuration_too() {
    let world = world().await;
    let run = async |arguments: &[&str]| {
        let done = world.run(&[&["providers", "keys"], arguments].concat()).await;
        assert_eq!(done.code, 0, "{}", done.err);
    };
    run(&["disable", "alpha", "env:ALPHA_KEY_1"]).await;
    let only = async |key: &str| {
        until("only one key to be used", async || {
            let now = world.upstream("alpha").calls().len();
            for _ in 0..4 {
                assert_eq!(world.ask("alpha/m").await.status, 200);
            }
            (keys_used(&world, "alpha", now) == [key; 4]).then_some(())
        })
        .await;
    };
    only("sk-alpha-the-second").await;
    run(&["enable", "alpha", "env:ALPHA_KEY_1"]).await;
    run(&["disable", "alpha", "env:ALPHA_KEY_2"]).await;
    only("sk-alpha-the-first").await;
    let unknown = world.run(&["providers", "keys", "remove", "alpha", "nobody"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("alpha/nobody"), "{}", unknown.err);
}

#[tokio::test]
async fn a_key_in_a_file_is_read_again_when_the_file_has_another() {
    let world = world().await;
    let file = world.folder().write("gamma-key", "sk-in-a-file-first\n");
    let source = format!("file:{}", file.display());
    add(&world, &["--source", &source, "--format", "json"], "").await;
    let uses = async |key: &str| {
        until("the key to be used", async || {
            assert_eq!(world.ask("gamma/m").await.status, 200);
            keys_used(&world, "beta", 0).last().is_some_and(|last| last == key).then_some(())
        })
        .await;
    };
    uses("sk-in-a-file-first").await;
    world.folder().write("gamma-key", "sk-in-a-file-second\n");
    uses("sk-in-a-file-second").await;
}

#[tokio::test]
async fn an_exhausted_key_is_set_aside_while_another_serves() {
    let world = World::start().await;
    let spent = words::error("You exceeded your current quota", "insufficient_quota", None, Some("insufficient_quota"));
    world.upstream("alpha").replies(Reply::whole(429, spent.to_string())).once();
    world.upstream("alpha").answers("hello");
    for _ in 0..6 {
        assert_eq!(world.ask("alpha/m").await.text(), "hello");
    }
    let used = keys_used(&world, "alpha", 0);
    assert_eq!(used[0], "sk-alpha-the-first");
    assert_eq!(used[1..], ["sk-alpha-the-second"; 6]);
    let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
    let line = "penstock_provider_keys_set_aside_total{provider=\"alpha\",reason=\"exhausted\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    let log = world.logs();
    let line = log.lines().find(|line| line.contains("the provider refuses the key")).expect("a human hears of it");
    assert!(line.contains("ERROR") && line.contains("env:ALPHA_KEY_1") && line.contains("irst"), "{line}");
    until("the alert to be raised", async || {
        let stored = world.stored();
        (stored.contains("provider_key_failing") && stored.contains("alpha/env:ALPHA_KEY_1")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_key_costs_no_caller_his_answer_unless_it_is_the_last() {
    let world = World::start().await;
    world.upstream("alpha").fails(401).once();
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    assert_eq!(world.attempts(2).await, ["alpha 401", "alpha 200"]);
    world.upstream("alpha").fails(401).always();
    assert_eq!(world.ask("alpha/m").await.error(), "502 server_error provider_auth");
    world.upstream("beta").fails(403).once();
    world.upstream("beta").answers("hello");
    assert_eq!(world.ask("beta/m").await.error(), "502 server_error provider_auth");
    assert_eq!(world.ask("beta/m").await.text(), "hello", "the only key is tried by every call");
}

#[tokio::test]
async fn the_admin_api_takes_a_key_in_and_gives_none_out() {
    let world = world().await;
    let secret = "sk-managed-over-http-cccc";
    let path = "/admin/v1/providers/gamma/keys";
    let admin = |ask: Ask| ask.key(world.admin_key());
    let post = |body: Value| admin(world.post(path, &body));
    let added = post(json!({ "id": "http", "key": secret, "weight": 2 })).await;
    assert_eq!((added.status.as_u16(), added.json()["hint"].as_str()), (201, Some("cccc")), "{}", added.raw());
    until("the key to be used", async || {
        assert_eq!(world.ask("gamma/m").await.status, 200);
        keys_used(&world, "beta", 0).last().is_some_and(|last| last == secret).then_some(())
    })
    .await;
    for (body, error) in [
        (json!({ "id": "http", "key": "sk-another-one" }), "409 invalid_request_error already_exists"),
        (json!({ "id": "none" }), "422 invalid_request_error invalid_value (key)"),
        (json!({ "id": "x", "key": "a", "weight": 0 }), "422 invalid_request_error invalid_value (weight)"),
        (json!({ "id": "x", "source": "sk-no-place" }), "422 invalid_request_error invalid_value (source)"),
        (json!({ "kee": secret }), "400 invalid_request_error invalid_value"),
    ] {
        let answer = post(body).await;
        assert_eq!(answer.error(), error);
        assert!(!answer.raw().contains("sk-"), "{}", answer.raw());
    }
    let one = format!("{path}/http");
    let off = world.post(&one, &json!({ "enabled": false })).method(Method::PATCH).key(world.admin_key()).await;
    assert_eq!((off.status.as_u16(), &off.json()["enabled"]), (200, &json!(false)), "{}", off.raw());
    let list = world.get(path).key(world.admin_key()).await;
    assert_eq!(list.json()["data"][0]["source"], "sealed");
    let gone = world.get(&one).method(Method::DELETE).key(world.admin_key());
    assert_eq!(gone.clone().await.status, 200);
    assert_eq!(gone.await.error(), "404 invalid_request_error not_found");
    assert_eq!(world.get(path).key(world.key()).await.status, 401, "a virtual key manages nothing");

    let audit = until("the changes to be recorded", async || {
        let audit = world.get("/admin/v1/audit?object=provider_key").key(world.admin_key()).await;
        (audit.json()["data"].as_array().is_some_and(|rows| rows.len() == 3)).then_some(audit)
    })
    .await;
    let actions: Vec<_> = audit.json()["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    for (what, text) in
        [("NATS", world.stored()), ("the logs", world.logs()), ("the audit", audit.raw()), ("the list", list.raw())]
    {
        assert!(!text.contains(secret), "the key is in {what}");
    }
}

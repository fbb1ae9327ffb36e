//! Chat completions with `store`: kept as they went out, whole or streamed, and found again by who may see them.

#![expect(clippy::unwrap_used, reason = "a test that finds something else has failed")]

use crate::made::key;
use http::Method;
use penstock_tests::{Ask, Gate, Part, Reply, World, address_in, until, words};
use serde_json::{Value, json};

/// A request for a completion that is to be stored.
fn ask(world: &World, model: &str, fields: &Value) -> Ask {
    let ask = world.ask(model).field("store", json!(true));
    fields.as_object().into_iter().flatten().fold(ask, |ask, (name, value)| ask.field(name, value.clone()))
}

fn at(world: &World, id: &Value, below: &str) -> Ask {
    world.get(&format!("/v1/chat/completions/{}{below}", id.as_str().unwrap())).key(world.key())
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let list = world.get(&format!("/v1/chat/completions?{query}")).key(world.key()).await.json();
    let data = list["data"].as_array().unwrap_or_else(|| panic!("{list}"));
    data.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// The answers that a provider gives one after the other, each with an id of its own, whole.
fn answers(world: &World, upstream: &str, ids: &[&str]) {
    for id in ids {
        let whole = words::whole("hello");
        let own: Value = serde_json::from_str(&whole).unwrap();
        let body = whole.replace(own["id"].as_str().unwrap(), id);
        world.upstream(upstream).replies(Reply::whole(200, body)).once();
    }
}

#[tokio::test]
async fn a_stored_completion_is_found_listed_changed_and_forgotten() {
    let mut world = World::start().await;
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    answers(&world, "alpha", &["chatcmpl-1", "chatcmpl/2 é", "chatcmpl-3"]);
    let parts = json!([{ "type": "text", "text": "Hi" }]);
    let messages = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": parts }]);
    let first = ask(&world, "alpha/m", &json!({ "metadata": { "topic": "a" }, "messages": messages })).await.json();
    let second = ask(&world, "alpha/m", &json!({ "metadata": { "topic": "b" } })).await.json();
    let unasked = world.ask("alpha/m").field("store", json!(false)).await.json();
    let id = &first["id"];
    let mut whole = first.clone();
    whole["metadata"] = json!({ "topic": "a" });
    assert_eq!(at(&world, id, "").at(&other).await.json(), whole);
    assert_eq!(at(&world, &unasked["id"], "").await.error(), "404 invalid_request_error not_found (completion_id)");

    let asked = at(&world, id, "/messages").await.json();
    let name = |at: usize| format!("chatcmpl-1-{at}");
    let shown = json!([
        { "role": "system", "content": "Be brief.", "id": name(0), "content_parts": null },
        { "role": "user", "content": null, "id": name(1), "content_parts": parts },
    ]);
    assert_eq!((&asked["data"], &asked["last_id"], &asked["has_more"]), (&shown, &json!(name(1)), &json!(false)));
    let newest = at(&world, id, "/messages?order=desc&limit=1").await.json();
    assert_eq!((&newest["data"][0]["id"], &newest["has_more"]), (&json!(name(1)), &json!(true)));
    assert_eq!(at(&world, id, "/messages?after=x").await.status, 404);

    let both = ["chatcmpl-1".to_owned(), "chatcmpl/2 é".to_owned()];
    assert_eq!(listed(&world, "").await, both);
    assert_eq!(listed(&world, "order=desc").await, [both[1].clone(), both[0].clone()]);
    assert_eq!(listed(&world, "limit=1").await, both[..1]);
    assert_eq!(listed(&world, "after=chatcmpl-1").await, both[1..]);
    assert_eq!(listed(&world, "metadata[topic]=b").await, both[1..]);
    assert_eq!(listed(&world, "model=alpha/m&metadata[topic]=c").await, [""; 0]);
    assert_eq!(listed(&world, "model=beta/m").await, [""; 0]);
    for query in ["limit=0", "order=up", "limit=101"] {
        assert_eq!(world.get(&format!("/v1/chat/completions?{query}")).key(world.key()).await.status, 400, "{query}");
    }
    assert_eq!(world.get("/v1/chat/completions?after=x").key(world.key()).await.status, 404);

    let change = |body: &Value| world.post("/v1/chat/completions/chatcmpl-1", body);
    let changed = change(&json!({ "metadata": { "topic": "c" } })).await.json();
    assert_eq!(changed["metadata"], json!({ "topic": "c" }));
    assert_eq!(at(&world, id, "").await.json(), changed);
    assert_eq!(change(&json!({})).await.error(), "400 invalid_request_error missing_required_parameter (metadata)");
    assert_eq!(
        change(&json!({ "metadata": { "a": 1 } })).await.error(),
        "400 invalid_request_error invalid_value (metadata)"
    );
    let deleted = at(&world, id, "").method(Method::DELETE).await.json();
    assert_eq!(deleted, json!({ "object": "chat.completion.deleted", "id": id, "deleted": true }));
    assert_eq!(at(&world, id, "/messages").await.status, 404);
    assert_eq!(listed(&world, "").await, [second["id"].as_str().unwrap()]);
    assert_eq!(ask(&world, "alpha/m", &json!({ "metadata": { "a": 1 } })).await.status, 400);
    assert_eq!(world.upstream("alpha").calls().len(), 3);
}

#[tokio::test]
async fn a_streamed_completion_is_stored_once_it_is_complete() {
    let world = World::start().await;
    let answer = ask(&world, "alpha/m", &json!({ "stream": true })).await;
    let id = &answer.events()[0]["id"];
    let stored = at(&world, id, "").await.json();
    assert_eq!((&stored["object"], &stored["model"]), (&json!("chat.completion"), &json!("alpha/m")), "{stored}");
    let choice = &stored["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("hello"), &json!("stop")),
        "{stored}"
    );
    assert!(stored["usage"]["total_tokens"].as_u64().is_some(), "{stored}");

    // Of a provider with another dialect it is stored as this client got it.
    let gate = Gate::new();
    let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("beta").replies(Reply::stream(parts)).once();
    let mut open = ask(&world, "beta/m", &json!({ "stream": true })).open().await;
    open.until("one ").await;
    gate.open();
    let broken = open.rest().await.raw();
    assert!(broken.contains("error"), "{broken}");
    assert_eq!(listed(&world, "model=beta/m").await, [""; 0], "what broke off is not stored");
}

#[tokio::test]
async fn a_stored_completion_belongs_to_its_project_and_to_those_who_may_use_its_model() {
    let world = World::start().await;
    world.upstream("alpha").answers("a secret").always();
    let stranger = key(&world, &json!({ "project": "other" })).await;
    let few = key(&world, &json!({ "project": "default", "models": ["beta/*"] })).await;
    let id = &ask(&world, "alpha/m", &json!({})).await.json()["id"];
    until("it to be listed", async || (listed(&world, "").await.len() == 1).then_some(())).await;
    let path = format!("/v1/chat/completions/{}", id.as_str().unwrap());
    let all = || {
        [
            at(&world, id, ""),
            at(&world, id, "/messages"),
            at(&world, id, "").method(Method::DELETE),
            world.post(&path, &json!({ "metadata": { "a": "b" } })),
        ]
    };
    for ask in all() {
        assert_eq!(ask.key(&stranger).await.error(), "404 invalid_request_error not_found (completion_id)");
    }
    for ask in all() {
        assert_eq!(ask.key(&few).await.error(), "403 permission_error model_forbidden (model)");
    }
    for key in [&stranger, &few] {
        let list = world.get("/v1/chat/completions").key(key).await.json();
        let nothing = json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false });
        assert_eq!(list, nothing);
    }
    assert_eq!(at(&world, id, "").await.json()["metadata"], json!({}));
}

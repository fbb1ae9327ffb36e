//! `/v1/conversations`: what callers say in them, what responses add to them, and who sees them.

use crate::made::key;
use futures_util::future::join_all;
use http::Method;
use penstock_tests::{Answer, Ask, Gate, Part, Reply, World, address_in, until, words};
use serde_json::{Value, json};

/// `native` speaks responses itself; it is the upstream `beta` under another name.
const NATIVE: &str =
    "\n[providers.native]\ndialect = \"responses\"\nbase_url = \"{beta}\"\nkeys = [\"env:BETA_KEY\"]\n";

async fn world() -> World {
    World::setup().config(NATIVE).start().await
}

/// A request for a response in a conversation.
fn ask(world: &World, model: &str, conversation: &Value, fields: &Value) -> Ask {
    let mut body = json!({ "model": model, "input": "Hello!", "conversation": conversation });
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    world.ask(model).path("/v1/responses").body(body.to_string())
}

fn at(world: &World, id: &Value, below: &str) -> Ask {
    world.get(&format!("/v1/conversations/{}{below}", id.as_str().unwrap())).key(world.key())
}

fn post(world: &World, id: &Value, below: &str, body: &Value) -> Ask {
    world.post(&format!("/v1/conversations/{}{below}", id.as_str().unwrap()), body)
}

/// The id of a new conversation.
async fn begin(world: &World, body: &Value) -> Value {
    let made = world.post("/v1/conversations", body).await.json();
    assert_eq!(made["object"], "conversation", "{made}");
    made["id"].clone()
}

fn message(role: &str, text: &str) -> Value {
    json!({ "type": "message", "role": role, "content": text })
}

/// What was said in a conversation, in order.
async fn said(world: &World, id: &Value) -> Vec<String> {
    let list = at(world, id, "/items?order=asc&limit=100").await.json();
    let text = |item: &Value| match item["type"].as_str() {
        Some("message") => {
            format!("{}: {}", item["role"].as_str().unwrap(), item["content"][0]["text"].as_str().unwrap())
        }
        kind => kind.unwrap_or_default().to_owned(),
    };
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).iter().map(text).collect()
}

/// The messages that a chat provider was sent, in order.
fn sent(call: &Value) -> Vec<&str> {
    call["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

/// A whole answer of a provider that speaks responses.
fn own(status: &str) -> String {
    json!({
        "id": "resp_of_the_provider", "object": "response", "created_at": 1, "status": status, "model": "m-1",
        "output": [
            { "id": "rs_p", "type": "reasoning", "summary": [], "encrypted_content": "c2VhbGVk" },
            { "id": "msg_p", "type": "message", "status": "completed", "role": "assistant",
                "content": [{ "type": "output_text", "text": "own", "annotations": [] }] },
        ],
        "usage": { "input_tokens": 10, "output_tokens": 5, "total_tokens": 15 },
    })
    .to_string()
}

#[tokio::test]
async fn a_conversation_is_made_listed_changed_and_forgotten() {
    let world = world().await;
    let items =
        json!([message("user", "one"), { "role": "assistant", "content": [{ "type": "output_text", "text": "two" }] }]);
    let made = world.post("/v1/conversations", &json!({ "metadata": { "topic": "a" }, "items": items })).await.json();
    let id = &made["id"];
    assert!(
        id.as_str().unwrap().starts_with("conv_") && made["created_at"].as_u64().unwrap() > 1_700_000_000,
        "{made}"
    );
    assert_eq!(made["metadata"], json!({ "topic": "a" }));
    assert_eq!(at(&world, id, "").await.json(), made);
    let changed = post(&world, id, "", &json!({ "metadata": { "topic": "b" } })).await.json();
    assert_eq!((&changed["metadata"], &changed["created_at"]), (&json!({ "topic": "b" }), &made["created_at"]));

    let call = json!({ "type": "function_call", "id": "fc_mine", "call_id": "c", "name": "f", "arguments": "{}" });
    let thought = json!({ "type": "reasoning", "summary": [], "encrypted_content": "c2VhbGVk" });
    let added = post(&world, id, "/items", &json!({ "items": [call, thought] })).await.json();
    assert_eq!(
        (&added["object"], &added["first_id"], &added["has_more"]),
        (&json!("list"), &json!("fc_mine"), &json!(false))
    );
    assert_eq!(said(&world, id).await, ["user: one", "assistant: two", "function_call", "reasoning"]);
    let newest = at(&world, id, "/items?limit=1").await.json();
    assert_eq!((&newest["data"][0]["type"], &newest["has_more"]), (&json!("reasoning"), &json!(true)));
    assert!(newest["data"][0].get("encrypted_content").is_none(), "{newest}");
    let sealed = at(&world, id, "/items?limit=1&include[]=reasoning.encrypted_content").await.json();
    assert_eq!(sealed["data"][0]["encrypted_content"], "c2VhbGVk");
    let behind = format!("/items?after={}", newest["last_id"].as_str().unwrap());
    let rest = at(&world, id, &behind).await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 3);
    let first = &rest["data"][2];
    assert_eq!(first["content"], json!([{ "type": "input_text", "text": "one" }]));
    assert_eq!((&first["status"], &first["role"]), (&json!("completed"), &json!("user")));
    let below = format!("/items/{}", first["id"].as_str().unwrap());
    assert_eq!(at(&world, id, &below).await.json(), *first);
    assert_eq!(at(&world, id, &below).method(Method::DELETE).await.json(), changed);
    assert_eq!(at(&world, id, &below).await.error(), "404 invalid_request_error not_found (item_id)");
    assert_eq!(said(&world, id).await, ["assistant: two", "function_call", "reasoning"]);

    let deleted = at(&world, id, "").method(Method::DELETE).await.json();
    assert_eq!(deleted, json!({ "id": id, "object": "conversation.deleted", "deleted": true }));
    for below in ["", "/items", &below] {
        assert_eq!(at(&world, id, below).await.error(), "404 invalid_request_error not_found (conversation_id)");
    }
}

#[tokio::test]
async fn what_was_said_goes_before_the_input_and_what_is_said_is_added_at_any_ingress() {
    let mut world = world().await;
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    let id = &begin(&world, &json!({ "items": [message("developer", "Be brief.")] })).await;
    let first = ask(&world, "alpha/m", id, &json!({ "store": false })).await.json();
    assert_eq!(first["conversation"], json!({ "id": id }));
    let streamed = ask(&world, "alpha/m", &json!({ "id": id }), &json!({ "stream": true, "input": "And now?" }));
    let events = streamed.at(&other).await.events();
    assert_eq!(events.last().unwrap()["response"]["conversation"], json!({ "id": id }));
    let whole = ["developer: Be brief.", "user: Hello!", "assistant: hello", "user: And now?", "assistant: hello"];
    assert_eq!(said(&world, id).await, whole, "it was added before the end of the stream went out");
    let silent = ask(&world, "alpha/m", id, &json!({ "input": null })).await.json();
    assert_eq!(silent["status"], "completed");
    let call = world.upstream("alpha").received(3).await.json();
    assert_eq!(sent(&call), ["Be brief.", "Hello!", "hello", "And now?", "hello"]);
    assert!(call.get("conversation").is_none());

    // The items have the ids that the response gave them.
    let output = at(&world, id, "/items?limit=1").await.json();
    assert_eq!(output["data"][0]["id"], silent["output"][0]["id"]);
    // What was not to be stored is in the conversation only.
    let gone = world.get(&format!("/v1/responses/{}", first["id"].as_str().unwrap())).key(world.key()).await;
    assert_eq!(gone.status, 404);
    // A response of a conversation can be gone on from, too: with what had been said up to it, and no more.
    let next = json!({ "model": "alpha/m", "input": "aside", "previous_response_id": events.last().unwrap()["response"]["id"] });
    world.post("/v1/responses", &next).await.json();
    let call = world.upstream("alpha").received(4).await.json();
    assert_eq!(sent(&call), ["Be brief.", "Hello!", "hello", "And now?", "hello", "aside"]);
    assert_eq!(said(&world, id).await.len(), 6, "an aside is not a part of the conversation");
}

#[tokio::test]
async fn a_provider_of_the_same_dialect_gets_its_own_items_again_and_no_name_of_the_conversation() {
    let world = world().await;
    world.upstream("beta").replies(Reply::whole(200, own("completed"))).times(2);
    let id = &begin(&world, &json!({})).await;
    let first = ask(&world, "native/m", id, &json!({})).await.json();
    assert_eq!(first["conversation"], json!({ "id": id }), "{first}");
    let sent = world.upstream("beta").received(1).await.json();
    assert!(sent.get("conversation").is_none());
    assert_eq!(sent["input"], json!([{ "type": "message", "role": "user", "content": "Hello!" }]));
    ask(&world, "native/m", id, &json!({ "input": "more" })).await.json();
    let input = world.upstream("beta").received(2).await.json()["input"].clone();
    let ids: Vec<&Value> = input.as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&Value::Null, &json!("rs_p"), &json!("msg_p"), &Value::Null], "{input}");
    assert_eq!(input[1]["encrypted_content"], "c2VhbGVk");
    // The second answer has the same ids: each item of the conversation has one of its own all the same.
    let list = at(&world, id, "/items?order=asc").await.json();
    let mut ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "{list}");

    world.upstream("beta").replies(Reply::whole(200, own("failed"))).once();
    ask(&world, "native/m", id, &json!({ "input": "in vain" })).await;
    assert_eq!(said(&world, id).await.len(), 6, "an answer that failed is none");
}

#[tokio::test]
async fn an_answer_that_fails_breaks_or_is_not_for_long_adds_nothing() {
    let world = world().await;
    let id = &begin(&world, &json!({ "items": [message("user", "one")] })).await;
    world.upstream("alpha").fails(400).once();
    assert_eq!(ask(&world, "alpha/m", id, &json!({})).await.status, 400);
    let gate = Gate::new();
    let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    let mut open = ask(&world, "alpha/m", id, &json!({ "stream": true })).open().await;
    open.until("one ").await;
    gate.open();
    let broken = open.rest().await.raw();
    assert!(broken.contains("event: error"), "{broken}");
    assert_eq!(ask(&world, "alpha/m", id, &json!({})).path("/v1/responses/input_tokens").await.status, 200);
    assert_eq!(said(&world, id).await, ["user: one"]);

    // A conversation that is gone costs nobody the answer.
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("late").held(&gate)).once();
    let late = tokio::join!(ask(&world, "alpha/m", id, &json!({})), async {
        world.upstream("alpha").received(3).await;
        assert_eq!(at(&world, id, "").method(Method::DELETE).await.status, 200);
        gate.open();
    });
    assert_eq!(late.0.json()["status"], "completed");
    assert_eq!(at(&world, id, "").await.status, 404);
}

#[tokio::test]
async fn a_response_in_the_background_is_in_its_conversation_once_it_is_complete() {
    let world = world().await;
    let id = &begin(&world, &json!({})).await;
    let queued = ask(&world, "alpha/m", id, &json!({ "background": true })).await.json();
    assert_eq!(queued["conversation"], json!({ "id": id }));
    let path = format!("/v1/responses/{}", queued["id"].as_str().unwrap());
    until("the response to be complete", async || {
        (world.get(&path).key(world.key()).await.json()["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(said(&world, id).await, ["user: Hello!", "assistant: hello"]);
    let later = ask(&world, "alpha/m", id, &json!({ "input": "later" })).header("prefer", "respond-async").await.json();
    until("the job to be done", async || (said(&world, id).await.len() == 4).then_some(())).await;
    assert_eq!(later["object"], "job", "{later}");
}

#[tokio::test]
async fn responses_and_callers_that_add_to_a_conversation_at_once_lose_nothing() {
    let mut world = world().await;
    let (_ingress, line) = world.role("ingress").await;
    let addresses = [world.address().to_owned(), address_in(&line)];
    let id = &begin(&world, &json!({})).await;
    let both = |at: usize| {
        let address = &addresses[at % 2];
        let body = json!({ "items": [message("user", &format!("item {at}"))] });
        let fields = json!({ "input": format!("question {at}"), "stream": at.is_multiple_of(3) });
        let (item, asked) = (post(&world, id, "/items", &body), ask(&world, "alpha/m", id, &fields));
        async move { tokio::join!(item.at(address), asked.at(address)) }
    };
    for (item, answer) in join_all((0..16).map(both)).await {
        assert_eq!((item.status, answer.status), (200.try_into().unwrap(), 200.try_into().unwrap()), "{}", item.raw());
    }
    let mut said = said(&world, id).await;
    for turn in said.windows(2).filter(|turn| turn[0].contains("question")) {
        assert_eq!(turn[1], "assistant: hello", "a turn stays together");
    }
    said.sort();
    let mut expected: Vec<String> = (0..16).map(|at| format!("user: question {at}")).collect();
    expected.extend((0..16).map(|at| format!("user: item {at}")));
    expected.extend((0..16).map(|_| "assistant: hello".to_owned()));
    expected.sort();
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_conversation_belongs_to_its_project_and_to_those_who_may_use_its_models() {
    let world = world().await;
    let stranger = key(&world, &json!({ "project": "other" })).await;
    let few = key(&world, &json!({ "project": "default", "models": ["beta/*"] })).await;
    let id = &begin(&world, &json!({ "items": [message("user", "a secret")] })).await;
    assert_eq!(at(&world, id, "/items").key(&few).await.status, 200);
    ask(&world, "alpha/m", id, &json!({})).await.json();
    let item = at(&world, id, "/items?order=asc").await.json()["first_id"].as_str().unwrap().to_owned();
    let item = format!("/items/{item}");
    let all = || {
        let added = json!({ "items": [message("user", "x")] });
        [
            at(&world, id, ""),
            at(&world, id, "").method(Method::DELETE),
            at(&world, id, "/items"),
            at(&world, id, &item),
            at(&world, id, &item).method(Method::DELETE),
            post(&world, id, "", &json!({ "metadata": {} })),
            post(&world, id, "/items", &added),
            ask(&world, "beta/m", id, &json!({})),
        ]
    };
    for ask in all() {
        let answer = ask.key(&stranger).await;
        assert!(answer.status == 404 && !answer.raw().contains("a secret"), "{}", answer.raw());
    }
    for ask in all() {
        assert_eq!(ask.key(&few).await.error(), "403 permission_error model_forbidden (model)");
    }
    assert_eq!(said(&world, id).await, ["user: a secret", "user: Hello!", "assistant: hello"]);
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_changed() {
    let world = world().await;
    let id = &begin(&world, &json!({})).await;
    let previous = ask(&world, "alpha/m", id, &json!({})).await.json()["id"].clone();
    let long = json!({ "k".repeat(65): "v" });
    let many: Value = (0..17).map(|at| (at.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let error = |answer: &Answer| answer.error().replace("invalid_request_error ", "");
    for (below, body, expected) in [
        ("", json!({ "metadata": long }), "400 invalid_value (metadata)"),
        ("", json!({ "metadata": many }), "400 invalid_value (metadata)"),
        ("", json!({ "metadata": { "a": 1 } }), "400 invalid_value (metadata)"),
        ("", json!({ "metadata": { "a": "v".repeat(513) } }), "400 invalid_value (metadata)"),
        ("/items", json!({}), "400 missing_required_parameter (items)"),
        ("/items", json!({ "items": {} }), "400 invalid_value (items)"),
        ("/items", json!({ "items": [message("user", "x"), 7] }), "400 invalid_value (items[1])"),
        (
            "/items",
            json!({ "items": [message("user", "x"), message("king", "x")] }),
            "400 invalid_value (items[1].role)",
        ),
        ("/items", json!({ "items": vec![message("user", "x"); 21] }), "400 invalid_value (items)"),
        ("/items?include=everything", json!({ "items": [] }), "400 invalid_value"),
    ] {
        let answer = post(&world, id, below, &body).await;
        assert!(error(&answer).starts_with(expected), "{body}: {}", answer.raw());
    }
    for query in ["limit=0", "limit=101", "order=up", "include=x"] {
        assert_eq!(at(&world, id, &format!("/items?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(at(&world, id, "/items?after=msg_x").await.status, 404);
    for (fields, expected) in [
        (json!({ "previous_response_id": previous }), "400 mutually_exclusive_parameters"),
        (json!({ "conversation": 7 }), "400 invalid_value (conversation)"),
        (json!({ "conversation": {} }), "400 invalid_value (conversation)"),
        (json!({ "conversation": "conv_123" }), "404 not_found (conversation)"),
        (json!({ "conversation": previous }), "404 not_found (conversation)"),
        (json!({ "conversation": { "id": "conv_>" } }), "404 not_found (conversation)"),
    ] {
        let answer = ask(&world, "alpha/m", id, &fields).await;
        assert!(error(&answer).starts_with(expected), "{fields}: {}", answer.raw());
    }
    let compact = ask(&world, "alpha/m", id, &json!({})).path("/v1/responses/compact").await;
    assert_eq!(error(&compact), "400 invalid_value (conversation)");
    assert_eq!(said(&world, id).await, ["user: Hello!", "assistant: hello"]);
    assert_eq!(world.upstream("alpha").calls().len(), 1);
}

#[tokio::test]
async fn a_long_conversation_is_changed_often_and_pushes_out_nothing_else() {
    let world = World::setup().env("PENSTOCK_INGRESS_STORED", "45MB").start().await;
    let kept = begin(&world, &json!({ "items": [message("user", "an older one")] })).await;
    let id = &begin(&world, &json!({})).await;
    let large = "x".repeat(5_000_000);
    for _ in 0..3 {
        let body = json!({ "items": [message("user", &large)] });
        assert_eq!(post(&world, id, "/items", &body).await.status, 200);
    }
    // Each change writes all of it anew, in several pieces; what it replaces goes.
    for at in 0..8 {
        let changed = post(&world, id, "", &json!({ "metadata": { "at": at.to_string() } })).await;
        assert_eq!(changed.json()["metadata"]["at"], at.to_string());
    }
    let list = at(&world, id, "/items").await.json();
    let whole = |item: &Value| item["content"][0]["text"] == large.as_str();
    assert!(list["data"].as_array().unwrap().iter().all(whole) && list["data"].as_array().unwrap().len() == 3);
    assert_eq!(said(&world, &kept).await, ["user: an older one"]);
    // All of it is said to a model, and so it is no longer than a request.
    let body = json!({ "items": vec![message("user", &large); 4] });
    let error = post(&world, id, "/items", &body).await.error();
    assert_eq!(error, "413 invalid_request_error too_large");
    // What is larger than all that the project may keep is not kept.
    let small = World::setup().env("PENSTOCK_INGRESS_STORED", "2MB").start().await;
    let error = small.post("/v1/conversations", &json!({ "items": [message("user", &large)] })).await.error();
    assert_eq!(error, "413 invalid_request_error too_large");
}

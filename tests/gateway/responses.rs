//! `/v1/responses` in front of any provider: what is asked and answered, what is kept and who finds it again, and responses
//! that nobody waits for.

#![expect(clippy::unwrap_used, reason = "a test that finds something else has failed")]

mod conversations;

use http::Method;
use penstock_tests::{Answer, Ask, Gate, Part, Reply, World, address_in, until, words};
use serde_json::{Value, json};

/// `native` speaks responses itself; it is the upstream `beta` under another name.
const NATIVE: &str =
    "\n[providers.native]\ndialect = \"responses\"\nbase_url = \"{beta}\"\nkeys = [\"env:BETA_KEY\"]\n";

async fn world() -> World {
    World::setup().config(NATIVE).start().await
}

/// A request for a response of a model.
fn ask(world: &World, model: &str, fields: &Value) -> Ask {
    let mut body = json!({ "model": model, "input": "Hello!" });
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    world.ask(model).path("/v1/responses").body(body.to_string())
}

/// A kept response, or what is below it.
fn kept(world: &World, id: &Value, below: &str) -> Ask {
    world.get(&format!("/v1/responses/{}{below}", id.as_str().unwrap())).key(world.key())
}

fn text(response: &Value) -> &str {
    assert_eq!(response["status"], "completed", "{response}");
    let message = response["output"].as_array().unwrap().iter().find(|item| item["type"] == "message").unwrap();
    message["content"][0]["text"].as_str().unwrap()
}

/// The events of a stream, each of which is named like its type and numbered.
fn events(answer: &Answer) -> Vec<Value> {
    let raw = answer.raw();
    let mut events = Vec::new();
    for event in raw.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        assert_eq!(data["sequence_number"], events.len(), "{raw}");
        events.push(data);
    }
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap_or("error")).collect()
}

/// A whole answer of a provider that speaks responses.
fn own(text: &str) -> String {
    json!({
        "id": "resp_of_the_provider", "object": "response", "created_at": 1, "status": "completed", "model": "m-1",
        "output": [{ "id": "msg_p", "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }] }],
        "previous_response_id": null, "x_unknown": [1, 2.50], "error": null, "incomplete_details": null,
        "instructions": null, "metadata": {}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": { "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 5,
            "output_tokens_details": { "reasoning_tokens": 2 }, "total_tokens": 15 },
    })
    .to_string()
}

#[tokio::test]
async fn a_chat_provider_answers_a_request_for_a_response() {
    let world = world().await;
    let fields = json!({ "instructions": "Be brief.", "max_output_tokens": 50, "metadata": { "a": "b" }, "store": false,
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": true }] });
    let answer = ask(&world, "alpha/m", &fields).await;
    let sent = world.upstream("alpha").received(1).await.json();
    assert_eq!(
        sent["messages"],
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello!" }])
    );
    // Copies of OpenAI know the older name of the limit.
    assert_eq!((&sent["max_tokens"], &sent["metadata"]), (&json!(50), &Value::Null));
    assert_eq!(sent["tools"][0]["function"]["name"], "f");
    let response = answer.json();
    assert_eq!(text(&response), "hello");
    assert_eq!(
        response["usage"],
        json!({ "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
            "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 2 }, "total_tokens": 15 })
    );
    for (name, value) in [("metadata", json!({ "a": "b" })), ("store", json!(false)), ("model", json!("alpha/m"))] {
        assert_eq!(response[name], value, "{name}");
    }
    assert_eq!(kept(&world, &response["id"], "").await.error(), "404 invalid_request_error not_found (response_id)");
}

/// A stream that thinks, speaks, and calls two functions in turns.
fn thinks_says_and_calls() -> Reply {
    let call = |delta: &str| {
        words::event(&format!(r#"{{"index":0,"delta":{{"tool_calls":[{delta}]}},"finish_reason":null}}"#), "null")
    };
    Reply::stream([
        words::role(),
        words::event(r#"{"index":0,"delta":{"reasoning_content":"Hm"},"finish_reason":null}"#, "null"),
        words::content("let me "),
        words::content("see"),
        call(r#"{"index":0,"id":"call_a","type":"function","function":{"name":"f","arguments":""}}"#),
        call(r#"{"index":1,"id":"call_b","type":"function","function":{"name":"g","arguments":"{"}}"#),
        call(r#"{"index":0,"function":{"arguments":"{\"n\":9007199254740993}"}}"#),
        call(r#"{"index":1,"function":{"arguments":"}"}}"#),
        words::event(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#, "null"),
        words::usage(),
        words::DONE.to_owned(),
    ])
}

/// The next turn after that, by reference, as some SDKs do it, and with the results alone.
async fn go_on(world: &World, response: &Value) {
    let output = response["output"].as_array().unwrap();
    let results =
        |ids: [&str; 2]| ids.map(|id| json!({ "type": "function_call_output", "call_id": id, "output": "42" }));
    let references = output.iter().map(|item| json!({ "type": "item_reference", "id": item["id"] }));
    let user = json!({ "role": "user", "content": [{ "type": "input_text", "text": "Hello!" }] });
    let whole: Vec<Value> = [user].into_iter().chain(references).chain(results(["call_b", "call_a"])).collect();
    let previous = json!({ "input": results(["call_b", "call_a"]), "previous_response_id": response["id"] });
    world.upstream("alpha").answers("42").always();
    for (count, fields) in [(2, json!({ "input": whole })), (3, previous)] {
        let answer = ask(world, "alpha/m", &fields).await;
        assert_eq!(text(&answer.json()), "42", "{}", answer.raw());
        let messages = &world.upstream("alpha").received(count).await.json()["messages"];
        assert_eq!((messages.as_array().unwrap().len(), &messages[0]["content"]), (4, &json!("Hello!")));
        assert_eq!((&messages[1]["role"], &messages[1]["content"]), (&json!("assistant"), &json!("let me see")));
        assert_eq!(messages[1]["tool_calls"][0]["function"]["arguments"], "{\"n\":9007199254740993}");
        assert_eq!((&messages[2]["tool_call_id"], &messages[3]["tool_call_id"]), (&json!("call_b"), &json!("call_a")));
    }
}

#[tokio::test]
async fn a_stream_tells_every_step_in_order() {
    let world = world().await;
    world.upstream("alpha").replies(thinks_says_and_calls()).always();
    let answer = ask(&world, "alpha/m", &json!({ "stream": true })).await;
    let events = events(&answer);
    assert_eq!(
        types(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let response = &events.last().unwrap()["response"];
    let output = response["output"].as_array().unwrap();
    assert_eq!(output[1]["content"][0]["text"], "let me see");
    assert_eq!(
        (&output[2]["call_id"], &output[2]["arguments"]),
        (&json!("call_a"), &json!("{\"n\":9007199254740993}"))
    );
    assert_eq!((&output[3]["call_id"], &output[3]["arguments"]), (&json!("call_b"), &json!("{}")));
    assert_eq!(response["usage"]["total_tokens"], 15);
    assert_eq!(kept(&world, &response["id"], "").await.json(), *response);
    go_on(&world, response).await;
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_is_not_kept() {
    let world = world().await;
    let gate = Gate::new();
    let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let mut open = ask(&world, "alpha/m", &json!({ "stream": true })).open().await;
    let begun = open.until("one ").await;
    gate.open();
    let rest = open.rest().await;
    let events = events(&Answer { body: (begun + &rest.raw()).into(), ..rest });
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("broken")));
    assert_eq!(last["error"]["message"], last["message"]);
    assert!(!types(&events).contains(&"completed"));
    let id = &events[0]["response"]["id"];
    assert_eq!(kept(&world, id, "").await.status, 404);
}

#[tokio::test]
async fn a_conversation_goes_on_at_any_ingress_and_belongs_to_its_project() {
    let mut world = world().await;
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    let first = ask(&world, "alpha/m", &json!({ "stream": true })).await;
    let first = events(&first).last().unwrap()["response"].clone();
    let next = |previous: &Value, fields: Value| {
        let mut fields = fields;
        fields["previous_response_id"] = previous.clone();
        ask(&world, "alpha/m", &fields)
    };
    let second = next(&first["id"], json!({ "input": "And now?" })).at(&other).await.json();
    assert_eq!(second["previous_response_id"], first["id"]);
    let third = next(&second["id"], json!({ "input": [{ "role": "user", "content": "Still?" }] })).await.json();
    assert_eq!(text(&third), "hello");
    let sent = world.upstream("alpha").received(3).await.json();
    let said: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Hello!", "hello", "And now?", "hello", "Still?"]);
    assert!(sent.get("previous_response_id").is_none());

    let made = world.tool(&["keys", "create", "--project", "other"]).await;
    let stranger = made["key"].as_str().unwrap();
    until("the new key to be known", async || (world.ask("alpha/m").key(stranger).await.status == 200).then_some(()))
        .await;
    let not_found = "400 invalid_request_error previous_response_not_found (previous_response_id)";
    assert_eq!(next(&first["id"], json!({})).key(stranger).await.error(), not_found);
    for below in ["", "/input_items"] {
        assert_eq!(kept(&world, &first["id"], below).key(stranger).await.status, 404);
    }
    assert_eq!(kept(&world, &first["id"], "").method(Method::DELETE).key(stranger).await.status, 404);

    let items = kept(&world, &third["id"], "/input_items").at(&other).await.json();
    assert_eq!(items["data"][0]["content"], json!([{ "type": "input_text", "text": "Still?" }]), "{items}");
    let deleted = kept(&world, &first["id"], "").method(Method::DELETE).at(&other).await.json();
    assert_eq!(deleted, json!({ "id": first["id"], "object": "response", "deleted": true }));
    assert_eq!(kept(&world, &first["id"], "").await.status, 404);
    assert_eq!(next(&first["id"], json!({})).await.error(), not_found);
    assert_eq!(next(&json!("resp_nobody"), json!({})).await.error(), not_found);
}

#[tokio::test]
async fn a_provider_of_the_same_dialect_gets_what_was_sent_and_says_what_it_says_under_our_id() {
    let world = world().await;
    world.upstream("beta").replies(Reply::whole(200, own("hello"))).always();
    let odd = r#"{ "model":"native/m", "input":[{"role":"user","content":"caf\u00e9"}],"temperature":1.0 ,"x_new":{"a":[1.50]} }"#;
    let answer = world.ask("native/m").path("/v1/responses").body(odd).await;
    let call = world.upstream("beta").received(1).await;
    assert_eq!(String::from_utf8_lossy(&call.body), odd.replace("native/m", "m"));
    let first = answer.json();
    let id = first["id"].as_str().unwrap();
    assert!(id.starts_with("resp_0"), "{id}");
    assert_eq!(answer.raw(), own("hello").replace("resp_of_the_provider", id).replace("m-1", "native/m"));

    let next = ask(&world, "native/m", &json!({ "previous_response_id": id, "input": "more" })).await.json();
    assert_eq!(next["previous_response_id"], id);
    let sent = world.upstream("beta").received(2).await.json();
    assert!(sent.get("previous_response_id").is_none());
    assert_eq!(sent["input"][0], json!({ "role": "user", "content": "café" }));
    assert_eq!((&sent["input"][1]["id"], &sent["input"][2]["content"]), (&json!("msg_p"), &json!("more")));

    let event = |kind: &str, n: u64, more: Value| {
        let mut event = json!({ "type": kind, "sequence_number": n });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("event: {kind}\ndata: {event}\n\n")
    };
    let response: Value = serde_json::from_str(&own("hello")).unwrap();
    let place = json!({ "item_id": "msg_p", "output_index": 0, "content_index": 0, "logprobs": [] });
    let mut said = json!({ "delta": "hello", "x": 2.5 });
    said.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
    let delta = event("response.output_text.delta", 1, said);
    let stream = [
        event("response.created", 0, json!({ "response": response })),
        delta.clone(),
        event("response.completed", 2, json!({ "response": response })),
    ];
    world.upstream("beta").replies(Reply::stream(stream)).always();
    let answer = ask(&world, "native/m", &json!({ "stream": true })).await;
    assert!(answer.raw().contains(&delta));
    let events = events(&answer);
    assert_eq!(events[0]["response"]["id"], events[2]["response"]["id"]);
    assert_eq!(kept(&world, &events[2]["response"]["id"], "").await.json(), events[2]["response"]);
    assert_eq!(world.attempts(3).await, ["native 200", "native 200", "native 200"]);
}

#[tokio::test]
async fn a_response_in_the_background_is_asked_for_until_it_is_there() {
    let mut world = world().await;
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("at last").held(&gate)).once();
    let queued = ask(&world, "alpha/m", &json!({ "background": true })).await.json();
    assert_eq!((&queued["status"], &queued["background"]), (&json!("queued"), &json!(true)));
    world.upstream("alpha").received(1).await;
    assert_eq!(kept(&world, &queued["id"], "").at(&other).await.json()["status"], "in_progress");
    let early = ask(&world, "alpha/m", &json!({ "previous_response_id": queued["id"] })).await;
    assert_eq!(early.error(), "400 invalid_request_error invalid_value (previous_response_id)");
    gate.open();
    let done = until("the response to be complete", async || {
        let response = kept(&world, &queued["id"], "").at(&other).await.json();
        (response["status"] != "in_progress").then_some(response)
    })
    .await;
    assert_eq!((text(&done), &done["id"]), ("at last", &queued["id"]));

    world.upstream("alpha").fails(400).once();
    let queued = ask(&world, "alpha/m", &json!({ "background": true })).await.json();
    let failed = until("the response to have failed", async || {
        let response = kept(&world, &queued["id"], "").await.json();
        (response["status"] == "failed").then_some(response)
    })
    .await;
    assert_eq!(failed["error"]["message"], "scripted 400");
}

#[tokio::test]
async fn a_response_in_the_background_is_cancelled_from_anywhere_and_outlives_a_stop() {
    let mut world = world().await;
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    world.upstream("alpha").replies(Reply::answer("never").held(&Gate::new())).once();
    let queued = ask(&world, "alpha/m", &json!({ "background": true })).await.json();
    let call = world.upstream("alpha").received(1).await;
    let cancel = || kept(&world, &queued["id"], "/cancel").method(Method::POST);
    assert_eq!(cancel().at(&other).await.json()["status"], "cancelled");
    call.closed().await;
    assert_eq!(cancel().await.json()["status"], "cancelled");
    assert_eq!(kept(&world, &queued["id"], "").await.json()["status"], "cancelled");
    let whole = ask(&world, "beta/m", &json!({})).await.json();
    assert_eq!(kept(&world, &whole["id"], "/cancel").method(Method::POST).await.status, 400);

    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("in time").held(&gate)).once();
    let queued = ask(&world, "alpha/m", &json!({ "background": true })).await.json();
    world.upstream("alpha").received(2).await;
    world.terminate();
    gate.open();
    assert_eq!(world.up().ended().await.code(), Some(0));
    world.again().await;
    assert_eq!(text(&kept(&world, &queued["id"], "").await.json()), "in time");
}

#[tokio::test]
async fn what_is_wrong_or_cannot_be_done_elsewhere_is_named() {
    let world = world().await;
    for (fields, error) in [
        (json!({ "model": null }), "400 invalid_request_error missing_required_parameter (model)"),
        (json!({ "input": null }), "400 invalid_request_error missing_required_parameter (input)"),
        (json!({ "input": 3 }), "400 invalid_request_error invalid_value (input)"),
        (json!({ "input": [7] }), "400 invalid_request_error invalid_value (input[0])"),
        (
            json!({ "input": [{ "role": "king", "content": "" }] }),
            "400 invalid_request_error invalid_value (input[0].role)",
        ),
        (json!({ "stream": "yes" }), "400 invalid_request_error invalid_value (stream)"),
        (json!({ "tools": [{}] }), "400 invalid_request_error invalid_value (tools[0].type)"),
        (json!({ "moderation": {} }), "400 invalid_request_error unsupported (moderation)"),
        (json!({ "conversation": "conv_1" }), "404 invalid_request_error not_found (conversation)"),
        (json!({ "background": true, "store": false }), "400 invalid_request_error invalid_value (background)"),
    ] {
        assert_eq!(ask(&world, "alpha/m", &fields).await.error(), error, "{fields}");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
    // It limits the calls of a provider's own tools, of which there are none.
    assert_eq!(ask(&world, "alpha/m", &json!({ "max_tool_calls": 3 })).await.status, 200);
    // Such a provider refuses a conversation that is too long instead of cutting it: the field is left out, and named.
    let uncut = ask(&world, "alpha/m", &json!({ "truncation": "auto" })).await;
    assert_eq!((uncut.status.as_u16(), uncut.header("x-penstock-dropped-params")), (200, "truncation"));
}

#[tokio::test]
async fn a_project_keeps_so_many_bytes_of_responses_and_then_forgets_its_oldest() {
    let world = World::setup().env("PENSTOCK_INGRESS_STORED", "2MB").start().await;
    world.upstream("alpha").answers("hello").always();
    let ask = async |size: usize| {
        let body = json!({"model": "alpha/m", "input": "x".repeat(size)});
        world.post("/v1/responses", &body).await.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(ask(500_000).await);
    }
    let status = async |id: &str| world.get(&format!("/v1/responses/{id}")).key(world.key()).await.status.as_u16();
    assert_eq!(status(&ids[5]).await, 200);
    assert_eq!(status(&ids[0]).await, 404, "the oldest is forgotten");
    // One that alone is larger is answered and not kept, and costs nobody else his.
    let large = ask(3_000_000).await;
    assert_eq!((status(&large).await, status(&ids[5]).await), (404, 200));
}

#[tokio::test]
async fn a_response_in_the_background_is_told_of_as_a_stream_that_can_be_taken_up_again() {
    let world = world().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("at last").held(&gate)).once();
    let mut open = ask(&world, "alpha/m", &json!({ "background": true, "stream": true })).open().await;
    let begun = open.until("response.in_progress").await;
    let id = begun.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    drop(open);
    world.upstream("alpha").received(1).await;
    let again = kept(&world, &json!(id), "?stream=true&starting_after=1").open().await;
    gate.open();
    let again = again.rest().await;
    let rest: Vec<Value> =
        again.raw().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!(rest[0]["sequence_number"], 2, "{}", again.raw());
    assert_eq!(types(&rest)[0], "output_item.added");
    assert_eq!(text(&rest.last().unwrap()["response"]), "at last");
    let whole = kept(&world, &json!(id), "?stream=true").await;
    let all = events(&whole);
    assert_eq!((&all[0]["type"], &all[2..]), (&json!("response.created"), &rest[..]));
    assert_eq!(all.last().unwrap()["response"], kept(&world, &json!(id), "").await.json());
    assert_eq!(kept(&world, &json!(id), "?stream=true&starting_after=x").await.status, 400);
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
}

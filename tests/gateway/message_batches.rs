//! Anthropic's message batches: the same core as OpenAI's batches, in Anthropic's words.

use crate::batches::{create as create_openai, line, upload};
use crate::made;
use http::Method;
use penstock_tests::{Ask, Gate, Reply, World, until, until_right};
use serde_json::{Value, json};

const PATH: &str = "/v1/messages/batches";

fn request(name: &str, model: &str) -> Value {
    let messages = json!([{ "role": "user", "content": name }]);
    json!({ "custom_id": name, "params": { "model": model, "max_tokens": 10, "messages": messages } })
}

fn create(world: &World, requests: &[Value]) -> Ask {
    world.post(PATH, &json!({ "requests": requests }))
}

async fn over(world: &World, key: &str, id: &str) -> Value {
    until_right("the batch to be over", async || {
        let batch = world.get(&format!("{PATH}/{id}")).key(key).await.json();
        if batch["processing_status"] == "ended" { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await
}

/// A batch of one request, made with this key and over.
pub(crate) async fn ended(world: &World, key: &str, model: &str) -> String {
    let begun = create(world, &[request("one", model)]).key(key).await.json();
    let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    over(world, key, &id).await;
    id
}

async fn results(world: &World, id: &str) -> Vec<Value> {
    let results = world.get(&format!("{PATH}/{id}/results")).key(world.key()).await;
    assert_eq!(results.status, 200, "{}", results.raw());
    results.raw().lines().map(|line| serde_json::from_str(line).expect("a result is JSON")).collect()
}

fn result<'a>(results: &'a [Value], name: &str) -> &'a Value {
    let found = results.iter().find(|result| result["custom_id"] == name);
    &found.unwrap_or_else(|| panic!("{name} is not in {results:?}"))["result"]
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn each_request_of_a_message_batch_has_its_result_in_anthropics_words() {
    let world = World::start().await;
    world.upstream("alpha").answers("from alpha").always();
    world.upstream("beta").replies(Reply::error(400)).always();
    let mut streamed = request("streamed", "alpha/m");
    streamed["params"]["stream"] = json!(true);
    let requests = [request("good", "alpha/m"), request("refused", "beta/m"), request("unknown", "none"), streamed];
    let begun = create(&world, &requests).await;
    assert_eq!(begun.status, 200, "{}", begun.raw());
    let (begun, batch_id) = (begun.json(), id(&begun.json()));
    assert!(batch_id.starts_with("msgbatch_"), "{begun}");
    let counts = |all: [u64; 5]| json!({ "processing": all[0], "succeeded": all[1], "errored": all[2], "canceled": all[3], "expired": all[4] });
    assert_eq!((&begun["type"], &begun["request_counts"]), (&json!("message_batch"), &counts([4, 0, 0, 0, 0])));
    assert_eq!((&begun["processing_status"], &begun["results_url"]), (&json!("in_progress"), &Value::Null));
    let batch = over(&world, world.key(), &batch_id).await;
    assert_eq!(batch["request_counts"], counts([0, 1, 3, 0, 0]), "{batch}");
    assert_eq!(batch["results_url"], format!("{}{PATH}/{batch_id}/results", world.url()), "{batch}");
    let results = results(&world, &batch_id).await;
    assert_eq!(results.len(), 4);
    let good = result(&results, "good");
    assert_eq!((&good["type"], &good["message"]["type"]), (&json!("succeeded"), &json!("message")), "{good}");
    assert_eq!(good["message"]["content"][0]["text"], "from alpha", "{good}");
    for name in ["refused", "unknown", "streamed"] {
        let errored = result(&results, name);
        assert_eq!((&errored["type"], &errored["error"]["type"]), (&json!("errored"), &json!("error")), "{errored}");
        assert_eq!(errored["error"]["error"]["type"], "invalid_request_error", "{errored}");
    }
    let of_batch = "SELECT count() AS rows FROM attempts WHERE outcome = 'served' AND batch_id";
    let statement = format!("{of_batch} = '{}'", batch_id.trim_start_matches("msg"));
    world.sql_until(&statement, |rows| rows == [json!({ "rows": 1 })]).await;
}

#[tokio::test]
async fn a_batch_is_shown_only_by_the_api_that_it_was_made_through() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let made: Vec<String> = [
        ended(&world, world.key(), "alpha/m").await,
        ended(&world, world.key(), "alpha/m").await,
        ended(&world, world.key(), "alpha/m").await,
    ]
    .into();
    let file = upload(&world, line("a", "alpha/m")).await;
    let other = id(&create_openai(&world, &file, &json!({})).await.json());
    let list = async |query: &str| world.get(&format!("{PATH}{query}")).key(world.key()).await.json();
    let ids = |list: &Value| list["data"].as_array().unwrap().iter().map(id).collect::<Vec<_>>();
    let all = list("").await;
    assert_eq!((ids(&all), &all["has_more"]), (vec![made[2].clone(), made[1].clone(), made[0].clone()], &json!(false)));
    let page = list("?limit=1").await;
    assert_eq!((ids(&page), &page["has_more"]), (vec![made[2].clone()], &json!(true)));
    assert_eq!(ids(&list(&format!("?limit=1&after_id={}", made[2])).await), [made[1].clone()]);
    assert_eq!(ids(&list(&format!("?limit=1&before_id={}", made[0])).await), [made[1].clone()]);
    let of_openai = world.get("/v1/batches").key(world.key()).await.json();
    assert_eq!(of_openai["data"].as_array().map(Vec::len), Some(1), "{of_openai}");
    assert_eq!(of_openai["data"][0]["id"], other, "{of_openai}");
    for path in [format!("{PATH}/{other}"), format!("/v1/batches/{}", made[0])] {
        assert_eq!(world.get(&path).key(world.key()).await.status, 404, "{path}");
    }
    let stranger = made::key(&world, &json!({ "id": "other", "project": "elsewhere" })).await;
    let refused = world.get(&format!("{PATH}/{}/results", made[0])).key(&stranger).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["type"]), (404, &json!("not_found_error")));
    let path = format!("{PATH}/{}", made[0]);
    let deleted = world.get(&path).method(Method::DELETE).key(world.key()).await;
    assert_eq!(deleted.json(), json!({ "id": made[0], "type": "message_batch_deleted" }), "{}", deleted.raw());
    until("it to be gone", async || (world.get(&path).key(world.key()).await.status == 404).then_some(())).await;
    assert_eq!(ids(&list("").await), [made[2].clone(), made[1].clone()]);
    let files = world.get("/v1/files").key(world.key()).await;
    let is_named = |id: &str| files.raw().contains(id.trim_start_matches("msg"));
    assert!(!is_named(&made[0]) && is_named(&made[1]), "{}", files.raw());
}

#[tokio::test]
async fn a_cancelled_message_batch_counts_what_was_not_answered() {
    let world = World::start().await;
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.answers("first").once();
    alpha.replies(Reply::answer("late").held(&gate)).always();
    let begun = create(&world, &["a", "b", "c"].map(|name| request(name, "alpha/m"))).await.json();
    let batch_id = id(&begun);
    until("all to be under way", async || (alpha.calls().len() == 3).then_some(())).await;
    let early = world.get(&format!("{PATH}/{batch_id}/results")).key(world.key()).await;
    assert_eq!((early.status.as_u16(), &early.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    let early = world.get(&format!("{PATH}/{batch_id}")).method(Method::DELETE).key(world.key()).await;
    assert_eq!(early.status, 400, "{}", early.raw());
    let cancelling = world.post(&format!("{PATH}/{batch_id}/cancel"), &json!({})).await.json();
    assert_eq!(cancelling["processing_status"], "canceling", "{cancelling}");
    assert!(cancelling["cancel_initiated_at"].is_string(), "{cancelling}");
    let batch = over(&world, world.key(), &batch_id).await;
    let counts = &batch["request_counts"];
    assert_eq!((&counts["succeeded"], &counts["canceled"]), (&json!(1), &json!(2)), "{batch}");
    let results = results(&world, &batch_id).await;
    assert_eq!(results.iter().filter(|result| result["result"]["type"] == "canceled").count(), 2, "{results:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_message_batch_is_told_at_once_and_what_it_cannot_pay_in_every_result() {
    let world = World::start().await;
    let good = request("a", "alpha/m");
    let long = "x".repeat(65);
    let wrong = [
        (json!([]), "requests"),
        (json!([good, good]), "requests.1.custom_id"),
        (json!([request("a b", "alpha/m")]), "requests.0.custom_id"),
        (json!([request(&long, "alpha/m")]), "requests.0.custom_id"),
        (json!([{ "custom_id": "a" }]), "requests.0.params"),
    ];
    for (requests, field) in wrong {
        let refused = world.post(PATH, &json!({ "requests": requests })).await;
        assert_eq!(refused.status, 400, "{requests}: {}", refused.raw());
        let refused = refused.json();
        assert_eq!(refused["error"]["type"], "invalid_request_error", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(field), "{refused}");
    }
    let budget = json!({ "name": "own", "limit_usd": "0.00001", "cycle": "total" });
    let poor = made::key(&world, &json!({ "id": "poor", "budgets": [budget] })).await;
    let begun = create(&world, &[good, request("b", "alpha/m")]).key(&poor).await.json();
    let batch = over(&world, &poor, &id(&begun)).await;
    assert_eq!((&batch["request_counts"]["errored"], &batch["request_counts"]["processing"]), (&json!(2), &json!(0)));
    let results = results(&world, &id(&begun)).await;
    let told = result(&results, "b")["error"]["error"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("own"), "{results:?}");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

//! Gemini's batches: the same core as OpenAI's batches, in Google's words.

use crate::batches::{create as create_openai, line, upload};
use penstock_tests::{Reply, World, until_right};
use serde_json::{Value, json};

const PATH: &str = "/v1beta/batches";

fn request(text: &str) -> Value {
    json!({ "contents": [{ "parts": [{ "text": text }], "role": "user" }] })
}

async fn create(world: &World, model: &str, key: &str, input: &Value) -> Value {
    let body = json!({ "batch": { "displayName": "mine", "inputConfig": input } });
    world.post(&format!("/v1beta/models/{model}:batchGenerateContent"), &body).key(key).await.json()
}

fn name(batch: &Value) -> &str {
    batch["name"].as_str().unwrap_or_else(|| panic!("{batch}"))
}

async fn over(world: &World, key: &str, name: &str) -> Value {
    until_right("the batch to be over", async || {
        let batch = world.get(&format!("/v1beta/{name}")).key(key).await.json();
        if batch["done"] == true { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await
}

/// The id of a batch of one request, made with this key and over.
pub(crate) async fn ended(world: &World, key: &str, model: &str) -> String {
    let input = json!({ "requests": { "requests": [{ "request": request("one") }] } });
    let begun = create(world, model, key, &input).await;
    over(world, key, name(&begun)).await;
    name(&begun).trim_start_matches("batches/").to_owned()
}

#[tokio::test]
async fn the_answers_of_a_gemini_batch_stand_in_it_in_the_order_of_its_requests() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::error(400)).once();
    alpha.answers("from alpha").always();
    let requests: Vec<Value> = (0..12)
        .map(|at| json!({ "request": request(&at.to_string()), "metadata": { "key": format!("request-{at}") } }))
        .collect();
    let begun = create(&world, "alpha/m", world.key(), &json!({ "requests": { "requests": requests } })).await;
    let metadata = &begun["metadata"];
    assert_eq!((&metadata["displayName"], &metadata["model"]), (&json!("mine"), &json!("models/alpha/m")), "{begun}");
    assert_eq!((&metadata["state"], &begun["done"]), (&json!("BATCH_STATE_PENDING"), &Value::Null), "{begun}");
    let batch = over(&world, world.key(), name(&begun)).await;
    assert_eq!(batch["metadata"]["state"], "BATCH_STATE_SUCCEEDED", "{batch}");
    let stats = json!({ "requestCount": "12", "successfulRequestCount": "11", "failedRequestCount": "1", "pendingRequestCount": "0" });
    assert_eq!(batch["metadata"]["batchStats"], stats, "{batch}");
    let answers = batch["response"]["inlinedResponses"]["inlinedResponses"].as_array().unwrap();
    let keys: Vec<&str> = answers.iter().map(|answer| answer["metadata"]["key"].as_str().unwrap()).collect();
    assert_eq!(keys, (0..12).map(|at| format!("request-{at}")).collect::<Vec<_>>());
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["response"].is_null()).collect();
    assert_eq!((refused.len(), &refused[0]["error"]["code"]), (1, &json!(3)), "{batch}");
    let texts = answers.iter().map(|answer| &answer["response"]["candidates"][0]["content"]["parts"][0]["text"]);
    assert_eq!(texts.filter(|text| **text == "from alpha").count(), 11, "{batch}");
    assert_eq!(batch["metadata"]["output"], batch["response"]);
}

#[tokio::test]
async fn a_gemini_batch_is_listed_by_its_own_api_and_what_is_wrong_with_it_is_told_in_googles_words() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let id = ended(&world, world.key(), "alpha/m").await;
    let file = upload(&world, line("a", "alpha/m")).await;
    let other = create_openai(&world, &file, &json!({})).await.json();
    let listed = world.get(PATH).key(world.key()).await.json();
    let names: Vec<&str> = listed["operations"].as_array().unwrap().iter().map(name).collect();
    assert_eq!((names, &listed["nextPageToken"]), (vec![format!("batches/{id}").as_str()], &Value::Null), "{listed}");
    for path in [format!("{PATH}/{}", other["id"].as_str().unwrap()), format!("/v1/batches/{id}")] {
        assert_eq!(world.get(&path).key(world.key()).await.status, 404, "{path}");
    }
    let wrong = [
        (json!({}), "inputConfig"),
        (json!({ "requests": { "requests": [] } }), "requests"),
        (json!({ "requests": { "requests": [{}] } }), "requests[0].request"),
        (json!({ "fileName": "files/none" }), "fileName"),
    ];
    for (input, field) in wrong {
        let refused = create(&world, "alpha/m", world.key(), &input).await;
        assert_eq!((&refused["error"]["code"], &refused["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        assert!(refused["error"]["message"].as_str().unwrap().contains(field), "{refused}");
    }
}

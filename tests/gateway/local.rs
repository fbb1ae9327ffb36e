//! The model in the worker itself: `local/all-MiniLM-L6-v2` answers `/v1/embeddings` through the whole pipeline, offline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use penstock_tests::{World, tool};
use serde_json::{Value, json};

const MODEL: &str = "local/all-MiniLM-L6-v2";

async fn world() -> World {
    World::setup().env("PENSTOCK_LOCAL_MODELS", &tool("PENSTOCK_LOCAL_MODELS")).start().await
}

fn numbers(embedding: &Value) -> Vec<f64> {
    let numbers = embedding.as_array().expect("a list");
    numbers.iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn texts_are_embedded_in_the_worker_and_stand_in_the_ledger_at_no_cost() {
    let world = world().await;
    let texts =
        ["How do I reset my password?", "I forgot my password, how can I change it?", "Bake bread without yeast."];
    let answer = world.post("/v1/embeddings", &json!({"model": MODEL, "input": texts})).await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), answer.header("x-penstock-cost-usd")), (200, "0"), "{body}");
    assert_eq!((answer.header("x-penstock-target"), &body["model"]), (MODEL, &json!(MODEL)));
    assert_eq!(body["usage"], json!({"prompt_tokens": 30, "total_tokens": 30}));
    let [reset, forgot, bake] = [0, 1, 2].map(|at| numbers(&body["data"][at]["embedding"]));
    assert_eq!(reset.len(), 384);
    assert!((cosine(&reset, &reset) - 1.0).abs() < 1e-5);
    let (near, far) = (cosine(&reset, &forgot), cosine(&reset, &bake));
    assert!(near > 0.8 && far < 0.3, "{near} {far}");
    let sql = "SELECT model, input_tokens, toString(cost_usd) AS cost FROM attempts";
    let rows = world.sql_until(sql, |rows| rows.len() == 1 && rows[0]["input_tokens"] != Value::Null).await;
    assert_eq!(rows[0], json!({"model": "all-MiniLM-L6-v2", "input_tokens": 30, "cost": "0"}));
}

#[tokio::test]
async fn a_long_list_is_cut_up_and_base64_holds_the_same_numbers() {
    let world = world().await;
    let texts: Vec<String> = (0..70).map(|at| format!("text {at}")).collect();
    let ask = |format| json!({"model": MODEL, "input": texts, "encoding_format": format});
    let (plain, encoded) =
        (world.post("/v1/embeddings", &ask("float")).await, world.post("/v1/embeddings", &ask("base64")).await);
    assert_eq!(plain.header("x-penstock-attempts"), "2");
    let (plain, encoded) = (plain.json(), encoded.json());
    for at in [0, 63, 64, 69] {
        assert_eq!(plain["data"][at]["index"], at);
        let bytes = STANDARD.decode(encoded["data"][at]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(decoded.len(), 384);
        for (a, b) in decoded.iter().zip(numbers(&plain["data"][at]["embedding"])) {
            assert!((f64::from(*a) - b).abs() < 1e-6);
        }
    }
}

#[tokio::test]
async fn what_the_model_cannot_do_is_the_callers_mistake() {
    let world = world().await;
    for (body, status, param) in [
        (json!({"model": MODEL, "input": "a", "dimensions": 256}), 400, "dimensions"),
        (json!({"model": MODEL, "input": [[1, 2]]}), 400, "input"),
        (json!({"model": "local/other", "input": "a"}), 404, "model"),
    ] {
        let answer = world.post("/v1/embeddings", &body).await;
        let said = answer.json();
        assert_eq!((answer.status.as_u16(), said["error"]["param"].as_str()), (status, Some(param)), "{said}");
    }
}

#[tokio::test]
async fn without_the_models_files_there_is_no_such_provider() {
    let world = World::setup().env("PENSTOCK_LOCAL_MODELS", "/nowhere").start().await;
    let answer = world.post("/v1/embeddings", &json!({"model": MODEL, "input": "a"})).await;
    assert_eq!(answer.status.as_u16(), 404, "{}", answer.text());
    assert!(!world.get("/v1/models").key(world.key()).await.text().contains("MiniLM"));
}

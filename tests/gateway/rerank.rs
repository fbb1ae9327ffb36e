//! The order of documents by a query: `/v1/rerank` and Cohere's `/v2/rerank`, in one shape.

use penstock_tests::{Reply, World};
use serde_json::json;

const PRICES: &str = "[[prices]]\nmodel = \"alpha/rank\"\nusd_per_search = \"0.002\"";

#[tokio::test]
async fn both_paths_pass_the_request_and_count_what_the_provider_counts() {
    let world = World::setup().config(PRICES).start().await;
    let units =
        r#"{ "id":"r-1","results":[{"index":1,"relevance_score":0.90}],"meta":{"billed_units":{"search_units":1}} }"#;
    let tokens = r#"{ "model":"alpha/m","results":[{"index":1,"relevance_score":0.90,"document":{"text":"b"}}],"usage":{"total_tokens":7} }"#;
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::whole(200, units)).once();
    alpha.replies(Reply::whole(200, tokens.replace("alpha/m", "m"))).always();
    let request = json!({"model": "alpha/rank", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": true});
    let answer = world.post("/v2/rerank", &request).await;
    assert_eq!((answer.raw().as_str(), answer.header("x-penstock-cost-usd")), (units, "0.002"));
    let mut request = request;
    request["model"] = json!("alpha/m");
    let answer = world.post("/v1/rerank", &request).await;
    assert_eq!((answer.raw().as_str(), answer.header("x-penstock-cost-usd")), (tokens, "0.000007"));
    let calls = alpha.calls();
    assert!(calls.iter().all(|call| call.path == "rerank"));
    assert_eq!(String::from_utf8_lossy(&calls[1].body), request.to_string().replace("alpha/m", "m"));
    let sql = "SELECT operation, searches, input_tokens FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    assert_eq!(rows[0], json!({"operation": "rerank", "searches": 1, "input_tokens": null}));
    assert_eq!(rows[1], json!({"operation": "rerank", "searches": null, "input_tokens": 7}));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let world = World::start().await;
    for (body, error) in [
        (json!({"model": "alpha/m", "documents": ["a"]}), "missing_required_parameter (query)"),
        (json!({"model": "alpha/m", "query": "q"}), "missing_required_parameter (documents)"),
        (json!({"model": "alpha/m", "query": "q", "documents": []}), "invalid_value (documents)"),
        (json!({"model": "alpha/m", "query": "q", "documents": [1]}), "invalid_value (documents[0])"),
        (json!({"model": "alpha/m", "query": "q", "documents": ["a"], "top_n": 0}), "invalid_value (top_n)"),
    ] {
        let answer = world.post("/v2/rerank", &body).await;
        assert_eq!(answer.error(), format!("400 invalid_request_error {error}"), "{body}");
    }
}

#[tokio::test]
async fn the_demo_ranks_and_falls_back() {
    let config = "[models.rank]\ntargets = [{ model = \"alpha/m\", retries = 0 }, { model = \"demo/rank\" }]";
    let world = World::setup().demo().config(config).start().await;
    world.upstream("alpha").fails(500).always();
    let request = json!({"model": "rank", "query": "red car", "documents": ["a blue boat", "a red car"], "top_n": 1});
    let answer = world.post("/v1/rerank", &request).await;
    assert_eq!(answer.json()["results"], json!([{"index": 1, "relevance_score": 1.0}]));
    assert_eq!((answer.header("x-penstock-target"), answer.header("x-penstock-cost-usd")), ("demo/rank", "0.002"));
}

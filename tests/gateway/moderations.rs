//! Judgements of texts: `/v1/moderations`, with a model or without.

use penstock_tests::{Reply, World};
use serde_json::json;

#[tokio::test]
async fn an_answer_passes_and_the_model_may_be_left_out() {
    let config = "[models.omni-moderation-latest]\ntargets = [{ model = \"alpha/mod\" }]";
    let world = World::setup().config(config).start().await;
    let body = r#"{ "id":"modr-1","model":"mod-1","results":[{"flagged":false,"x":1.50}] }"#;
    world.upstream("alpha").replies(Reply::whole(200, body)).always();
    for (name, request) in [
        ("omni-moderation-latest", json!({"input": "Hi"})),
        ("alpha/mod", json!({"model": "alpha/mod", "input": [{"type": "text", "text": "Hi"}]})),
    ] {
        let answer = world.post("/v1/moderations", &request).await;
        assert_eq!(answer.raw(), body.replace("mod-1", name));
        let call = world.upstream("alpha").calls().pop().unwrap();
        assert_eq!((call.path.as_str(), &call.json()["model"]), ("moderations", &json!("mod")));
        assert_eq!(call.json()["input"], request["input"]);
    }
    let sql = "SELECT operation, usage_source, cost_usd FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    assert_eq!(rows[0], json!({"operation": "moderations", "usage_source": "unknown", "cost_usd": null}));
}

#[tokio::test]
async fn the_demo_judges() {
    let world = World::setup().demo().start().await;
    let answer =
        world.post("/v1/moderations", &json!({"model": "demo/moderate", "input": ["Hi", "I hate this"]})).await;
    let flagged = |at: usize| answer.json()["results"][at]["flagged"].clone();
    assert_eq!((flagged(0), flagged(1)), (json!(false), json!(true)));
}

//! Vectors for texts: passed through as they come, cut up where a list is too long for the provider, all or nothing.

use penstock_tests::{Reply, World};
use serde_json::{Value, json};

const ANSWER: &str = r#"{ "object":"list","data":[{"object":"embedding", "index":0,"embedding":[0.10,-1.0e-3]}],
"model":"m-1","usage":{"prompt_tokens":8,"total_tokens":8},"x_unknown":2.50 }"#;

/// The provider's answer to `count` texts, each vector being its place in all of them.
fn answer(from: usize, count: usize) -> Reply {
    let data: Vec<Value> =
        (0..count).map(|at| json!({"object": "embedding", "index": at, "embedding": [from + at]})).collect();
    let usage = json!({"prompt_tokens": count, "total_tokens": count});
    Reply::whole(200, json!({"object": "list", "data": data, "model": "m-1", "usage": usage}).to_string())
}

#[tokio::test]
async fn an_answer_passes_byte_for_byte_and_its_tokens_are_counted() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::whole(200, ANSWER)).always();
    let request =
        json!({"model": "alpha/m", "input": [[1, 2], [3]], "encoding_format": "float", "dimensions": 2, "x": 1.5});
    let answer = world.post("/v1/embeddings", &request).await;
    assert_eq!((answer.status.as_u16(), answer.raw()), (200, ANSWER.replace("m-1", "alpha/m")));
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.000008");
    let call = world.upstream("alpha").received(1).await;
    assert_eq!(call.path, "embeddings");
    assert_eq!(String::from_utf8_lossy(&call.body), request.to_string().replace("alpha/m", "m"));
    let sql = "SELECT operation, input_tokens, output_tokens, toString(cost_usd) AS cost FROM attempts";
    let rows = world.sql_until(sql, |rows| rows.len() == 1 && rows[0]["cost"] != Value::Null).await;
    assert_eq!(
        rows[0],
        json!({"operation": "embeddings", "input_tokens": 8, "output_tokens": null, "cost": "0.000008"})
    );
    assert_eq!(world.requests(1).await[0]["operation"], "embeddings");
}

#[tokio::test]
async fn vectors_come_in_the_encoding_that_was_asked_for_whatever_the_provider_gives() {
    let world = World::start().await;
    let of = |vector: &Value| {
        let item = json!({"object": "embedding", "index": 0, "embedding": vector});
        let usage = json!({"prompt_tokens": 1, "total_tokens": 1});
        Reply::whole(200, json!({"object": "list", "data": [item], "model": "m-1", "usage": usage}).to_string())
    };
    let (floats, base64) = (json!([0.5, -1.0]), json!("AAAAPwAAgL8="));
    for given in [&floats, &base64] {
        world.upstream("alpha").replies(of(given)).always();
        for (format, wanted) in [(json!("base64"), &base64), (json!("float"), &floats), (Value::Null, &floats)] {
            let request = json!({"model": "alpha/m", "input": "a", "encoding_format": format});
            let answer = world.post("/v1/embeddings", &request).await.json();
            assert_eq!(&answer["data"][0]["embedding"], wanted, "{format} of {given}");
        }
    }
}

#[tokio::test]
async fn a_server_that_nobody_knows_is_asked_for_numbers_and_the_client_gets_the_base64_that_it_wants() {
    let own =
        "[providers.own]\ndialect = \"openai\"\nbase_url = \"{beta}\"\nkeys = [\"k\"]\nprobe = false\nquirks = []\n";
    let world = World::setup().config(own).start().await;
    for (name, provider, sent) in [("alpha", "alpha", "float"), ("beta", "own", "base64")] {
        world.upstream(name).replies(Reply::whole(200, ANSWER)).always();
        let request = json!({"model": format!("{provider}/m"), "input": "a", "encoding_format": "base64"});
        let answer = world.post("/v1/embeddings", &request).await.json();
        assert_eq!(answer["data"][0]["embedding"], "zczMPW8Sg7o=");
        assert_eq!(world.upstream(name).received(1).await.json()["encoding_format"], sent, "{name}");
    }
}

#[tokio::test]
async fn a_list_above_the_providers_limit_is_cut_up_and_joined_in_order() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    for (from, count) in [(0, 2048), (2048, 2048), (4096, 904)] {
        alpha.replies(answer(from, count)).once();
    }
    let texts: Vec<String> = (0..5000).map(|n| format!("text {n}")).collect();
    let answer = world.post("/v1/embeddings", &json!({"model": "fast", "input": texts, "dimensions": 1})).await;
    let body = answer.json();
    let vectors = body["data"].as_array().unwrap();
    assert_eq!(vectors.len(), 5000);
    assert!(vectors.iter().enumerate().all(|(at, vector)| vector["index"] == at && vector["embedding"][0] == at));
    assert_eq!(body["usage"], json!({"prompt_tokens": 5000, "total_tokens": 5000}));
    assert_eq!((answer.header("x-penstock-attempts"), answer.header("x-penstock-cost-usd")), ("3", "0.005"));
    let sent = |call: usize| alpha.calls()[call].json()["input"].as_array().unwrap().len();
    assert_eq!([sent(0), sent(1), sent(2)], [2048, 2048, 904]);
    assert_eq!(alpha.calls()[2].json()["input"][903], "text 4999");
    assert_eq!(world.attempts(3).await, ["alpha 200", "alpha 200", "alpha 200"]);
    let rows = world.sql("SELECT DISTINCT request_id FROM attempts").await;
    assert_eq!(rows.len(), 1, "they are attempts of one request");
    let numbers = world.sql("SELECT number FROM attempts ORDER BY number").await;
    assert_eq!(numbers, [json!({"number": 1}), json!({"number": 2}), json!({"number": 3})]);
}

#[tokio::test]
async fn all_pieces_of_a_list_come_from_one_model_or_none_does() {
    let world = World::start().await;
    let (alpha, beta) = (world.upstream("alpha"), world.upstream("beta"));
    alpha.fails(500).times(3);
    alpha.fails(400).always();
    beta.replies(answer(0, 2048)).once();
    beta.fails(503).once();
    beta.replies(answer(2048, 2)).once();
    beta.replies(answer(0, 2048)).once();
    beta.fails(400).always();
    let request = json!({"model": "fast", "input": vec!["a"; 2050]});
    let answer = world.post("/v1/embeddings", &request).await;
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2050);
    assert_eq!((answer.header("x-penstock-target"), answer.header("x-penstock-attempts")), ("beta/m", "6"));
    let tried = world.attempts(6).await;
    assert_eq!(tried[3..], ["beta 200", "beta 503", "beta 200"], "the second piece stays where the first was served");

    let answer = world.post("/v1/embeddings", &json!({"model": "beta/m", "input": vec!["a"; 2050]})).await;
    assert_eq!(answer.status, 400, "{}", answer.raw());
    assert_eq!(world.attempts(8).await[6..], ["beta 200", "beta 400"], "what the first piece cost is in the ledger");
}

#[tokio::test]
async fn a_list_of_tokens_is_one_text_and_is_not_cut() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::whole(200, ANSWER)).always();
    let answer = world.post("/v1/embeddings", &json!({"model": "alpha/m", "input": vec![1; 3000]})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
}

#[tokio::test]
async fn retry_and_fallback_work_as_for_chat() {
    let world = World::start().await;
    world.upstream("alpha").fails(529).always();
    world.upstream("beta").replies(Reply::whole(200, r#"{"data":[]}"#)).times(3);
    let answer = world.post("/v1/embeddings", &json!({"model": "fast", "input": "a"})).await;
    assert_eq!(answer.error(), "502 server_error broken", "an answer without a vector is none");
    world.upstream("beta").replies(Reply::whole(200, ANSWER)).always();
    let answer = world.post("/v1/embeddings", &json!({"model": "fast", "input": "a"})).await;
    assert_eq!(answer.header("x-penstock-target"), "beta/m");
}

#[tokio::test]
async fn a_model_of_another_kind_is_refused_where_the_catalogue_is_sure() {
    let world = World::setup().demo().start().await;
    let answer = world.ask("demo/embed").await;
    assert_eq!(answer.error(), "400 invalid_request_error invalid_value (model)");
    assert!(answer.message().contains("embedding") && answer.message().contains("chat"), "{}", answer.message());
    let request = json!({"model": "demo/embed", "input": ["a", "b"], "dimensions": 4});
    let answer = world.post("/v1/embeddings", &request).await.json();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 4);
    let answer = world.post("/v1/embeddings", &json!({"model": "demo/fast", "input": "a"})).await;
    assert_eq!(answer.status, 200, "of a chat model nobody is sure: {}", answer.raw());
}

//! Paths that clients use besides those of the documentation: Azure's, those without `/v1`, Google's without `models/`.

use crate::made::key;
use penstock_tests::World;
use serde_json::json;

#[tokio::test]
async fn a_path_of_another_form_leads_to_the_same_route() {
    let world = World::start().await;
    let turns = json!([{ "role": "user", "content": "Hello!" }]);
    let chat = json!({ "model": "alpha/m", "messages": turns });
    let message = json!({ "model": "alpha/m", "messages": turns, "max_tokens": 5 });
    let response = json!({ "model": "alpha/m", "input": "Hello!" });
    let googles = json!({ "contents": [{ "parts": [{ "text": "Hello!" }] }] });
    for (path, body) in [
        ("/chat/completions", &chat),
        ("/openai/v1/chat/completions", &chat),
        ("/openai/deployments/alpha/m/chat/completions?api-version=2024-10-21", &json!({ "messages": turns })),
        ("/openai/deployments/alpha%2Fm/chat/completions?api-version=2024-10-21", &json!({ "messages": turns })),
        ("/v1beta/openai/chat/completions", &chat),
        ("/v1/v1/messages", &message),
        ("/messages", &message),
        ("/responses", &response),
        ("/openai/responses?api-version=2025-04-01-preview", &response),
        ("/v1beta/alpha/m:generateContent", &googles),
        ("/v1beta/alpha%2Fm:generateContent", &googles),
        ("/v1/alpha/m:generateContent", &googles),
    ] {
        let answer = world.post(path, body).header("authorization", "").header("api-key", world.key()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.raw());
        assert!(answer.raw().contains("hello") && answer.raw().contains("\"alpha/m\""), "{path}: {}", answer.raw());
    }
    for path in ["/models", "/openai/models?api-version=1", "/openai/v1/models", "/v1beta/openai/models"] {
        assert!(world.get(path).key(world.key()).await.raw().contains("alpha/m"), "{path}");
    }
    assert_eq!(world.get("/models/alpha/m").key(world.key()).await.json()["id"], "alpha/m");
}

#[tokio::test]
async fn the_name_of_a_deployment_counts_and_is_under_the_same_rules() {
    let world = World::start().await;
    let ask = world.ask("beta/m").path("/openai/deployments/alpha/m/chat/completions");
    assert_eq!(ask.clone().await.header("x-penstock-target"), "alpha/m");
    assert_eq!(world.upstream("alpha").received(1).await.json()["model"], "m");
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    assert_eq!(ask.clone().key(&few).await.error(), "403 permission_error model_forbidden (model)");
    assert_eq!(ask.key("psk_wrong_wrong_wrong_wrong").await.status, 401);
    assert_eq!(world.upstream("alpha").calls().len() + world.upstream("beta").calls().len(), 1);
}

#[tokio::test]
async fn what_is_nowhere_is_named_as_the_caller_wrote_it() {
    let world = World::start().await;
    for (path, dialect) in [
        ("/openai/deployments/alpha/m/files", "openai"),
        ("/openai/v1/nothing", "openai"),
        ("/v1beta/alpha/m:predict", "google"),
    ] {
        let answer = world.post(path, &json!({})).await;
        let error = &answer.json()["error"];
        assert!(answer.status == 404 && error["message"].as_str().unwrap().contains(path), "{error}");
        assert_eq!(error["status"] == "NOT_FOUND", dialect == "google", "{error}");
    }
    let wrong = world.get("/embeddings").key(world.key()).await;
    assert_eq!((wrong.status.as_u16(), wrong.message().contains("/embeddings")), (405, true));
}

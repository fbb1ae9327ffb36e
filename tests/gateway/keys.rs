//! Who may ask, and for what: virtual keys, made and revoked on the command line while the gateway runs.

use penstock_tests::{World, until};
use serde_json::Value;

async fn create(world: &World, arguments: &[&str]) -> (String, String) {
    let made = world.tool(&[&["keys", "create"], arguments].concat()).await;
    let text = |name: &str| made[name].as_str().expect("a new key has an id and a secret").to_owned();
    let (id, secret) = (text("id"), text("key"));
    until("the new key to be known", async || (world.ask("beta/m").key(&secret).await.status != 401).then_some(()))
        .await;
    (id, secret)
}

#[tokio::test]
async fn a_request_without_a_key_or_with_a_wrong_one_is_refused() {
    let world = World::start().await;
    let answer = world.ask("fast").header("authorization", "").await;
    assert_eq!(answer.error(), "401 invalid_request_error missing_api_key");
    let answer = world.ask("fast").header("authorization", "Bearer ").await;
    assert_eq!(answer.error(), "401 invalid_request_error missing_api_key");
    let answer = world.ask("fast").key("psk_0123456789abcdef0123").await;
    assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
    let answer = world.ask("fast").key(world.admin_key()).await;
    assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
    assert_eq!(world.get("/v1/models").await.error(), "401 invalid_request_error missing_api_key");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn a_key_may_be_sent_as_any_sdk_sends_one() {
    let world = World::start().await;
    let (key, ask) = (world.key(), world.ask("fast").header("authorization", ""));
    for (name, value) in [
        ("authorization", format!("bearer {key}")),
        ("x-api-key", key.to_owned()),
        ("x-goog-api-key", key.to_owned()),
        ("api-key", key.to_owned()),
    ] {
        assert_eq!(ask.clone().header(name, &value).await.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_in_under_a_second() {
    let world = World::start().await;
    let (id, secret) = create(&world, &["--project", "search", "--name", "a test"]).await;
    assert_eq!(world.ask("fast").key(&secret).await.status, 200);
    let ids = |list: &Value| {
        let keys = list.as_array().expect("a list").iter();
        keys.map(|key| key["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let list = world.tool(&["keys", "list"]).await;
    assert!(ids(&list).contains(&id) && !list.to_string().contains(&secret), "{list}");

    let revoked = world.run(&["keys", "revoke", &id]).await;
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    let answer = until("the revoked key to be refused", async || {
        let answer = world.ask("fast").key(&secret).await;
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(answer.await.error(), "401 invalid_request_error invalid_api_key");
    assert!(!ids(&world.tool(&["keys", "list"]).await).contains(&id));
    assert_eq!(world.ask("fast").await.status, 200, "the other key is as good as before");

    let again = world.run(&["keys", "revoke", &id]).await;
    assert!(again.code == 1 && again.err.contains(&id), "{}", again.err);
}

#[tokio::test]
async fn a_key_may_use_only_its_models_and_sees_no_others() {
    let world = World::start().await;
    let (id, secret) = create(&world, &["--models", "beta/*"]).await;
    assert_eq!(world.ask("beta/m").key(&secret).await.status, 200);
    for model in ["alpha/m", "fast"] {
        let answer = world.ask(model).key(&secret).await;
        assert_eq!(answer.error(), "403 permission_error model_forbidden (model)");
        assert!(answer.message().contains(&id) && answer.message().contains(model), "{}", answer.message());
    }
    let list = world.get("/v1/models").key(&secret).await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["beta/m"]);
    assert_eq!(world.get("/v1/models/beta/m").key(&secret).await.json()["owned_by"], "beta");
    let hidden = world.get("/v1/models/alpha/m").key(&secret).await;
    assert_eq!(hidden.error(), "404 invalid_request_error model_not_found (model)");

    let (_, secret) = create(&world, &["--models", "fast,beta/m"]).await;
    assert_eq!(world.ask("fast").key(&secret).await.status, 200, "a virtual model is allowed by its own name");
}

#[tokio::test]
async fn the_keys_project_and_user_are_in_the_ledger_whomever_the_request_names() {
    let world = World::start().await;
    let (id, secret) = create(&world, &["--project", "search", "--user", "of-the-key"]).await;
    world.ask("fast").key(&secret).await;
    world.ask("fast").key(&secret).header("x-penstock-user", "of-the-header").await;
    world.ask("fast").key(&secret).header("x-penstock-user", "x").field("user", "of the body ☃".into()).await;
    world.attempts(4).await; // the first is `create`'s
    let rows = world
        .sql(&format!("SELECT project, user, end_user FROM attempts WHERE key_id = '{id}' ORDER BY started_at"))
        .await;
    let found: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row["project"], row["user"], row["end_user"])).skip(1).collect();
    let expected =
        ["null", "null", "\"of the body ☃\""].map(|end_user| format!("\"search\" \"of-the-key\" {end_user}"));
    assert_eq!(found, expected);
}

//! Objects that tests make by the admin API, and use when every ingress of the world knows them.

use http::Method;
use penstock_tests::{Ask, World, until};
use serde_json::Value;

/// A request that makes something.
pub(crate) fn post(world: &World, path: &str, body: &Value) -> Ask {
    let ask = world.get(&format!("/admin/v1/{path}")).method(Method::POST).key(world.admin_key());
    ask.header("content-type", "application/json").body(body.to_string())
}

/// Makes a key, and waits until it is known. Gives its secret.
pub(crate) async fn key(world: &World, body: &Value) -> String {
    let made = post(world, "keys", body).await.json();
    let secret = made["key"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    until("the new key to be known", async || (world.get("/v1/models").key(&secret).await.status != 401).then_some(()))
        .await;
    secret
}

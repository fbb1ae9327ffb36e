//! Pages in browsers: which may call, and what they may read.

use http::Method;
use penstock_tests::{Ask, World};

const PAGE: &str = "https://app.example";

fn preflight(world: &World, path: &str, origin: &str) -> Ask {
    let ask = world.get(path).method(Method::OPTIONS).header("origin", origin);
    ask.header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-stainless-os")
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_call_and_read_and_no_other_may() {
    let world = World::setup().config("[ingress]\ncors = [\"https://app.example\"]").start().await;
    let answer = preflight(&world, "/v1/chat/completions", PAGE).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (204, PAGE), "{}", answer.raw());
    assert_eq!(answer.header("access-control-allow-headers"), "authorization,x-stainless-os");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    for (ask, status) in [(world.ask("alpha/m"), 200), (world.ask("alpha/m").key("psk_wrong_wrong_wrong"), 401)] {
        let answer = ask.header("origin", PAGE).await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (status, PAGE));
        assert!(answer.header("access-control-expose-headers").contains("x-penstock-target"));
        assert_eq!(answer.header("vary"), "origin");
    }
    let other = world.ask("alpha/m").header("origin", "https://evil.example").await;
    assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (200, ""));
    assert_eq!(preflight(&world, "/v1/chat/completions", "https://evil.example").await.status, 405);
    let admin = preflight(&world, "/admin/v1/keys", PAGE).await;
    assert_eq!(admin.header("access-control-allow-origin"), "", "the admin API is for no page");
}

#[tokio::test]
async fn without_a_configured_origin_no_page_may_call() {
    let world = World::start().await;
    assert_eq!(preflight(&world, "/v1/chat/completions", PAGE).await.status, 405);
    assert_eq!(world.ask("alpha/m").header("origin", PAGE).await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn the_address_itself_says_what_is_here_and_nothing_secret() {
    let world = World::start().await;
    for path in ["/", "/v1"] {
        let answer = world.get(path).await;
        let hint = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &hint["name"], &hint["base_urls"]["openai"]),
            (200, &"penstock".into(), &"/v1".into())
        );
        assert!(hint["version"].is_string() && hint["openapi"] == "/openapi.json", "{hint}");
        assert!(!answer.raw().contains("alpha") && !answer.raw().contains("psk_"), "{hint}");
    }
}

//! Circuits as an operator sees them: they open, calls go around them, and a probe closes them when nobody calls.

use penstock_tests::{World, until};
use serde_json::Value;

async fn circuit(world: &World, target: &str) -> Value {
    let targets = world.tool(&["targets"]).await;
    let found = targets.as_array().and_then(|targets| targets.iter().find(|report| report["target"] == target));
    found.cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_target_that_fails_is_gone_around_and_a_probe_finds_it_well_again() {
    let world = World::start().await;
    world.upstream("alpha").fails(500).always();
    for _ in 0..12 {
        assert_eq!(world.ask("fast").await.header("x-penstock-target"), "beta/m");
    }
    let open = async || Some(circuit(&world, "alpha/m").await).filter(|report| report["circuit"] == "open");
    let report = until("the circuit to open", open).await;
    assert!(report["reason"].as_str().is_some_and(|reason| reason.contains("calls failed (server_error)")), "{report}");
    let before = world.upstream("alpha").calls().len();
    assert_eq!(world.ask("fast").await.header("x-penstock-attempts"), "1", "alpha is tried last now");
    assert_eq!(world.upstream("alpha").calls().len(), before);

    world.upstream("alpha").answers("well again").always();
    let closed = async || (circuit(&world, "alpha/m").await["circuit"] == "closed").then_some(());
    until("a probe to close the circuit", closed).await;
    let calls = world.upstream("alpha").calls();
    assert!(calls[before..].iter().all(|call| call.header("user-agent").ends_with("(probe)")));
    assert_eq!(world.ask("fast").await.text(), "well again");
}

//! The configuration is read again while everything runs.

use penstock_tests::{Gate, Part, Reply, World, until, words};

async fn budgets(world: &World) -> String {
    world.get("/admin/v1/budgets").key(world.admin_key()).await.raw()
}

#[tokio::test]
async fn a_changed_file_is_applied_while_requests_run_and_what_needs_a_restart_is_named() {
    let mut world = World::start().await;
    let gate = Gate::new();
    let parts = vec![
        words::content("hel").into(),
        Part::Wait(gate.clone()),
        words::content("lo").into(),
        words::finish().into(),
        words::DONE.into(),
    ];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    let mut open = world.ask("alpha/m").stream().open().await;
    open.until("hel").await;

    let file = world.folder().path().join("front.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration is there");
    let budget = "[[budgets]]\nname = \"of-the-file\"\nlimit_usd = \"7\"\ncycle = \"daily\"\n";
    world.folder().write("front.toml", &format!("{text}[ingress]\nqueue = 5\n{budget}"));
    world.up().hang_up();
    world.up().says("the configuration was read again").await;
    let warning = world.up().says("needs a restart").await;
    assert!(warning.contains("ingress.queue") && !warning.contains("budgets"), "{warning}");
    until("the budget to be there", async || budgets(&world).await.contains("of-the-file").then_some(())).await;

    world.folder().write("front.toml", &format!("{text}[ingress]\nqueue = \"many\"\n"));
    let wrong = world.up().says("nothing was changed").await;
    assert!(wrong.contains("ingress.queue"), "a change of the file is enough: {wrong}");
    assert!(budgets(&world).await.contains("of-the-file"));
    gate.open();
    let rest = open.rest().await;
    assert!(rest.raw().contains("[DONE]"), "the stream goes on: {}", rest.raw());
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    let audit = world.get("/admin/v1/audit?since=1d").key(world.admin_key()).await.json();
    assert!(audit.to_string().contains("of-the-file") && audit["data"].is_array(), "{audit}");
}

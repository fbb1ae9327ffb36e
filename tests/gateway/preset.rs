//! The first key, which `up` presets at each start.

use penstock_tests::{World, until};

#[tokio::test]
async fn a_preset_key_that_was_revoked_stays_revoked_at_the_next_start_and_another_one_is_made() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let restart = async |world: &mut World| {
        world.terminate();
        world.up().ended().await;
        world.again().await;
    };
    restart(&mut world).await;
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    assert_eq!(world.run(&["keys", "revoke", "preset"]).await.code, 0);
    until("the key to be refused", async || (world.ask("alpha/m").await.status == 401).then_some(())).await;
    for _ in 0..2 {
        restart(&mut world).await;
        assert_eq!(world.ask("alpha/m").await.status, 401);
    }
    assert!(world.logs().contains("the preset key was revoked or rotated and stays so"));
    let revoked = world.key().to_owned();
    std::fs::remove_file(world.folder().path().join("data/key")).expect("the key is kept in a file");
    restart(&mut world).await;
    assert_ne!(world.key(), revoked);
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    assert_eq!(world.ask("alpha/m").key(&revoked).await.status, 401);
}

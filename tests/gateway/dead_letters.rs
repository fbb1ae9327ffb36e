//! `penstock ledger dead`: what cannot be stored, shown and put back.

use penstock_tests::{World, until};
use serde_json::Value;

#[tokio::test]
async fn an_event_that_cannot_be_stored_is_shown_and_put_back_by_the_command_line() {
    let world = World::start().await;
    world.write_to_ledger("{\"kind\":\"of another version\"}\n").await;
    let dead = async |arguments: &[&str]| -> Vec<Value> {
        let letters = world.tool(&[&["ledger", "dead"], arguments].concat()).await;
        letters.as_array().expect("a list").clone()
    };
    let letters = until("a dead letter", async || Some(dead(&[]).await).filter(|letters| !letters.is_empty())).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!([&letters[0]["reason"], &letters[0]["state"]], ["unreadable", "dead"]);
    assert_eq!(letters[0]["event"], "{\"kind\":\"of another version\"}");
    let table = world.run(&["ledger", "dead"]).await;
    assert!(
        table.code == 0 && table.out.contains("unreadable") && table.out.contains("of another version"),
        "{}",
        table.out
    );
    // Put back, it cannot be stored any better: it is there again, under another number.
    let back = dead(&["--retry"]).await;
    assert!(back[0]["state"] == "put back" && back[0]["event"] == letters[0]["event"], "{back:?}");
    let again = until("it to be dead again", async || {
        Some(dead(&[]).await).filter(|letters| letters.len() == 1 && letters[0]["at"] != back[0]["at"])
    })
    .await;
    assert_eq!(again[0]["event"], letters[0]["event"]);
}

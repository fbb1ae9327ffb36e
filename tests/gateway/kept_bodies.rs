//! Bodies: kept of whom the configuration says and of no other, masked, shown to those who may see the project, and deleted for
//! good.

use crate::made::{key, post};
use futures_util::future::{join, join_all};
use http::Method;
use penstock_tests::{Gate, Reply, World, until, until_right, words};
use serde_json::{Value, json};

const CONFIG: &str = "[bodies]\nkeep = [{ project = \"red\" }]\nlimit = \"1KB\"\nmask = [\"[0-9]{3}-[0-9]{4}\"]\n";
const SECRET: &str = "sk-live-0123456789abcdef";

/// The rows of `bodies`, once there are so many.
async fn bodies(world: &World, count: usize) -> Vec<Value> {
    let rows = |rows: &[Value]| rows.len() == count;
    world.sql_until("SELECT * FROM bodies ORDER BY received_at", rows).await
}

#[tokio::test]
async fn bodies_are_kept_of_the_project_that_wants_it_masked_and_within_their_limit() {
    let world = World::setup().config(CONFIG).start().await;
    world.upstream("alpha").answers("call 555-1234").times(3);
    let pieces = [words::role(), words::content("sk-live-0123"), words::content("456789abcdef"), words::finish()];
    world
        .upstream("alpha")
        .replies(Reply::stream(pieces.into_iter().chain([words::usage(), words::DONE.to_owned()])))
        .once();
    let red = key(&world, &json!({ "project": "red" })).await;
    let blue = key(&world, &json!({ "project": "blue" })).await;
    let says = |text: &str| json!([{ "role": "user", "content": text }]);
    let ask = |key: &str, text: &str| world.ask("alpha/m").key(key).field("messages", says(text));
    assert_eq!(ask(&blue, "not kept").await.status, 200);
    assert_eq!(ask(&red, &format!("my key is {SECRET}")).await.status, 200);
    assert_eq!(ask(&red, &"long ".repeat(1_000)).await.status, 200);
    assert_eq!(ask(&red, "streamed").stream().await.status, 200);
    assert_eq!(world.ask("nowhere/m").key(&red).await.status, 404);
    let rows = bodies(&world, 4).await;
    assert!(rows.iter().all(|row| row["project"] == "red"), "{rows:?}");
    let text = |row: usize, column: &str| rows[row][column].as_str().expect("a text").to_owned();
    assert!(text(0, "request").contains("my key is [masked]") && !text(0, "request").contains(SECRET));
    assert!(text(0, "answer").contains("call [masked]"), "{}", text(0, "answer"));
    assert_eq!(text(1, "request").len(), 1_024);
    assert!(rows[1]["request_bytes"].as_u64() > Some(5_000), "{}", rows[1]["request_bytes"]);
    let streamed: Value = serde_json::from_str(&text(2, "answer")).expect("the events are one piece of JSON");
    assert_eq!(streamed["choices"][0]["delta"]["content"], "[masked]", "{streamed}");
    assert!(text(3, "answer").contains("nowhere"), "{}", text(3, "answer"));
    let kept =
        world.sql("SELECT engine_full FROM system.tables WHERE name = 'body_log' AND database = 'penstock'").await;
    assert!(kept[0]["engine_full"].as_str().is_some_and(|table| table.contains("toIntervalDay(30)")), "{kept:?}");
}

#[tokio::test]
async fn what_the_provider_was_sent_is_kept_beside_what_the_caller_sent_where_it_is_not_the_same() {
    let world = World::setup().config(CONFIG).start().await;
    let red = key(&world, &json!({ "project": "red" })).await;
    let blue = key(&world, &json!({ "project": "blue" })).await;
    world.upstream("alpha").answers("hello").times(4);
    world.upstream("alpha").fails(400).once();
    let user = |text: &str| json!([{ "role": "user", "content": text }]);
    let tools = json!([{ "name": "look", "input_schema": { "type": "object" } }]);
    let anthropic = |key: &str, text: &str| {
        let body = json!({ "model": "alpha/m", "max_tokens": 9, "system": "be brief", "tools": tools, "messages": user(text) });
        let ask = world.ask("alpha/m").key(key).path("/v1/messages").header("anthropic-version", "2023-06-01");
        ask.body(body.to_string())
    };
    assert_eq!(anthropic(&blue, "not kept").await.status, 200);
    assert_eq!(anthropic(&red, &format!("my key is {SECRET}")).await.status, 200);
    assert_eq!(world.ask("alpha/m").key(&red).field("messages", user(&"long ".repeat(1_000))).await.status, 200);
    assert_eq!(world.ask("alpha/m").key(&red).stream().await.status, 200);
    assert_eq!(anthropic(&red, "refused").await.status, 400);
    let rows = bodies(&world, 4).await;
    let sent = |row: usize| rows[row]["sent"].as_str().expect("a text").to_owned();
    let first: Value = serde_json::from_str(&sent(0)).expect("the whole of it is JSON");
    assert_eq!((&first["model"], &first["messages"][0]["content"]), (&json!("m"), &json!("be brief")));
    assert_eq!(first["tools"][0]["function"]["name"], "look");
    assert_eq!(first["messages"][1]["content"], "my key is [masked]");
    assert!(rows[0]["request"].as_str().expect("a text").contains("\"input_schema\""), "{}", rows[0]["request"]);
    let received = world.upstream("alpha").received(3).await.body;
    assert_eq!((sent(1).len(), rows[1]["sent_bytes"].as_u64()), (1_024, Some(received.len() as u64)));
    assert!(sent(2).contains("\"model\":\"m\"") && rows[2]["request"].as_str().expect("a text").contains("alpha/m"));
    assert!(sent(3).contains("\"refused\"") && sent(3).contains("\"be brief\""), "{}", sent(3));
    world.requests(5).await;
    let id = rows[0]["request_id"].as_str().expect("an id");
    let shown = world.run(&["show", id]).await.out;
    assert!(shown.contains("\nsent, ") && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_body_is_shown_with_its_request_to_those_who_may_see_the_project_and_deleted_with_proof() {
    let world = World::setup().config(CONFIG).start().await;
    world.upstream("alpha").answers("hello").always();
    let red = key(&world, &json!({ "project": "red" })).await;
    let mut ids = Vec::new();
    for user in ["ann", "bob", "ann"] {
        let answer = world.ask("alpha/m").key(&red).header("x-penstock-user", user).await;
        ids.push(answer.header("x-penstock-request-id").to_owned());
    }
    bodies(&world, 3).await;
    world.requests(3).await;
    let mut tokens = Vec::new();
    for project in ["red", "blue"] {
        let body = json!({ "name": project, "role": "owner", "projects": [project] });
        tokens.push(post(&world, "admins", &body).await.json()["key"].as_str().expect("a token").to_owned());
    }
    let path = format!("/admin/v1/requests/{}", ids[0]);
    let shown = world.get(&path).key(&tokens[0]).await.json();
    assert!(shown["body"]["answer"].as_str().expect("a body").contains("hello"), "{shown}");
    assert_eq!(world.get(&path).key(&tokens[1]).await.status, 404);
    assert!(world.run(&["show", &ids[0]]).await.out.contains("\nanswer, "));
    let delete =
        |query: &str, token: &str| world.get(&format!("/admin/v1/bodies{query}")).method(Method::DELETE).key(token);
    assert_eq!(delete("?user=ann", &tokens[0]).await.status, 403);
    assert_eq!(delete("?user=ann&project=red", &tokens[1]).await.status, 403);
    assert_eq!(delete("", world.admin_key()).await.status, 422);
    assert_eq!(delete("?user=ann&project=red", &tokens[0]).await.json(), json!({ "deleted": 2, "left": 0 }));
    assert_eq!(bodies(&world, 1).await[0]["user"], "bob");
    assert_eq!(world.tool(&["bodies", "delete", "--user", "bob"]).await, json!({ "deleted": 1, "left": 0 }));
    bodies(&world, 0).await;
    let audited = "SELECT name FROM audit WHERE kind = 'body' AND action = 'delete' ORDER BY at";
    let expected = [json!({ "name": "ann" }), json!({ "name": "bob" })];
    world.sql_until(audited, |rows| rows == expected).await;
    assert_eq!(world.get(&path).key(&tokens[0]).await.json()["body"], Value::Null);
}

#[tokio::test]
async fn what_has_no_room_is_answered_all_the_same_and_counted_as_lost() {
    const ROOM: usize = 64;
    let world = World::setup().config("[bodies]\nkeep = [{ model = \"alpha/m\" }]\n").start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).always();
    let asks = join_all((0..ROOM + 3).map(|_| world.ask("alpha/m").send()));
    let open = async {
        until("all calls to be under way", async || (world.upstream("alpha").calls().len() == ROOM + 3).then_some(()))
            .await;
        gate.open();
    };
    let (answers, ()) = join(asks, open).await;
    for answer in answers {
        assert_eq!(answer.text(), "hello");
    }
    until_right("three to be lost", async || {
        let told = world.get("/metrics").key(world.admin_key()).await.raw();
        let lost =
            told.lines().find(|line| line.starts_with("penstock_bodies_lost_total ")).unwrap_or_default().to_owned();
        if lost == "penstock_bodies_lost_total 3" { Ok(()) } else { Err(lost) }
    })
    .await;
    bodies(&world, ROOM).await;
}

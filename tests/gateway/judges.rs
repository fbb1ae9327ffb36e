//! Judges: a model scores answers by the operator's rubric, through the pipeline, at the bill of a key of its own.

use crate::made::key;
use penstock_tests::{Reply, World, words};
use serde_json::json;

/// A key whose id the configuration can name: it stands in the file.
const CONFIG: &str = "[[keys]]\nid = \"key_judge\"\nsecret = \"env:JUDGE_KEY\"\nproject = \"judging\"\n\n[[judges]]\nname = \"helpful\"\nmodel = \"beta/judge\"\n\
    key = \"key_judge\"\nsample = \"100%\"\nof_project = \"red\"\nrubric = \"Is it polite?\"\n";

#[tokio::test]
async fn answers_are_scored_by_a_model_at_the_bill_of_the_judges_own_project() {
    let world = World::setup().env("JUDGE_KEY", "psk_0123456789abcdef0123456789judge").config(CONFIG).start().await;
    world.upstream("alpha").answers("good morning").always();
    let judgement = words::whole("{\"score\": 0.75, \"reason\": \"polite\"}");
    world.upstream("beta").replies(Reply::whole(200, judgement)).always();
    let red = key(&world, &json!({ "project": "red" })).await;
    let blue = key(&world, &json!({ "project": "blue" })).await;
    assert_eq!(world.ask("alpha/m").key(&blue).await.status, 200);
    let says = json!([{ "role": "user", "content": "my key is sk-live-0123456789abcdef" }]);
    let answer = world.ask("alpha/m").key(&red).field("messages", says).await;
    let id = answer.header("x-penstock-request-id").to_owned();
    let scores = world.sql_until("SELECT * FROM scores", |rows| !rows.is_empty()).await;
    assert_eq!(scores.len(), 1, "{scores:?}");
    let score = &scores[0];
    assert_eq!((score["request_id"].as_str(), &score["number"]), (Some(&*id), &json!(0.75)));
    assert_eq!(
        (&score["source"], &score["by"], &score["project"]),
        (&json!("judge"), &json!("beta/judge"), &json!("red"))
    );
    let comment = score["comment"].as_str().expect("a comment");
    assert!(comment.starts_with("polite (judged by request "), "{comment}");
    // The judge saw the rubric, the request and the answer, and no secret.
    let calls = world.upstream("beta").calls();
    assert_eq!(calls.len(), 1);
    let asked = calls[0].json();
    let text = |at: usize| asked["messages"][at]["content"].as_str().expect("a text").to_owned();
    assert!(text(0).starts_with("Is it polite?"), "{}", text(0));
    assert!(
        text(1).contains("good morning") && text(1).contains("[masked]") && !text(1).contains("sk-live"),
        "{}",
        text(1)
    );
    let spent =
        "SELECT project, tags['judge'] AS judge, tags['judged'] AS judged FROM attempts WHERE provider = 'beta'";
    let expected = [json!({ "project": "judging", "judge": "helpful", "judged": id })];
    world.sql_until(spent, |rows| rows == expected).await;
}

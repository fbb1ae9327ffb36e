//! Checks of answers without a model: of those that the configuration names, in every dialect, whole and streamed.

use crate::made::key;
use penstock_tests::{Reply, World, words};
use serde_json::{Value, json};

const CONFIG: &str = "[checks]\nof = [{ project = \"red\" }]\n";

const GERMAN: &str =
    "Wie wird das Wetter im Norden bis zum Ende der Woche, und lohnt es sich, die Winterkleidung schon einzupacken?";
const ENGLISH: &str =
    "The weather in the north will be cold and windy until the end of the week, so warm clothes are a good idea.";

/// The findings of each request, as `name number comment`, in the order of the requests.
async fn findings(world: &World, count: usize) -> Vec<Vec<String>> {
    let sql = "SELECT request_id, name, number, comment, source, by FROM scores ORDER BY name";
    let mut rows = world.sql_until(sql, |rows| rows.len() == count).await;
    // An id begins with its time.
    rows.sort_by_key(|row| row["request_id"].as_str().unwrap_or_default().to_owned());
    assert!(rows.iter().all(|row| row["source"] == "check" && row["by"] == "penstock"), "{rows:?}");
    let mut all: Vec<(Value, Vec<String>)> = Vec::new();
    for row in &rows {
        let comment = row["comment"].as_str().unwrap_or_default();
        let text = format!("{} {} {comment}", row["name"].as_str().unwrap_or_default(), row["number"]);
        match all.last_mut().filter(|(id, _)| *id == row["request_id"]) {
            Some((_, texts)) => texts.push(text.trim_end().to_owned()),
            None => all.push((row["request_id"].clone(), vec![text.trim_end().to_owned()])),
        }
    }
    all.into_iter().map(|(_, texts)| texts).collect()
}

#[tokio::test]
async fn answers_are_checked_for_shape_tools_repetition_and_language_where_it_is_switched_on() {
    let world = World::setup().config(CONFIG).start().await;
    let red = key(&world, &json!({ "project": "red" })).await;
    let blue = key(&world, &json!({ "project": "blue" })).await;
    let says = |text: &str| json!([{ "role": "user", "content": text }]);
    let alpha = world.upstream("alpha");

    alpha.answers("hello").once();
    assert_eq!(world.ask("alpha/m").key(&blue).await.text(), "hello");

    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "count", "schema": schema } });
    for answer in ["{\"n\": 7}", "{\"n\": \"seven\"}"] {
        alpha.answers(answer).once();
        assert_eq!(world.ask("alpha/m").key(&red).field("response_format", format.clone()).await.text(), answer);
    }

    alpha.answers(ENGLISH).once();
    assert_eq!(world.ask("alpha/m").key(&red).field("messages", says(GERMAN)).stream().await.status, 200);

    let stuck = "I look at the file again. ".repeat(40);
    alpha.answers(stuck.trim_end()).once();
    assert_eq!(world.ask("alpha/m").key(&red).await.status, 200);

    // A stream in another dialect: Anthropic's, of a provider that speaks OpenAI's.
    let call =
        json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "delete_all", "arguments": "{}"}});
    let chunk =
        words::event(&json!({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}).to_string(), "null");
    let last = words::event(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#, "null");
    alpha.replies(Reply::stream([words::role(), chunk, last, words::usage(), words::DONE.to_owned()])).once();
    let tools = json!([{ "name": "search", "input_schema": { "type": "object" } }]);
    let body = json!({ "model": "alpha/m", "max_tokens": 9, "tools": tools, "messages": says("Hi"), "stream": true });
    let ask = world.ask("alpha/m").key(&red).path("/v1/messages").header("anthropic-version", "2023-06-01");
    assert_eq!(ask.body(body.to_string()).await.status, 200);

    let found = findings(&world, 14).await;
    let expected: [&[&str]; 5] = [
        &["characters 8", "json_valid 1", "refused 0"],
        &["characters 14", "json_valid 0 `type` is not kept at /n", "refused 0"],
        &[&format!("characters {}", ENGLISH.len()), "language_kept 0 asked in deu, answered in eng", "refused 0"],
        &["characters 1039", "refused 0", "repeated 0.975"],
        &["refused 0", "tools_known 0 the request has no tool `delete_all`"],
    ];
    assert_eq!(found, expected);
    // The same stands beside the request, for those who may see it.
    let rows = world.sql("SELECT request_id FROM scores WHERE name = 'tools_known'").await;
    let id = rows[0]["request_id"].as_str().expect("an id").to_owned();
    world.requests(6).await;
    assert!(world.run(&["show", &id]).await.out.contains("the request has no tool `delete_all`"));
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_checked_is_answered_all_the_same() {
    let world = World::setup().config(CONFIG).start().await;
    let red = key(&world, &json!({ "project": "red" })).await;
    let long = "word ".repeat(60_000);
    world.upstream("alpha").answers(&long).once();
    world.upstream("alpha").answers("hello").once();
    assert_eq!(world.ask("alpha/m").key(&red).await.text(), long);
    assert_eq!(world.ask("alpha/m").key(&red).await.text(), "hello");
    assert_eq!(findings(&world, 2).await, [["characters 5", "refused 0"]]);
}

//! A second target beside a slow one, where the operator wants it.

use penstock_tests::{Gate, Reply, World, words};
use serde_json::json;

const HEDGED: &str = r#"
[models.hedged]
hedge = "100ms"
targets = [{ model = "alpha/m" }, { model = "beta/m" }]
"#;

#[tokio::test]
async fn the_faster_of_two_targets_answers_and_the_other_is_booked_as_a_hedge() {
    let world = World::setup().config(HEDGED).start().await;
    world.upstream("alpha").replies(Reply::answer("never").held(&Gate::new())).always();
    world.upstream("beta").answers("beta").once();
    world.upstream("beta").replies(Reply::stream(words::stream("streamed").iter().map(String::as_str))).once();
    let answer = world.ask("hedged").await;
    assert_eq!((answer.text(), answer.header("x-penstock-target")), ("beta".to_owned(), "beta/m"));
    assert_eq!(world.ask("hedged").stream().await.text(), "streamed");
    let lost = "SELECT provider, outcome, failure FROM attempts ORDER BY provider, outcome";
    let rows = world.sql_until(lost, |rows| rows.len() == 4 && rows[1]["outcome"] == "cancelled").await;
    let hedge = json!({"provider": "alpha", "outcome": "cancelled", "failure": "hedge"});
    assert_eq!(rows[..2], [hedge.clone(), hedge]);
}

#[tokio::test]
async fn a_target_that_is_fast_enough_is_asked_alone() {
    let world = World::setup().config(&HEDGED.replace("100ms", "30s")).start().await;
    world.upstream("alpha").answers("alpha").always();
    assert_eq!(world.ask("hedged").await.text(), "alpha");
    world.upstream("alpha").fails(400).always();
    assert_eq!(world.ask("hedged").await.status, 400);
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

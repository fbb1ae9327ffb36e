//! Experiments: users stay in their arms through crashes, copies are never the caller's bill, and an arm that is worse is
//! stopped.

use crate::made::key;
use penstock_tests::{World, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SPLIT: &str = r#"
[models.pick]
targets = [{ model = "alpha/m" }, { model = "beta/m" }]
[[experiments]]
name = "x"
model = "pick"
arms = [
  { name = "control", percent = "50%", targets = ["alpha/m"] },
  { name = "other", percent = "50%", targets = ["beta/m"] },
]
"#;

async fn target(world: &World, user: &str) -> String {
    let answer = world.ask("pick").field("user", json!(user)).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.header("x-penstock-target").to_owned()
}

#[tokio::test]
async fn users_stay_in_their_arms_through_a_crash_and_copies_are_paid_for_by_their_own_key() {
    let shadows = "shadows = [{ name = \"copy\", percent = \"100%\", model = \"beta/other\", key = \"shadow\" }]\n";
    let mut world = World::setup().config(&format!("{SPLIT}{shadows}")).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    key(&world, &json!({ "id": "shadow", "project": "shadow" })).await;
    let mut arms = BTreeMap::new();
    for user in 0..12 {
        let user = format!("user-{user}");
        let first = target(&world, &user).await;
        assert_eq!(target(&world, &user).await, first);
        arms.insert(user, first);
    }
    let alphas = arms.values().filter(|target| *target == "alpha/m").count();
    assert!((1..12).contains(&alphas), "{arms:?}");
    world.crash().await;
    world.again().await;
    for (user, before) in &arms {
        assert_eq!(target(&world, user).await, *before);
    }
    let sql = "SELECT project, arm, strategy, count() AS requests, min(propensity) AS propensity FROM requests
        WHERE experiment = 'x' GROUP BY project, arm, strategy ORDER BY project, arm";
    let rows = world.sql_until(sql, |rows| rows.len() == 3).await;
    let shown: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["project"], &row["arm"])).collect();
    let (own, shadow) = (json!("default"), json!("shadow"));
    assert_eq!(shown, [(&own, &json!("control")), (&own, &json!("other")), (&shadow, &json!("copy"))]);
    assert_eq!((&rows[0]["propensity"], &rows[2]["strategy"]), (&json!(0.5), &json!("shadow")));
    // Of what the callers asked, each is one call, and none is the copy's.
    let sql = "SELECT project, model, count() AS calls FROM attempts GROUP BY project, model ORDER BY project, model";
    let is_whole = |rows: &[Value]| rows.iter().any(|row| row["project"] == "default" && row["calls"] == 36);
    let rows = world.sql_until(sql, is_whole).await;
    assert!(rows.iter().all(|row| (row["project"] == "shadow") == (row["model"] == "other")), "{rows:?}");
}

#[tokio::test]
async fn an_arm_that_fails_is_stopped_by_its_guard_and_its_users_are_served_by_the_first() {
    let world = World::setup().config(SPLIT).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").fails(400).always();
    let mut failed = None;
    for user in 0..140 {
        let user = format!("user-{user}");
        let answer = world.ask("pick").field("user", json!(user)).await;
        if answer.status == 400 {
            failed = Some(user);
        }
    }
    let failed = failed.expect("half of the users are in the other arm");
    until("the guard to stop the arm", async || {
        let answer = world.ask("pick").field("user", json!(failed)).await;
        (answer.header("x-penstock-target") == "alpha/m").then_some(())
    })
    .await;
    let shown = world.tool(&["experiments", "x"]).await;
    let arms = shown["data"][0]["arms"].as_array().expect("it has arms").clone();
    assert_eq!((&arms[0]["arm"], &arms[1]["arm"]), (&json!("control"), &json!("other")));
    assert!(arms[1]["stopped"].as_str().is_some_and(|why| why.starts_with("errors differ by +1")), "{shown}");
    let verdicts = arms[1]["differences"].as_array().expect("it is compared");
    assert!(verdicts.iter().any(|one| one["figure"] == "errors" && one["verdict"] == "worse"), "{shown}");
    let listed = world.get("/admin/v1/experiments").key(world.admin_key()).await.json();
    assert_eq!(listed["data"][0]["arms"][1]["stopped"], arms[1]["stopped"]);
    let alerts =
        world.sql_until("SELECT subject FROM alerts WHERE kind = 'arm_stopped'", |rows| !rows.is_empty()).await;
    assert_eq!(alerts[0]["subject"], "x/other");
    let table = world.run(&["experiments"]).await.out;
    assert!(table.contains("control") && table.contains("worse") && table.contains("stopped"), "{table}");
    let resumed = world.run(&["experiments", "x", "--resume", "other"]).await.out;
    assert!(resumed.contains("takes requests again"), "{resumed}");
}

#[tokio::test]
async fn what_another_policy_would_have_cost_is_estimated_from_decisions_that_might_have_gone_otherwise() {
    let targets = "targets = [{ model = \"alpha/m\" }, { model = \"beta/m\" }]\n";
    let world = World::setup().config(&format!("[models.pick]\nstrategy = \"weighted\"\n{targets}")).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    for _ in 0..160 {
        assert_eq!(world.ask("pick").await.status, 200);
    }
    world.requests(160).await;
    let estimate = async |policy: &str| {
        let file = world.folder().path().join("policy.toml");
        std::fs::write(&file, format!("[models.pick]\n{policy}\n")).expect("the folder can be written to");
        let file = file.to_str().expect("its path is text").to_owned();
        world.tool(&["route", "what-if", "--policy", &file, "--since", "1h"]).await["data"][0]["figures"].clone()
    };
    let figure = |figures: &Value, name: &str| {
        let found = figures.as_array().and_then(|all| all.iter().find(|one| one["figure"] == name));
        found.unwrap_or_else(|| panic!("{figures}")).clone()
    };
    let cheap = estimate("strategy = \"fallback\"\ntargets = [{ model = \"beta/m\" }]").await;
    let cost = figure(&cheap, "cost");
    let (before, after) = (cost["before"]["mean"].as_f64(), cost["after"]["mean"].as_f64());
    assert!(after.is_some_and(|after| after < before.unwrap() / 3.0), "{cost}");
    assert_eq!(figure(&cheap, "errors")["after"]["mean"], json!(0.0));
    let unknown = estimate("strategy = \"fallback\"\ntargets = [{ model = \"gamma/m\" }]").await;
    let cost = figure(&unknown, "cost");
    assert_eq!((&cost["after"], &cost["unseen"]), (&Value::Null, &json!(1.0)), "nothing is known of it");
    // Which of them a cheaper new one would have won, nobody foretold.
    let new = format!("strategy = \"cost\"\n{}", targets.replace("]\n", ", { model = \"gamma/m\" }]\n"));
    assert_eq!(figure(&estimate(&new).await, "cost")["after"], Value::Null);
    let here = format!(
        "strategy = \"fallback\"\nregions = [\"eu\"]\n{}",
        targets.replace("\"beta/m\"", "\"beta/m\", region = \"eu\"")
    );
    let kept = figure(&estimate(&here).await, "cost");
    assert_eq!(
        kept["after"]["mean"],
        figure(&cheap, "cost")["after"]["mean"],
        "a hard rule of the whole model is looked at"
    );
}

#[tokio::test]
async fn a_policy_whose_conditions_the_ledger_cannot_judge_is_refused_and_says_which() {
    let world = World::setup().start().await;
    let run = async |policy: &str, more: &[&str]| {
        let file = world.folder().write("policy.toml", policy);
        let file = file.to_str().expect("its path is text").to_owned();
        world.run(&[&["route", "what-if", "--policy", &file][..], more].concat()).await
    };
    let targets = "strategy = \"cost\"\ntargets = [{ model = \"alpha/m\" }, { model = \"beta/m\" }]\n";
    let ruled = format!(
        "[models.ruled]\n{targets}rules = [{{ name = \"agents\", match = {{ tools = true }}, targets = [\"alpha/m\"] }}]\n"
    );
    let plain = format!("[models.plain]\n{targets}");
    let refused = run(&ruled, &[]).await;
    assert!(refused.code != 0, "{}", refused.out);
    assert!(refused.err.contains("`ruled`") && refused.err.contains("(agents)"), "{}", refused.err);
    let both = format!("{ruled}{plain}");
    let told = run(&both, &["--format", "json"]).await;
    let told: Value = serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {}", told.out));
    let of = |name: &str| told["data"].as_array().and_then(|all| all.iter().find(|one| one["model"] == name));
    assert!(of("ruled").is_some_and(|one| one["refused"].is_string()), "{told}");
    assert!(of("plain").is_some_and(|one| one["refused"].is_null()), "{told}");
    assert!(run(&both, &["--model", "plain"]).await.code == 0);
    assert!(run(&both, &["--model", "ruled"]).await.code != 0);
}

#[tokio::test]
async fn a_score_of_a_stranger_counts_nowhere_for_a_request_of_another_project() {
    let split = SPLIT.replace("model = \"pick\"\n", "model = \"pick\"\nscore = \"good\"\n");
    let world = World::setup().config(&split).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    let stranger = key(&world, &json!({ "project": "strangers" })).await;
    for user in 0..12 {
        let answer = world.ask("pick").field("user", json!(format!("user-{user}"))).await;
        let id = answer.header("x-penstock-request-id").to_owned();
        let score = |value: u32| json!({ "request_id": id, "name": "good", "value": value });
        // Before the request is in ClickHouse its project is not known: a stranger's score is stored, under the stranger's project.
        let strange = world.post("/v1/feedback", &score(0)).key(&stranger).await;
        assert!([200, 404].contains(&strange.status.as_u16()), "{}", strange.raw());
        assert_eq!(world.post("/v1/feedback", &score(1)).await.status, 200);
    }
    world.sql_until("SELECT 1 FROM scores WHERE project = 'default'", |rows| rows.len() == 12).await;
    assert!(world.count("SELECT count() FROM scores WHERE project = 'strangers'").await > 0);
    world.sql_until("SELECT 1 FROM requests WHERE experiment = 'x'", |rows| rows.len() == 12).await;
    let shown = world.tool(&["experiments", "x"]).await;
    let arms = shown["data"][0]["arms"].as_array().expect("it has arms").clone();
    let means: Vec<&Value> = arms.iter().map(|arm| &arm["score"]["mean"]).filter(|mean| !mean.is_null()).collect();
    assert!(!means.is_empty() && means.iter().all(|mean| **mean == json!(1.0)), "{shown}");
}

//! The metrics that operators look at: every one that the rules and the dashboard name is there on the running product, and a
//! caller cannot add a label.

use penstock_tests::{Reply, World, checkout, until_right, words};
use serde_json::Value;
use std::collections::BTreeSet;

/// The expressions of the rules, and the names that they record.
fn rules() -> (Vec<String>, BTreeSet<String>) {
    let text = std::fs::read_to_string(checkout().join("deploy/observability/rules.yml")).expect("the rules are there");
    let after = |word: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.trim().strip_prefix(word)?.trim().to_owned())).collect()
    };
    (after("expr:"), after("- record:").into_iter().collect())
}

/// The expressions of the dashboard.
fn panels() -> Vec<String> {
    let text = std::fs::read(checkout().join("deploy/observability/dashboard.json")).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_slice(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets.map(|target| target["expr"].as_str().expect("it has an expression").to_owned()).collect()
}

/// The names of metrics and of labels in an expression.
fn names(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        let end = rest[at..].find(|c| !is_word(c)).map_or(rest.len(), |length| at + length);
        let (word, after) = (&rest[at..end], &rest[end..]);
        rest = after;
        if word.starts_with("penstock") || word.starts_with("gen_ai") {
            metrics.insert(word.to_owned());
            if let Some(matchers) = after.strip_prefix('{').and_then(|after| after.split('}').next()) {
                labels.extend(
                    matchers.split(',').filter_map(|one| Some(one.split(['=', '!']).next()?.trim().to_owned())),
                );
                rest = &after[after.find('}').unwrap_or(0)..];
            }
        } else if word == "by" {
            let inside = after.split_once('(').and_then(|(_, after)| after.split_once(')'));
            let (inside, after) = inside.expect("`by` has a list");
            labels.extend(inside.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        }
    }
    (metrics, labels)
}

/// The names of metrics and labels that a process tells.
fn told(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        metrics.insert(line[..end].to_owned());
        if let Some((inside, _)) = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')) {
            labels.extend(inside.split("\",").filter_map(|one| Some(one.split_once('=')?.0.to_owned())));
        }
    }
    (metrics, labels)
}

const BUDGET: &str = "[[budgets]]\nname = \"all\"\nlimit_usd = \"50\"\ncycle = \"monthly\"\n";

/// All metrics of all roles, which run in one process here.
async fn metrics(world: &World) -> String {
    world.get("/metrics").key(world.admin_key()).await.raw()
}

#[tokio::test]
async fn no_rule_and_no_panel_names_a_metric_or_a_label_that_does_not_exist() {
    let world = World::setup().config(BUDGET).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let world = world.env("OTEL_BSP_SCHEDULE_DELAY", "20").start().await;
    let refused = Reply::whole(401, words::error("no", "invalid_request_error", None, None).to_string());
    world.upstream("alpha").replies(refused).always();
    world.upstream("beta").answers("hello");
    for ask in [world.ask("fast"), world.ask("fast").stream()] {
        assert_eq!(ask.await.text(), "hello");
    }
    let (expressions, recorded) = rules();
    let expressions: Vec<String> = expressions.into_iter().chain(panels()).collect();
    assert!(expressions.len() > 40, "{} expressions", expressions.len());
    let missing = async || -> Vec<String> {
        let (metrics, labels) = told(&metrics(&world).await);
        let mut missing = BTreeSet::new();
        for expression in &expressions {
            let (named, by) = names(expression);
            assert!(!named.is_empty(), "{expression}");
            missing.extend(named.into_iter().filter(|name| !metrics.contains(name) && !recorded.contains(name)));
            missing.extend(by.into_iter().filter(|label| !labels.contains(label)));
        }
        missing.into_iter().collect()
    };
    until_right("every metric that is named", async || {
        let missing = missing().await;
        // Nothing waits for a place here: the family is empty, and so not told.
        let missing: Vec<&String> = missing.iter().filter(|name| *name != "penstock_queued_calls").collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_callers_write_adds_no_label_and_breaks_no_line() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello");
    let names = ["alpha/made-up-1", "alpha/made-up-2", "alpha/made-up-3"];
    for name in names {
        let ask =
            world.ask(name).header("x-penstock-tags", "feature=made-up-tag").header("x-penstock-user", "made-up-user");
        assert_eq!(ask.await.status, 200);
    }
    world.ask("made-up\nname\"} 1").await;
    world.attempts(3).await;
    let text = metrics(&world).await;
    assert!(
        text.contains("penstock_tokens_total{provider=\"alpha\",model=\"other\",class=\"input_tokens\"} 18"),
        "{text}"
    );
    assert!(!text.contains("made-up"), "{text}");
    let is_line = |line: &str| line.starts_with('#') || line.starts_with("penstock_") || line.starts_with("gen_ai_");
    assert!(text.lines().all(is_line), "{text}");
}

//! The cache while what it stands on is killed: an answer goes to its own project alone, and what comes from the cache costs
//! nothing, in the ledger and in the budget's book. The provider gives each call an answer of its own, so that each answer
//! names the call, and with it the project, that it was made for.

use crate::made::{key, post};
use futures_util::stream::{self, StreamExt};
use penstock_tests::{Answer, Ask, Reply, World, tool, until, until_right};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What both projects ask, in several wordings.
const QUESTIONS: [&str; 9] = [
    "How do I reset my password?",
    "How can I reset my password?",
    "How do I reset my Gmail password?",
    "How can I reset my Gmail password?",
    "What is the capital of France?",
    "Which city is the capital of France?",
    "What is the capital of Austria?",
    "How many calories are in 2 eggs?",
    "How many calories do 2 eggs have?",
];
const PROJECTS: [&str; 2] = ["first", "second"];

/// Requests of a round, how many of them are sent before something is killed, and requests at once.
const REQUESTS: usize = 60;
const BEFORE: usize = 20;
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Nats,
    ClickHouse,
    /// The ingress with its index, the workers and analytics.
    Everything,
}

/// What came back, and for which project.
struct Served {
    project: &'static str,
    cache: String,
    answer: String,
}

fn asks(world: &World, keys: &[String]) -> Vec<(&'static str, Ask)> {
    let mut dice = 11_usize;
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let one = |_| {
        let (at, question) = (roll(PROJECTS.len()), QUESTIONS[roll(QUESTIONS.len())]);
        let ask =
            world.ask("alpha/m").key(&keys[at]).field("messages", json!([{ "role": "user", "content": question }]));
        (PROJECTS[at], ask.header("x-penstock-timeout-ms", "8000"))
    };
    (0..REQUESTS).map(one).collect()
}

async fn kill(world: &mut World, victim: Victim) {
    match victim {
        Victim::Nats => world.replace_child("nats-server").await,
        Victim::ClickHouse => world.replace_child("clickhouse --files").await,
        Victim::Everything => world.replace_up().await,
    }
    world.is_ready_again().await;
}

/// A round of load with a death in its middle: what was answered.
async fn round(world: &mut World, keys: &[String], victim: Victim) -> Vec<Served> {
    let (asks, sent) = (asks(world, keys), AtomicUsize::new(0));
    let load = stream::iter(asks).map(|(project, ask)| {
        sent.fetch_add(1, Ordering::Relaxed);
        async move { (project, ask.try_send().await) }
    });
    let load = load.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let death = async {
        until("load", async || (sent.load(Ordering::Relaxed) >= BEFORE).then_some(())).await;
        kill(world, victim).await;
    };
    let (answers, ()) = tokio::join!(load, death);
    let served = |(project, answer): (&'static str, Option<Answer>)| {
        let answer = answer.filter(|answer| answer.status == 200)?;
        Some(Served { project, cache: answer.header("x-penstock-cache").to_owned(), answer: answer.text() })
    };
    answers.into_iter().filter_map(served).collect()
}

/// Waits until each call has its row, and the budget's book says what the ledger says. Gives the project of each attempt.
async fn settled(world: &World) -> HashMap<String, String> {
    let sql = "SELECT toString(attempt_id) AS id, project, running, charged_usd FROM attempts WHERE provider = 'alpha'";
    until_right("the ledger and the book to agree", async || {
        let waiting = world.waiting().await;
        if waiting != Some(0) {
            return Err(format!("in NATS wait: {waiting:?}"));
        }
        let rows = world.try_sql(sql).await?;
        let projects: HashMap<String, String> = rows
            .iter()
            .filter_map(|row| Some((row["id"].as_str()?.to_owned(), row["project"].as_str()?.to_owned())))
            .collect();
        let calls = world.upstream("alpha").calls();
        let missing = calls.iter().filter(|call| !projects.contains_key(&call.attempt_id())).count();
        let running = rows.iter().filter(|row| row["running"] == true).count();
        let charged = world.try_sql("SELECT toString(sum(charged_usd)) AS usd FROM attempts").await?[0]["usd"].clone();
        let answer = world.get("/admin/v1/budgets/all").key(world.admin_key()).await.json();
        let book = &answer["windows"][0];
        let text = |field: &str| book[field]["usd"].as_str().or(book[field].as_str()).map(str::to_owned);
        let (spent, reserved) = (text("settled"), text("reserved"));
        let agree = spent.as_deref() == charged.as_str() && reserved.as_deref() == Some("0");
        let is_right = missing == 0 && running == 0 && rows.len() == projects.len() && agree;
        let told =
            || format!("{missing} missing, {running} running, ledger {charged}, book {spent:?} and {reserved:?}");
        if is_right { Ok(projects) } else { Err(told()) }
    })
    .await
}

#[tokio::test]
async fn whatever_is_killed_the_cache_serves_no_other_project_and_what_it_serves_costs_nothing() {
    let models = tool("PENSTOCK_LOCAL_MODELS");
    let config = "[cache]\nmode = \"semantic\"\nthreshold = 0.5\nsample = \"0%\"\n";
    let mut world = World::setup().config(config).env("PENSTOCK_LOCAL_MODELS", &models).start().await;
    for n in 0..PROJECTS.len() * REQUESTS * 4 {
        world.upstream("alpha").replies(Reply::answer(&n.to_string())).once();
    }
    let budget = post(&world, "budgets", &json!({ "name": "all", "limit_usd": "5", "cycle": "total" })).await;
    assert!(budget.status.is_success(), "{}", budget.raw());
    let mut keys = Vec::new();
    for project in PROJECTS {
        keys.push(key(&world, &json!({ "project": project })).await);
    }
    let mut served = Vec::new();
    for victim in [Victim::Nats, Victim::Everything, Victim::ClickHouse, Victim::Everything] {
        served.extend(round(&mut world, &keys, victim).await);
    }
    let (projects, calls) = (settled(&world).await, world.upstream("alpha").calls());
    let mut sums: HashMap<&str, usize> = HashMap::new();
    for Served { project, cache, answer } in &served {
        let call = &calls[answer.parse::<usize>().expect("the number of a call")];
        assert_eq!(projects[&call.attempt_id()], *project, "{cache}: answer {answer} is of another project");
        *sums.entry(cache).or_default() += 1;
    }
    println!("{} calls; served: {sums:?}", calls.len());
    let is_hit = |cache: &str| ["exact", "semantic"].contains(&cache);
    let hits: usize = sums.iter().filter(|(cache, _)| is_hit(cache)).map(|(_, count)| count).sum();
    assert!(hits > REQUESTS && sums.contains_key("semantic"), "{sums:?}");
    let paid = world
        .sql("SELECT count() AS paid FROM requests WHERE cache IN ('exact', 'semantic', 'joined') AND cost_usd != 0")
        .await;
    assert_eq!(paid[0]["paid"], json!(0), "no hit is charged");
    let asked: Value = world
        .sql(
            "SELECT count() AS asked FROM attempts WHERE provider = 'alpha' AND request_id IN
            (SELECT request_id FROM requests WHERE cache IN ('exact', 'semantic', 'joined'))",
        )
        .await[0]["asked"]
        .clone();
    assert_eq!(asked, json!(0), "no hit asks the provider");
}

//! What must be true at the end: of the results, of the ledger beside what the providers counted, of the budget, and of those
//! who asked meanwhile.

#![expect(clippy::print_stdout, reason = "the figures of the long run are worth reading")]

use super::callers::SteadyCallers;
use super::{Deployment, model};
use crate::batches::{names, results as lines_of};
use penstock_tests::until_right;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What an answer costs, in picodollars, at each provider; with the native batch API half of the price.
const PRICES: [(&str, u64); 3] = [("alpha/m", 60_000_000), ("beta/m", 1_666_685), ("native/m", 60_000_000)];
const OF_A_BATCH: u64 = 30_000_000;

fn price(model: &str) -> u64 {
    PRICES.iter().find(|(name, _)| *name == model).expect("it has a price").1
}

/// As the gateway writes dollars.
fn dollars(picodollars: u64) -> String {
    let (whole, part) = (picodollars / 1_000_000_000_000, picodollars % 1_000_000_000_000);
    format!("{whole}.{part:012}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is wrong with how long callers wait beside a batch: no longer than by themselves, as the issue has it.
pub(super) fn callers(callers: &SteadyCallers, [alone, beside, end]: [Instant; 3]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (which, name) in ["slow", "failing"].into_iter().enumerate() {
        let (before, with) = (callers.between(which, alone, beside), callers.between(which, beside, end));
        println!("callers of the {name} provider, alone: {before}; beside the batch: {with}");
        for second in 0..20 {
            let at = beside + Duration::from_secs(second);
            println!("  {name} {second}: {}", callers.between(which, at, at + Duration::from_secs(1)));
        }
        let is_answered = with.statuses.keys().all(|status| *status == 200);
        if with.most > before.most.mul_f64(1.5) + Duration::from_millis(250) || !is_answered {
            wrong.push(format!("callers of the {name} provider, alone: {before}; beside the batch: {with}"));
        }
    }
    wrong
}

/// Exactly one result for each line, in their order, and each an answer.
pub(super) async fn results(deployment: &Deployment, batch: &Value, count: u64) {
    if batch["error_file_id"].is_string() {
        let failed = lines_of(&deployment.world, batch, "error_file_id").await;
        panic!("no line may fail: {} did, the first: {:#?}", failed.len(), failed.first());
    }
    assert_eq!(batch["request_counts"], json!({ "total": count, "completed": count, "failed": 0 }), "{batch}");
    let results = lines_of(&deployment.world, batch, "output_file_id").await;
    let expected: Vec<String> = (0..count).map(|at| format!("line-{at}")).collect();
    assert_eq!(names(&results), expected);
    let requests: HashSet<_> = results.iter().map(|result| result["response"]["request_id"].to_string()).collect();
    assert_eq!(requests.len(), results.len());
    let runs = deployment.native.runs();
    let twice: Vec<_> = runs.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "paid twice at the provider's batch API: {twice:?}");
}

/// What the answers of the batch come to.
pub(super) fn cost(deployment: &Deployment, count: u64) -> String {
    let ran = u64::try_from(deployment.native.runs().len()).unwrap_or_default();
    let all: u64 = (0..count).map(|at| price(model(at))).sum();
    dollars(all - ran * (price("native/m") - OF_A_BATCH))
}

/// One row for each call that a provider saw, with its price, and no other row but of calls that it never saw; and the budget
/// has what the rows come to.
pub(super) async fn ledger(deployment: &Deployment, id: &str) {
    let reached = reached(deployment);
    let rows = rows(deployment, &reached).await;
    let (mut seen, mut counts) = (HashSet::new(), BTreeMap::<String, usize>::new());
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        assert!(seen.insert(text("id")), "twice in the ledger: {row}");
        let outcome = text("outcome");
        let is_native = row["native_batch"] == true || text("provider") == "native";
        let is_unsent = matches!(outcome, "refused" | "cancelled" | "unknown");
        assert!(reached.contains_key(text("id")) || is_native || is_unsent, "no provider saw it: {row}");
        if outcome == "served" {
            let price =
                if row["native_batch"] == true { OF_A_BATCH } else { price(&format!("{}/m", text("provider"))) };
            assert_eq!((text("cost"), row["tokens"].as_u64()), (dollars(price).as_str(), Some(15)), "{row}");
        } else if outcome == "unknown" {
            assert_eq!(text("cost"), text("worst"), "{row}");
        }
        let of = if text("batch") == id { "batch" } else { "caller" };
        *counts.entry(format!("{of} {} {outcome}", text("provider"))).or_default() += 1;
    }
    println!("rows of the ledger: {counts:?}; calls that reached a provider: {}", reached.len());
    println!("native batches: {}, lines in them: {}", deployment.native.batches(), deployment.native.runs().len());
    let native = rows.iter().filter(|row| row["native_batch"] == true && row["outcome"] == "served").count();
    assert_eq!(native, deployment.native.runs().len(), "a row for each line that the batch API ran: {counts:?}");
    budget(deployment).await;
}

/// The provider of each call, by the id of its attempt.
fn reached(deployment: &Deployment) -> HashMap<String, &'static str> {
    let mut reached = HashMap::new();
    for name in ["alpha", "beta"] {
        for call in deployment.world.upstream(name).calls() {
            assert_eq!(reached.insert(call.attempt_id(), name), None, "no attempt reaches a provider twice");
        }
    }
    reached
}

/// All rows, once there is one for each call and nothing runs.
async fn rows(deployment: &Deployment, reached: &HashMap<String, &'static str>) -> Vec<Value> {
    let world = &deployment.world;
    until_right("the ledger to be quiet", async || {
        let waiting = world.waiting().await;
        let running = world.try_sql("SELECT count() AS left FROM attempts WHERE running").await?;
        if waiting == Some(0) && running[0]["left"] == 0 { Ok(()) } else { Err(format!("{waiting:?}, {running:?}")) }
    })
    .await;
    let statement = "SELECT toString(attempt_id) AS id, provider, outcome, native_batch, batch_id AS batch,
        toString(cost_usd) AS cost, toString(worst_case_usd) AS worst, total_input_tokens + total_output_tokens AS tokens FROM attempts";
    until_right("a row for each call", async || {
        let rows = world.try_sql(statement).await?;
        let known: HashSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        let missing: Vec<_> = reached.keys().filter(|id| !known.contains(id.as_str())).take(5).collect();
        if missing.is_empty() { Ok(rows) } else { Err(format!("there are none for {missing:?}")) }
    })
    .await
}

/// That the budget was charged what the ledger says.
async fn budget(deployment: &Deployment) {
    let world = &deployment.world;
    until_right("the budget to be settled", async || {
        let spent = world.try_sql("SELECT toString(sum(charged_usd)) AS charged FROM attempts").await?;
        let budget = world.get("/admin/v1/budgets/all").key(world.admin_key()).await.json();
        let window = &budget["windows"][0];
        let is_settled = window["settled"] == spent[0]["charged"] && window["reserved"] == "0";
        if is_settled { Ok(()) } else { Err(format!("the ledger says {}, and the budget {budget}", spent[0])) }
    })
    .await;
}

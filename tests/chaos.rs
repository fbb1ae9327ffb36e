//! Everything is killed under load, one thing after another, twice; and not a call is lost from the ledger, and none is in it
//! twice. The upstreams count: they keep the id of every attempt that reached them.

mod availability;

use futures_util::stream::{self, StreamExt};
use penstock_tests::{Answer, Process, World, until, until_right};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Calls in each of ten phases, how many of them are sent before something is killed, and calls at once.
const CALLS: usize = 150;
const BEFORE: usize = 50;
const AT_ONCE: usize = 16;

/// What is killed in each phase.
#[derive(Clone, Copy, Debug)]
enum Victim {
    FirstWorker,
    Analytics,
    ClickHouse,
    Nats,
    SecondWorker,
}

const VICTIMS: [Victim; 5] =
    [Victim::FirstWorker, Victim::Analytics, Victim::ClickHouse, Victim::Nats, Victim::SecondWorker];

/// Penstock with its roles apart, so that each can die alone.
struct Cluster {
    world: World,
    workers: [Process; 2],
    analytics: Process,
}

impl Cluster {
    async fn start() -> Self {
        let mut world = World::setup().apart().start().await;
        let workers = [world.worker().await, world.worker().await];
        let (analytics, _) = world.role("analytics").await;
        Self { world, workers, analytics }
    }

    /// Kills it, and waits until there is another one.
    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::FirstWorker => self.world.replace(&mut self.workers[0], "worker").await,
            Victim::SecondWorker => self.world.replace(&mut self.workers[1], "worker").await,
            Victim::Analytics => self.world.replace(&mut self.analytics, "analytics").await,
            Victim::ClickHouse => self.world.replace_child("clickhouse --files").await,
            Victim::Nats => self.world.replace_child("nats-server").await,
        }
        self.world.is_ready_again().await;
    }

    /// A phase of load, with a death in its middle. Gives every answer, whatever it is.
    async fn phase(&mut self, victim: Victim) -> Vec<Answer> {
        let asks: Vec<_> = (0..CALLS)
            .map(|n| {
                let ask = self.world.ask(if n % 5 == 0 { "beta/m" } else { "fast" });
                let ask = ask.header("x-penstock-timeout-ms", "4000");
                if n % 3 == 0 { ask.stream() } else { ask }
            })
            .collect();
        let sent = AtomicUsize::new(0);
        let load = stream::iter(asks).map(|ask| {
            sent.fetch_add(1, Ordering::Relaxed);
            ask.send()
        });
        let load = load.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let kill = async {
            until("load", async || (sent.load(Ordering::Relaxed) >= BEFORE).then_some(())).await;
            self.kill(victim).await;
        };
        tokio::join!(load, kill).0
    }
}

/// The status of each attempt that reached an upstream, by its id.
fn reached(world: &World) -> HashMap<String, &'static str> {
    let calls = ["alpha", "beta"].into_iter().flat_map(|name| {
        let calls = world.upstream(name).calls();
        // A circuit that has opened asks now and then whether its provider is well again: no attempt.
        calls.into_iter().filter(|call| call.path != "models").map(move |call| (call.attempt_id(), name))
    });
    let mut reached = HashMap::new();
    for (id, name) in calls {
        assert_eq!(id.len(), 36, "every call carries its attempt's id");
        assert_eq!(reached.insert(id, name), None, "no attempt reaches a provider twice");
    }
    reached
}

/// Waits until NATS holds no more events, everything that reached an upstream is in ClickHouse, and nothing is running.
async fn quiet(world: &World) -> Vec<Value> {
    let wanted = reached(world);
    let rows = "SELECT toString(attempt_id) AS id, toString(request_id) AS request, provider, outcome, running,
        toString(cost_usd) AS cost, toString(worst_case_usd) AS worst FROM attempts";
    until_right("the ledger to be complete and quiet", async || {
        let waiting = world.waiting().await;
        if waiting != Some(0) {
            return Err(format!("in NATS wait: {waiting:?}"));
        }
        let rows = world.try_sql(rows).await?;
        let known: HashSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        let missing: Vec<&String> = wanted.keys().filter(|id| !known.contains(id.as_str())).collect();
        let running = rows.iter().filter(|row| row["running"] == true).count();
        let is_right = missing.is_empty() && running == 0;
        if is_right { Ok(rows) } else { Err(format!("{running} are running, and there are no rows for {missing:?}")) }
    })
    .await
}

/// Each row is of a call that was made, once, and costs what it cost.
fn check(rows: &[Value], reached: &HashMap<String, &'static str>) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    let mut seen = HashSet::new();
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let outcome = text("outcome");
        assert!(seen.insert(text("id").to_owned()), "twice in the ledger: {row}");
        match reached.get(text("id")) {
            Some(provider) => assert_eq!(text("provider"), *provider, "{row}"),
            // A worker may be told to stop between its note and the call.
            None => {
                let is_unsent = outcome == "refused" || outcome == "cancelled" && text("cost").is_empty();
                assert!(is_unsent || outcome == "unknown", "no provider was called: {row}");
            }
        }
        let price = if text("provider") == "alpha" { "0.00006" } else { "0.000001666685" };
        let is_right = match outcome {
            "served" => text("cost") == price,
            "unknown" => text("cost") == text("worst"),
            // A provider may have answered somebody who could not be reached any more.
            _ => text("cost").is_empty() || text("cost") == price,
        };
        assert!(is_right, "{row}");
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    outcomes
}

#[tokio::test]
async fn kills_under_load_lose_no_attempt_and_count_none_twice() {
    let begun = Instant::now();
    let mut cluster = Cluster::start().await;
    println!("{:>6.1?}  all roles are ready", begun.elapsed());
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    let mut answered = HashSet::new();
    for victim in VICTIMS.into_iter().chain(VICTIMS) {
        // Some calls are refused first, so that there are retries under way.
        cluster.world.upstream("alpha").fails(529).times(10);
        cluster.world.upstream("alpha").answers("hello").always();
        let mut now: BTreeMap<u16, usize> = BTreeMap::new();
        for answer in cluster.phase(victim).await {
            *now.entry(answer.status.as_u16()).or_default() += 1;
            *statuses.entry(answer.status.as_u16()).or_default() += 1;
            if answer.status == 200 {
                answered.insert(answer.header("x-penstock-request-id").to_owned());
            }
        }
        println!("{:>6.1?}  {victim:?} killed: {now:?}", begun.elapsed());
    }
    let rows = quiet(&cluster.world).await;
    let reached = reached(&cluster.world);
    let outcomes = check(&rows, &reached);
    let requests: HashSet<&str> = rows.iter().filter_map(|row| row["request"].as_str()).collect();
    assert!(answered.iter().all(|request| requests.contains(request.as_str())), "an answer that nobody was billed for");
    assert!(answered.len() > 5 * CALLS, "most calls are answered, also while things die: {statuses:?}");
    println!(
        "{:>6.1?}  {} calls {statuses:?}; {} attempts reached a provider; {} rows {outcomes:?}",
        begun.elapsed(),
        10 * CALLS,
        reached.len(),
        rows.len()
    );
}

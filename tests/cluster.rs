//! A cluster of three nats-servers, every stream on three of them, and kill -9 of one at a time under load: callers are
//! answered, and the ledger has every call once. The upstreams count: they keep the id of every attempt that reached them.
//! `PENSTOCK_SOAK_KILLS` makes it longer: see tests/soak/README.md.

use futures_util::future::join_all;
use penstock_tests::{NatsCluster, Process, World, until_right};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Callers at once, and the pause of each between two requests: a load that two busy cores bear with all their servers.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(40);

/// Kills in the short run.
const KILLS: usize = 2;

/// The longest that a server stays dead, and that it gets before the next dies: an election takes 4 to 9 s, and a server that
/// is back must have caught up.
const DEAD: Duration = Duration::from_secs(4);
const BACK: Duration = Duration::from_secs(8);

async fn world(cluster: &NatsCluster) -> World {
    let setup = World::setup().apart().env("PENSTOCK_NATS_URL", &cluster.url()).env("PENSTOCK_NATS_REPLICAS", "3");
    setup.start().await
}

/// What came of the requests.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<String, usize>,
    slowest: Duration,
}

/// Asks until it is over.
async fn call(world: &World, is_over: &AtomicBool, sent: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    while !is_over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let ask = world.ask("alpha/m").header("x-penstock-timeout-ms", "20000");
        let begun = Instant::now();
        let answer = if number.is_multiple_of(3) { ask.stream().try_send().await } else { ask.try_send().await };
        let status = match &answer {
            Some(answer) if answer.status == 200 && answer.raw().contains("hello") => "right".to_owned(),
            Some(answer) if answer.status == 200 => format!("cut: {}", answer.raw()),
            Some(answer) => answer.error(),
            None => "connection lost".to_owned(),
        };
        tally.slowest = tally.slowest.max(begun.elapsed());
        *tally.statuses.entry(status).or_default() += 1;
        sleep(PAUSE).await;
    }
    tally
}

/// Waits until each call that reached the upstream has a row that is over, and says what is wrong with the rows.
async fn rows(world: &World) -> Vec<Value> {
    let reached: BTreeSet<String> = world.upstream("alpha").calls().iter().map(|call| call.attempt_id()).collect();
    until_right("a row for every call", async || {
        let rows = world.try_sql("SELECT toString(attempt_id) AS id, outcome, running FROM attempts").await?;
        let known: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        let missing = reached.iter().filter(|id| !known.contains(id.as_str())).count();
        let running = rows.iter().filter(|row| row["running"] == true).count();
        if missing == 0 && running == 0 { Ok(rows) } else { Err(format!("{missing} are missing, {running} running")) }
    })
    .await
}

#[tokio::test]
async fn a_cluster_that_loses_one_server_at_a_time_answers_and_loses_and_doubles_nothing() {
    let kills = std::env::var("PENSTOCK_SOAK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let begun = Instant::now();
    let mut cluster = NatsCluster::start();
    let mut world = world(&cluster).await;
    let _workers: [Process; 2] = [world.worker().await, world.worker().await];
    world.upstream("alpha").answers("hello").always();
    println!("{:>6.1?} all roles are ready", begun.elapsed());
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..CALLERS).map(|_| call(&world, &is_over, &sent)));
    let killing = async {
        sleep(Duration::from_secs(2)).await;
        for kill in 0..kills {
            // The one that the ledger cannot do without, and then any.
            let victim = if kill % 2 == 0 { cluster.leader("ps_USAGE").await } else { kill % 3 };
            cluster.kill(victim).await;
            sleep(DEAD).await;
            cluster.revive(victim);
            sleep(BACK).await;
            println!("{:>6.1?} n{victim} was killed and is back", begun.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (tallies, ()) = tokio::join!(load, killing);
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for (status, count) in tallies.iter().flat_map(|tally| &tally.statuses) {
        *statuses.entry(status.clone()).or_default() += count;
    }
    let slowest = tallies.iter().map(|tally| tally.slowest).max().unwrap_or_default();
    let all: usize = statuses.values().sum();
    let right = statuses.get("right").copied().unwrap_or_default();
    println!("{:>6.1?} the load is over", begun.elapsed());
    let rows = rows(&world).await;
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *outcomes.entry(row["outcome"].as_str().unwrap_or_default()).or_default() += 1;
    }
    println!("{:>6.1?} every call has its row: {outcomes:?}", begun.elapsed());
    let (calls, unique) = (world.upstream("alpha").calls().len(), rows.len());
    println!("{all} requests, {right} right, slowest {slowest:.1?}: {statuses:?}; {calls} calls, {unique} rows");
    let ids: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "an attempt is in the ledger twice");
    assert!(all >= 100, "there was load: {all}");
    assert!((all - right) * 1000 <= all, "{right} of {all} were answered right: {statuses:?}");
}

#[tokio::test]
async fn roles_that_start_at_once_on_a_fresh_cluster_all_become_ready() {
    let cluster = NatsCluster::start();
    let mut world = world(&cluster).await;
    let mut roles = Vec::new();
    for role in ["worker", "ingress", "analytics", "worker", "ingress"] {
        roles.push(world.begin_role(role));
    }
    for role in &mut roles {
        role.says("ready").await;
    }
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
}

//! A batch for three providers, one slow, one that fails a twentieth of its calls and one with a batch API of its own, while
//! everything is killed at random moments. The providers count: what they saw is what the batch, the ledger and the budget
//! say. In the long run of `tests/soak/README.md`, callers ask beside it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod callers;
mod checks;

use crate::batches::{create, line, soak, upload};
use callers::SteadyCallers;
use penstock_tests::{Ask, BatchKind, BatchUpstream, LONG, Process, Reply, World, memory_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Which model line number `at` is for.
const MODELS: [&str; 3] = ["alpha/m", "beta/m", "native/m"];

/// Of so many calls, the failing provider fails one.
const FAILS: usize = 20;

/// The provider with a batch API of its own, and a budget that all is paid from.
const CONFIG: &str = r#"
[providers.native]
dialect = "openai"
base_url = "{native}"
keys = ["env:BETA_KEY"]
batch_api = "openai"
probe = false
[[prices]]
model = "native/m"
input_usd_per_million = "1"
output_usd_per_million = "10"
batch_rate = "0.5"
[[budgets]]
name = "all"
match = { project = "default" }
limit_usd = "1000"
cycle = "total"
"#;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Worker,
    Nats,
    Ingress,
    Analytics,
    ClickHouse,
    /// An ingress, the workers of all providers and analytics at once; then nats-server and ClickHouse are others, too.
    Up,
}

const VICTIMS: [Victim; 6] =
    [Victim::Worker, Victim::Nats, Victim::Ingress, Victim::Analytics, Victim::ClickHouse, Victim::Up];

/// A whole deployment, and a worker, an ingress and an analytics role besides.
struct Deployment {
    world: World,
    native: BatchUpstream,
    worker: Process,
    ingress: Process,
    analytics: Process,
    callers: Option<SteadyCallers>,
    /// What each process had of the machine's memory, in megabytes.
    memory: Vec<usize>,
}

impl Deployment {
    /// One whose slow provider takes so long.
    async fn start(slow: Duration) -> Self {
        let native = BatchUpstream::start(BatchKind::Openai).await;
        let at_once = number("PENSTOCK_SOAK_AT_ONCE", 8);
        let config = format!("{}[batch]\nat_once = {at_once}\n", CONFIG.replace("{native}", &native.url()));
        let mut world = World::setup().config(&config).start().await;
        world.upstream("alpha").replies(Reply::answer("slow").slow(slow)).always();
        world.upstream("beta").answers("fast").always();
        world.upstream("beta").fails_each(FAILS, 500);
        let worker = world.worker().await;
        let (ingress, analytics) = (world.role("ingress").await.0, world.role("analytics").await.0);
        Self { world, native, worker, ingress, analytics, callers: None, memory: Vec::new() }
    }

    /// What callers ask.
    fn asks(&self) -> Vec<Ask> {
        ["alpha/m", "beta/m"].map(|model| self.world.ask(model)).to_vec()
    }

    /// Kills it, and waits until there is another one.
    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Worker => self.world.replace(&mut self.worker, "worker").await,
            Victim::Ingress => self.world.replace(&mut self.ingress, "ingress").await,
            Victim::Analytics => self.world.replace(&mut self.analytics, "analytics").await,
            Victim::ClickHouse => self.world.replace_child("clickhouse --files").await,
            Victim::Nats => self.world.replace_child("nats-server").await,
            Victim::Up => self.world.replace_up().await,
        }
        let asks = self.asks();
        self.callers.iter().for_each(|callers| callers.send(asks.clone()));
        self.world.is_ready_again().await;
    }

    /// The batch's state; `None` while no ingress answers.
    async fn show(&self, id: &str) -> Option<Value> {
        let answer = self.world.get(&format!("/v1/batches/{id}")).key(self.world.key()).try_send().await?;
        (answer.status == 200).then(|| answer.json())
    }

    fn note_memory(&mut self) {
        let pids = [self.world.up().pid(), self.worker.pid(), self.ingress.pid(), self.analytics.pid()];
        self.memory.push(pids.map(memory_of).into_iter().max().unwrap_or_default() / (1 << 20));
    }

    /// Waits until so many lines have results, or the batch is past that. It fails when nothing happens for a long time.
    async fn reach(&mut self, id: &str, wanted: u64) -> Option<Value> {
        let (mut last, mut since) = (Value::Null, Instant::now());
        loop {
            let batch = self.show(id).await.unwrap_or_default();
            let done = &batch["request_counts"];
            let is_past = batch["status"] == "finalizing" && wanted < u64::MAX;
            if batch["status"] == "completed" || is_past || done["completed"].as_u64() >= Some(wanted) {
                return Some(batch);
            }
            if *done != last {
                (last, since) = (done.clone(), Instant::now());
            }
            assert!(since.elapsed() < 2 * LONG, "nothing happens any more: {batch}");
            self.note_memory();
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Numbers that look random, the same each time.
struct Lot(u64);

impl Lot {
    /// From 0 to below `most`.
    fn draw(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most.max(1)
    }
}

fn content(count: u64) -> String {
    (0..count).map(|at| line(&format!("line-{at}"), model(at)) + "\n").collect()
}

fn model(at: u64) -> &'static str {
    MODELS[usize::try_from(at % 3).unwrap()]
}

fn number(name: &str, usual: usize) -> u64 {
    u64::try_from(soak(name, usual)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_providers_and_whatever_is_killed_each_line_is_answered_once_and_each_call_is_in_the_ledger() {
    let (count, kills) = (number("PENSTOCK_SOAK_LINES", 300), number("PENSTOCK_SOAK_KILLS", 2));
    let (rate, window) = (number("PENSTOCK_SOAK_CALLERS", 0), Duration::from_secs(number("PENSTOCK_SOAK_WINDOW", 20)));
    let mut lot = Lot(number("PENSTOCK_SOAK_SEED", 1));
    let mut deployment = Deployment::start(Duration::from_millis(number("PENSTOCK_SOAK_SLOW", 500))).await;
    let alone = Instant::now();
    if rate > 0 {
        deployment.callers = Some(SteadyCallers::start(deployment.asks(), u32::try_from(rate).unwrap()));
        sleep(window).await;
    }
    let begun = Instant::now();
    let file = upload(&deployment.world, content(count)).await;
    let batch = create(&deployment.world, &file, &json!({})).await.json();
    let id = batch["id"].as_str().unwrap_or_else(|| panic!("{batch}")).to_owned();
    let mut wrong = Vec::new();
    if let Some(callers) = &deployment.callers {
        sleep(window).await;
        wrong = checks::callers(callers, [alone, begun, Instant::now()]);
    }
    let disturbed = Instant::now();
    let (mut done, mut killed) = (0, Vec::new());
    for kill in 0..kills {
        let left = (count - done) / (kills - kill);
        let wanted = done + left / 2 + lot.draw(left / 2);
        let Some(batch) = deployment.reach(&id, wanted).await else { break };
        if batch["status"] == "completed" {
            break;
        }
        done = batch["request_counts"]["completed"].as_u64().unwrap_or(done).clamp(done, count);
        let drawn = if kills < 6 { kill } else { lot.draw(6) };
        let victim = VICTIMS[usize::try_from(drawn).unwrap()];
        killed.push(format!("{victim:?} at {done}"));
        println!("{:.1?}: {victim:?} is killed, {}", begun.elapsed(), batch["request_counts"]);
        deployment.kill(victim).await;
    }
    let batch = deployment.reach(&id, u64::MAX).await.unwrap();
    let took = begun.elapsed();
    let ended = Instant::now();
    println!("{count} lines in {took:.1?}; killed {}: {}", killed.len(), killed.join(", "));
    if let Some(callers) = &deployment.callers {
        let [slow, failing] = [0, 1].map(|which| callers.between(which, disturbed, ended));
        println!("callers while everything was killed, of the slow provider: {slow}; of the failing one: {failing}");
    }
    deployment.callers = None;
    let memory = &deployment.memory;
    let (third, highest) = (memory.len() / 3, memory.iter().copied().max().unwrap_or_default());
    let parts: Vec<_> = memory.chunks(third.max(1)).map(|part| part.iter().max()).collect();
    println!("most memory of one process in each third of the time, MB: {parts:?}");
    checks::results(&deployment, &batch, count).await;
    let cost = checks::cost(&deployment, count);
    assert_eq!(batch["penstock"]["cost_usd"], cost, "{batch}");
    checks::ledger(&deployment, &id).await;
    assert_eq!(wrong, Vec::<String>::new());
    assert!(highest < 256, "memory is not flat: {memory:?}");
}

//! Many clients race for one strict budget, at two ingresses and three workers, with streams, clients that leave, retries,
//! fallbacks and answers that say nothing of their usage: never is more spent than the limit, and nearly all of it can be
//! used. And again while processes are killed: then, too, nothing stays set aside, and the counter is what the ledger says.

use futures_util::future::join_all;
use penstock_tests::{Part, Process, Reply, World, address_in, is_running, until, words};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Clients at once.
const CLIENTS: usize = 64;

/// The limit, in picodollars: some 800 calls.
const LIMIT: u64 = 50_000_000_000;

/// How long after the last answer everything may still be set aside.
const RECOVERY: Duration = Duration::from_secs(180);

/// An answer without a usage.
fn silent() -> Reply {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"});
    Reply::whole(200, json!({ "id": "a", "choices": [choice] }).to_string())
}

/// What all clients do.
#[derive(Default)]
struct Count {
    asked: AtomicUsize,
    served: AtomicUsize,
    /// Nobody leaves before so many were asked, though the budget refuses.
    least: usize,
}

impl Count {
    fn is_enough(&self) -> bool {
        self.asked.load(Ordering::Relaxed) >= self.least
    }
}

struct Race {
    world: World,
    ingress: Process,
    second: String,
    workers: Vec<Process>,
}

impl Race {
    async fn start() -> Self {
        let mut world = World::setup().apart().start().await;
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(world.worker().await);
        }
        let (ingress, line) = world.role("ingress").await;
        let second = address_in(&line);
        Self { world, ingress, second, workers }
    }

    /// What the providers do, over and over, for a race's calls and more.
    fn script(&self) {
        let cut = || Reply::stream([words::role().into(), words::content("half an answer").into(), Part::Cut]);
        for _ in 0..250 {
            let alpha = self.world.upstream("alpha");
            alpha.answers("hello there").times(6);
            alpha.fails(500).once();
            alpha.fails(429).once();
            alpha.replies(silent()).once();
            alpha.replies(cut()).once();
            alpha.replies(Reply::reset()).once();
            self.world.upstream("beta").answers("from beta").times(4);
            self.world.upstream("beta").fails(503).once();
        }
        self.world.upstream("alpha").answers("hello").always();
        self.world.upstream("beta").answers("hello").always();
    }

    async fn limit(&self, name: &str) {
        let limit = format!("0.{LIMIT:012}");
        let budget =
            json!({ "name": name, "limit_usd": limit, "cycle": "total", "match": { "tags": { "race": name } } });
        let made = self.admin("/admin/v1/budgets").method(http::Method::POST).body(budget.to_string()).await;
        assert!(made.status.is_success(), "{}", made.raw());
        // An ingress that does not know it yet would spend beside it.
        for address in [self.world.address().to_owned(), self.second.clone()] {
            until("an ingress that knows the budget", async || {
                let refused =
                    self.world.ask("alpha/m").at(&address).header("x-penstock-tags", &format!("race={name}")).await;
                (refused.status == 429).then_some(())
            })
            .await;
        }
    }

    fn admin(&self, path: &str) -> penstock_tests::Ask {
        self.world
            .get(path)
            .header("authorization", &format!("Bearer {}", self.world.admin_key()))
            .header("content-type", "application/json")
    }

    /// Everybody asks until the budget refuses. Gives the first refusal.
    async fn run(&self, name: &str, count: &Count) -> Option<String> {
        let refusals = join_all((0..CLIENTS).map(|client| self.client(client, name, count))).await;
        let first = refusals.into_iter().flatten().min_by_key(|(at, _)| *at);
        first.map(|(_, message)| message)
    }

    async fn client(&self, client: usize, name: &str, count: &Count) -> Option<(Instant, String)> {
        for n in 0..2_000 {
            count.asked.fetch_add(1, Ordering::Relaxed);
            let address = if (client + n).is_multiple_of(2) { self.world.address() } else { &self.second };
            let ask = self.world.ask("fast").at(address).header("x-penstock-tags", &format!("race={name}"));
            let ask = ask.header("x-penstock-timeout-ms", "10000").field("max_tokens", json!(5));
            let answer = match (client + n) % 5 {
                0 | 1 => ask.try_send().await,
                2 if n % 3 == 0 => {
                    // It leaves in the middle.
                    if let Some(mut open) = ask.stream().try_open().await {
                        open.next().await;
                    }
                    continue;
                }
                _ => ask.stream().try_send().await,
            };
            match answer {
                Some(answer) if answer.status == 200 => drop(count.served.fetch_add(1, Ordering::Relaxed)),
                Some(answer) if count.is_enough() && answer.raw().contains("budget_exceeded") => {
                    return Some((Instant::now(), answer.message()));
                }
                _ => sleep(Duration::from_millis(20)).await, // something is dead, or a provider has failed
            }
        }
        None
    }

    async fn sum(&self, name: &str) -> (u64, u64) {
        let sql = format!(
            "SELECT toUInt64(sum(charged_usd) * 1000000000000) AS charged,
                toUInt64(sumIf(cost_usd, outcome = 'served') * 1000000000000) AS served
             FROM attempts WHERE arrayExists(book -> startsWith(book, 'B={name}='), books)"
        );
        let rows = self.world.try_sql(&sql).await.unwrap_or_default();
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(u64::MAX);
        rows.first().map_or((u64::MAX, u64::MAX), |row| (number(&row["charged"]), number(&row["served"])))
    }

    /// What was spent under each lease, and how late the slowest attempts came into the ledger.
    async fn late(&self, name: &str) -> Vec<Value> {
        let sql = format!(
            "SELECT toString(lease) AS lease, worker, version, outcome, count() AS attempts, sum(cost_usd) AS cost_usd,
                max(dateDiff('millisecond', started_at, inserted_at)) AS slowest_ms, max(started_at) AS last_started,
                argMax(toString(reservation), dateDiff('millisecond', started_at, inserted_at)) AS slowest
             FROM attempt_log WHERE arrayExists(book -> startsWith(book, 'B={name}='), books)
             GROUP BY lease, worker, version, outcome ORDER BY lease, worker, version, outcome"
        );
        self.world.try_sql(&sql).await.unwrap_or_default()
    }

    /// Settled and reserved, as the admin API tells them.
    async fn book(&self, name: &str) -> Option<(String, String)> {
        let answer = self.admin(&format!("/admin/v1/budgets/{name}")).await;
        let window = answer.json()["windows"][0].clone();
        let text = |field: &str| Some(window[field]["usd"].as_str().or(window[field].as_str())?.to_owned());
        Some((text("settled")?, text("reserved")?))
    }

    /// Waits until nothing is set aside and the counter is what the ledger says. Gives both, and how long it took.
    async fn settled(&self, name: &str) -> (u64, Duration) {
        let begun = Instant::now();
        loop {
            let (charged, served) = self.sum(name).await;
            let book = self.book(name).await;
            if charged != u64::MAX && charged > LIMIT {
                panic!("{charged} of {LIMIT} spent: {:#?}", self.late(name).await);
            }
            assert!(served == u64::MAX || served <= LIMIT, "{served} of {LIMIT} served");
            let is_settled = book.as_ref().is_some_and(|(settled, reserved)| {
                reserved == "0" && *settled == dollars(charged) && charged != u64::MAX
            });
            if is_settled && self.world.waiting().await == Some(0) {
                return (charged, begun.elapsed());
            }
            if begun.elapsed() >= RECOVERY {
                let (late, waiting) = (self.late(name).await, self.world.waiting().await);
                panic!("after {RECOVERY:?}: the book has {book:?}, the ledger {charged}, {waiting:?} wait: {late:#?}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn dollars(pico: u64) -> String {
    let text = format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn runs(default: u32) -> u32 {
    std::env::var("PENSTOCK_RACES").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_races_for_a_budget_ever_spends_more_than_it_and_nearly_all_of_it_can_be_used() {
    let race = Race::start().await;
    for run in 1..=runs(2) {
        race.script();
        let name = format!("race-{run}");
        race.limit(&name).await;
        let (begun, count) = (Instant::now(), Count::default());
        let refusal = race.run(&name, &count).await;
        let took = begun.elapsed();
        let refusal = refusal.expect("the budget refuses in the end");
        let (spent, settling) = race.settled(&name).await;
        let percent = spent * 100 / LIMIT;
        println!(
            "{name}: {} of {} served in {took:.1?}, {spent} of {LIMIT} spent ({percent} %), settled after {settling:.1?}; first refusal: {refusal}",
            count.served.into_inner(),
            count.asked.into_inner()
        );
        assert!(percent >= 90, "{percent} % of the limit can be used");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_survives_the_death_of_everything_and_nothing_stays_set_aside() {
    let mut race = Race::start().await;
    for run in 1..=runs(1) {
        race.script();
        let name = format!("crash-{run}");
        race.limit(&name).await;
        let kills = [250, 450, 650];
        let count = Count { least: kills[2], ..Count::default() };
        let victims = [race.ingress.pid(), race.workers[0].pid(), race.world.up().child("nats-server")];
        let killer = async {
            for (at, victim) in kills.into_iter().zip(victims) {
                until("load", async || (count.asked.load(Ordering::Relaxed) >= at).then_some(())).await;
                penstock_tests::kill(victim);
                until("it to be dead", async || (!is_running(victim)).then_some(())).await;
            }
        };
        let (_, ()) = tokio::join!(race.run(&name, &count), killer);
        race.workers[0] = race.world.worker().await;
        let (ingress, line) = race.world.role("ingress").await;
        (race.ingress, race.second) = (ingress, address_in(&line));
        let (spent, settling) = race.settled(&name).await;
        println!(
            "{name}: {} of {} served, {spent} of {LIMIT} spent, settled after {settling:.1?}",
            count.served.into_inner(),
            count.asked.into_inner()
        );
    }
}

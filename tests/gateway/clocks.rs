//! Machines whose clocks are 90 seconds off, each its own way, and jump: what one process writes of a time, another compares.

use futures_util::future::join_all;
use penstock_tests::{Process, SkewedClock, World, until_right, wait};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Two ingresses and two workers: one of each is ahead, one behind.
struct Skewed {
    world: World,
    ahead: String,
    behind: String,
    clocks: Vec<SkewedClock>,
    _processes: Vec<Process>,
}

impl Skewed {
    async fn start() -> Self {
        Self::by(90).await
    }

    /// So many seconds.
    async fn by(seconds: i64) -> Self {
        let mut world = World::setup().apart().start().await;
        let (mut clocks, mut processes, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for (role, seconds) in [("worker", seconds), ("worker", -seconds), ("ingress", seconds), ("ingress", -seconds)]
        {
            let clock = SkewedClock::new(world.folder(), &format!("{role}{seconds}"), seconds);
            let (process, line) = world.role_with(role, &clock.environment()).await;
            addresses
                .extend(line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned));
            processes.push(process);
            clocks.push(clock);
        }
        let [ahead, behind] = [0, 1].map(|at| addresses[at].clone());
        Self { world, ahead, behind, clocks, _processes: processes }
    }

    /// All clocks are off the other way from now on.
    fn jump(&self) {
        for (clock, seconds) in self.clocks.iter().zip([-90, 90, -90, 90]) {
            clock.set(seconds);
        }
    }

    /// So many requests at once, at both ingresses in turn. How many were answered, and the other answers.
    async fn ask(&self, count: usize) -> (usize, Vec<String>) {
        let one = |at: usize| {
            let address = if at.is_multiple_of(2) { &self.ahead } else { &self.behind };
            let ask = self.world.ask("alpha/m").at(address).field("max_tokens", json!(5));
            ask.header("x-penstock-timeout-ms", "25000").send()
        };
        let answers = join_all((0..count).map(one)).await;
        let others = answers.iter().filter(|answer| answer.status != 200).map(penstock_tests::Answer::raw).collect();
        (answers.iter().filter(|answer| answer.status == 200).count(), others)
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_secs()
}

#[tokio::test]
async fn clocks_that_are_90_seconds_off_and_jump_fail_no_call_overspend_no_budget_and_lose_no_row() {
    let began = unix_now();
    let skewed = Skewed::start().await;
    let world = &skewed.world;
    world.upstream("alpha").answers("hi").always();
    let budget = json!({ "name": "team", "limit_usd": "0.01", "cycle": "total" });
    world.manage(json!({ "budgets": { "team": budget } }), &[&skewed.ahead, &skewed.behind]).await;
    let (mut served, refused) = skewed.ask(24).await;
    assert_eq!((served, refused), (24, vec![]));
    skewed.jump();
    let (again, refused) = skewed.ask(24).await;
    assert_eq!((again, refused), (24, vec![]));
    served += again;
    loop {
        let (more, refused) = skewed.ask(24).await;
        served += more;
        assert!(refused.iter().all(|answer| answer.contains("budget_exceeded")), "{refused:?}");
        if !refused.is_empty() {
            break;
        }
    }
    wait::until("an empty ledger in NATS", async || (world.waiting().await == Some(0)).then_some(())).await;
    assert_eq!(world.count("SELECT count() FROM attempts WHERE NOT running").await, served as u64);
    let spent = world.count("SELECT toUInt64(sum(charged_usd) * 1000000) FROM attempts").await;
    // What is left is less than the most that a request may come to.
    assert!((9_500..=10_000).contains(&spent), "{spent} of 10000 millionths spent by {served} calls");
    let early = format!("SELECT count() FROM attempts WHERE started_at < fromUnixTimestamp({began})");
    let late = format!("SELECT count() FROM attempts WHERE ended_at > fromUnixTimestamp({})", unix_now() + 1);
    assert_eq!([world.count(&early).await, world.count(&late).await], [0, 0]);
    until_right("the book to be what the ledger says", async || {
        let budget = world.get("/admin/v1/budgets/team").key(world.admin_key()).await.json();
        let window = &budget["windows"][0];
        let is_right = window["settled"] == dollars(spent) && window["reserved"] == "0";
        if is_right { Ok(()) } else { Err(format!("{budget} and {spent}")) }
    })
    .await;
}

#[tokio::test]
async fn a_key_ends_at_its_time_whatever_the_clock_of_an_ingress_says() {
    let skewed = Skewed::start().await;
    let world = &skewed.world;
    world.upstream("alpha").answers("hi").always();
    let create = async |expires: &str| {
        let made = world.tool(&["keys", "create", "--project", "p", "--expires", expires]).await;
        made["key"].as_str().expect("a new key is shown").to_owned()
    };
    let (short, long) = (create("5s").await, create("60s").await);
    let ask = async |address: &str, key: &str| world.ask("alpha/m").at(address).key(key).await.status.as_u16();
    wait::until("the key to be known", async || (ask(&skewed.ahead, &long).await == 200).then_some(())).await;
    wait::until("its end", async || (ask(&skewed.behind, &short).await == 401).then_some(())).await;
}

#[tokio::test]
async fn what_the_ledger_says_of_a_budget_holds_at_an_ingress_whose_clock_is_a_day_ahead() {
    let skewed = Skewed::by(24 * 3600).await;
    let world = &skewed.world;
    world.upstream("alpha").answers("hi").always();
    let budget = json!({ "name": "team", "limit_usd": "0.005", "cycle": "total" });
    world.manage(json!({ "budgets": { "team": budget } }), &[&skewed.ahead, &skewed.behind]).await;
    loop {
        let (_, refused) = skewed.ask(12).await;
        if !refused.is_empty() {
            assert!(refused.iter().all(|answer| answer.contains("budget_exceeded")), "{refused:?}");
            break;
        }
    }
    // When nothing is in flight for a few seconds, each ingress asks the ledger what was spent, and believes it.
    for _ in 0..40 {
        let (served, refused) = skewed.ask(2).await;
        assert!(refused.iter().all(|answer| answer.contains("budget_exceeded")), "{refused:?}");
        // A last one may have fitted in.
        let spent = world.count("SELECT toUInt64(sum(charged_usd) * 1000000) FROM attempts").await;
        assert!(spent <= 5_000, "{spent} of 5000 millionths are spent, and {served} more are served");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
}

fn dollars(millionths: u64) -> String {
    format!("0.{millionths:06}").trim_end_matches('0').to_owned()
}

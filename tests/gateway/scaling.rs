//! Scaling: what tells a scaler how many workers a provider needs, and workers that come and go under load.

use penstock_tests::{Answer, Ask, Gate, Process, Reply, World, address_in, until};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::task::JoinSet;

/// Calls that a worker takes at once, and of these the ones that a scaler wants it to have; the most workers.
const SLOTS: &str = "4";
const WANTED: u64 = 3;
const MOST: usize = 4;

/// Calls of the load.
const CALLS: usize = 12;

async fn fleet(world: &World) -> Value {
    let answer = world.get("/admin/v1/workers").key(world.admin_key()).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.json()
}

async fn worker(world: &mut World, provider: &str) -> Process {
    world.worker_of(provider, &[("PENSTOCK_PROVIDERS_ALPHA_CONCURRENCY", SLOTS.to_owned())]).await
}

/// What KEDA does: as many workers as the calls need that are under way or wait.
async fn scale(world: &mut World, workers: &mut Vec<Process>) -> Value {
    let fleet = fleet(world).await;
    let demand = fleet["demand"]["alpha"].as_u64().unwrap_or_default();
    let wanted = usize::try_from(demand.div_ceil(WANTED)).unwrap_or(MOST).clamp(1, MOST);
    while workers.len() < wanted {
        workers.push(worker(world, "alpha").await);
    }
    while workers.len() > wanted {
        let mut gone = workers.pop().expect("there are more than are wanted");
        gone.terminate();
        assert_eq!(gone.ended().await.code(), Some(0), "it drains: {}", gone.tail());
    }
    fleet
}

fn begin(asks: impl IntoIterator<Item = Ask>) -> JoinSet<Answer> {
    asks.into_iter().map(Ask::send).collect()
}

fn load<'a>(fleet: &'a Value, provider: &str) -> &'a Value {
    let all = fleet["providers"].as_array().expect("a list of providers");
    all.iter().find(|load| load["provider"] == provider).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_rising_load_on_one_provider_brings_its_workers_from_one_to_four_and_back_and_no_call_is_lost() {
    let mut world = World::setup().apart().start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).always();
    world.upstream("beta").answers("hello").always();
    let beta = worker(&mut world, "beta").await;
    let mut workers = vec![worker(&mut world, "alpha").await];
    until("both pools to be known", async || {
        let fleet = fleet(&world).await;
        (load(&fleet, "alpha")["workers"] == 1 && load(&fleet, "beta")["workers"] == 1).then_some(())
    })
    .await;

    let mut calls = JoinSet::new();
    for workers_before in 1..=MOST {
        for _ in 0..WANTED {
            calls.spawn(world.ask("alpha/m").send());
        }
        world.upstream("alpha").received(calls.len()).await;
        loop {
            let fleet = scale(&mut world, &mut workers).await;
            assert_eq!(load(&fleet, "beta")["workers"], 1);
            let known = load(&fleet, "alpha")["workers"].as_u64().and_then(|count| usize::try_from(count).ok());
            if known == Some((workers_before + 1).min(MOST)) {
                break;
            }
        }
    }
    assert_eq!(world.ask("beta/m").await.text(), "hello", "another provider is untouched");
    let told = world.get("/metrics").key(world.admin_key()).await.raw();
    for line in ["penstock_pool_workers{provider=\"alpha\"} 4", "penstock_pool_slots{provider=\"alpha\"} 16"] {
        assert!(told.contains(line), "{line} in {told}");
    }
    let shown = world.tool(&["workers"]).await;
    let own: Vec<&Value> =
        shown["workers"].as_array().expect("a list").iter().filter(|one| one["provider"] == "alpha").collect();
    assert_eq!(own.len(), MOST, "{shown}");
    for one in own {
        assert_eq!((&one["version"], &one["slots"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(4)));
        assert!(one["host"].is_string() && one["started_at"].is_u64(), "{one}");
    }
    gate.open();
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.expect("it ends").text(), "hello");
    }

    // And back, with calls under way all the time.
    let mut served = 0;
    while workers.len() > 1 {
        let mut calls = begin((0..4).map(|_| world.ask("alpha/m")));
        scale(&mut world, &mut workers).await;
        while let Some(answer) = calls.join_next().await {
            assert_eq!(answer.expect("it ends").text(), "hello");
            served += 1;
        }
    }
    assert_eq!(world.attempts(CALLS + served + 1).await.len(), CALLS + served + 1, "each call was made once");
    drop(beta);
}

#[tokio::test]
async fn a_load_that_comes_at_once_waits_for_the_workers_that_a_scaler_brings_and_none_of_it_is_refused() {
    let mut world = World::setup().apart().config("[ingress]\nqueue_timeout = \"4m\"\n").start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).always();
    let mut workers = vec![worker(&mut world, "alpha").await];
    until("its pool to be known", async || (load(&fleet(&world).await, "alpha")["workers"] == 1).then_some(())).await;

    let begun = Instant::now();
    let mut calls = begin((0..CALLS).map(|_| world.ask("alpha/m")));
    while workers.len() < MOST {
        let demand = fleet(&world).await["demand"]["alpha"].as_u64().unwrap_or_default();
        if demand.div_ceil(WANTED) > workers.len() as u64 {
            workers.push(worker(&mut world, "alpha").await);
        }
    }
    world.upstream("alpha").received(CALLS).await;
    let scaled = begun.elapsed();
    gate.open();
    while let Some(answer) = calls.join_next().await {
        let answer = answer.expect("it ends");
        assert!(answer.status == 200 && answer.text() == "hello", "{}", answer.raw());
    }
    let begun = Instant::now();
    while workers.len() > 1 {
        scale(&mut world, &mut workers).await;
    }
    println!(
        "1 to {MOST} workers, and every call at its provider, in {scaled:.1?}; back to 1 in {:.1?}",
        begun.elapsed()
    );
    assert_eq!(world.attempts(CALLS).await.len(), CALLS, "each call was made once");
}

#[tokio::test]
async fn a_call_for_a_provider_without_workers_waits_for_the_one_that_a_scaler_starts_where_that_is_wanted() {
    let mut world = World::setup().apart().config("[ingress]\nwake_timeout = \"4m\"\n").start().await;
    world.upstream("alpha").answers("hello").always();
    // Its models must be known: it ran once.
    let mut first = worker(&mut world, "alpha").await;
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    first.terminate();
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.tail());

    let mut calls = begin((0..3).map(|_| world.ask("alpha/m")));
    until("the scaler to see the calls", async || (fleet(&world).await["demand"]["alpha"] == 3).then_some(())).await;
    let woken = worker(&mut world, "alpha").await;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.expect("it ends");
        assert!(answer.status == 200 && answer.text() == "hello", "{}", answer.raw());
    }
    assert_eq!(world.attempts(4).await.len(), 4, "each call was made once");
    drop(woken);
}

#[tokio::test]
async fn a_call_whose_provider_stays_without_workers_is_refused_when_its_wait_is_over() {
    let mut world = World::setup().apart().config("[ingress]\nwake_timeout = \"300ms\"\n").start().await;
    world.upstream("alpha").answers("hello").always();
    let mut first = worker(&mut world, "alpha").await;
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    first.kill();
    first.ended().await;
    let refused = world.ask("alpha/m").await;
    assert_eq!(refused.error(), "503 service_unavailable_error no_pool");
    assert!(refused.raw().contains("no worker serves alpha/m now"), "{}", refused.raw());
}

#[tokio::test]
async fn an_ingress_that_has_just_started_lets_a_call_wait_for_a_full_pool_that_it_has_not_heard_of_yet() {
    let mut world = World::setup().apart().start().await;
    world.upstream("alpha").answers("before").once();
    let _worker = world.worker_of("alpha", &[("PENSTOCK_PROVIDERS_ALPHA_CONCURRENCY", "1".to_owned())]).await;
    assert_eq!(world.ask("alpha/m").await.text(), "before", "the provider's models are known");
    // Whether a worker tells of itself before the first call comes is chance: some of these calls come before.
    for n in 0..5 {
        let gate = Gate::new();
        world.upstream("alpha").replies(Reply::answer("first").held(&gate)).once();
        world.upstream("alpha").answers("second").once();
        let mut calls = begin([world.ask("alpha/m")]);
        world.upstream("alpha").received(2 + 2 * n).await;
        let (_ingress, line) = world.role("ingress").await;
        let address = address_in(&line);
        let second = async { world.ask("alpha/m").at(&address).await.text() };
        let open = async {
            until("the pool to be known", async || {
                let fleet = world.get("/admin/v1/workers").at(&address).key(world.admin_key()).await.json();
                (load(&fleet, "alpha")["workers"] == 1).then_some(())
            })
            .await;
            gate.open();
        };
        assert_eq!(tokio::join!(second, open).0, "second");
        assert_eq!(calls.join_next().await.expect("a call").expect("it ends").text(), "first");
    }
}

//! What the ledger says of budgets: by lease, by reservation, and when a worker is gone.

mod support;

use penstock_analytics::{SpentByLease, SpentByReservation, Warehouse};
use penstock_schemas::UnixMicros;
use penstock_schemas::cycle::{Cycle, zone};
use penstock_schemas::event::{AttemptStarted, Outcome, StartReservation};
use penstock_schemas::name::{KeyId, ProcessId};
use penstock_schemas::reservation::LeaseId;
use support::events::{DAY, HOUR, SECOND, ago, end, ended, now, start, started, tokens, usd};
use support::{World, be_engine};
use uuid::Uuid;

#[test]
fn engine_process() {
    be_engine();
}

fn worker(name: &str) -> ProcessId {
    ProcessId::parse(name).expect("it is a name")
}

fn lease(number: u128) -> LeaseId {
    LeaseId(Uuid::from_u128(number))
}

/// An attempt that can come to a dollar and 100 tokens.
fn attempt(reservation: Uuid, under: LeaseId, books: &[&str], at: UnixMicros) -> AttemptStarted {
    let mut start = start("search", "openai/gpt-4o", at);
    start.worst_tokens = 100;
    start.worker = Some(worker("w1"));
    let books = books.iter().map(|book| (*book).to_owned()).collect();
    start.reserved = Some(StartReservation { id: reservation, lease: under, books });
    start
}

/// What was spent in one book, by lease.
async fn of(warehouse: &Warehouse, book: &str) -> Vec<SpentByLease> {
    let spent = warehouse.spent_by_lease(&[book], None).await.expect("ClickHouse is there");
    let mut spent: Vec<_> = spent.of(book).copied().collect();
    spent.sort_unstable_by_key(|spent| spent.lease);
    spent
}

fn cents(hundredths: u64) -> u64 {
    u64::try_from(usd("0.01").0).expect("it is positive") * hundredths
}

#[tokio::test]
async fn what_was_spent_in_a_book_is_told_by_lease_the_settled_apart_from_the_pending() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (one, two) = (lease(1), lease(2));
    let book = &*format!("team.{}", Cycle::Daily.window(now(), &zone("UTC").unwrap()).name);
    let over = |start: &AttemptStarted, cost: &str, charged: u64| {
        let mut over = end(start, Outcome::Served, tokens(1, 1), cost);
        over.charged_tokens = charged;
        ended(over)
    };
    let attempts = [
        attempt(Uuid::now_v7(), one, &[book, "all.all"], now()),
        attempt(Uuid::now_v7(), one, &[book], now()),
        attempt(Uuid::now_v7(), one, &["all.all"], now()),
        // Past its deadline.
        attempt(Uuid::now_v7(), one, &[book], ago(HOUR)),
        attempt(Uuid::now_v7(), two, &[book], now()),
        // Before the window, and in no budget.
        attempt(Uuid::now_v7(), two, &[book], ago(3 * DAY)),
        start("search", "openai/gpt-4o", now()),
    ];
    world.write(attempts.iter().map(started)).await;
    let ends = [over(&attempts[0], "0.25", 40), over(&attempts[2], "0.125", 7), over(&attempts[5], "0.5", 9)];
    world.write(ends).await;
    world.until("SELECT count() FROM attempts WHERE outcome = 'served'", "3").await;
    world.until_left(0).await;
    let spent = |lease, settled_usd, pending_usd, settled_tokens, pending_tokens| SpentByLease {
        lease,
        settled_usd,
        pending_usd,
        settled_tokens,
        pending_tokens,
    };
    let warehouse = world.warehouse();
    assert_eq!(
        of(&warehouse, book).await,
        [spent(one, cents(125), cents(100), 140, 100), spent(two, 0, cents(100), 0, 100)]
    );
    assert_eq!(of(&warehouse, "all.all").await, [spent(one, cents(25) + cents(25) / 2, 0, 47, 0)]);
    assert_eq!(of(&warehouse, "team.2026-10").await, []);
    // Many at once, of several windows, under one lease.
    let others: Vec<String> = (0..600).map(|other| format!("other{other}.all")).collect();
    let books: Vec<&str> = others.iter().map(String::as_str).chain([book, "all.all"]).collect();
    let under_one = warehouse.spent_by_lease(&books, Some(one)).await.unwrap();
    assert_eq!(under_one.of(book).collect::<Vec<_>>(), [&spent(one, cents(125), cents(100), 140, 100)]);
    assert_eq!(under_one.of("all.all").map(|spent| spent.settled_tokens).collect::<Vec<_>>(), [47]);
    let under_two = warehouse.spent_by_lease(&books, Some(two)).await.unwrap();
    assert_eq!((under_two.of(book).count(), under_two.of("all.all").count()), (1, 0));
}

#[tokio::test]
async fn what_a_key_spent_in_its_own_budget_under_its_former_name_counts_and_what_others_spent_does_not() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (key, month) = ("search-key", "2026-11");
    // An operator's budget was written alike.
    let former = format!("{key}_monthly.{month}");
    let mut other = attempt(Uuid::now_v7(), lease(2), &[&former], now());
    other.caller.key_id = KeyId::parse("other").unwrap();
    let attempts = [
        attempt(Uuid::now_v7(), lease(1), &[&former], now()),
        attempt(Uuid::now_v7(), lease(1), &[&format!("K={key}=monthly.{month}")], now()),
        other,
    ];
    world.write(attempts.iter().map(started)).await;
    world.until("SELECT count() FROM attempts", "3").await;
    let spent = |lease, pending| SpentByLease {
        lease,
        settled_usd: 0,
        pending_usd: cents(100) * pending,
        settled_tokens: 0,
        pending_tokens: 100 * pending,
    };
    let warehouse = world.warehouse();
    let of_key = of(&warehouse, &format!("K={key}=monthly.{month}")).await;
    assert_eq!(of_key, [spent(lease(1), 2)]);
    let of_operator = of(&warehouse, &former).await;
    assert_eq!(of_operator, [spent(lease(1), 1), spent(lease(2), 1)]);
}

#[tokio::test]
async fn what_was_spent_of_a_reservation_and_how_many_of_its_attempts_run() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (first, second, unknown) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let attempts = [
        attempt(first, lease(1), &["a.all"], now()),
        attempt(first, lease(1), &["a.all"], now()),
        attempt(first, lease(1), &["a.all"], now()),
        attempt(second, lease(1), &["a.all"], now()),
    ];
    world.write(attempts.iter().map(started)).await;
    let mut over = end(&attempts[1], Outcome::Refused, tokens(1, 1), "0.25");
    over.charged_tokens = 30;
    world.write([ended(over), ended(end(&attempts[0], Outcome::Refused, tokens(1, 1), "0"))]).await;
    world.until("SELECT count() FROM attempts WHERE outcome = 'refused'", "2").await;
    let warehouse = world.warehouse();
    assert_eq!(
        warehouse.spent_by_reservation(&[first, second, unknown]).await.unwrap(),
        [
            SpentByReservation { reservation: first, book: "a.all".to_owned(), usd: cents(25), tokens: 30, running: 1 },
            SpentByReservation { reservation: second, book: "a.all".to_owned(), usd: 0, tokens: 0, running: 1 },
        ]
    );
    assert_eq!(warehouse.spent_by_reservation(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn attempts_of_a_worker_that_is_gone_count_at_their_worst_case_until_their_end_comes() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let attempts: Vec<_> = (0..5).map(|_| attempt(Uuid::now_v7(), lease(1), &["a.all"], ago(30 * SECOND))).collect();
    let (mut alive, mut fresh) = (attempts[3].clone(), attempts[4].clone());
    alive.worker = Some(worker("w2"));
    fresh.started_at = now();
    world.write(attempts[..3].iter().chain([&alive, &fresh]).map(started)).await;
    world.write([ended(end(&attempts[2], Outcome::Served, tokens(1, 1), "0.25"))]).await;
    world.until("SELECT count() FROM attempts WHERE outcome = 'served'", "1").await;
    world.until_left(0).await;
    let warehouse = world.warehouse();
    let settled = async || of(&warehouse, "a.all").await[0];
    assert_eq!((settled().await.settled_usd, settled().await.pending_usd), (cents(25), cents(400)));
    let all = [worker("w1"), worker("w2")];
    assert_eq!(warehouse.give_up(&all, ago(10 * SECOND)).await.unwrap(), 0);
    assert_eq!(warehouse.give_up(&all[1..], ago(10 * SECOND)).await.unwrap(), 2);
    assert_eq!(warehouse.give_up(&all[1..], ago(10 * SECOND)).await.unwrap(), 0);
    assert_eq!((settled().await.settled_usd, settled().await.pending_usd), (cents(225), cents(200)));
    assert_eq!((settled().await.settled_tokens, settled().await.pending_tokens), (200, 200));
    let rows = "SELECT count() FROM attempts WHERE outcome = 'unknown' AND NOT running AND cost_usd = 1 AND charged_tokens = 100";
    assert_eq!(world.value(rows).await, "2");
    // The worker was only cut off: its end comes after all. The same start comes again, too, and changes nothing.
    world.write([ended(end(&attempts[0], Outcome::Served, tokens(1, 1), "0.125")), started(&attempts[1])]).await;
    world.until(rows, "1").await;
    world.until_left(0).await;
    assert_eq!(settled().await.settled_usd, cents(25) + cents(25) / 2 + cents(100));
    assert_eq!(warehouse.give_up(&[], now()).await.unwrap(), 2);
    assert_eq!(settled().await.pending_usd, 0);
}

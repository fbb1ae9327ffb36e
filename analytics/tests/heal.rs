//! Books of thousands of users that an ingress which is gone had shares of: all are healed by the ledger, in a time that grows
//! with the attempts and not with attempts times books.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test, though clippy cannot see it")]

mod support;

use futures_util::{StreamExt, stream};
use penstock_schemas::book::{Book, Share};
use penstock_schemas::budget::Unit;
use penstock_schemas::cycle::{Cycle, zone};
use penstock_schemas::reservation::{LeaseId, Proof, ProofWanted};
use std::time::{Duration, Instant};
use support::events::now;
use support::{World, be_engine};
use uuid::Uuid;

/// Books, and attempts in each. The long run of tests/soak takes others.
const COUNTERS: usize = 3_000;
const EACH: usize = 30;

/// Attempts that are inserted together.
const PIECE: usize = 250_000;

#[test]
fn engine_process() {
    be_engine();
}

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[tokio::test]
async fn thousands_of_books_are_healed_together() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    let (counters, each) = (variable("PENSTOCK_SOAK_COUNTERS", COUNTERS), variable("PENSTOCK_SOAK_EACH", EACH));
    let month = Cycle::Monthly.window(now(), &zone("UTC").unwrap()).name;
    let lease = LeaseId(Uuid::now_v7());
    let keys: Vec<String> = (0..counters).map(|user| format!("each.u{user}.{month}")).collect();
    // A millionth of a dollar and two tokens each.
    let sql = |from: usize, count: usize| {
        format!(
        "INSERT INTO attempt_log (attempt_id, version, started_at, deadline, ended_at, project, outcome, charged_usd,
            charged_tokens, lease, books)
        SELECT generateUUIDv4(), 2, now64(6) - toIntervalSecond(number % 3600), now64(6), now64(6), 'p', 'served',
            toDecimal128('0.000001', 12), 2, toUUID('{lease}'), [concat('each.u', toString(number % {counters}), '.{month}')]
        FROM numbers({from}, {count})"
    )
    };
    for from in (0..counters * each).step_by(PIECE) {
        world.execute(&sql(from, PIECE.min(counters * each - from))).await;
    }
    let begun = Instant::now();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let spent = world.warehouse().spent_by_lease(&names, None).await.unwrap();
    println!("{} attempts in {counters} books are summed up in {:.1?}", counters * each, begun.elapsed());
    assert!(names.iter().all(|key| spent.of(key).map(|spent| spent.settled_tokens).sum::<u64>() == 2 * each as u64));

    let begun = Instant::now();
    let some = keys.iter().take(500).cloned().collect();
    let wanted = ProofWanted { lease, reservations: Vec::new(), books: some, lost: Vec::new(), before: None };
    let Proof::Known { books, .. } = world.bus.ask_proof(&wanted).await.unwrap() else { panic!("the ledger is there") };
    println!("500 of them are proven in {:.1?}", begun.elapsed());
    assert_eq!(books.len(), 500.min(counters));

    let share = Share { held: 1_000_000_000_000, settled: 0, wanted: 0 };
    let book = Book { shares: [(lease, share)].into(), unit: Some(Unit::Usd), ..Book::default() };
    let books = world.bus.books().await.unwrap();
    let put = |key| {
        let (books, book) = (&books, &book);
        async move { books.put(key, book).await.unwrap() }
    };
    stream::iter(&keys).map(|key| put(key)).buffer_unordered(64).collect::<Vec<()>>().await;
    let begun = Instant::now();
    world.until_metric(&format!("penstock_budgets_healed_total {counters}")).await;
    println!("{counters} books are healed {:.1?} after they were there", begun.elapsed());
    let healed = Book { past: 1_000_000 * each as u64, unit: Some(Unit::Usd), ..Book::default() };
    let all = books.list().await.unwrap();
    assert!(all.len() == counters && all.iter().all(|book| *book == healed), "{:?}", all.first());
    assert!(analytics.drain(Duration::from_secs(10)).await);
}

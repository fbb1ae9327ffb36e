//! Where spending leads to: this month's, and each budget's in its own cycle.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_schemas::UnixMicros;
use penstock_schemas::book::Book;
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::{Cycle, zone};
use penstock_schemas::event::{Outcome, StartReservation, UsageEvent};
use penstock_schemas::forecast::{ForecastQuery, ForecastReport, ForecastRow};
use penstock_schemas::money::Picodollars;
use penstock_schemas::reservation::LeaseId;
use penstock_schemas::spend::ReportReply;
use std::convert::Infallible;
use support::events::{DAY, HOUR, ago, end, ended, now, start, tokens};
use support::{World, be_engine};
use uuid::Uuid;

#[test]
fn engine_process() {
    be_engine();
}

fn spent(project: &str, at: UnixMicros, cost: &str, books: &[String]) -> UsageEvent {
    let mut one = start(project, "p/m", at);
    one.reserved = Some(StartReservation { id: Uuid::nil(), lease: LeaseId(Uuid::nil()), books: books.to_vec() });
    let mut over = end(&one, Outcome::Served, tokens(1, 1), cost);
    over.charged_tokens = 1000;
    ended(over)
}

async fn ask(world: &World, by: &[&str], projects: &[&str]) -> ReportReply<ForecastReport> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    world.bus.ask_forecast(&ForecastQuery { by: texts(by), projects: texts(projects) }).await.unwrap()
}

async fn rows(world: &World, by: &[&str], projects: &[&str]) -> Vec<ForecastRow> {
    match ask(world, by, projects).await {
        ReportReply::Report(report) => report.rows,
        other => panic!("{other:?}"),
    }
}

fn dollars(text: &str) -> i64 {
    Picodollars::parse(text).unwrap().0
}

/// What a day costs: 3 dollars in the last one, 1 in the one before: (7 × 3 + 6 × 1) / 13.
fn per_day() -> i64 {
    dollars("27") / 13
}

/// The name of the daily book that a time is in.
fn day(at: UnixMicros) -> String {
    format!("each.{}", Cycle::Daily.window(at, &zone("UTC").unwrap()).name)
}

/// Attempts of today, of yesterday and of long ago, and when they were.
async fn spend_some(world: &World) -> [UnixMicros; 3] {
    let total = "all.all".to_owned();
    let times = [ago(60_000_000), ago(DAY + HOUR), ago(20 * DAY)];
    let events = [
        spent("search", times[0], "3", &[total.clone(), day(times[0])]),
        spent("chat", times[1], "1", &[total.clone(), day(times[1])]),
        spent("search", times[2], "100", &[total]),
    ];
    world.write(events).await;
    world.until("SELECT count() FROM attempts", "3").await;
    times
}

#[tokio::test]
async fn spending_is_carried_on_to_the_end_of_the_month() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (times, at) = (spend_some(&world).await, now());
    let month = Cycle::Monthly.window(at, &zone("UTC").unwrap());
    let so_far: i64 =
        times.iter().zip(["3", "1", "100"]).filter(|(at, _)| **at >= month.from).map(|(_, cost)| dollars(cost)).sum();
    let found = &rows(&world, &[], &[]).await[0];
    assert_eq!((found.window.as_str(), found.limit.as_ref()), (month.name.as_str(), None));
    assert_eq!((dollars(&found.spent), dollars(&found.per_day)), (so_far, per_day()));
    let left = i128::from(month.until.unwrap().0 - at.0);
    let wanted = i128::from(so_far) + i128::from(per_day()) * left / i128::from(DAY);
    let off = (i128::from(dollars(found.projected.as_ref().unwrap())) - wanted).abs();
    assert!(off < i128::from(dollars("0.01")), "{found:?}");

    let by_project = rows(&world, &["project"], &[]).await;
    let chat = by_project.iter().find(|row| row.by["project"] == "chat").unwrap();
    assert_eq!((by_project.len(), chat.per_day.as_str()), (2, "0.461538461538"));
    assert_eq!(rows(&world, &["project"], &["chat"]).await.len(), 1);
}

#[tokio::test]
async fn each_budget_has_a_forecast_for_its_own_cycle() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (times, at) = (spend_some(&world).await, now());
    let budgets = [
        r#"{"name":"all","limit_usd":"110","cycle":"total"}"#,
        r#"{"name":"each","limit_tokens":5000,"cycle":"daily","match":{"project":"search"}}"#,
        r#"{"name":"unused","limit_usd":"1"}"#,
    ]
    .map(|json| serde_json::from_str::<Budget>(json).unwrap());
    let directories = world.bus.directories().await.unwrap();
    let put = directories.change(|directory, _| {
        directory.budgets = budgets.iter().map(|budget| (budget.name.clone(), budget.clone())).collect();
        Ok::<_, Infallible>(())
    });
    put.await.unwrap();
    let label = Book { label: "everything".to_owned(), ..Book::default() };
    world.bus.books().await.unwrap().put("all.all", &label).await.unwrap();
    let found = loop {
        let found = rows(&world, &["budget"], &[]).await;
        if found.len() == 3 && found[0].by["budget"] == "everything" {
            break found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let all = &found[0];
    assert_eq!((all.spent.as_str(), all.projected.as_ref(), all.until.as_ref()), ("104", None, None));
    assert_eq!((dollars(&all.per_day), all.limit.as_deref()), (per_day(), Some("110")));
    let at_end: jiff::Timestamp = all.spent_at.as_ref().unwrap().parse().unwrap();
    let days = (at_end.as_microsecond() - i64::try_from(at.0).unwrap()) / i64::try_from(HOUR).unwrap();
    assert_eq!(days, dollars("6") * 24 / per_day());
    // Tokens; the cycle is a day, but the days before tell how the spending goes.
    let each = &found[1];
    assert_eq!(
        (each.by["budget"].as_str(), each.per_day.as_str(), each.limit.as_deref()),
        (Some("each"), "1000", Some("5000"))
    );
    assert_eq!(each.spent, if day(times[0]) == day(at) { "1000" } else { "0" });
    assert_eq!((found[2].spent.as_str(), found[2].projected.as_deref()), ("0", Some("0")));
    // Who may see one project sees its budgets alone.
    let of_search = rows(&world, &["budget"], &["search"]).await;
    assert_eq!(of_search.iter().map(|row| row.by["budget"].as_str().unwrap()).collect::<Vec<_>>(), ["each"]);
    for wrong in [&["budget", "model"][..], &["day"], &["colour"]] {
        assert!(matches!(ask(&world, wrong, &[]).await, ReportReply::BadQuery(_)), "{wrong:?}");
    }
}

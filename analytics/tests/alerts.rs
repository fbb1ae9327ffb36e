//! Alerts: kept in ClickHouse, one row each.

mod support;

use penstock_schemas::alert::{Alert, AlertKind, AlertQuery};
use support::events::{HOUR, ago, now, raised};
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

#[tokio::test]
async fn an_alert_is_one_row_and_is_shown_with_all_that_it_says() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let old = Alert::new(AlertKind::UnpricedModel, "openai/new", "", "2026-11-21", ago(3 * HOUR)).saying("no price");
    let new = Alert::new(AlertKind::BudgetThreshold, "it's [\"a\"]", "80", "2026-11", ago(HOUR));
    let new = new.saying("80 %").with("threshold", 80).with("limit", "50");
    world.write([raised(&old), raised(&new), raised(&old)]).await;
    world.until("SELECT count() FROM alerts", "2").await;
    world.until_left(0).await;
    let ask =
        async |kind, since| world.warehouse().alerts(&AlertQuery { since, until: now(), kind }).await.unwrap().alerts;
    let all = ask(None, ago(4 * HOUR)).await;
    assert_eq!(all.iter().map(|row| row.id).collect::<Vec<_>>(), [new.id, old.id]);
    assert_eq!(
        (&all[0].subject, &all[0].details, all[0].kind.as_str()),
        (&new.subject, &new.details, "budget_threshold")
    );
    assert_eq!(all[0].at.parse::<jiff::Timestamp>().unwrap().as_microsecond(), i64::try_from(new.at.0).unwrap());
    assert_eq!(ask(Some(AlertKind::UnpricedModel), ago(4 * HOUR)).await[0].message, "no price");
    assert_eq!(ask(None, ago(2 * HOUR)).await.len(), 1);
    assert_eq!(ask(Some(AlertKind::SpendingSlope), ago(4 * HOUR)).await, []);
}

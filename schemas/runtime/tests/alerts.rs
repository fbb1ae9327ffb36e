//! Alerts over a real nats-server: each is raised once, whoever raises it how often, and kept until it is dealt with.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod server;

use penstock_runtime::bus::{Post, Work};
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use server::Server;
use std::time::Duration;
use tokio::time::timeout;

/// The longest that anything here may take.
const LONG: Duration = Duration::from_secs(20);

fn alert(window: &str) -> Alert {
    let new = Alert::new(AlertKind::BudgetThreshold, "team", "80", window, UnixMicros(1_795_000_000_000_000));
    new.saying("80 % of the budget team is spent").with("threshold", 80)
}

#[tokio::test]
async fn an_alert_is_raised_once_by_whomever_and_told_until_it_is_dealt_with() {
    let server = Server::start();
    let (one, two) = (server.bus("one").await, server.bus("two").await);
    let (first, second) = (alert("2026-11"), alert("2026-12"));
    let (here, there) = tokio::join!(one.raise(&first), two.raise(&first));
    assert_ne!(here.unwrap(), there.unwrap());
    assert!(!one.raise(&first).await.unwrap());
    assert!(two.raise(&second).await.unwrap());
    let mut reader = one.alerts().await.unwrap();
    let mut next = async || timeout(LONG, reader.next()).await.unwrap().unwrap();
    let again: Work<Alert> = next().await;
    assert_eq!((&again.value, again.tries), (&first, 1));
    again.again(Duration::ZERO).await.unwrap();
    let work = next().await;
    assert_eq!(work.value, second);
    work.done().await.unwrap();
    let work = next().await;
    assert_eq!((&work.value, work.tries), (&first, 2));
    work.done().await.unwrap();
    // Dealt with or not: it is not raised again.
    assert!(!one.raise(&first).await.unwrap());
}

#[tokio::test]
async fn an_alarm_raises_what_its_owner_cannot_wait_for() {
    let server = Server::start();
    let bus = server.bus("one").await;
    let alarm = bus.alarm();
    for window in ["a", "b", "a", "c", "b"] {
        alarm.raise(alert(window));
    }
    let mut reader = bus.alerts().await.unwrap();
    for window in ["a", "b", "c"] {
        let work: Work<Alert> = timeout(LONG, reader.next()).await.unwrap().unwrap();
        assert_eq!(work.value.window, window);
        work.done().await.unwrap();
    }
    assert!(!bus.raise(&alert("c")).await.unwrap());
}

#[tokio::test]
async fn a_post_is_kept_once_until_it_is_done() {
    let server = Server::start();
    let bus = server.bus("one").await;
    let post = |webhook: &str| Post::alert(webhook, alert("2026-11"));
    // As posts were before jobs had any.
    let written = serde_json::to_value(post("ops")).unwrap();
    assert_eq!((&written["webhook"], written["alert"]["window"].as_str()), (&"ops".into(), Some("2026-11")));
    assert_eq!(serde_json::from_value::<Post>(written).unwrap(), post("ops"));
    for webhook in ["ops", "ops", "team"] {
        bus.post(&post(webhook)).await.unwrap();
    }
    let mut reader = bus.posts_waiting().await.unwrap();
    for webhook in ["ops", "team"] {
        let work: Work<Post> = timeout(LONG, reader.next()).await.unwrap().unwrap();
        assert_eq!(work.value, post(webhook));
        work.done().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_put_off_is_given_to_whoever_reads_then() {
    let server = Server::start();
    let (one, two) = (server.bus("one").await, server.bus("two").await);
    one.post(&Post::alert("ops", alert("2026-11"))).await.unwrap();
    let mut reader = one.posts_waiting().await.unwrap();
    let work: Work<Post> = timeout(LONG, reader.next()).await.unwrap().unwrap();
    work.again(Duration::from_secs(1)).await.unwrap();
    drop((work, reader, one));
    let mut reader = two.posts_waiting().await.unwrap();
    let work = timeout(LONG, reader.next()).await.unwrap().unwrap();
    assert_eq!(work.tries, 2);
}

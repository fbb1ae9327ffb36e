//! Alerts: noticed at every share of a budget, once each; kept in ClickHouse, one row each; posted until they are taken.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_analytics::Analytics;
use penstock_runtime::bus::Post;
use penstock_runtime::clock;
use penstock_schemas::alert::{Alert, AlertKind, AlertQuery};
use penstock_schemas::book::{Book, Share};
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::{Cycle, zone};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::Webhook;
use penstock_schemas::reservation::LeaseId;
use ring::hmac;
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use support::events::{HOUR, ago, now, raised};
use support::receiver::{Received, Receiver};
use support::{World, be_engine};
use uuid::Uuid;

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

/// Puts budgets and webhooks into the directory.
async fn manage(world: &World, budgets: &[&str], webhooks: &[Webhook]) {
    let directories = world.bus.directories().await.unwrap();
    let budgets: Vec<Budget> = budgets.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
    let changed = directories.change(|directory, _| {
        directory.budgets = budgets.iter().map(|budget| (budget.name.clone(), budget.clone())).collect();
        directory.webhooks = webhooks.iter().map(|webhook| (webhook.name.clone(), webhook.clone())).collect();
        Ok::<_, Infallible>(())
    });
    changed.await.unwrap();
}

async fn stop(analytics: Analytics) {
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

fn month() -> String {
    Cycle::Monthly.window(now(), &zone("UTC").unwrap()).name
}

/// A book of which so much is settled, half of it under a lease that lives.
fn book(settled: u64, label: &str) -> Book {
    let share = Share { held: settled, settled: settled / 2, wanted: 0 };
    let shares = [(LeaseId(Uuid::from_u128(1)), share)].into();
    Book { past: settled - settled / 2, shares, label: label.to_owned(), ..Book::default() }
}

const SHOWN: &str = "SELECT arrayStringConcat(groupArray(concat(subject, ' ', details['threshold'])), ', ')
    FROM (SELECT subject, details FROM alerts ORDER BY subject, toUInt8(details['threshold']))";

#[tokio::test]
async fn each_share_of_a_budget_is_told_once_across_restarts_and_by_several_processes() {
    let world = World::new().await;
    let (one, two) = (world.start(vec![]).await.unwrap(), world.start(vec![]).await.unwrap());
    let tokens = r#"{"name":"team","limit_tokens":1000}"#;
    manage(&world, &[tokens, r#"{"name":"own","limit_usd":"1","alert_at":[50,100],"cycle":"total"}"#], &[]).await;
    let books = world.bus.books().await.unwrap();
    let team = format!("team.0123.{}", month());
    books.put(&team, &book(910, "team[ann]")).await.unwrap();
    books.put("own.all", &book(500_000_000_000, "")).await.unwrap();
    books.put("gone.all", &book(5_000, "")).await.unwrap();
    world.until(SHOWN, "own 50, team[ann] 80, team[ann] 90").await;
    for analytics in [one, two] {
        stop(analytics).await;
    }
    // While nobody watched.
    books.put(&team, &book(1000, "team[ann]")).await.unwrap();
    let analytics = world.start(vec![]).await.unwrap();
    world.until(SHOWN, "own 50, team[ann] 80, team[ann] 90, team[ann] 100").await;
    // A limit that is lowered is reached without spending more; a key's own budget is watched too.
    manage(&world, &[tokens, r#"{"name":"own","limit_usd":"0.5","alert_at":[50,100],"cycle":"total"}"#], &[]).await;
    let key = r#"{"id":"k1","sha256":"","prefix":"","project":"p","created_at":0,
        "budgets":[{"name":"mine","limit_tokens":10,"cycle":"total"}]}"#;
    world.bus.keys().await.unwrap().put("k1", &serde_json::from_str::<VirtualKey>(key).unwrap()).await.unwrap();
    books.put("K=k1=mine.all", &book(8, "k1/mine")).await.unwrap();
    world.until(SHOWN, "k1/mine 80, own 50, own 100, team[ann] 80, team[ann] 90, team[ann] 100").await;
    // One row was written for each, and none was written twice.
    assert_eq!(world.value("SELECT count() FROM alert_log").await, "6");
    let kinds =
        "SELECT toString(groupUniqArray(kind)) FROM (SELECT kind FROM alerts WHERE details['threshold'] = '100')";
    assert_eq!(world.value(kinds).await, "['budget_exceeded']");
    stop(analytics).await;
}

/// Whether a post is signed with `secret`, checked as a receiver does.
fn is_signed(post: &Received, secret: &str) -> bool {
    let signed = [post.header("x-penstock-timestamp").as_bytes(), b".", &post.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let made: String = hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let age = clock::now().0 / 1_000_000 - post.header("x-penstock-timestamp").parse::<u64>().unwrap();
    age < 60 && post.header("x-penstock-signature") == format!("v1={made}")
}

fn webhook(world: &World, name: &str, url: String, events: &[AlertKind]) -> Webhook {
    let secret = world.folder.path().join(format!("{name}.secret"));
    std::fs::write(&secret, format!("secret-of-{name}\n")).unwrap();
    Webhook { name: name.to_owned(), url, secret: format!("file:{}", secret.display()), events: events.to_vec() }
}

#[tokio::test]
async fn a_webhook_is_told_with_a_signature_until_it_takes_the_alert() {
    let world = World::new().await;
    let (stubborn, picky) = (Receiver::start(&[307, 204]), Receiver::start(&[200]));
    let webhooks = [
        webhook(&world, "stubborn", stubborn.url("/hook?a=b"), &[]),
        webhook(&world, "picky", picky.url("/"), &[AlertKind::UnpricedModel]),
    ];
    manage(&world, &[], &webhooks).await;
    let alert = |kind| Alert::new(kind, "team[\"ü\"]", "", "2026-11", now()).saying("it's so").with("n", 1);
    let (slope, unpriced) = (alert(AlertKind::SpendingSlope), alert(AlertKind::UnpricedModel));
    let analytics = world.start(vec![]).await.unwrap();
    assert!(world.bus.raise(&slope).await.unwrap());
    // Refused once, and then the role is restarted: the post waits for the next one.
    let first = stubborn.next().await;
    assert_eq!((first.path.as_str(), first.header("content-type")), ("/hook?a=b", "application/json"));
    stop(analytics).await;
    let analytics = world.start(vec![]).await.unwrap();
    // A redirect is no success, and is not followed.
    for post in [&first, &stubborn.next().await] {
        assert!(is_signed(post, "secret-of-stubborn"), "{post:?}");
        assert!(!is_signed(post, "another"));
        assert_eq!(post.header("x-penstock-alert-id"), slope.id.to_string());
        assert_eq!((post.path.as_str(), &post.body), ("/hook?a=b", &first.body));
    }
    let told = first.json();
    assert_eq!((&told["kind"], &told["subject"]), (&"spending_slope".into(), &"team[\"ü\"]".into()));
    assert_eq!((&told["id"], &told["details"]["n"]), (&slope.id.to_string().into(), &"1".into()));
    world.until_metric("penstock_webhook_posts_total 1").await;
    // The other was not told, until it was something that it wants.
    assert!(world.bus.raise(&unpriced).await.unwrap());
    let post = picky.next().await;
    assert!(is_signed(&post, "secret-of-picky"));
    assert_eq!(post.header("x-penstock-alert-id"), unpriced.id.to_string());
    stubborn.next().await;
    world.until_metric("penstock_webhook_posts_total 3").await;
    assert!(stubborn.rest().is_empty() && picky.rest().is_empty());
    stop(analytics).await;
}

#[tokio::test]
async fn so_many_posts_wait_for_one_webhook_and_all_that_come_for_others() {
    const WAITING: usize = 500;
    let world = World::new().await;
    // As an earlier version has made it, with a post in it.
    let jetstream = async_nats::jetstream::new(async_nats::connect(&world.nats.url).await.unwrap());
    let config = async_nats::jetstream::stream::Config {
        name: "ps_POSTS".to_owned(),
        subjects: vec!["ps.post".to_owned()],
        retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        max_bytes: 256 << 20,
        duplicate_window: Duration::from_secs(120),
        num_replicas: 1,
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    let alert = |at: usize| Alert::new(AlertKind::SpendingSlope, "team", &at.to_string(), "2026-11", now());
    let post = |webhook: &str, at: usize| Post::alert(webhook, alert(at));
    let earlier = serde_json::to_vec(&post("good", WAITING)).unwrap();
    jetstream.publish("ps.post", earlier.into()).await.unwrap().await.unwrap();
    for at in 0..WAITING {
        assert!(world.bus.post(&post("hanging", at)).await.unwrap(), "{at}");
    }
    assert!(!world.bus.post(&post("hanging", WAITING)).await.unwrap());
    let good = Receiver::start(&[204]);
    manage(&world, &[], &[webhook(&world, "good", good.url("/"), &[])]).await;
    assert!(world.bus.post(&post("good", 1)).await.unwrap());
    let analytics = world.start(vec![]).await.unwrap();
    let told = [good.next().await, good.next().await].map(|post| post.header("x-penstock-alert-id").to_owned());
    assert!([1, WAITING].map(|at| alert(at).id.to_string()).iter().all(|id| told.contains(id)));
    stop(analytics).await;
}

#[tokio::test]
async fn a_webhook_that_never_answers_delays_no_post_to_another() {
    const ALERTS: usize = 60;
    let world = World::new().await;
    let (hanging, good) = (Receiver::hanging(), Receiver::start(&[204]));
    let webhooks = [webhook(&world, "hanging", hanging.url("/"), &[]), webhook(&world, "good", good.url("/"), &[])];
    manage(&world, &[], &webhooks).await;
    let alert = |at: usize| Alert::new(AlertKind::SpendingSlope, "team", &at.to_string(), "2026-11", now());
    for at in 0..ALERTS {
        assert!(world.bus.raise(&alert(at)).await.unwrap());
    }
    let begun = Instant::now();
    let _analytics = world.start(vec![]).await.unwrap();
    let mut told = HashSet::new();
    while told.len() < ALERTS {
        told.insert(good.next().await.header("x-penstock-alert-id").to_owned());
    }
    println!("the good webhook has all {ALERTS} after {:?}", begun.elapsed());
    // Each of its posts takes 10 s, and it may have four at once.
    hanging.next().await;
    let held = 1 + hanging.rest().len();
    let rounds = begun.elapsed().as_secs() / 10 + 1;
    assert!(held <= 4 * usize::try_from(rounds).unwrap(), "{held} in {rounds} rounds");
}

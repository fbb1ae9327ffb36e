//! Posts alerts, and jobs that are over, to webhooks: signed, again and again for about an hour, until they are taken. What waits is kept in NATS and
//! outlives this process. A webhook that does not answer delays its own posts only. Knows nothing of what they say.
//!
//! `x-penstock-signature` is `v1=` and the HMAC-SHA256, in hexadecimal, of the timestamp, a dot and the body. A receiver
//! compares it, and refuses timestamps (seconds since 1970) that are minutes old.

use super::lane::{Lane, Lanes, Turn};
use crate::budgets::Budgets;
use crate::metrics::AnalyticsMetrics;
use penstock_runtime::bus::{Bus, BusError, Post, PostContent, Work};
use penstock_runtime::{Life, Secret, clock};
use penstock_schemas::alert::AlertRow;
use penstock_schemas::hex;
use penstock_schemas::kind::Webhook;
use reqwest::Client;
use ring::hmac;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

/// The waits after each failed try but the last, in seconds: eight tries over an hour.
const WAITS: [u64; 7] = [1, 10, 60, 240, 600, 900, 1800];

/// The longest that a receiver may take, from its name's lookup to the head of its answer. The body of the answer is not read.
const LIMIT: Duration = Duration::from_secs(10);

/// For how long a post is put off whose webhook is busy with others: by then it has answered these or failed.
const BUSY: Duration = LIMIT;

/// Wait before the queue is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// What posts. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Poster {
    pub(crate) bus: Bus,
    pub(crate) life: Life,
    pub(crate) budgets: Budgets,
    pub(crate) metrics: AnalyticsMetrics,
}

/// Why a receiver has not taken a post.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the secret of webhook {webhook}: {reason}")]
    NoSecret { webhook: String, reason: String },
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {0}")]
    Refused(u16),
}

impl Poster {
    /// Posts for ever.
    pub(crate) async fn run(self) {
        while !self.budgets.is_current() {
            sleep(Duration::from_millis(50)).await;
        }
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                error!(%error, "alerts cannot be posted: they wait for a process that can");
                return std::future::pending().await;
            }
        };
        let mut lanes = Lanes::default();
        loop {
            if let Err(error) = self.post_all(&client, &mut lanes).await {
                warn!(%error, "alerts cannot be posted; they wait");
            }
            sleep(AGAIN).await;
        }
    }

    async fn post_all(&self, client: &Client, lanes: &mut Lanes) -> Result<(), BusError> {
        let mut waiting = self.bus.posts_waiting().await?;
        loop {
            let work = tokio::select! {
                biased;
                () = self.life.stopping() => break,
                work = waiting.next() => work?,
            };
            let Some(lane) = lanes.enter(&work.value.webhook) else {
                work.again(BUSY).await?;
                continue;
            };
            let (poster, client) = (self.clone(), client.clone());
            self.life.work(async move {
                if let Err(error) = poster.take_turn(&client, lane, work).await {
                    warn!(%error, "NATS could not be told what became of a post: it comes again");
                }
            });
        }
        // What comes from now on is for others.
        drop(waiting);
        std::future::pending().await
    }

    /// Delivers when earlier posts to the same webhook have made room, or puts off.
    async fn take_turn(&self, client: &Client, lane: Lane, work: Work<Post>) -> Result<(), BusError> {
        let turn = tokio::select! {
            biased;
            turn = lane.turn() => turn,
            // Another process posts it.
            () = self.life.stopping() => return work.again(AGAIN).await,
        };
        match turn {
            Turn::Now(slot) => {
                let delivered = self.deliver(client, work).await;
                drop(slot);
                delivered
            }
            Turn::Later => work.again(BUSY).await,
        }
    }

    async fn deliver(&self, client: &Client, work: Work<Post>) -> Result<(), BusError> {
        let Post { webhook, content } = &work.value;
        let id = work.value.id();
        let directory = self.budgets.directory();
        let Some(receiver) = directory.webhooks.get(webhook) else {
            debug!(webhook, id, "the webhook is gone");
            return work.done().await;
        };
        let (header, body) = match content {
            PostContent::Alert(alert) => ("x-penstock-alert-id", serde_json::to_vec(&AlertRow::of(alert))),
            PostContent::Job(job) => ("x-penstock-job-id", serde_json::to_vec(&job.shown)),
        };
        let body = body.expect("alerts and jobs have a JSON form");
        let Err(reason) = post(client, receiver, (header, &id), body).await else {
            self.metrics.posts_taken.inc();
            info!(webhook, id, tries = work.tries, "a webhook was told");
            return work.done().await;
        };
        if let Some(wait) = next_wait(work.tries, work.age) {
            warn!(webhook, id, tries = work.tries, %reason, again_in_seconds = wait.as_secs(), "a webhook did not take a post");
            return work.again(wait).await;
        }
        self.metrics.posts_lost.inc();
        error!(webhook, id, tries = work.tries, %reason, "a webhook never took a post: it is not posted any more");
        work.done().await
    }
}

/// The wait before the next try; `None` when there is none. A post that was put off because its webhook was busy was given
/// more often than it was tried: it is given up by its age, and not by how often it was given.
fn next_wait(given: u32, age: Duration) -> Option<Duration> {
    let mut due = 0;
    let by_age = WAITS.iter().take_while(|wait| {
        due += **wait;
        due <= age.as_secs()
    });
    let by_tries = usize::try_from(given).unwrap_or(usize::MAX).saturating_sub(1);
    WAITS.get(by_tries.min(by_age.count())).copied().map(Duration::from_secs)
}

/// Redirects are not followed: what is signed for one must not reach another.
fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
        .build()
}

async fn post(
    client: &Client,
    webhook: &Webhook,
    (header, id): (&'static str, &str),
    body: Vec<u8>,
) -> Result<(), NotTaken> {
    // Read anew each time: who replaces the secret need not restart anything.
    let secret = Secret::resolve(&webhook.secret)
        .map_err(|reason| NotTaken::NoSecret { webhook: webhook.name.clone(), reason })?;
    let timestamp = (clock::now().0 / 1_000_000).to_string();
    let request = client
        .post(&webhook.url)
        .header("content-type", "application/json")
        .header(header, id)
        .header("x-penstock-signature", signature(&secret, &timestamp, &body))
        .header("x-penstock-timestamp", timestamp)
        .body(body);
    let answer = request.send().await.map_err(|error| NotTaken::Unreachable(describe(&error.without_url())))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(NotTaken::Refused(status.as_u16())) }
}

fn signature(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for part in [timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1={}", hex::write(context.sign().as_ref()))
}

/// The error with its causes: the client's own text names none.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_makes_of_the_same() {
        // printf '1795374000.{"id":"1"}' | openssl dgst -sha256 -hmac s3cret
        let made = signature(&Secret::new("s3cret"), "1795374000", br#"{"id":"1"}"#);
        assert_eq!(made, "v1=f25b4518e071651d7f5ebb797aeef43aefe5cf06c7991710366aac648c8b62dc");
    }

    #[test]
    fn a_post_is_tried_for_about_an_hour() {
        let whole: u64 = WAITS.iter().sum();
        assert!((3_500..3_700).contains(&whole) && WAITS.is_sorted(), "{whole}");
    }

    #[test]
    fn a_post_that_was_put_off_is_not_given_up_before_its_hour_is_over() {
        let wait = |given, age| next_wait(given, Duration::from_secs(age)).map(|wait| wait.as_secs());
        let mut age = 0;
        for (tries, expected) in (1..).zip(WAITS) {
            assert_eq!(wait(tries, age), Some(expected), "try {tries} at {age} s");
            age += expected;
        }
        assert_eq!(wait(8, age), None);
        assert_eq!(wait(300, age - 1), Some(1800), "put off again and again");
        assert_eq!(wait(300, 15), Some(60));
        assert_eq!(wait(1, 90_000), Some(1), "nothing posted for a day");
    }
}

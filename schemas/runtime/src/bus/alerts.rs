//! Alerts over the bus: raised by any role, each once for its id, and kept until the analytics role has written it down and
//! told everybody. Knows nothing of what they are about.

use super::work::{WorkReader, work_config};
use super::{Bus, BusError, failed};
use crate::schedule::full_jitter;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use penstock_schemas::alert::{Alert, AlertQuery, AlertReply};
use penstock_schemas::name::AlertId;
use penstock_schemas::place;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

/// The alerts that are remembered, in bytes: some hundred thousand. The oldest are forgotten, and could be raised again.
const MAX_BYTES: i64 = 256 << 20;

/// Posts that may wait for one webhook: with forty webhooks that take nothing for an hour, those of others still go out. What
/// is more is left out; every alert stands in the ledger all the same.
const WAITING: i64 = 500;

/// What the server says when so many wait. Its code is that of every message that cannot be stored.
/// Source: `ErrMaxMsgsPerSubject` in nats-server's `server/store.go`.
const TOO_MANY: &str = "maximum messages per subject exceeded";

/// Alerts that may wait in this process.
const QUEUE: usize = 256;

/// Alerts that this process remembers having raised.
const KNOWN: usize = 10_000;

/// Tries to raise one, and the waits between them: the first and the longest.
const TRIES: u32 = 10;
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Raises alerts for those who cannot wait. Cloning shares it.
#[derive(Clone)]
pub struct Alarm {
    queue: mpsc::Sender<Alert>,
    known: Arc<Mutex<HashSet<AlertId>>>,
}

/// What is to be posted to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// The webhook.
    pub webhook: String,
    /// What to tell it.
    #[serde(flatten)]
    pub content: PostContent,
}

/// What a webhook is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostContent {
    /// An alert.
    Alert(Box<Alert>),
    /// That a job is over.
    Job(JobPost),
}

/// A job that is over, for the one who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPost {
    /// Its id.
    pub id: String,
    /// The job as its caller sees it, without its answer.
    pub shown: serde_json::Value,
}

impl Post {
    /// An alert for a webhook.
    pub fn alert(webhook: impl Into<String>, alert: Alert) -> Self {
        Self { webhook: webhook.into(), content: PostContent::Alert(Box::new(alert)) }
    }

    /// A job that is over, for a webhook.
    pub fn job(webhook: impl Into<String>, job: JobPost) -> Self {
        Self { webhook: webhook.into(), content: PostContent::Job(job) }
    }

    /// What tells it from every other post to its webhook: the id of what it tells of.
    pub fn id(&self) -> String {
        match &self.content {
            PostContent::Alert(alert) => alert.id.to_string(),
            PostContent::Job(job) => job.id.clone(),
        }
    }
}

impl Bus {
    /// Raises an alert, and waits until it is kept. False when it was raised before, by whomever.
    ///
    /// # Errors
    /// When JetStream does not confirm it; it may be kept all the same, and raising it again is harmless.
    pub async fn raise(&self, alert: &Alert) -> Result<bool, BusError> {
        self.alerts_stream().await?;
        let payload = serde_json::to_vec(alert).map_err(failed("write an alert"))?;
        // The server refuses a second message on the subject: for ever, and not only for as long as it remembers ids.
        let message = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(0);
        let sent = self.jetstream.send_publish(self.subjects.alert(alert.id), message).await;
        match self.noted(&self.subjects.alerts_stream(), sent.map_err(failed("raise an alert"))?.await) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(failed("raise an alert")(error)),
        }
    }

    /// What raises alerts for those who cannot wait, as long as the role lives.
    pub fn alarm(&self) -> Alarm {
        let (queue, mut waiting) = mpsc::channel::<Alert>(QUEUE);
        let known = Arc::<Mutex<HashSet<AlertId>>>::default();
        let (bus, forget) = (self.clone(), known.clone());
        self.life.service("alarm", async move {
            while let Some(alert) = waiting.recv().await {
                if !raise_at_last(&bus, &alert).await {
                    lock(&forget).remove(&alert.id);
                }
            }
            // Nobody can raise any more, but a service stays as long as its role.
            std::future::pending::<()>().await;
        });
        Alarm { queue, known }
    }

    pub(super) async fn alerts_stream(&self) -> Result<(), BusError> {
        let config = Config {
            name: self.subjects.alerts_stream(),
            subjects: vec![self.subjects.alerts()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_bytes: MAX_BYTES,
            num_replicas: self.replicas,
            ..work_config()
        };
        self.work_stream(config).await.map(drop)
    }

    /// The alerts that were raised, each until it is acknowledged; shared by all who read.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn alerts(&self) -> Result<WorkReader<Alert>, BusError> {
        self.alerts_stream().await?;
        self.read_work(&self.subjects.alerts_stream(), "alerts").await
    }

    pub(super) async fn posts_stream(&self) -> Result<(), BusError> {
        let subjects = self.subjects.posts();
        let config = Config {
            name: self.subjects.posts_stream(),
            subjects: subjects.to_vec(),
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: MAX_BYTES,
            max_messages_per_subject: WAITING,
            discard_new_per_subject: true,
            num_replicas: self.replicas,
            ..work_config()
        };
        self.renewed_stream(config, &[&subjects[0]]).await.map(drop)
    }

    /// Puts a post among those that wait. False when so many wait for its webhook that it is left out: one
    /// webhook that takes nothing must not hold up the others.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn post(&self, post: &Post) -> Result<bool, BusError> {
        self.posts_stream().await?;
        let payload = serde_json::to_vec(post).map_err(failed("write a post"))?;
        let id = place::post(post.id(), &post.webhook);
        let message = PublishMessage::build().message_id(id).payload(payload.into());
        let sent = self.jetstream.send_publish(self.subjects.post(&post.webhook), message).await;
        match self.noted(&self.subjects.posts_stream(), sent.map_err(failed("keep a post"))?.await) {
            Ok(_) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(failed("keep a post")(error)),
        }
    }

    /// What is to be posted, each until it is acknowledged; shared by all who read.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn posts_waiting(&self) -> Result<WorkReader<Post>, BusError> {
        self.posts_stream().await?;
        self.read_work(&self.subjects.posts_stream(), "posts").await
    }

    /// Asks the analytics role for alerts.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn ask_alerts(&self, query: &AlertQuery) -> Result<AlertReply, BusError> {
        self.ask(self.subjects.alerts_asked(), query, "ask the analytics role").await
    }

    /// Answers questions for alerts as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_alerts<F, A>(&self, answer: F) -> Result<(), BusError>
    where
        F: Fn(AlertQuery) -> A + Send + Sync + 'static,
        A: Future<Output = AlertReply> + Send + 'static,
    {
        self.answer_numbers(self.subjects.alerts_asked(), answer).await
    }
}

impl Alarm {
    /// Raises an alert soon. Nothing happens when this process did so before.
    pub fn raise(&self, alert: Alert) {
        let id = alert.id;
        {
            let mut known = lock(&self.known);
            if known.len() >= KNOWN {
                known.clear();
            }
            if !known.insert(id) {
                return;
            }
        }
        if self.queue.try_send(alert).is_err() {
            warn!(%id, "too many alerts wait: this one is raised when its reason is met again");
            lock(&self.known).remove(&id);
        }
    }
}

fn is_full(error: &PublishError) -> bool {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .any(|error| error.to_string().contains(TOO_MANY))
}

fn lock(known: &Mutex<HashSet<AlertId>>) -> std::sync::MutexGuard<'_, HashSet<AlertId>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False when it did not work for a while.
async fn raise_at_last(bus: &Bus, alert: &Alert) -> bool {
    for again in 1..=TRIES {
        match bus.raise(alert).await {
            Ok(_) => return true,
            Err(error) => warn!(id = %alert.id, %error, "an alert could not be raised"),
        }
        sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
    }
    false
}

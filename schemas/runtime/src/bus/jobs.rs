//! The lines of batches on the bus: a work queue of those that wait, by provider, and a stream of their results, one for
//! each line. Knows nothing of what a line asks or of what a result says.

use super::{Bucket, Bus, BusError, WorkReader, failed};
use crate::clock;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DirectGetErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use penstock_schemas::UnixMicros;
use penstock_schemas::batch::{Batch, Tally};
use penstock_schemas::job::{LaterJob, QueuedJob};
use penstock_schemas::name::{BatchId, ProviderId};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tracing::{debug, error};

/// The most that jobs take whose callers come back, in bytes: some million names, their requests lie elsewhere.
const ASYNC_MAX_BYTES: i64 = 256 << 20;

/// How long a line or a result may lie: longer than the longest window of a batch.
const MAX_AGE: Duration = Duration::from_secs(32 * 24 * 3600);

/// How long a line may be worked on without a word before another process gets it.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// How often a line that is worked on says so.
pub const WORD: Duration = Duration::from_secs(10);

/// Lines of one reader that may be worked on or put off at once, in the whole deployment.
const PENDING: i64 = 50_000;

/// What a message needs besides its payload, in bytes.
const ROOM: usize = 16 * 1024;

/// The longest payload that is read back from the object store, in bytes.
const LONGEST: usize = 256 * 1024 * 1024;

/// How long a reader that nobody uses stays.
const INACTIVE: Duration = Duration::from_secs(24 * 3600);

/// The header that names the object which holds the payload.
const STORED: &str = "penstock-stored";

/// The header with what a result counts as.
const TALLY: &str = "penstock-tally";

/// The queue and the results. Cloning shares them.
#[derive(Clone)]
pub struct Jobs {
    bus: Bus,
    queue: Stream,
    results: Stream,
    large: ObjectStore,
    batches: Bucket<Batch>,
}

/// A line that is to be worked on.
pub struct Job {
    /// Its batch.
    pub batch: BatchId,
    /// Its number in the input file, from 1.
    pub line: u64,
    /// The line as it stands in the file.
    pub body: Bytes,
    /// How often it was given, this time included.
    pub tries: u32,
    message: Message,
    bus: Bus,
}

/// Reads the lines of one batch for one provider.
pub struct JobReader {
    jobs: Jobs,
    consumer: PullConsumer,
}

impl Bus {
    /// The queue of lines, and their results; and what is known of batches, each for so long after its last change.
    ///
    /// # Errors
    /// When JetStream does not answer, or a stream has other settings.
    pub async fn jobs(&self, kept: Duration) -> Result<Jobs, BusError> {
        let queue = Config {
            name: self.subjects.jobs_stream(),
            subjects: vec![self.subjects.all_jobs()],
            retention: RetentionPolicy::WorkQueue,
            ..self.job_config()
        };
        let results = Config {
            name: self.subjects.results_stream(),
            subjects: vec![self.subjects.all_results()],
            retention: RetentionPolicy::Limits,
            ..self.job_config()
        };
        Ok(Jobs {
            queue: self.work_stream(queue).await?,
            results: self.work_stream(results).await?,
            large: self.object_store_for(&self.subjects.lines_bucket(), MAX_AGE).await?,
            batches: Bucket::of(self, self.key_value_for(&self.subjects.batches_bucket(), kept).await?),
            bus: self.clone(),
        })
    }

    pub(super) async fn async_stream(&self) -> Result<Stream, BusError> {
        let config = Config {
            name: self.subjects.async_stream(),
            subjects: vec![self.subjects.all_async_jobs()],
            retention: RetentionPolicy::WorkQueue,
            max_bytes: ASYNC_MAX_BYTES,
            ..self.job_config()
        };
        self.work_stream(config).await
    }

    /// Puts a job whose caller comes back into the queue; a second time within two minutes, it is there once.
    ///
    /// # Errors
    /// When JetStream does not confirm it, or too many wait.
    pub async fn put_async(&self, job: &QueuedJob) -> Result<(), BusError> {
        let payload = serde_json::to_vec(job).map_err(failed("write a job"))?;
        let message = PublishMessage::build().message_id(&job.id).payload(payload.into());
        let sent = self.jetstream.send_publish(self.subjects.async_job(&job.id), message).await;
        let queued = self.noted(&self.subjects.async_stream(), sent.map_err(failed("queue a job"))?.await);
        queued.map(drop).map_err(failed("queue a job"))
    }

    /// The jobs that are to begin later, by their ids.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn later_jobs(&self) -> Result<Bucket<LaterJob>, BusError> {
        Ok(Bucket::of(self, self.key_value_for(&self.subjects.later_bucket(), MAX_AGE).await?))
    }

    /// The jobs that wait, shared by all who read.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn async_jobs(&self) -> Result<WorkReader<QueuedJob>, BusError> {
        self.async_stream().await?;
        self.read_work(&self.subjects.async_stream(), "async").await
    }

    fn job_config(&self) -> Config {
        Config {
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            // Nothing of the disk is reserved: batches are fed in windows, and not at all while it is nearly full.
            max_bytes: -1,
            max_age: MAX_AGE,
            allow_direct: true,
            num_replicas: self.replicas,
            ..super::work::work_config()
        }
    }
}

impl Jobs {
    /// What is known of each batch, by its id.
    pub fn batches(&self) -> &Bucket<Batch> {
        &self.batches
    }

    /// Puts a line into the queue of a provider. One that is there already stays as it is.
    ///
    /// # Errors
    /// When JetStream does not confirm it; putting it again is harmless.
    pub async fn put(&self, provider: &ProviderId, place: (&BatchId, u64), body: &Bytes) -> Result<(), BusError> {
        let to = (self.bus.subjects.jobs_stream(), self.bus.subjects.job(provider, place.0, place.1));
        let name = format!("{}.{}.in", place.0, place.1);
        self.put_once(to, name, HeaderMap::new(), body).await.map(drop)
    }

    /// Keeps the result of a line. False when it has one already: the first one counts.
    ///
    /// # Errors
    /// When JetStream does not confirm it; it may be kept all the same.
    pub async fn put_result(&self, place: (&BatchId, u64), tally: &Tally, result: &Bytes) -> Result<bool, BusError> {
        let to = (self.bus.subjects.results_stream(), self.bus.subjects.result(place.0, place.1));
        let mut headers = HeaderMap::new();
        headers.insert(TALLY, serde_json::to_string(tally).map_err(failed("write a result"))?.as_str());
        self.put_once(to, format!("{}.{}.out", place.0, place.1), headers, result).await
    }

    async fn put_once(
        &self,
        (stream, subject): (String, String),
        name: String,
        headers: HeaderMap,
        body: &Bytes,
    ) -> Result<bool, BusError> {
        let (mut headers, mut payload) = (headers, body.clone());
        if body.len() + ROOM > self.bus.client.max_payload() {
            let stored = self.large.put(name.as_str(), &mut body.as_ref()).await;
            self.bus.noted(&self.bus.subjects.lines_bucket(), stored).map_err(failed("store a large line"))?;
            headers.insert(STORED, name.as_str());
            payload = Bytes::new();
        }
        // The server refuses a second message on the subject, for as long as the first one lies there.
        let message = PublishMessage::build().headers(headers).payload(payload).expected_last_subject_sequence(0);
        let sent = self.bus.jetstream.send_publish(subject, message).await;
        match self.bus.noted(&stream, sent.map_err(failed("put a line into a batch's queue"))?.await) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(failed("put a line into a batch's queue")(error)),
        }
    }

    /// The result of a line.
    ///
    /// # Errors
    /// When JetStream does not answer, or what it names is gone.
    pub async fn result(&self, batch: &BatchId, line: u64) -> Result<Option<(Tally, Bytes)>, BusError> {
        let found = self.results.direct_get_last_for_subject(self.bus.subjects.result(batch, line)).await;
        let message = match found {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read the result of a line")(error)),
        };
        let tally = tally(&message.headers)?;
        Ok(Some((tally, self.payload(&message.headers, message.payload).await?)))
    }

    /// Counts the results of a batch: those that are there, and those that come.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn results(&self, batch: &BatchId) -> Result<Results, BusError> {
        let config = pull::OrderedConfig {
            filter_subject: self.bus.subjects.results(batch),
            headers_only: true,
            deliver_policy: DeliverPolicy::All,
            max_batch: 500,
            ..pull::OrderedConfig::default()
        };
        let consumer = self.results.create_consumer(config).await.map_err(failed("read results"))?;
        let messages = consumer.messages().await.map_err(failed("read results"))?;
        Ok(Results { messages })
    }

    /// Removes what of a batch waits in the queue.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn forget_queued(&self, batch: &BatchId) -> Result<(), BusError> {
        let subjects = self.bus.subjects.jobs_of(batch);
        self.queue.purge().filter(subjects).await.map(drop).map_err(failed("empty a batch's queue"))
    }

    /// Removes the results of a batch that are in files by now.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn forget_results(&self, batch: &BatchId) -> Result<(), BusError> {
        let subjects = self.bus.subjects.results(batch);
        self.results.purge().filter(subjects).await.map(drop).map_err(failed("remove a batch's results"))
    }

    /// Reads the lines of a batch for one provider, shared with all other processes.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn reader(&self, batch: &BatchId, provider: &ProviderId) -> Result<JobReader, BusError> {
        let durable = durable(batch, provider);
        let config = pull::Config {
            durable_name: Some(durable.clone()),
            filter_subject: self.bus.subjects.jobs(provider, batch),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: PENDING,
            inactive_threshold: INACTIVE,
            ..pull::Config::default()
        };
        let consumer = self.bus.consumer(&self.bus.subjects.jobs_stream(), &durable, config).await?;
        Ok(JobReader { jobs: self.clone(), consumer })
    }

    /// Removes the readers of a batch, and what of it waits in the queue.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn close(
        &self,
        batch: &BatchId,
        providers: impl IntoIterator<Item = &ProviderId>,
    ) -> Result<(), BusError> {
        self.forget_queued(batch).await?;
        for provider in providers {
            match self.queue.delete_consumer(&durable(batch, provider)).await {
                Ok(_) => {}
                // One that never began, or is gone already.
                Err(error) => debug!(%batch, %provider, %error, "a reader of lines was not removed"),
            }
        }
        Ok(())
    }

    async fn payload(&self, headers: &HeaderMap, payload: Bytes) -> Result<Bytes, BusError> {
        let Some(name) = headers.get(STORED) else { return Ok(payload) };
        let mut object = self.large.get(name.as_str()).await.map_err(failed("fetch a large line"))?;
        let size = object.info().size;
        if size > LONGEST {
            return Err(failed("fetch a large line")(format!("it has {size} bytes")));
        }
        let mut bytes = Vec::with_capacity(size);
        object.read_to_end(&mut bytes).await.map_err(failed("fetch a large line"))?;
        Ok(bytes.into())
    }
}

/// The results of one batch, as they come.
pub struct Results {
    messages: pull::Ordered,
}

impl Results {
    /// The next result's number of line and what it counts as.
    ///
    /// # Errors
    /// When the stream cannot be read: it is to be opened again.
    pub async fn next(&mut self) -> Result<(u64, Tally), BusError> {
        let next = self.messages.next().await;
        let message = next.ok_or("it is closed").map_err(failed("read results"))?.map_err(failed("read results"))?;
        let line = message.subject.rsplit('.').next().and_then(|line| line.parse().ok());
        let line = line.ok_or("a result without a line").map_err(failed("read results"))?;
        Ok((line, tally(message.headers.as_ref().unwrap_or(&HeaderMap::new()))?))
    }
}

/// The name of the readers of a batch's lines for one provider.
fn durable(batch: &BatchId, provider: &ProviderId) -> String {
    format!("{batch}-{provider}")
}

fn tally(headers: &HeaderMap) -> Result<Tally, BusError> {
    let text = headers.get(TALLY).map(|value| value.as_str().to_owned()).unwrap_or_default();
    serde_json::from_str(&text).map_err(failed("read a result"))
}

impl JobReader {
    /// At most `most` lines of those that are there now.
    ///
    /// # Errors
    /// When the queue cannot be read: it is to be opened again.
    pub async fn fetch(&self, most: usize) -> Result<Vec<Job>, BusError> {
        let fetched = self.consumer.fetch().max_messages(most).messages().await;
        let mut messages = fetched.map_err(failed("read the queue of lines"))?;
        let mut jobs = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| failed("read the queue of lines")(error))?;
            match self.job(message).await {
                Ok(job) => jobs.push(job),
                Err(error) => error!(%error, "a line cannot be read; it comes again"),
            }
        }
        Ok(jobs)
    }

    async fn job(&self, message: Message) -> Result<Job, BusError> {
        let mut parts = message.subject.rsplit('.');
        let line = parts.next().and_then(|line| line.parse().ok());
        let batch = parts.next().and_then(|batch| BatchId::parse(batch).ok());
        let (line, batch) = line.zip(batch).ok_or("a line without a place").map_err(failed("read a line"))?;
        let headers = message.headers.clone().unwrap_or_default();
        let body = self.jobs.payload(&headers, message.payload.clone()).await?;
        let tries = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(u32::MAX));
        Ok(Job { batch, line, body, tries, message, bus: self.jobs.bus.clone() })
    }
}

impl Job {
    /// When it was put into the queue.
    pub fn queued_at(&self) -> UnixMicros {
        let at = self.message.info().map(|info| info.published.unix_timestamp_nanos() / 1_000);
        at.ok().and_then(|at| u64::try_from(at).ok()).map_or_else(clock::now, UnixMicros)
    }

    /// It is still worked on.
    ///
    /// # Errors
    /// When that cannot be said; another process may get it.
    pub async fn goes_on(&self) -> Result<(), BusError> {
        self.message.ack_with(AckKind::Progress).await.map_err(failed("say that a line is worked on"))
    }

    /// Its result is kept.
    ///
    /// # Errors
    /// When that cannot be said; then it comes again, and its result is found.
    pub async fn done(&self) -> Result<(), BusError> {
        self.message.ack().await.map_err(failed("acknowledge a line"))
    }

    /// It is to be given again after `wait`.
    ///
    /// # Errors
    /// When that cannot be said; then it comes again in its own time.
    pub async fn again(&self, wait: Duration) -> Result<(), BusError> {
        self.message.ack_with(AckKind::Nak(Some(wait))).await.map_err(failed("put a line off"))?;
        self.bus.flush().await
    }
}

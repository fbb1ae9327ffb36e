//! Every name on the bus, in one place: subjects, streams, buckets, queue groups. Knows nothing of what travels there.

use crate::envelope::{Operation, Traffic};
use crate::name::{AlertId, BatchId, ProcessId, ProjectId, ProviderId, RequestId};
use uuid::Uuid;

/// The one queue group of all workers: with two names, each group would get its own copy of a call.
pub const QUEUE_GROUP: &str = "w";

/// The names on the bus of one deployment; two deployments with different prefixes share a NATS without meeting.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// The names under `prefix`: 1 to 16 of `a-z 0-9 _ -`.
    ///
    /// # Errors
    /// When the prefix is not one token of a subject.
    pub fn new(prefix: &str) -> Result<Self, crate::name::BadName> {
        let token = ProcessId::parse(prefix)?;
        Ok(Self { prefix: token.as_str().to_owned() })
    }

    /// What every name begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a stream of this name is of this deployment: its own, that of a bucket or of an object store.
    pub fn is_own(&self, stream: &str) -> bool {
        let name = stream.strip_prefix("KV_").or_else(|| stream.strip_prefix("OBJ_")).unwrap_or(stream);
        name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('_'))
    }

    /// What the inboxes of a role begin with: no other role may hear what it is answered.
    pub fn inbox(&self, role: &str) -> String {
        format!("_INBOX.{role}")
    }

    /// Where calls for a provider's pool are published.
    pub fn call(&self, provider: &ProviderId, operation: Operation, traffic: Traffic) -> String {
        match traffic {
            Traffic::Sync => format!("{}.call.{provider}.{operation}", self.prefix),
            Traffic::Batch => format!("{}.batch.{provider}.{operation}", self.prefix),
        }
    }

    /// What a pool of the provider subscribes to.
    pub fn calls(&self, provider: &ProviderId, traffic: Traffic) -> String {
        match traffic {
            Traffic::Sync => format!("{}.call.{provider}.*", self.prefix),
            Traffic::Batch => format!("{}.batch.{provider}.*", self.prefix),
        }
    }

    /// Where calls for one worker's pool of the provider are published, past the queue: for a call whose worker is gone.
    pub fn direct(&self, worker: &ProcessId, provider: &ProviderId, traffic: Traffic) -> String {
        match traffic {
            Traffic::Sync => format!("{}.direct.{worker}.{provider}", self.prefix),
            Traffic::Batch => format!("{}.direct_batch.{worker}.{provider}", self.prefix),
        }
    }

    /// Where the workers of a provider are asked about groups of lines for its own batch API.
    pub fn native(&self, provider: &ProviderId) -> String {
        format!("{}.native.{provider}", self.prefix)
    }

    /// The bucket of what is known of such groups.
    pub fn native_groups_bucket(&self) -> String {
        format!("{}_NATIVE_GROUPS", self.prefix)
    }

    /// The object store of their lines and answers.
    pub fn native_lines_bucket(&self) -> String {
        format!("{}_NATIVE_LINES", self.prefix)
    }

    /// Where a worker tells how its pool of the provider is.
    pub fn pool(&self, provider: &ProviderId) -> String {
        format!("{}.pool.{provider}", self.prefix)
    }

    /// How all pools are.
    pub fn pools(&self) -> String {
        format!("{}.pool.*", self.prefix)
    }

    /// Where an ingress tells what waits there for workers.
    pub fn queue(&self, ingress: &ProcessId) -> String {
        format!("{}.queue.{ingress}", self.prefix)
    }

    /// What waits at all of them.
    pub fn queues(&self) -> String {
        format!("{}.queue.*", self.prefix)
    }

    /// Where it is asked who serves what.
    pub fn fleet(&self) -> String {
        format!("{}.query.fleet", self.prefix)
    }

    /// Where workers are told to lift the pauses of a target.
    pub fn resume(&self) -> String {
        format!("{}.resume", self.prefix)
    }

    /// Where the reply frames of one call go.
    pub fn reply(&self, ingress: &ProcessId, request: RequestId) -> String {
        format!("{}.reply.{ingress}.{request}", self.prefix)
    }

    /// The inbox of one ingress.
    pub fn replies(&self, ingress: &ProcessId) -> String {
        format!("{}.reply.{ingress}.*", self.prefix)
    }

    /// Where the reply frames of a call go whose answer is kept: read by its ingress, and stored.
    pub fn kept_reply(&self, ingress: &ProcessId, request: RequestId) -> String {
        format!("{}.kept.{ingress}.{request}", self.prefix)
    }

    /// The inbox of one ingress for such calls.
    pub fn kept_replies(&self, ingress: &ProcessId) -> String {
        format!("{}.kept.{ingress}.*", self.prefix)
    }

    /// All frames that are kept.
    pub fn all_kept_replies(&self) -> String {
        format!("{}.kept.*.*", self.prefix)
    }

    /// The stream that keeps them.
    pub fn kept_stream(&self) -> String {
        format!("{}_KEPT", self.prefix)
    }

    /// The bucket of what each answer that is kept takes.
    pub fn kept_sizes_bucket(&self) -> String {
        format!("{}_KEPT_SIZES", self.prefix)
    }

    /// The bucket of requests whose answers are kept.
    pub fn claims_bucket(&self) -> String {
        format!("{}_CLAIMS", self.prefix)
    }

    /// Where one line of a batch waits for a provider.
    pub fn job(&self, provider: &ProviderId, batch: &BatchId, line: u64) -> String {
        format!("{}.job.{provider}.{batch}.{line}", self.prefix)
    }

    /// The lines of one batch that wait for one provider.
    pub fn jobs(&self, provider: &ProviderId, batch: &BatchId) -> String {
        format!("{}.job.{provider}.{batch}.*", self.prefix)
    }

    /// The lines of one batch that wait.
    pub fn jobs_of(&self, batch: &BatchId) -> String {
        format!("{}.job.*.{batch}.*", self.prefix)
    }

    /// All lines that wait.
    pub fn all_jobs(&self) -> String {
        format!("{}.job.*.*.*", self.prefix)
    }

    /// The stream of lines that wait.
    pub fn jobs_stream(&self) -> String {
        format!("{}_JOBS", self.prefix)
    }

    /// Where a job waits whose caller comes back for the answer.
    pub fn async_job(&self, id: &str) -> String {
        format!("{}.async.{id}", self.prefix)
    }

    /// Where all such jobs wait.
    pub fn all_async_jobs(&self) -> String {
        format!("{}.async.*", self.prefix)
    }

    /// The stream of such jobs.
    pub fn async_stream(&self) -> String {
        format!("{}_ASYNC", self.prefix)
    }

    /// The bucket of such jobs that are to begin later.
    pub fn later_bucket(&self) -> String {
        format!("{}_LATER", self.prefix)
    }

    /// The result of one line of a batch.
    pub fn result(&self, batch: &BatchId, line: u64) -> String {
        format!("{}.result.{batch}.{line}", self.prefix)
    }

    /// The results of one batch.
    pub fn results(&self, batch: &BatchId) -> String {
        format!("{}.result.{batch}.*", self.prefix)
    }

    /// All results.
    pub fn all_results(&self) -> String {
        format!("{}.result.*.*", self.prefix)
    }

    /// The stream of results.
    pub fn results_stream(&self) -> String {
        format!("{}_RESULTS", self.prefix)
    }

    /// The store of lines and results that are larger than a message.
    pub fn lines_bucket(&self) -> String {
        format!("{}_LINES", self.prefix)
    }

    /// The bucket of batches.
    pub fn batches_bucket(&self) -> String {
        format!("{}_BATCHES", self.prefix)
    }

    /// Where what is kept of one cached answer is put.
    pub fn cache_entry(&self, project: &ProjectId, namespace: &str, key: &str) -> String {
        format!("{}.cache.entry.{project}.{namespace}.{key}", self.prefix)
    }

    /// Where the content of a large one is put.
    pub fn cache_content(&self, project: &ProjectId, namespace: &str, key: &str) -> String {
        format!("{}.cache.content.{project}.{namespace}.{key}", self.prefix)
    }

    /// Where it is said that cached answers are not to be used any more.
    pub fn cache_mark(&self, project: &ProjectId, name: &str) -> String {
        format!("{}.cache.mark.{project}.{name}", self.prefix)
    }

    /// What every ingress follows of the cache: entries and marks.
    pub fn cache_followed(&self) -> [String; 2] {
        [format!("{}.cache.entry.>", self.prefix), format!("{}.cache.mark.>", self.prefix)]
    }

    /// The entries, or the contents, of a project: of one of its namespaces, and one key, where they are said.
    pub fn cache_of(&self, what: &str, project: &ProjectId, of: (Option<&str>, Option<&str>)) -> String {
        format!("{}.cache.{what}.{project}.{}.{}", self.prefix, of.0.unwrap_or("*"), of.1.unwrap_or("*"))
    }

    /// All of the cache.
    pub fn all_cache(&self) -> String {
        format!("{}.cache.>", self.prefix)
    }

    /// Where all ingresses are asked which cached answer a request got.
    pub fn cache_hit(&self) -> String {
        format!("{}.query.cache_hit", self.prefix)
    }

    /// Where one ingress is asked what is cached.
    pub fn cache_report(&self) -> String {
        format!("{}.query.cache_report", self.prefix)
    }

    /// The bucket of what was measured of the semantic cache.
    pub fn thresholds_bucket(&self) -> String {
        format!("{}_THRESHOLDS", self.prefix)
    }

    /// The stream of cached answers.
    pub fn cache_stream(&self) -> String {
        format!("{}_CACHE", self.prefix)
    }

    /// Where control messages for one call at one worker go.
    pub fn control(&self, worker: &ProcessId, request: RequestId) -> String {
        format!("{}.worker.{worker}.{request}", self.prefix)
    }

    /// All control messages for one worker.
    pub fn controls(&self, worker: &ProcessId) -> String {
        format!("{}.worker.{worker}.*", self.prefix)
    }

    /// Where usage events are published.
    pub fn usage(&self) -> String {
        format!("{}.usage", self.prefix)
    }

    /// Where one event is put that cannot be stored: named by what it holds, so that it is there once.
    pub fn dead(&self, name: &str) -> String {
        format!("{}.dead.{name}", self.prefix)
    }

    /// Where all such events are put.
    pub fn all_dead(&self) -> String {
        format!("{}.dead.*", self.prefix)
    }

    /// The stream of dead letters: events that cannot be stored.
    pub fn dead_stream(&self) -> String {
        format!("{}_DEAD", self.prefix)
    }

    /// Where spend is asked for.
    pub fn spend(&self) -> String {
        format!("{}.query.spend", self.prefix)
    }

    /// Where bodies go that are to be kept.
    pub fn body(&self) -> String {
        format!("{}.query.body", self.prefix)
    }

    /// Where bodies are deleted.
    pub fn body_deletion(&self) -> String {
        format!("{}.query.body_deletion", self.prefix)
    }

    /// Where single requests and sessions are asked for.
    pub fn rows(&self) -> String {
        format!("{}.query.rows", self.prefix)
    }

    /// Where it is asked how traffic went.
    pub fn activity(&self) -> String {
        format!("{}.query.activity", self.prefix)
    }

    /// Where it is asked who changed what.
    pub fn audit(&self) -> String {
        format!("{}.query.audit", self.prefix)
    }

    /// Where it is asked what spending would have been at other prices.
    pub fn reprice(&self) -> String {
        format!("{}.query.reprice", self.prefix)
    }

    /// Where it is asked what spending leads to.
    pub fn forecast(&self) -> String {
        format!("{}.query.forecast", self.prefix)
    }

    /// Where it is asked how the targets are.
    pub fn targets(&self) -> String {
        format!("{}.query.targets", self.prefix)
    }

    /// Where it is told how the ledger is carried over.
    pub fn carry(&self) -> String {
        format!("{}.carry", self.prefix)
    }

    /// Where a process that begins asks another for the time.
    pub fn time(&self) -> String {
        format!("{}.query.time", self.prefix)
    }

    /// Where workers ask an ingress to set aside more.
    pub fn more(&self, ingress: &ProcessId) -> String {
        format!("{}.more.{ingress}", self.prefix)
    }

    /// Where workers tell an ingress what became of what it had set aside.
    pub fn settled(&self, ingress: &ProcessId) -> String {
        format!("{}.settled.{ingress}", self.prefix)
    }

    /// Where ingresses ask what the ledger knows of what they had set aside.
    pub fn proof(&self) -> String {
        format!("{}.query.proof", self.prefix)
    }

    /// Where one alert is told.
    pub fn alert(&self, id: AlertId) -> String {
        format!("{}.alert.{id}", self.prefix)
    }

    /// Where all alerts are told.
    pub fn alerts(&self) -> String {
        format!("{}.alert.*", self.prefix)
    }

    /// The stream of alerts: each once, by its subject.
    pub fn alerts_stream(&self) -> String {
        format!("{}_ALERTS", self.prefix)
    }

    /// Where it is asked for alerts.
    pub fn alerts_asked(&self) -> String {
        format!("{}.query.alerts", self.prefix)
    }

    /// Where what is to be posted to a webhook is put.
    pub fn post(&self, webhook: &str) -> String {
        format!("{}.post.{webhook}", self.prefix)
    }

    /// Where what is to be posted is put: to each webhook under its own name, and, by versions until 2026-11, under none.
    pub fn posts(&self) -> [String; 2] {
        [format!("{}.post", self.prefix), format!("{}.post.*", self.prefix)]
    }

    /// The stream of what is to be posted.
    pub fn posts_stream(&self) -> String {
        format!("{}_POSTS", self.prefix)
    }

    /// The bucket of budgets' books.
    pub fn books_bucket(&self) -> String {
        format!("{}_BOOKS", self.prefix)
    }

    /// The bucket of rates' books.
    pub fn rates_bucket(&self) -> String {
        format!("{}_RATES", self.prefix)
    }

    /// The bucket of the books of rates of a day.
    pub fn day_rates_bucket(&self) -> String {
        format!("{}_DAY_RATES", self.prefix)
    }

    /// The bucket of the leases that live.
    pub fn leases_bucket(&self) -> String {
        format!("{}_LEASES", self.prefix)
    }

    /// The bucket of what the operator manages.
    pub fn directory_bucket(&self) -> String {
        format!("{}_DIRECTORY", self.prefix)
    }

    /// Where nobody listens: the server answers for itself.
    pub fn nobody(&self) -> String {
        format!("{}.nobody", self.prefix)
    }

    /// The stream of usage events.
    pub fn usage_stream(&self) -> String {
        format!("{}_USAGE", self.prefix)
    }

    /// The bucket of virtual keys.
    pub fn keys_bucket(&self) -> String {
        format!("{}_KEYS", self.prefix)
    }

    /// The bucket of logins to the dashboard.
    pub fn sessions_bucket(&self) -> String {
        format!("{}_SESSIONS", self.prefix)
    }

    /// The bucket of arms of experiments that were stopped.
    pub fn arm_stops_bucket(&self) -> String {
        format!("{}_STOPPED", self.prefix)
    }

    /// The bucket of what was learnt of virtual models' targets.
    pub fn heads_bucket(&self) -> String {
        format!("{}_HEADS", self.prefix)
    }

    /// The bucket of conversations that stay where they began.
    pub fn pins_bucket(&self) -> String {
        format!("{}_PINS", self.prefix)
    }

    /// The bucket of what the deployment has made for itself: the key that hashes the secrets of virtual keys.
    pub fn secrets_bucket(&self) -> String {
        format!("{}_SECRETS", self.prefix)
    }

    /// The bucket of the served models.
    pub fn models_bucket(&self) -> String {
        format!("{}_MODELS", self.prefix)
    }

    /// The bucket of kept responses.
    pub fn responses_bucket(&self) -> String {
        format!("{}_RESPONSES", self.prefix)
    }

    /// The bucket of what is known of files.
    pub fn files_bucket(&self) -> String {
        format!("{}_FILES", self.prefix)
    }

    /// Where one piece of a file's content is put.
    pub fn piece(&self, content: Uuid, at: u64) -> String {
        format!("{}.piece.{}.{at}", self.prefix, content.simple())
    }

    /// All pieces of one content.
    pub fn pieces(&self, content: Uuid) -> String {
        format!("{}.piece.{}.*", self.prefix, content.simple())
    }

    /// All pieces.
    pub fn all_pieces(&self) -> String {
        format!("{}.piece.*.*", self.prefix)
    }

    /// The stream of the contents of files.
    pub fn pieces_stream(&self) -> String {
        format!("{}_PIECES", self.prefix)
    }

    /// The object store of requests above the payload limit.
    pub fn bodies_bucket(&self) -> String {
        format!("{}_BODIES", self.prefix)
    }
}

/// A call's reply subject, for what is not a part of its answer: the mark says which question it answers.
pub fn marked(reply: &str, mark: u32) -> String {
    format!("{reply}_{mark}")
}

/// The mark of a reply subject, if it has one.
pub fn mark(subject: &str) -> Option<u32> {
    last_token(subject).split_once('_')?.1.parse().ok()
}

/// The call that a reply subject, marked or not, belongs to.
pub fn call_of(subject: &str) -> Option<RequestId> {
    let token = last_token(subject);
    let id = token.split_once('_').map_or(token, |(id, _)| id);
    Uuid::parse_str(id).ok().map(RequestId)
}

/// The inbox that a reply subject belongs to.
pub fn inbox_of(reply: &str) -> String {
    let own = reply.rsplit_once('.').map_or(reply, |(inbox, _)| inbox);
    format!("{own}.*")
}

/// The last token of a subject: the id of the call in reply and control subjects.
pub fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

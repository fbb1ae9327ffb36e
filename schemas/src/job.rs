//! A request whose caller comes back for the answer: what it is, how far it is, and its answer once it is there. Knows nothing
//! of where it lies or of who works on it.

use crate::UnixMicros;
use crate::claim::Claim;
use crate::envelope::{Caller, Delivery, Dialect, Operation};
use crate::key::VirtualKey;
use crate::name::{ProjectId, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What the ids of jobs begin with.
const PREFIX: &str = "job_";

/// The id of the job for a request.
pub fn job_id(request: RequestId) -> String {
    format!("{PREFIX}{}", request.0.simple())
}

/// Whether a text is the id of a job of ours; nothing else is ever looked for in a bucket.
pub fn is_job_id(id: &str) -> bool {
    let hex = id.strip_prefix(PREFIX);
    hex.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for its turn.
    Queued,
    /// It is worked on.
    InProgress,
    /// It has an answer.
    Completed,
    /// It has none, and will have none.
    Failed,
    /// Its caller wants it no more.
    Cancelled,
    /// Its time has passed.
    Expired,
}

impl JobStatus {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// The answer, as HTTP would have brought it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobResponse {
    /// Its status.
    pub status_code: u16,
    /// Its body; JSON, since nothing else is answered so.
    pub body: Box<RawValue>,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptJob {
    /// The request, whose id is the job's.
    pub request_id: RequestId,
    /// Where it is.
    pub status: JobStatus,
    /// When it was asked for.
    pub created_at: UnixMicros,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<UnixMicros>,
    /// When it is given up.
    pub expires_at: UnixMicros,
    /// Its answer; a refusal too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<JobResponse>,
    /// Who asks and who pays.
    pub caller: Caller,
    /// The key that a token stands for; absent where a virtual key asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_token: Option<Box<VirtualKey>>,
    /// The dialect of the request and of its answer.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The model, where its path names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The media type of a request that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The webhook that is told when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Before when nothing is sent; absent: it begins when it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<UnixMicros>,
    /// How its request wants a stream, which may be read while it comes; absent: it wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Delivery>,
    /// Under which names the frames of its last try are kept; absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Claim>,
    /// Until when the process that works on it is believed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<UnixMicros>,
}

/// A job in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedJob {
    /// Whose it is.
    pub project: ProjectId,
    /// Its id.
    pub id: String,
}

/// A job that is to be put into the queue later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterJob {
    /// Whose it is.
    pub project: ProjectId,
    /// Its id.
    pub id: String,
    /// When.
    pub run_at: UnixMicros,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_of_ours_or_none() {
        let id = job_id(RequestId("0193e6a0-7c2d-7cc0-8000-000000000001".parse().unwrap()));
        assert_eq!(id, "job_0193e6a07c2d7cc08000000000000001");
        assert!(is_job_id(&id) && !is_job_id("job_abc") && !is_job_id("job_*") && !is_job_id(&id.to_uppercase()));
    }
}

//! What a judge is asked about two answers. Knows no model.

use penstock_schemas::name::RequestId;
use tokio::sync::oneshot;

/// A kept answer, and the one that the model gave to another question.
#[derive(Debug)]
pub(crate) struct AnswersToCompare {
    /// The request that asked the other question.
    pub(crate) request_id: RequestId,
    pub(crate) question: String,
    pub(crate) kept: String,
    pub(crate) came: String,
    /// Whether both serve the question alike; dropped when that cannot be told.
    pub(crate) verdict: oneshot::Sender<bool>,
}

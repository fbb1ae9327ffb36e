//! Bodies that are kept, and their deletion: both asked of the analytics role.

use super::{Bus, BusError};
use penstock_schemas::body::{BodyDeleted, BodyDeletion, KeptBody, KeptReply};
use penstock_schemas::spend::ReportReply;
use std::time::Duration;

/// Longest wait until a body is taken: a role that stops waits for it.
const KEEP: Duration = Duration::from_secs(5);

impl Bus {
    /// Has a body stored.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn keep_body(&self, body: &KeptBody) -> Result<KeptReply, BusError> {
        self.ask_within(KEEP, self.subjects.body(), body, "keep a body").await
    }

    /// Stores what is kept as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn store_bodies<F, A>(&self, store: F) -> Result<(), BusError>
    where
        F: Fn(KeptBody) -> A + Send + Sync + 'static,
        A: Future<Output = KeptReply> + Send + 'static,
    {
        self.answer_numbers(self.subjects.body(), store).await
    }

    /// Has the bodies of a user deleted.
    ///
    /// # Errors
    /// When no analytics role answers.
    pub async fn delete_bodies(&self, whose: &BodyDeletion) -> Result<ReportReply<BodyDeleted>, BusError> {
        self.ask(self.subjects.body_deletion(), whose, "delete bodies").await
    }

    /// Deletes them as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_body_deletions<F, A>(&self, delete: F) -> Result<(), BusError>
    where
        F: Fn(BodyDeletion) -> A + Send + Sync + 'static,
        A: Future<Output = ReportReply<BodyDeleted>> + Send + 'static,
    {
        self.answer_numbers(self.subjects.body_deletion(), delete).await
    }
}

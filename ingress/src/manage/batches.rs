//! Batches, managed: one is cancelled by somebody who does not have its key. Knows who may, and the record of it; how a batch
//! is cancelled stands in `crate::batches`.

use super::{Actor, ManageError, Objects};
use penstock_runtime::clock;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::kind::Kind;
use serde_json::json;

impl Objects {
    /// Writes down that a batch of a project is cancelled.
    ///
    /// # Errors
    /// When the actor may not, or it cannot be written now.
    pub async fn record_cancel(&self, actor: &Actor, project: &str, batch: &str) -> Result<(), ManageError> {
        actor.must_own(project)?;
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Update,
            kind: Kind::Batch,
            name: batch.to_owned(),
            project: Some(project.to_owned()),
            before: None,
            after: Some(json!({ "status": "cancelling" })),
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await
    }
}

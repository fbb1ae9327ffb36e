//! Targets, managed: the pause that a provider asked for is lifted. Nothing of it is kept but the record.

use super::{Actor, ManageError, Objects};
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::kind::Kind;
use penstock_schemas::name::Target;
use penstock_schemas::pool::Resume;
use serde_json::json;

impl Objects {
    /// Tells all workers to call a target again, though its provider asked for a pause.
    ///
    /// # Errors
    /// When the actor may not, the target is none that is served, or it cannot be done now.
    pub async fn resume_target(&self, actor: &Actor, bus: &Bus, target: &str) -> Result<Target, ManageError> {
        super::provider_keys::must_manage(actor)?;
        let target = Target::parse(target).map_err(|error| ManageError::rule("target", error.to_string()))?;
        if !self.models.serves(&target.provider) {
            return Err(ManageError::Unknown { kind: Kind::Target, name: target.to_string() });
        }
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Update,
            kind: Kind::Target,
            name: target.to_string(),
            project: None,
            before: None,
            after: Some(json!({ "resumed": true })),
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await?;
        bus.tell_resume(&Resume { target: target.clone() }).await?;
        Ok(target)
    }
}

//! Heads, managed: what was learnt of a virtual model is frozen, learns again, or is thrown away. Nothing of it is kept but the
//! record.

use super::{Actor, ManageError, Objects};
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::head::{HeadsChange, ModelHeads};
use penstock_schemas::kind::Kind;
use serde_json::json;

impl Objects {
    /// Does that with the heads of a virtual model, in every ingress.
    ///
    /// # Errors
    /// When the actor may not, or it cannot be done now.
    pub async fn change_heads(
        &self,
        actor: &Actor,
        bus: &Bus,
        change: &HeadsChange,
    ) -> Result<ModelHeads, ManageError> {
        super::provider_keys::must_manage(actor)?;
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Update,
            kind: Kind::Heads,
            name: change.model.clone(),
            project: None,
            before: None,
            after: Some(json!({ "action": change.action })),
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await?;
        Ok(bus.change_heads(change, clock::now()).await?)
    }
}

//! Kept bodies, managed: those of a user are deleted, which is that person's right. Nothing of it is kept but the record.

use super::provider_keys::must_manage;
use super::{Actor, ManageError, Objects};
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::body::{BodyDeleted, BodyDeletion};
use penstock_schemas::kind::Kind;
use penstock_schemas::spend::ReportReply;

impl Objects {
    /// Deletes what is kept of the requests and answers of a user; an owner those of a project.
    ///
    /// # Errors
    /// When the actor may not, or it cannot be done now.
    pub async fn delete_bodies(
        &self,
        actor: &Actor,
        bus: &Bus,
        whose: &BodyDeletion,
    ) -> Result<BodyDeleted, ManageError> {
        match &whose.project {
            Some(project) => actor.must_own(project)?,
            None => must_manage(actor)?,
        }
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Delete,
            kind: Kind::Body,
            name: whose.user.clone(),
            project: whose.project.clone(),
            before: None,
            after: None,
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await?;
        match bus.delete_bodies(whose).await? {
            ReportReply::Report(done) => Ok(done),
            ReportReply::BadQuery(why) | ReportReply::Unavailable(why) => Err(ManageError::Unavailable(why)),
        }
    }
}

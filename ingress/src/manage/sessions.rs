//! Sessions, managed: one is stopped, so that what is in flight of it ends and nothing more of it begins, or may go on. Knows
//! nothing of what a session did.

use super::{Actor, ManageError, Objects};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::kind::Kind;
use penstock_schemas::name::ProjectId;
use penstock_schemas::rfc3339;
use penstock_schemas::session::{Session, SessionSource};
use serde_json::json;
use std::time::Duration;

/// How long a session stays stopped. An agent that ran away has given up by then.
const STOPPED: Duration = Duration::from_secs(7 * 24 * 3600);

impl Objects {
    /// Stops a session in every ingress, in under a second; gives until when.
    ///
    /// # Errors
    /// When the actor may not, or it cannot be done now.
    pub async fn stop_session(&self, actor: &Actor, project: &str, session: &str) -> Result<UnixMicros, ManageError> {
        check(actor, project, session)?;
        let now = clock::now();
        let until = now.after(STOPPED);
        let stop = |directory: &mut penstock_schemas::directory::Directory, _| {
            directory.stop_session(project, session, (now, until));
            Ok::<_, ManageError>(())
        };
        self.directories.change(stop).await?;
        self.record_session(actor, (project, session), Some(until)).await?;
        Ok(until)
    }

    /// A session that was stopped may go on.
    ///
    /// # Errors
    /// When the actor may not, or it cannot be done now.
    pub async fn resume_session(&self, actor: &Actor, project: &str, session: &str) -> Result<(), ManageError> {
        check(actor, project, session)?;
        let resume = |directory: &mut penstock_schemas::directory::Directory, _| {
            Ok::<_, ManageError>(directory.resume_session(project, session))
        };
        let (was_stopped, _) = self.directories.change(resume).await?;
        if was_stopped { self.record_session(actor, (project, session), None).await } else { Ok(()) }
    }

    async fn record_session(
        &self,
        actor: &Actor,
        (project, session): (&str, &str),
        until: Option<UnixMicros>,
    ) -> Result<(), ManageError> {
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Update,
            kind: Kind::Session,
            name: session.to_owned(),
            project: Some(project.to_owned()),
            before: None,
            after: Some(json!({ "stopped_until": until.map(rfc3339::write) })),
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await
    }
}

fn check(actor: &Actor, project: &str, session: &str) -> Result<(), ManageError> {
    ProjectId::parse(project).map_err(|error| ManageError::rule("project", error.to_string()))?;
    if Session::parse(session, SessionSource::Header).is_none_or(|parsed| parsed.id != session) {
        return Err(ManageError::rule("id", "no session has such a name"));
    }
    actor.must_own(project)
}

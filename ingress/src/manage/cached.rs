//! Cached answers, managed: those of a project, or of one of its namespaces, are removed. Nothing of it is kept but the record.

use super::{Actor, ManageError, Objects};
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::cache::CacheMark;
use penstock_schemas::kind::Kind;
use penstock_schemas::name::ProjectId;

impl Objects {
    /// Removes the cached answers of a project, or of one of its namespaces, in every ingress.
    ///
    /// # Errors
    /// When the actor may not, there can be no such project, or it cannot be done now.
    pub async fn clear_cache(
        &self,
        actor: &Actor,
        bus: &Bus,
        project: &str,
        namespace: Option<&str>,
    ) -> Result<(), ManageError> {
        actor.must_own(project)?;
        let id = ProjectId::parse(project).map_err(|error| ManageError::rule("project", error.to_string()))?;
        let event = AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: Action::Delete,
            kind: Kind::Cache,
            name: namespace.map_or_else(|| project.to_owned(), |namespace| format!("{project}/{namespace}")),
            project: Some(project.to_owned()),
            before: None,
            after: None,
            request_id: actor.request_id,
            way: actor.way,
        };
        self.record(vec![event]).await?;
        let namespace = namespace.map(ToOwned::to_owned);
        let mark = CacheMark { project: id, namespace, key: None, at: clock::now() };
        Ok(bus.cache_store().await?.mark(&mark).await?)
    }
}

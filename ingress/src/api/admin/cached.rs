//! The cache, as those see and clear it who manage. Knows nothing of how answers are kept.

use super::{AdminRequest, Reply};
use crate::manage::ManageError;
use crate::refusal::Refusal;
use penstock_schemas::cache::{CacheReport, NamespaceReport};
use penstock_schemas::name::ProjectId;
use serde_json::json;

/// The longest name of a namespace, in characters; as the table of routes says.
const LONGEST: usize = 256;

/// Whose, and which of theirs.
fn of(asked: &AdminRequest) -> Result<(Option<&str>, Option<&str>), Refusal> {
    let (project, namespace) = (asked.query("project"), asked.query("namespace"));
    if let Some(Err(error)) = project.map(ProjectId::parse) {
        return Err(Refusal::BadQuery(format!("`project`: {error}")));
    }
    if namespace.is_some_and(|namespace| namespace.chars().count() > LONGEST) {
        return Err(Refusal::BadQuery(format!("`namespace` is longer than {LONGEST} characters")));
    }
    Ok((project, namespace))
}

/// `GET /admin/v1/cache?project=search&namespace=faq`: what is kept.
pub(super) async fn report(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (project, namespace) = of(&asked)?;
    let is_wanted = |cache: &NamespaceReport| {
        (asked.actor.sees_all() || asked.actor.projects.contains(&cache.project))
            && project.is_none_or(|project| project == cache.project)
            && namespace.is_none_or(|namespace| namespace == cache.namespace)
    };
    let caches =
        asked.ingress.cache.report(&asked.ingress.config.cache.policy).caches.into_iter().filter(is_wanted).collect();
    Ok(Reply::new(json!(CacheReport { caches })))
}

/// `DELETE /admin/v1/cache?project=search&namespace=faq`: none of it is used any more.
pub(super) async fn clear(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (project, namespace) = of(&asked)?;
    let project = project.ok_or_else(|| ManageError::rule("project", "say whose".to_owned()))?;
    let bus = &asked.ingress.bus;
    asked.ingress.objects.clear_cache(&asked.actor, bus, project, namespace).await?;
    Ok(Reply::new(json!(NamespaceReport {
        project: project.to_owned(),
        namespace: namespace.unwrap_or_default().to_owned(),
        ..NamespaceReport::default()
    })))
}

//! What was kept of requests and answers, deleted over HTTP. Knows not where it is kept.

use super::{AdminRequest, Reply};
use crate::manage::ManageError;
use crate::refusal::Refusal;
use penstock_schemas::body::BodyDeletion;
use penstock_schemas::name::ProjectId;
use serde_json::json;

/// The longest name of a user, in characters; as the table of routes says.
const LONGEST: usize = 256;

/// `DELETE /admin/v1/bodies?user=ann&project=search`: those of a user, for good.
pub(super) async fn delete(asked: AdminRequest) -> Result<Reply, Refusal> {
    let given = |name: &str| asked.query(name).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let project = given("project");
    if let Some(Err(error)) = project.as_deref().map(ProjectId::parse) {
        return Err(Refusal::BadQuery(format!("`project`: {error}")));
    }
    let user = given("user").ok_or_else(|| ManageError::rule("user", "say whose"))?;
    if user.chars().count() > LONGEST {
        return Err(Refusal::BadQuery(format!("`user` is longer than {LONGEST} characters")));
    }
    let whose = BodyDeletion { user, project };
    let done = asked.ingress.objects.delete_bodies(&asked.actor, &asked.ingress.bus, &whose).await?;
    Ok(Reply::new(json!(done)))
}

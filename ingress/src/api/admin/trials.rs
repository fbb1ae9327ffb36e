//! What experiments have shown: `GET /admin/v1/experiments`. Knows nothing of how that is found out.

use super::{AdminRequest, Reply};
use crate::experiments;
use crate::refusal::Refusal;
use serde_json::json;

/// `GET /admin/v1/experiments`.
pub(super) async fn list(asked: AdminRequest) -> Result<Reply, Refusal> {
    let AdminRequest { ingress, actor, .. } = asked;
    let projects = (!actor.sees_all()).then(|| actor.projects.clone());
    let mut data = Vec::new();
    for experiment in ingress.config.models.values().filter_map(|model| model.experiment.as_ref()) {
        data.push(experiments::report(&experiment.plan, projects.clone(), &ingress.bus, &ingress.routes.stops).await?);
    }
    Ok(Reply::new(json!({ "data": data })))
}

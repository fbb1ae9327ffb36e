//! Shadows: copies of requests for the shadow arms of an experiment, which answer nobody. A copy has a key of its own, which
//! asks and pays for it, and no way to its original's caller. Decides which requests are copied, and makes the copies.

use super::authenticate::{self, Sender};
use crate::config::ShadowArm;
use crate::http::body::reserve_for;
use crate::models::Named;
use crate::refusal::Refusal;
use crate::request::{Arrival, Request, ShadowOf};
use crate::routing::share;
use crate::state::Shared;
use axum::http::HeaderMap;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Delivery, Operation};
use std::collections::BTreeMap;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

/// The tag of a copy that says of which request it is one.
const TAG: &str = "shadow_of";

/// The copies of a request that are to be answered, each with its place among those at once.
pub(crate) fn copies(request: &Request, ingress: &Shared) -> Vec<(Request, OwnedSemaphorePermit)> {
    let Named::Own(model) = ingress.models.find(&request.asked.model) else { return Vec::new() };
    let Some(experiment) = &model.experiment else { return Vec::new() };
    let is_chat = matches!(request.asked.operation, Operation::Chat | Operation::Completions);
    if !is_chat || request.shadow.is_some() || request.batch.is_some() || experiment.shadows.is_empty() {
        return Vec::new();
    }
    let name = &experiment.plan.name;
    let is_drawn = |arm: &&ShadowArm| share(&["shadow", name, &arm.name, &request.id.to_string()]) < arm.share;
    let make = |arm: &ShadowArm| {
        let place = ingress.routes.shadows.clone().try_acquire_owned().ok()?;
        let copied = copy(request, name, arm, ingress);
        copied.map_err(|why| debug!(%why, arm = arm.name, "a request is not copied")).ok().map(|copy| (copy, place))
    };
    experiment.shadows.iter().filter(is_drawn).filter_map(make).collect()
}

fn copy(request: &Request, experiment: &str, arm: &ShadowArm, ingress: &Shared) -> Result<Request, Refusal> {
    let caller = authenticate::find_by_id(&arm.key, ingress)?;
    let memory = reserve_for(&ingress.memory, request.asked.body.len())?;
    let mut asked = request.asked.clone();
    asked.model = arm.target.to_string();
    // Whose user it was is no matter of the project that pays for the copy.
    (asked.user, asked.delivery) = (None, Delivery::Whole);
    let tags = [(TAG.to_owned(), request.id.to_string())].into();
    let grant = caller.grant(&asked, Sender { user: None, tags }, ingress)?;
    let (id, at) = (clock::request_id(), clock::now());
    let (headers, carried_query) = (HeaderMap::new(), BTreeMap::new());
    let deadline = at.after(ingress.config.total_timeout);
    let trace = ingress.config.trace(id, None);
    let arrival = Arrival { id, at, deadline, headers, carried_query, known_at: at, trace };
    let mut copy = Request::new(grant, arrival, asked, memory);
    copy.shadow = Some(ShadowOf { experiment: experiment.to_owned(), arm: arm.name.clone(), request: request.id });
    Ok(copy)
}

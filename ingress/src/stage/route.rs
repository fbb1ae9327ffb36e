//! Route: a model's name into a plan. Knows the operator's strategies; knows no provider and makes no call.

use crate::allow::{self, Allowed};
use crate::config::{Hedge, OnBreak, Strategy, VirtualModel};
use crate::models::{Models, Named};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use penstock_runtime::clock;
use penstock_runtime::health::Health;
use penstock_schemas::envelope::{Operation, Unsupported};
use penstock_schemas::name::{ProviderId, Target};
use penstock_schemas::plan::{Link, Plan};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where a request goes.
pub(crate) struct Route {
    pub(crate) plan: Plan,
    /// The name that the caller asked for, when it is the operator's own.
    pub(crate) virtual_model: Option<String>,
    /// What happens to what a provider cannot express; `None`: as for every model.
    pub(crate) unsupported: Option<Unsupported>,
    /// When a second target is asked too, if ever.
    pub(crate) hedge: Option<Hedge>,
    /// What becomes of a stream that breaks.
    pub(crate) on_break: OnBreak,
    /// That the caller may use what is planned: so only this file can make a plan.
    _allowed: Allowed,
}

/// The plan for another model, which a budget names. The caller must be allowed to use that one too.
pub(crate) fn send_down(request: &mut Request, model: &str, ingress: &Shared) -> Result<Route, Refusal> {
    model.clone_into(&mut request.asked.model);
    route(request, ingress)
}

/// The provider that a request for this model is sent to first, while none is in trouble.
pub(crate) fn first_provider(name: &str, models: &Models) -> Result<ProviderId, Refusal> {
    first_target(name, models).map(|target| target.provider)
}

/// The target.
pub(crate) fn first_target(name: &str, models: &Models) -> Result<Target, Refusal> {
    let link = match models.find(name) {
        Named::Own(model) => model.links.first().map(|(link, _)| link.target.clone()),
        Named::Target(target) => Some(target),
        named => return Err(not_found(name, named)),
    };
    link.ok_or_else(|| unknown::<String>(name, "it has no target", &[]))
}

/// Makes the plan.
pub(crate) fn route(request: &Request, ingress: &Shared) -> Result<Route, Refusal> {
    let (models, health) = (&ingress.models, &ingress.health);
    let name = &request.asked.model;
    let mut on_break = OnBreak::Error;
    let (plan, virtual_model, unsupported, hedge) = match models.find(name) {
        Named::Own(model) => {
            on_break = model.on_break;
            (plan(model, first(model, request)), Some(name.clone()), model.unsupported, model.hedge)
        }
        Named::Target(target) => (Plan::new(Link::to(target), []), None, None, None),
        named => return Err(not_found(name, named)),
    };
    check_mode(request.asked.operation, name, &plan, models)?;
    let plan = around_trouble(plan, health);
    let targets: Vec<_> = plan.links().iter().map(|link| &link.target).collect();
    let allowed = allow::check(&request.key, &ingress.keys.directory(), name, &targets)?;
    Ok(Route { plan, virtual_model, unsupported, hedge, on_break, _allowed: allowed })
}

/// Puts targets that are in trouble last, so that they are still there when nothing else is.
fn around_trouble(plan: Plan, health: &Health) -> Plan {
    if plan.next().is_none() {
        return plan;
    }
    let (first, now) = (plan.current().clone(), clock::now());
    // Only a first link is worth one of the few trials that a half-open circuit allows.
    let is_well = |link: &Link| if *link == first { health.admits(link, now) } else { health.is_closed(link, now) };
    plan.postpone(0, |link| !is_well(link))
}

fn not_found(name: &str, named: Named<'_>) -> Refusal {
    match named {
        Named::Ambiguous(targets) => unknown(name, "several providers have it: say", &targets),
        Named::Unknown(near) if !near.is_empty() => unknown(name, "did you mean", &near),
        _ => unknown::<String>(name, "GET /v1/models lists those that do", &[]),
    }
}

fn unknown<T: ToString>(name: &str, hint: &str, names: &[T]) -> Refusal {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.to_string())).collect();
    let hint = if names.is_empty() { format!(": {hint}") } else { format!(": {hint} {}", names.join(" or ")) };
    Refusal::UnknownModel { name: name.to_owned(), hint }
}

/// Refuses what none of the plan's models is made for, as far as the catalogue is sure of it.
fn check_mode(operation: Operation, name: &str, plan: &Plan, models: &Models) -> Result<(), Refusal> {
    let mut mode = None;
    for link in plan.links() {
        mode = models.mode(&link.target).filter(|mode| is_surely_other(mode, operation));
        if mode.is_none() {
            return Ok(());
        }
    }
    let mode = mode.unwrap_or_default().replace('_', " ");
    let why = format!("`{name}` is a model for {mode}, which {} is not", operation.as_str().replace('_', " "));
    Err(Refusal::WrongField { field: "model", why })
}

/// Whether a model of this mode cannot do this. `chat` is what the catalogue says of models that it knows little of; and
/// some models that draw, listen or speak also chat.
fn is_surely_other(mode: &str, operation: Operation) -> bool {
    use Operation::{
        Chat, Completions, Embeddings, ImageEdits, ImageVariations, Images, Moderations, Rerank, Speech,
        Transcriptions, Translations,
    };
    let own: &[Operation] = match mode {
        "embedding" => &[Embeddings],
        "rerank" => &[Rerank],
        "moderation" => &[Moderations],
        "image_generation" => &[Images, ImageEdits, ImageVariations, Chat, Completions],
        "audio_transcription" => &[Transcriptions, Translations, Chat],
        "audio_speech" => &[Speech, Chat],
        _ => return false,
    };
    operation != Operation::CountTokens && !own.contains(&operation)
}

/// A number that is the same for the same `what`, in every ingress.
fn draw(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The place of the target that a request for a virtual model goes to first, while none is in trouble.
pub(crate) fn first(model: &VirtualModel, request: &Request) -> usize {
    match model.strategy {
        Strategy::Fallback => 0,
        Strategy::Weighted => {
            // The same user stays with the same arm; without a user, each request draws anew.
            let user = request.caller.end_user.as_ref().or(request.caller.user.as_ref());
            let arm = user.map_or_else(|| draw(&request.id), |user| draw(&(&request.asked.model, user)));
            pick(model.links.iter().map(|(_, weight)| *weight), arm)
        }
    }
}

fn plan(model: &VirtualModel, first: usize) -> Plan {
    let link = |(link, _): &(Link, u32)| link.clone();
    let others = model.links.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, entry)| link(entry));
    Plan::new(link(&model.links[first]), others)
}

/// The place of the weight that `arm` falls on.
fn pick(weights: impl Iterator<Item = u32> + Clone, arm: u64) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut left = arm.checked_rem(total).unwrap_or(0);
    for (at, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_drawn_by_weight() {
        let weights = [90, 0, 10];
        let mut counts = [0; 3];
        for arm in 0..10_000_u64 {
            counts[pick(weights.into_iter(), draw(&arm))] += 1;
        }
        assert!((8_800..9_200).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
    }
}

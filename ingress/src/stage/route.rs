//! Route: a model's name into a plan. Knows the operator's strategies; knows no provider and makes no call.

use crate::allow::{self, Allowed};
use crate::config::{Hedge, OnBreak, Strategy, VirtualModel};
use crate::embedding::EmbeddingCall;
use crate::models::{Models, Named};
use crate::refusal::Refusal;
use crate::request::{Request, ShadowOf};
use crate::routing::{self, Pin, RouteQuery, Routed, Sources, Traits};
use crate::stage::embed::embed;
use crate::state::Shared;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::clock;
use penstock_runtime::health::Health;
use penstock_schemas::envelope::{Dialect, Operation, Unsupported};
use penstock_schemas::name::{ProviderId, Target};
use penstock_schemas::plan::{Link, Plan};
use penstock_schemas::route::RouteDecision;
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for its vector, at the longest: some hundred times what the built-in model takes.
const WAIT: Duration = Duration::from_millis(500);

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
    /// Why the plan is as it is; `None`: the caller named a target.
    pub(crate) decision: Option<Box<RouteDecision>>,
    /// The conversation that the request belongs to, as far as it is known.
    pub(crate) conversation: Option<u64>,
    /// That the caller may use what is planned: so only this file can make a plan.
    _allowed: Allowed,
}

/// The plan for another model, which a budget names. The caller must be allowed to use that one too.
pub(crate) async fn send_down(request: &mut Request, model: &str, ingress: &Shared) -> Result<Route, Refusal> {
    model.clone_into(&mut request.asked.model);
    route(request, ingress).await
}

/// The provider that a request for this model is sent to first, while none is in trouble.
pub(crate) fn first_provider(name: &str, models: &Models) -> Result<ProviderId, Refusal> {
    first_target(name, models).map(|target| target.provider)
}

/// The target.
pub(crate) fn first_target(name: &str, models: &Models) -> Result<Target, Refusal> {
    let link = match models.find(name) {
        Named::Own(model) => model.targets().next().cloned(),
        Named::Target(target) => Some(target),
        named => return Err(not_found(name, named)),
    };
    link.ok_or_else(|| unknown::<String>(name, "it has no target", &[]))
}

/// Makes the plan. Where a conversation is to stay is written down before its first call goes out.
pub(crate) async fn route(request: &mut Request, ingress: &Shared) -> Result<Route, Refusal> {
    let insight = insight(request, ingress).await;
    let (route, pin) = plan(&query(request, insight), ingress, request)?;
    if let Some(pin) = pin {
        ingress.routes.pins.keep(pin).await;
    }
    Ok(route)
}

fn plan(query: &RouteQuery, ingress: &Shared, request: &Request) -> Result<(Route, Option<Pin>), Refusal> {
    let (models, health) = (&ingress.models, &ingress.health);
    let name = &request.asked.model;
    let (plan, own, routed) = match models.find(name) {
        Named::Own(model) => {
            let routed = decide(query, (name, model), ingress)?;
            let mut links = routed.links.iter().cloned();
            let first = links.next().ok_or_else(|| unknown::<String>(name, "it has no target", &[]))?;
            (Plan::new(first, links), Some(model), Some(routed))
        }
        Named::Target(target) => (Plan::new(Link::to(target), []), None, None),
        named => return Err(not_found(name, named)),
    };
    let operation = request.asked.operation;
    check_mode(operation, name, &plan, models)?;
    let plan = if operation == Operation::Realtime { for_sessions(&plan, name, models)? } else { plan };
    let wanted = plan.current().target.clone();
    let plan = around_trouble(plan, health);
    let targets: Vec<_> = plan.links().iter().map(|link| &link.target).collect();
    let allowed = allow::check(&request.key, &ingress.keys.directory(), name, &targets)?;
    let (decision, pin, conversation) = match routed {
        None => (request.shadow.as_ref().map(copied), None, None),
        Some(Routed { mut decision, pin, conversation, .. }) => {
            if plan.current().target != wanted {
                decision.reason = format!("{}, which is in trouble now", decision.reason);
            }
            (Some(Box::new(decision)), pin, conversation)
        }
    };
    let route = Route {
        plan,
        virtual_model: own.map(|_| name.clone()),
        unsupported: own.and_then(|model| model.unsupported),
        hedge: own.and_then(|model| model.hedge),
        on_break: own.map_or(OnBreak::Error, |model| model.on_break),
        decision,
        conversation,
        _allowed: allowed,
    };
    Ok((route, pin))
}

/// Why a copy goes where it goes.
fn copied(shadow: &ShadowOf) -> Box<RouteDecision> {
    Box::new(RouteDecision {
        strategy: "shadow".to_owned(),
        reason: format!("a copy of {}", shadow.request),
        propensity: 1.0,
        experiment: Some(shadow.experiment.clone()),
        arm: Some(shadow.arm.clone()),
        ..RouteDecision::default()
    })
}

/// What was read of a request, and its vector, where the strategy looks at them.
type Insight = (Option<Traits>, Result<Arc<[f32]>, &'static str>);

/// Why there is no vector where none is wanted.
const NOT_WANTED: &str = "none is wanted";

async fn insight(request: &mut Request, ingress: &Shared) -> Insight {
    let Named::Own(model) = ingress.models.find(&request.asked.model) else { return (None, Err(NOT_WANTED)) };
    if !model.uses(Strategy::Auto) {
        return (None, Err(NOT_WANTED));
    }
    let traits = Traits::read(&query(request, (None, Err(NOT_WANTED))));
    let vector = vector(request, &traits.question, ingress).await;
    (Some(traits), vector)
}

/// The vector of the question: that which was made for the cache, where the built-in model made it; or one that is made now. There is
/// never a second one.
async fn vector(request: &mut Request, question: &str, ingress: &Shared) -> Result<Arc<[f32]>, &'static str> {
    if question.is_empty() {
        return Err("it has no question in words");
    }
    let model = ingress.models.built_in_embedder().ok_or("the built-in model that embeds is not here")?;
    let embedding = match &request.embedding {
        Some(embedding) if !embedding.is_by(&model) => return Err("another model embeds for the cache"),
        Some(embedding) => embedding.clone(),
        None => embed(request, Some(&model), question, ingress),
    };
    embedding.wait(WAIT).await.ok_or("its vector was not made in time")
}

/// Reads a request that is only asked about, and makes its vector, where the strategy looks at them.
pub(crate) async fn look_at(query: &mut RouteQuery<'_>, ingress: &Shared) {
    let Named::Own(model) = ingress.models.find(&query.asked.model) else { return };
    if !model.uses(Strategy::Auto) {
        return;
    }
    let traits = Traits::read(query);
    query.vector = match ingress.models.built_in_embedder() {
        Some(model) if !traits.question.is_empty() => {
            let rules = ingress.rules();
            let (session, key, trace) = (None, None, None);
            let call = EmbeddingCall { request_id: query.id, caller: query.caller, session, key, trace, rules };
            let embedding = ingress.embedder.begin(&call, Some(&model), &traits.question);
            embedding.wait(WAIT).await.ok_or("its vector was not made in time")
        }
        Some(_) => Err("it has no question in words"),
        None => Err("the built-in model that embeds is not here"),
    };
    query.traits = Some(traits);
}

/// A request, as far as routing looks at it.
fn query(request: &Request, (traits, vector): Insight) -> RouteQuery<'_> {
    RouteQuery {
        id: request.id,
        asked: &request.asked,
        agnostic: request.agnostic.as_ref(),
        caller: &request.caller,
        session: request.session.as_deref(),
        now: clock::now(),
        traits,
        vector,
    }
}

/// What the strategy of a virtual model decides for a request.
pub(crate) fn decide(query: &RouteQuery, model: (&str, &VirtualModel), ingress: &Shared) -> Result<Routed, Refusal> {
    let sources = Sources { models: &ingress.models, health: &ingress.health, learnt: &ingress.routes.learnt };
    routing::decide(query, model, sources, &ingress.routes)
}

/// The plan that a request would have now, without a trial of what is in trouble; nothing is written down.
pub(crate) fn dry_run(query: &RouteQuery, ingress: &Shared) -> Result<(Plan, Option<RouteDecision>), Refusal> {
    let name = &query.asked.model;
    let (plan, decision) = match ingress.models.find(name) {
        Named::Own(model) => {
            let Routed { links, decision, .. } = decide(query, (name, model), ingress)?;
            let mut links = links.into_iter();
            let first = links.next().ok_or_else(|| unknown::<String>(name, "it has no target", &[]))?;
            (Plan::new(first, links), Some(decision))
        }
        Named::Target(target) => (Plan::new(Link::to(target), []), None),
        named => return Err(not_found(name, named)),
    };
    let now = clock::now();
    Ok((plan.postpone(0, |link| !ingress.health.is_closed(link, now)), decision))
}

/// What of a virtual model's decision depends on the caller alone.
pub(crate) fn way(request: &Request, model: &VirtualModel, ingress: &Shared) -> String {
    routing::way(&query(request, (None, Err(NOT_WANTED))), (&request.asked.model, model), &ingress.routes.stops)
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

/// What of the plan can hold a session: models made for it, and those of which nothing is known, at providers that speak
/// OpenAI's dialect.
fn for_sessions(plan: &Plan, name: &str, models: &Models) -> Result<Plan, Refusal> {
    let can = |link: &&Link| {
        let card = models.card(&link.target);
        let is_made =
            card.as_ref().is_none_or(|card| card.mode == "realtime" || card.context.is_none() && card.mode == "chat");
        is_made && models.dialect(&link.target.provider) == Some(Dialect::Openai)
    };
    let mut links = plan.links().iter().filter(can).cloned();
    let Some(first) = links.next() else {
        let why = format!(
            "`{name}` is no realtime model of a provider that speaks OpenAI's dialect: name one, such as gpt-realtime"
        );
        return Err(Refusal::Wrong(WrongRequest::WrongField { field: "model", why }));
    };
    Ok(Plan::new(first, links))
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
    Err(Refusal::Wrong(WrongRequest::WrongField { field: "model", why }))
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
        "realtime" => &[Operation::Realtime],
        _ => return false,
    };
    operation != Operation::CountTokens && !own.contains(&operation)
}

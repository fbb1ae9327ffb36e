//! Which target of a virtual model answers a request: conditions, hard rules, what models can do, then the strategy, which puts
//! those that are left in an order. Takes the time and what was learnt; makes no call, and says of each decision why it is so.

mod conditions;
mod eligible;
mod expect;
mod heads;
mod language;
mod learning;
mod learnt;
mod lengths;
mod lot;
mod memory;
mod order;
mod other_policy;
mod pins;
mod ratings;
mod stops;
mod traits;
mod trial;

pub(crate) use expect::Sources;
pub(crate) use learnt::{Learnt, RouteWatch, WatchedCall};
pub(crate) use lot::share;
pub(crate) use memory::RouteMemory;
pub use other_policy::{chances, untold};
pub(crate) use pins::Pin;
pub(crate) use stops::ArmStops;
pub(crate) use traits::{RouteQuery, Traits};

use crate::config::{ModelLink, RouteRule, Routing, Sticky, Strategy, VirtualModel};
use crate::refusal::Refusal;
use eligible::HardRule;
use expect::Prospect;
use order::{Draw, Order};
use penstock_schemas::UnixMicros;
use penstock_schemas::name::Target;
use penstock_schemas::plan::Link;
use penstock_schemas::route::{MOST_TOLD, PinnedTo, RouteCandidate, RouteDecision, RouteFilter};
use pins::Pins;
use trial::Assignment;

/// The order in which a virtual model's targets are tried, and why.
pub(crate) struct Routed {
    /// Never empty.
    pub(crate) links: Vec<Link>,
    pub(crate) decision: RouteDecision,
    /// What is to be kept, so that the conversation stays where it begins.
    pub(crate) pin: Option<Pin>,
    /// The conversation that the request belongs to.
    pub(crate) conversation: Option<u64>,
}

/// What a choice stays the same for, and the key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StickyKey {
    by: &'static str,
    key: String,
}

/// Whether a strategy decides by what it knows at the moment, so that the same request may go elsewhere a second later.
fn is_changing(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Fallback | Strategy::Weighted | Strategy::RoundRobin => false,
        Strategy::Cost | Strategy::Latency | Strategy::Quality | Strategy::Auto | Strategy::LeastBusy => true,
    }
}

/// Whether more must be known of a request than is told at a glance.
fn needs_reading(model: &VirtualModel) -> bool {
    let routing = &model.routing;
    model.strategy != Strategy::Fallback
        || !routing.rules.is_empty()
        || routing.max_usd.is_some()
        || model.experiment.is_some()
}

/// Decides.
pub(crate) fn decide(
    query: &RouteQuery,
    (name, model): (&str, &VirtualModel),
    sources: Sources,
    memory: &RouteMemory,
) -> Result<Routed, Refusal> {
    let traits = if needs_reading(model) { Traits::read(query) } else { Traits::at_a_glance(query.asked) };
    let (links, routing) = (&model.links[..], &model.routing);
    let met: Vec<&RouteRule> = conditions::met(&routing.rules, query, &traits).collect();
    let rule = met.iter().find(|rule| rule.targets.is_some() || rule.strategy.is_some());
    let strategy = rule.and_then(|rule| rule.strategy).unwrap_or(model.strategy);
    let places = rule.and_then(|rule| rule.targets.clone()).unwrap_or_else(|| (0..links.len()).collect());
    let hard = std::iter::once(HardRule::of_model(routing)).chain(met.iter().map(|rule| HardRule::of_rule(rule)));
    let hard: Vec<HardRule> = hard.collect();
    let (places, mut filters) = eligible::filter((name, links), &places, &hard, &traits, sources.models)?;
    let decides = rule.is_some_and(|rule| rule.targets.is_some());
    let experiment = model.experiment.as_deref().filter(|_| !decides);
    let assigned = experiment.and_then(|one| trial::assign(one, (links, &places), (query, &traits), &memory.stops));
    let places = assigned.as_ref().map_or_else(|| places.clone(), |assigned| own_first(assigned, &places));
    let key = sticky_key(query, &traits, strategy, routing.sticky);
    let conversation = sticky_key(query, &traits, strategy, Some(Sticky::Session)).map(|key| lot::number(&[&key.key]));
    let mut all = expect::prospects(&places, links, routing, (query, &traits, conversation), sources);
    keep_cheap(name, links, routing, &mut all, &mut filters)?;
    let features = if strategy == Strategy::Auto { heads::features(query, &traits) } else { Vec::new() };
    if !features.is_empty() {
        memory.heads.judge((name, links), &expect::usual_qualities(model, sources.models), &mut all, &features);
    }
    let draw = Draw {
        model: name.to_owned(),
        key: key.as_ref().map_or_else(|| query.id.to_string(), |key| key.key.clone()),
        is_sticky: key.is_some(),
    };
    let own = |one: &Prospect| assigned.as_ref().is_none_or(|assigned| assigned.places.contains(&one.place));
    let count = all.iter().take_while(|one| own(one)).count();
    let (found, assigned) = match assigned.filter(|_| count > 0) {
        None => (order::find(strategy, &all, (links, routing), &draw, sources.learnt), None),
        Some(assigned) => {
            let found = order::find(strategy, &all[..count], (links, routing), &draw, sources.learnt);
            (in_arm(found, &all, &assigned), Some(assigned))
        }
    };
    let arm = assigned.as_ref().map_or("", |assigned| assigned.arm.as_str());
    let pinning = key.as_ref().filter(|_| is_changing(strategy) && (assigned.is_none() || count > 1));
    let pinning = pinning.map(|key| Pins::number(&format!("{name} {arm}"), &key.key));
    let targets: Vec<&Target> = all.iter().map(|one| &links[one.place].link.target).collect();
    let (found, pin) = stay(found, &targets, pinning, &memory.pins, query.now);
    let decision = RouteDecision {
        strategy: strategy.as_str().to_owned(),
        reason: heads::reason(&found.reason, &features, query),
        propensity: found.chances[found.order[0]],
        sticky: key.map(|key| key.by.to_owned()),
        rule: rule.map(|rule| rule.name.clone()),
        experiment: assigned.as_ref().map(|assigned| assigned.experiment.clone()),
        arm: assigned.map(|assigned| assigned.arm),
        candidates: found.order.iter().take(MOST_TOLD).map(|at| told(&all[*at], links, found.chances[*at])).collect(),
        filters: filters.into_iter().take(MOST_TOLD).collect(),
        features,
    };
    let links = found.order.iter().map(|at| links[all[*at].place].link.clone()).collect();
    Ok(Routed { links, decision, pin, conversation })
}

/// The places of the arm, and the others behind them.
fn own_first(assigned: &Assignment, places: &[usize]) -> Vec<usize> {
    let others = places.iter().copied().filter(|place| !assigned.places.contains(place));
    assigned.places.iter().copied().chain(others).collect()
}

/// The order within an arm, with the targets of the others as its fallbacks, and the chances over all arms.
fn in_arm(found: Order, all: &[Prospect], assigned: &Assignment) -> Order {
    let count = found.order.len();
    let order = found.order.into_iter().chain(count..all.len()).collect();
    let mut chances: Vec<f64> = found.chances.iter().map(|chance| chance * assigned.share).collect();
    chances.resize(all.len(), 0.0);
    for (place, share) in &assigned.others {
        if let Some(at) = all.iter().position(|one| one.place == *place) {
            chances[at] += share;
        }
    }
    let reason = format!("arm {} of {}; {}", assigned.arm, assigned.experiment, found.reason);
    Order { order, chances, reason }
}

/// What of a decision depends on the caller alone, so that answers of another way are not theirs: the condition that is met,
/// and the arm that is drawn. The cache asks.
pub(crate) fn way(query: &RouteQuery, (name, model): (&str, &VirtualModel), stops: &ArmStops) -> String {
    let traits = if needs_reading(model) { Traits::read(query) } else { Traits::at_a_glance(query.asked) };
    let met: Vec<&str> = conditions::met(&model.routing.rules, query, &traits).map(|rule| rule.name.as_str()).collect();
    let key = sticky_key(query, &traits, model.strategy, model.routing.sticky);
    let arm = match model.strategy {
        Strategy::Weighted => {
            let weights = model.links.iter().map(|one| (one.link.target.to_string(), f64::from(one.weight)));
            let weights: Vec<(String, f64)> = weights.collect();
            let key = key.map_or_else(|| query.id.to_string(), |key| key.key);
            lot::draw(&[name, &key], weights.iter().map(|(name, weight)| (name.as_str(), *weight))).unwrap_or(0)
        }
        _ => 0,
    };
    let places: Vec<usize> = (0..model.links.len()).collect();
    let assigned = model.experiment.as_deref();
    let assigned = assigned.and_then(|one| trial::assign(one, (&model.links, &places), (query, &traits), stops));
    let trial = assigned.map(|assigned| format!("{} {}", assigned.experiment, assigned.arm)).unwrap_or_default();
    format!("{arm} {} {trial}", met.join(","))
}

/// What the choice stays the same for. A loop of tools stays where it is, whatever is set.
fn sticky_key(query: &RouteQuery, traits: &Traits, strategy: Strategy, set: Option<Sticky>) -> Option<StickyKey> {
    let project = query.caller.project.as_str();
    let key = |by: &'static str, word: &str| StickyKey { by, key: format!("{project} {by} {word}") };
    let caller = query.caller;
    let user = || caller.end_user.as_deref().or(caller.user.as_deref()).map(|user| key("user", user));
    let session = || query.session.map(|session| key("session", &session.id));
    let conversation = || traits.opening.map(|number| key("conversation", &format!("{number:016x}")));
    let in_loop = || if traits.has_tools { session().or_else(conversation) } else { None };
    match (set, strategy) {
        (Some(Sticky::User), _) => user().or_else(session).or_else(conversation),
        (Some(Sticky::Session), _) => session().or_else(conversation),
        (None, Strategy::Weighted) => user().or_else(in_loop),
        (Some(Sticky::Off) | None, _) => in_loop(),
    }
}

/// Leaves out what may cost more than a request may.
fn keep_cheap(
    name: &str,
    links: &[ModelLink],
    routing: &Routing,
    all: &mut Vec<Prospect>,
    filters: &mut Vec<RouteFilter>,
) -> Result<(), Refusal> {
    let Some(most) = routing.max_usd else { return Ok(()) };
    let forbids = |one: &Prospect| match one.usd {
        Some(usd) if usd <= most => None,
        Some(usd) => Some(format!("it is expected to cost {usd:.6} USD, and at most {most} may be")),
        None => Some("its price is not known".to_owned()),
    };
    all.retain(|one| {
        let Some(why) = forbids(one) else { return true };
        let target = links[one.place].link.target.to_string();
        filters.push(RouteFilter { target, by: "max_usd_per_request".to_owned(), why });
        false
    });
    eligible::refuse_empty(name, &all.iter().map(|one| one.place).collect::<Vec<_>>(), filters)
}

/// Puts the target first to which the conversation is pinned, or pins it to the one that is first now.
fn stay(found: Order, targets: &[&Target], number: Option<u64>, pins: &Pins, now: UnixMicros) -> (Order, Option<Pin>) {
    let Some(number) = number else { return (found, None) };
    let place = |target: &Target| found.order.iter().copied().find(|at| targets[*at] == target);
    let pinned = pins.find(number, now).and_then(|(to, is_old)| Some((place(&to.target)?, to, is_old)));
    let Some((at, to, is_old)) = pinned else {
        let first = found.order[0];
        let to = PinnedTo { target: targets[first].clone(), propensity: found.chances[first] };
        return (found, Some(Pin { number, to }));
    };
    let order = std::iter::once(at).chain(found.order.into_iter().filter(|other| *other != at)).collect();
    let mut chances = found.chances;
    // The choice was made when the conversation began, with this chance.
    chances[at] = to.propensity;
    let reason = format!("{} answered this conversation before", to.target);
    (Order { order, chances, reason }, is_old.then_some(Pin { number, to }))
}

fn told(one: &Prospect, links: &[ModelLink], propensity: f64) -> RouteCandidate {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    RouteCandidate {
        target: links[one.place].link.target.to_string(),
        propensity,
        usd: one.usd.and_then(finite),
        ms: one.ms.and_then(finite),
        quality: finite(one.quality),
        level: one.level.and_then(finite),
        busy: Some(one.busy),
    }
}

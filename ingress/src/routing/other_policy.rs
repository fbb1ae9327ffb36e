//! What another policy would have chosen for a request whose decision was logged. Of the request it knows the candidates and what
//! was expected of each.

use super::eligible::HardRule;
use super::expect::Prospect;
use super::learnt::Learnt;
use super::order::{self, Draw};
use crate::config::{ModelLink, Strategy, VirtualModel};
use penstock_schemas::route::{RouteCandidate, RouteDecision, RouteFilter};

/// Why nothing can be said of this model: what decides there is not kept in the ledger. `None`: something can.
pub fn untold(model: &VirtualModel) -> Option<String> {
    let names: Vec<&str> = model.routing.rules.iter().map(|rule| rule.name.as_str()).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        return Some(format!(
            "its conditions ({names}) look at requests, and the ledger keeps none: take `rules` out of its section to estimate the rest"
        ));
    }
    let experiment = model.experiment.as_ref()?;
    Some(format!(
        "the experiment {} decides between its targets: take it out of the policy to estimate the rest",
        experiment.plan.name
    ))
}

/// The probability of each target to be the first, by the strategy of this model: of those that could answer then, and of those
/// that are new, of which nothing was expected.
pub fn chances(name: &str, model: &VirtualModel, decision: &RouteDecision) -> Vec<(String, f64)> {
    let links: Vec<ModelLink> = model.links.clone();
    let foretells = matches!(model.strategy, Strategy::Cost | Strategy::Latency | Strategy::Auto)
        || model.routing.max_usd.is_some();
    // What a rule or a limit of the policy of then left out is judged by this one's; what could not answer then, could not.
    let was_unable = |filter: &&RouteFilter| matches!(filter.by.as_str(), "capability" | "context");
    let was_left_out = |target: &str| decision.filters.iter().filter(was_unable).any(|filter| filter.target == target);
    let own = HardRule::of_model(&model.routing);
    let prospect = |(place, link): (usize, &ModelLink)| {
        let target = link.link.target.to_string();
        let known = decision.candidates.iter().find(|one| one.target == target);
        if own.forbids(link).is_some() || (known.is_none() && was_left_out(&target)) {
            return None;
        }
        let of = |figure: fn(&RouteCandidate) -> Option<f64>| known.and_then(figure);
        let usd = of(|one| one.usd);
        let is_dear = known.is_some() && model.routing.max_usd.is_some_and(|most| usd.is_none_or(|usd| usd > most));
        (!is_dear).then(|| Prospect {
            place,
            card: None,
            usd,
            ms: of(|one| one.ms),
            // What heads said of that question is worth more than what is said of all.
            quality: of(|one| one.level.and(one.quality))
                .or(link.quality)
                .or_else(|| of(|one| one.quality))
                .unwrap_or(0.5),
            level: of(|one| one.level),
            busy: known.and_then(|one| one.busy).unwrap_or(0),
            // Once it is in use, the lengths of its answers are known.
            is_known: true,
        })
    };
    let all: Vec<Prospect> = links.iter().enumerate().filter_map(prospect).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let is_new = |one: &&Prospect| {
        !decision.candidates.iter().any(|known| links[one.place].link.target.to_string() == known.target)
    };
    if let Some(new) = all.iter().find(is_new).filter(|_| foretells) {
        // Nothing was foretold of it, so whether it would be the first is not known: a choice that was never made.
        return vec![(links[new.place].link.target.to_string(), 1.0)];
    }
    let draw = Draw { model: name.to_owned(), key: String::new(), is_sticky: true };
    let found = order::find(model.strategy, &all, (&links, &model.routing), &draw, &Learnt::default());
    let target = |one: &Prospect| links[one.place].link.target.to_string();
    all.iter().map(target).zip(found.chances).filter(|(_, chance)| *chance > 0.0).collect()
}

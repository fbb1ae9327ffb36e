//! What another policy would have chosen for a request whose decision was logged. Of the request it knows the candidates and what
//! was expected of each.

use super::expect::Prospect;
use super::learnt::Learnt;
use super::order::{self, Draw};
use crate::config::{ModelLink, VirtualModel};
use penstock_schemas::route::{RouteCandidate, RouteDecision};

/// The probability of each target to be the first, by the strategy of this model: of those that could answer then, and of those
/// that are new, of which nothing was expected.
pub fn chances(name: &str, model: &VirtualModel, decision: &RouteDecision) -> Vec<(String, f64)> {
    let links: Vec<ModelLink> = model.links.clone();
    let was_left_out = |target: &str| decision.filters.iter().any(|filter| filter.target == target);
    let prospect = |(place, link): (usize, &ModelLink)| {
        let target = link.link.target.to_string();
        let known = decision.candidates.iter().find(|one| one.target == target);
        if known.is_none() && was_left_out(&target) {
            return None;
        }
        let of = |figure: fn(&RouteCandidate) -> Option<f64>| known.and_then(figure);
        let usd = of(|one| one.usd);
        let is_dear = model.routing.max_usd.is_some_and(|most| usd.is_none_or(|usd| usd > most));
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
    let draw = Draw { model: name.to_owned(), key: String::new(), is_sticky: true };
    let found = order::find(model.strategy, &all, (&links, &model.routing), &draw, &Learnt::default());
    let target = |one: &Prospect| links[one.place].link.target.to_string();
    all.iter().map(target).zip(found.chances).filter(|(_, chance)| *chance > 0.0).collect()
}

//! In which order targets are tried: the strategies, each as a function of what is expected of them. Pure but for the turns of
//! `round_robin`; what is drawn is drawn of words, so that it is the same again.

use super::expect::Prospect;
use super::learnt::Learnt;
use super::lot;
use crate::config::{ModelLink, Routing, Strategy};
use std::cmp::Ordering;

/// What a draw is the same for.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    /// The virtual model.
    pub(super) model: String,
    /// A user, a session, a conversation, or this request alone.
    pub(super) key: String,
    /// Whether it is one of those that come again.
    pub(super) is_sticky: bool,
}

/// The order, as places in the list of prospects; each one's chance to be the first; and why.
pub(super) struct Order {
    pub(super) order: Vec<usize>,
    pub(super) chances: Vec<f64>,
    pub(super) reason: String,
}

/// Finds it; `all` is not empty.
pub(super) fn find(
    strategy: Strategy,
    all: &[Prospect],
    (links, routing): (&[ModelLink], &Routing),
    draw: &Draw,
    learnt: &Learnt,
) -> Order {
    let name = |one: &Prospect| links[one.place].link.target.to_string();
    match strategy {
        Strategy::Fallback => sure((0..all.len()).collect(), "the first in the given order".to_owned()),
        Strategy::Weighted => {
            let weights: Vec<f64> = all.iter().map(|one| f64::from(links[one.place].weight)).collect();
            drawn(&names(all, links), &weights, draw)
        }
        Strategy::RoundRobin if draw.is_sticky => drawn(&names(all, links), &vec![1.0; all.len()], draw),
        Strategy::RoundRobin => in_turn(all.len(), learnt.turn(&draw.model)),
        Strategy::LeastBusy => least_busy(all, links, draw, learnt),
        Strategy::Quality => {
            let order = sorted(all, |a, b| b.quality.total_cmp(&a.quality).then_with(|| by_cost(a, b)));
            let best = &all[order[0]];
            let reason = format!("{} is expected to answer best: {:.2}", name(best), best.quality);
            sure(order, reason)
        }
        Strategy::Cost => cost(all, routing, draw, name),
        Strategy::Auto => auto(all, routing, draw, name),
        Strategy::Latency => {
            let by_wait = |a: &Prospect, b: &Prospect| a.ms.unwrap_or(0.0).total_cmp(&b.ms.unwrap_or(0.0));
            let order = good_first(all, routing, sorted(all, by_wait));
            let best = &all[order[0]];
            let wait = best.ms.map_or_else(|| "no answer of it was seen yet".to_owned(), |ms| format!("{ms:.0} ms"));
            let reason = format!("{} is expected to answer soonest: {wait}", name(best));
            explored(order, routing.explore, draw, reason)
        }
    }
}

fn names(all: &[Prospect], links: &[ModelLink]) -> Vec<String> {
    all.iter().map(|one| links[one.place].link.target.to_string()).collect()
}

/// Nothing is drawn.
fn sure(order: Vec<usize>, reason: String) -> Order {
    let mut chances = vec![0.0; order.len()];
    chances[order[0]] = 1.0;
    Order { order, chances, reason }
}

/// This one first, the others behind it in the order in which they were.
fn with_first(first: usize, order: &[usize]) -> Vec<usize> {
    std::iter::once(first).chain(order.iter().copied().filter(|at| *at != first)).collect()
}

fn drawn(names: &[String], weights: &[f64], draw: &Draw) -> Order {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return sure((0..names.len()).collect(), "none of those that are left has a weight".to_owned());
    }
    let places = names.iter().map(String::as_str).zip(weights.iter().copied());
    let first = lot::draw(&[&draw.model, &draw.key], places).unwrap_or(0);
    let given: Vec<usize> = (0..names.len()).collect();
    let chances = weights.iter().map(|weight| weight / sum).collect();
    Order { order: with_first(first, &given), chances, reason: format!("{} was drawn by weight", names[first]) }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a few targets")]
fn in_turn(count: usize, turn: u64) -> Order {
    let first = (turn % count as u64) as usize;
    let order = (0..count).map(|step| (first + step) % count).collect();
    Order { order, chances: vec![1.0 / count as f64; count], reason: "its turn has come".to_owned() }
}

#[expect(clippy::cast_possible_truncation, reason = "a few targets")]
fn least_busy(all: &[Prospect], links: &[ModelLink], draw: &Draw, learnt: &Learnt) -> Order {
    let load = |one: &Prospect| f64::from(one.busy) / f64::from(links[one.place].weight.max(1));
    // Among equals each has its turn.
    let turn = (learnt.turn(&draw.model) % all.len() as u64) as usize;
    let rank = |at: usize| (at + all.len() - turn) % all.len();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| load(&all[*a]).total_cmp(&load(&all[*b])).then_with(|| rank(*a).cmp(&rank(*b))));
    let reason = format!("the fewest calls under way: {}", all[order[0]].busy);
    sure(order, reason)
}

fn by_cost(a: &Prospect, b: &Prospect) -> Ordering {
    match (a.usd, b.usd) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn sorted(all: &[Prospect], compare: impl Fn(&Prospect, &Prospect) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| compare(&all[*a], &all[*b]));
    order
}

/// Those that are good enough first, as long as there are any; without any, the best.
fn good_first(all: &[Prospect], routing: &Routing, order: Vec<usize>) -> Vec<usize> {
    let Some(least) = routing.min_quality else { return order };
    let (good, mut others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|at| all[*at].quality >= least);
    others.sort_by(|a, b| all[*b].quality.total_cmp(&all[*a].quality));
    good.into_iter().chain(others).collect()
}

fn cost(all: &[Prospect], routing: &Routing, draw: &Draw, name: impl Fn(&Prospect) -> String) -> Order {
    let order = good_first(all, routing, sorted(all, by_cost));
    let best = &all[order[0]];
    let usd = best.usd.map_or_else(|| "no price is known".to_owned(), |usd| format!("{usd:.6} USD"));
    let reason = format!("{} is expected to cost least: {usd}", name(best));
    let is_good = |one: &Prospect| routing.min_quality.is_none_or(|least| one.quality >= least);
    // Only what has a price can turn out to be cheaper once the length of its answers is known.
    let unknown: Vec<usize> =
        order.iter().copied().filter(|at| !all[*at].is_known && all[*at].usd.is_some() && is_good(&all[*at])).collect();
    if unknown.is_empty() || (unknown.len() == 1 && unknown[0] == order[0]) {
        return sure(order, reason);
    }
    among(order, &unknown, routing.explore, draw, reason)
}

/// What a difference in quality is taken for at the least, so that targets that are alike are not told apart by nothing.
const LEAST_GAP: f64 = 0.02;

/// The best answer to this question for its cost. The quality that the dearest has to add is told in what it adds in the mean, and
/// the cost in that of the dearest: so the dial means the same for any prices.
fn auto(all: &[Prospect], routing: &Routing, draw: &Draw, name: impl Fn(&Prospect) -> String) -> Order {
    let dial = routing.cost_quality.unwrap_or(match (routing.min_quality, routing.max_usd) {
        (Some(_), _) => 0.0,
        (None, Some(_)) => 1.0,
        (None, None) => 0.5,
    });
    let levels = || all.iter().map(|one| one.level.unwrap_or(one.quality));
    let gap = (levels().fold(f64::MIN, f64::max) - levels().fold(f64::MAX, f64::min)).max(LEAST_GAP);
    let dearest = all.iter().filter_map(|one| one.usd).fold(f64::MIN_POSITIVE, f64::max);
    let worth = |one: &Prospect| {
        let cost = one.usd.map_or(1.0, |usd| usd / dearest);
        dial * one.quality / gap - (1.0 - dial) * cost
    };
    let by_worth = |a: &Prospect, b: &Prospect| {
        worth(b).total_cmp(&worth(a)).then_with(|| by_cost(a, b)).then_with(|| b.quality.total_cmp(&a.quality))
    };
    let order = good_first(all, routing, sorted(all, by_worth));
    let best = &all[order[0]];
    let usd = best.usd.map_or_else(|| "an unknown price".to_owned(), |usd| format!("{usd:.6} USD"));
    let reason = format!("{} is worth most at cost_quality {dial}: quality {:.2} for {usd}", name(best), best.quality);
    explored(order, routing.explore, draw, reason)
}

/// Now and then another than the best is tried, so that it is seen when it has become better.
fn explored(order: Vec<usize>, explore: f64, draw: &Draw, reason: String) -> Order {
    let all = order.clone();
    among(order, &all, explore, draw, reason)
}

/// With the chance `explore`, one of `tried` is the first, whichever.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few targets"
)]
fn among(order: Vec<usize>, tried: &[usize], explore: f64, draw: &Draw, reason: String) -> Order {
    let mut chances = vec![0.0; order.len()];
    chances[order[0]] = 1.0 - explore;
    for at in tried {
        chances[*at] += explore / tried.len() as f64;
    }
    if lot::share(&[&draw.model, &draw.key, "explore"]) >= explore {
        return Order { order, chances, reason };
    }
    let which = lot::share(&[&draw.model, &draw.key, "which"]) * tried.len() as f64;
    let first = tried[(which as usize).min(tried.len() - 1)];
    let reason = if first == order[0] { reason } else { "tried to learn how it is now".to_owned() };
    Order { order: with_first(first, &order), chances, reason }
}

#[cfg(test)]
mod tests {
    use super::super::learnt::tests::target;
    use super::*;
    use penstock_schemas::plan::Link;

    /// The order of `a/m`, `b/m`, …, by what they cost, how good they are in the mean and for this question.
    fn order(set: impl Fn(&mut Routing), all: &[(f64, f64, f64)]) -> Vec<usize> {
        let mut routing = Routing {
            sticky: None,
            explore: 0.0,
            cost_quality: None,
            min_quality: None,
            max_usd: None,
            score: String::new(),
            providers: Vec::new(),
            regions: Vec::new(),
            rules: Vec::new(),
        };
        set(&mut routing);
        let links: Vec<ModelLink> = ["a/m", "b/m", "c/m"]
            .map(|name| ModelLink { link: Link::to(target(name)), weight: 1, quality: None, region: None })
            .to_vec();
        let prospect = |(place, (usd, level, quality)): (usize, &(f64, f64, f64))| Prospect {
            place,
            card: None,
            usd: Some(*usd).filter(|usd| *usd > 0.0),
            ms: None,
            quality: *quality,
            level: Some(*level),
            busy: 0,
            is_known: true,
        };
        let all: Vec<Prospect> = all.iter().enumerate().map(prospect).collect();
        let draw = Draw { model: "m".to_owned(), key: "k".to_owned(), is_sticky: false };
        find(Strategy::Auto, &all, (&links, &routing), &draw, &Learnt::default()).order
    }

    #[test]
    fn the_dial_goes_from_the_cheapest_to_the_best() {
        let usual = [(0.001, 0.6, 0.6), (0.02, 0.9, 0.9), (0.004, 0.8, 0.8)];
        let first = |dial: f64| order(|routing| routing.cost_quality = Some(dial), &usual)[0];
        assert_eq!([0.0, 0.1, 0.5, 0.8, 1.0].map(first), [0, 0, 2, 1, 1]);
        assert_eq!(order(|_| (), &usual)[0], 2, "half the way, where nothing is set");
        assert_eq!(order(|routing| routing.max_usd = Some(1.0), &usual)[0], 1, "the best within a limit");
    }

    #[test]
    fn a_question_that_the_dearer_answers_much_better_goes_there() {
        let first = |gain: f64| order(|_| (), &[(0.001, 0.6, 0.6), (0.02, 0.8, 0.6 + gain)])[0];
        assert_eq!([-0.1, 0.0, 0.15, 0.25, 0.4].map(first), [0, 0, 0, 1, 1]);
        // The same in prices a hundred times as high, and in qualities that differ ten times less.
        let first = |gain: f64| order(|_| (), &[(0.1, 0.6, 0.6), (2.0, 0.63, 0.6 + gain / 20.0 * 3.0)])[0];
        assert_eq!([-0.1, 0.0, 0.15, 0.25, 0.4].map(first), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn the_cheapest_that_is_good_enough_answers() {
        let settings = |routing: &mut Routing| routing.min_quality = Some(0.7);
        assert_eq!(order(settings, &[(0.001, 0.6, 0.65), (0.02, 0.9, 0.9), (0.004, 0.8, 0.75)]), [2, 1, 0]);
        assert_eq!(order(settings, &[(0.001, 0.6, 0.72), (0.02, 0.9, 0.9), (0.004, 0.8, 0.75)])[0], 0);
        assert_eq!(order(settings, &[(0.001, 0.6, 0.3), (0.02, 0.9, 0.5), (0.004, 0.8, 0.4)]), [1, 2, 0], "none is");
    }

    #[test]
    fn what_has_no_price_counts_as_the_dearest() {
        assert_eq!(
            order(|routing| routing.cost_quality = Some(0.0), &[(0.0, 0.6, 0.6), (0.02, 0.9, 0.9), (0.004, 0.8, 0.8)]),
            [2, 1, 0]
        );
    }
}

//! Which arm of an experiment a request belongs to: drawn by a hash of who asks, so that nothing is stored and no crash moves
//! anybody. An arm that was stopped gives its users to the first; the others keep theirs. Knows nothing of what is found out.

use super::lot;
use super::stops::ArmStops;
use super::traits::{RouteQuery, Traits};
use crate::config::{Experiment, ModelLink};

/// The arm of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    pub(super) experiment: String,
    pub(super) arm: String,
    /// The chance to be in it.
    pub(super) share: f64,
    /// The places of its targets that may answer; never empty.
    pub(super) places: Vec<usize>,
    /// The first places of the other arms, and their chances.
    pub(super) others: Vec<(usize, f64)>,
}

/// The arm, of those whose targets may answer; `None` when none of the drawn one's may: then the request is no part of it.
pub(super) fn assign(
    experiment: &Experiment,
    (links, places): (&[ModelLink], &[usize]),
    (query, traits): (&RouteQuery, &Traits),
    stops: &ArmStops,
) -> Option<Assignment> {
    let name = &experiment.plan.name;
    let unit = unit(query, traits);
    let drawn =
        lot::draw(&["experiment", name, &unit], experiment.arms.iter().map(|arm| (arm.name.as_str(), arm.share)))?;
    let is_stopped = |at: usize| at > 0 && stops.holds(name, &experiment.arms[at].name);
    let at = if is_stopped(drawn) { 0 } else { drawn };
    // The first arm has the users of all that are stopped.
    let share = |at: usize| -> f64 {
        let of_stopped = (1..experiment.arms.len()).filter(|other| is_stopped(*other));
        let own = if is_stopped(at) { 0.0 } else { experiment.arms[at].share };
        own + if at == 0 { of_stopped.map(|other| experiment.arms[other].share).sum::<f64>() } else { 0.0 }
    };
    let eligible = |at: usize| -> Vec<usize> {
        let of_arm = experiment.arms[at].targets.iter();
        of_arm.filter_map(|target| places.iter().copied().find(|place| links[*place].link.target == *target)).collect()
    };
    let own = eligible(at);
    if own.is_empty() {
        return None;
    }
    let others = (0..experiment.arms.len()).filter(|other| *other != at && !is_stopped(*other));
    let others = others.filter_map(|other| Some((*eligible(other).first()?, share(other)))).collect();
    let arm = experiment.arms[at].name.clone();
    Some(Assignment { experiment: name.clone(), arm, share: share(at), places: own, others })
}

/// Who is kept in one arm: the user, else the session, else the conversation, else this request alone.
fn unit(query: &RouteQuery, traits: &Traits) -> String {
    let (caller, project) = (query.caller, query.caller.project.as_str());
    let user = caller.end_user.as_ref().or(caller.user.as_ref()).map(|user| format!("{project} user {user}"));
    let session = || query.session.map(|session| format!("{project} session {}", session.id));
    let conversation = || traits.opening.map(|number| format!("{project} conversation {number:016x}"));
    user.or_else(session).or_else(conversation).unwrap_or_else(|| query.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::stops::key;
    use super::super::traits::tests::{asked, caller, query};
    use super::*;
    use crate::config::ExperimentArm;
    use penstock_runtime::bus::Change;
    use penstock_schemas::UnixMicros;
    use penstock_schemas::experiment::{ArmStop, ExperimentPlan};
    use penstock_schemas::name::Target;
    use penstock_schemas::plan::Link;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn experiment() -> Experiment {
        let arm = |name: &str, share: f64, target: &str| ExperimentArm {
            name: name.to_owned(),
            share,
            targets: vec![Target::parse(target).unwrap()],
        };
        let arms = vec![arm("control", 0.5, "a/m"), arm("mini", 0.3, "b/m"), arm("new", 0.2, "c/m")];
        let plan = ExperimentPlan {
            name: "x".to_owned(),
            model: "chat".to_owned(),
            arms: Vec::new(),
            score: String::new(),
            guard: Vec::new(),
        };
        Experiment { plan, arms, shadows: Vec::new() }
    }

    fn arms(places: &[usize], stops: &ArmStops) -> Vec<Option<String>> {
        let links = ["a/m", "b/m", "c/m"].map(|target| ModelLink {
            link: Link::to(Target::parse(target).unwrap()),
            weight: 1,
            quality: None,
            region: None,
        });
        let asked = asked(&json!({ "model": "chat", "messages": [{ "role": "user", "content": "hi" }] }));
        let arm = |user: u32| {
            let caller = caller(Some(&format!("user-{user}")));
            // Another request each time: the user alone decides.
            let query = query(&asked, &caller, u128::from(user) + places.len() as u128);
            let traits = Traits::read(&query);
            let found = assign(&experiment(), (&links, places), (&query, &traits), stops)?;
            let rest: f64 = found.others.iter().map(|(_, share)| share).sum();
            assert!((found.share + rest - 1.0).abs() < 1e-9 || places.len() < 3, "{found:?}");
            Some(found.arm)
        };
        (0..1000).map(arm).collect()
    }

    #[test]
    fn users_are_split_by_share_and_only_those_of_a_stopped_arm_move() {
        let stops = ArmStops::default();
        let before = arms(&[0, 1, 2], &stops);
        let mut counts = BTreeMap::new();
        for arm in before.iter().flatten() {
            *counts.entry(arm.as_str()).or_insert(0) += 1;
        }
        assert!((460..540).contains(&counts["control"]) && (160..240).contains(&counts["new"]), "{counts:?}");
        assert_eq!(arms(&[0, 1, 2], &stops), before, "the same again");
        let stop =
            ArmStop { experiment: "x".to_owned(), arm: "mini".to_owned(), at: UnixMicros(0), reason: String::new() };
        stops.change(Change::Put(key("x", "mini"), stop));
        for (before, after) in before.iter().zip(arms(&[0, 1, 2], &stops)) {
            let moved = before.as_deref() == Some("mini");
            assert_eq!(after.as_deref(), if moved { Some("control") } else { before.as_deref() });
        }
    }

    #[test]
    fn who_cannot_be_served_by_the_arm_is_no_part_of_the_experiment() {
        let stops = ArmStops::default();
        let (all, few) = (arms(&[0, 1, 2], &stops), arms(&[0, 1], &stops));
        for (all, few) in all.into_iter().zip(few) {
            assert_eq!(few, all.filter(|arm| arm != "new"));
        }
    }
}

//! The routing slip of one request: the ordered, non-empty list of targets that travels with it. Knows nothing of why
//! these targets were chosen, nor of how they are called.

use crate::failure::FailureKind;
use crate::name::Target;
use serde::{Deserialize, Serialize};

/// One entry of a plan: a target and how patient to be with it. What is absent has the pool's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Who is called.
    pub target: Target,
    /// Longest wait for the connection, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Longest wait for the first content, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Longest silence between two pieces of content, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Longest time for one attempt as a whole, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u64>,
    /// Further attempts at this target after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The failures that move on to the next link; absent: those that another provider may not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<FailureKind>>,
    /// The share of failed calls, in percent, at which calls go elsewhere for a while; 0: never. Absent: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<u32>,
    /// The time to the first content, in milliseconds, from which calls go elsewhere: when 1 of 20 calls waits so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
    /// Whether the target continues a text that the conversation ends with, so that it can go on with a broken stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefill: bool,
    /// What an attempt here can come to at most, where that is set aside; absent: whoever makes the attempt finds out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
}

/// The most that an attempt can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst {
    /// In picodollars; absent: the model has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<u64>,
    /// In tokens of input and output together.
    pub tokens: u64,
}

impl Link {
    /// A link to `target` with every default.
    pub fn to(target: Target) -> Self {
        Self {
            target,
            connect_ms: None,
            first_token_ms: None,
            idle_ms: None,
            total_ms: None,
            retries: None,
            on: None,
            error_threshold: None,
            slow_ms: None,
            prefill: false,
            worst: None,
        }
    }
}

/// An ordered, non-empty list of links, and the one whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPlan")]
pub struct Plan {
    links: Vec<Link>,
    at: usize,
}

#[derive(Deserialize)]
struct RawPlan {
    links: Vec<Link>,
    at: usize,
}

impl TryFrom<RawPlan> for Plan {
    type Error = &'static str;
    fn try_from(raw: RawPlan) -> Result<Self, Self::Error> {
        if raw.at < raw.links.len() {
            Ok(Self { links: raw.links, at: raw.at })
        } else {
            Err("a plan has at least one link, and its turn is one of them")
        }
    }
}

impl Plan {
    /// The plan that tries `first` and then `others`, in this order.
    pub fn new(first: Link, others: impl IntoIterator<Item = Link>) -> Self {
        Self { links: std::iter::once(first).chain(others).collect(), at: 0 }
    }

    /// The link whose turn it is.
    pub fn current(&self) -> &Link {
        &self.links[self.at]
    }

    /// The same plan with the next link's turn; `None` after the last.
    pub fn next(&self) -> Option<Self> {
        (self.at + 1 < self.links.len()).then(|| Self { links: self.links.clone(), at: self.at + 1 })
    }

    /// The same plan, ending with the link to `target`, whose turn it is: what begins there stays there. `None` when no
    /// link leads there.
    pub fn up_to(&self, target: &Target) -> Option<Self> {
        let at = self.links.iter().position(|link| link.target == *target)?;
        Some(Self { links: self.links[..=at].to_vec(), at })
    }

    /// The links behind the one to `target` that can continue a text; `None` when there is none.
    pub fn after(&self, target: &Target) -> Option<Self> {
        let at = self.links.iter().position(|link| link.target == *target)?;
        let links: Vec<Link> = self.links[at + 1..].iter().filter(|link| link.prefill).cloned().collect();
        (!links.is_empty()).then_some(Self { links, at: 0 })
    }

    /// The same plan with the turn of the link at this place; `None` when there is none.
    pub fn turn_to(&self, at: usize) -> Option<Self> {
        (at < self.links.len()).then(|| Self { links: self.links.clone(), at })
    }

    /// The same plan, but of the links from place `from` on, those that `is_later` names come last.
    pub fn postpone(mut self, from: usize, is_later: impl Fn(&Link) -> bool) -> Self {
        let rest = self.links.split_off(from.min(self.links.len()));
        let (later, sooner): (Vec<Link>, Vec<Link>) = rest.into_iter().partition(is_later);
        self.links.extend(sooner);
        self.links.extend(later);
        self
    }

    /// The same plan, with what an attempt at each link, in their order, can come to.
    #[must_use]
    pub fn bounded(mut self, worst: &[Worst]) -> Self {
        for (link, worst) in self.links.iter_mut().zip(worst) {
            link.worst = Some(*worst);
        }
        self
    }

    /// The same plan for another request, that can come to something else.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.links.iter_mut().for_each(|link| link.worst = None);
        self
    }

    /// All links, in their order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Which link's turn it is, from 0.
    pub fn position(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_ends_after_its_last_link() {
        let link = |text| Link::to(Target::parse(text).unwrap());
        let plan = Plan::new(link("a/m"), [link("b/m")]);
        let second = plan.next().unwrap();
        assert_eq!(second.current().target.to_string(), "b/m");
        assert_eq!(second.next(), None);
        let plan = Plan::new(link("a/m"), [link("b/m"), link("c/m")]);
        let pinned = plan.up_to(&Target::parse("b/m").unwrap()).unwrap();
        assert_eq!((pinned.current().target.to_string().as_str(), pinned.next()), ("b/m", None));
        assert_eq!(plan.up_to(&Target::parse("d/m").unwrap()), None);
    }

    #[test]
    fn links_that_are_postponed_keep_their_order() {
        let link = |text| Link::to(Target::parse(text).unwrap());
        let plan = Plan::new(link("a/m"), [link("b/m"), link("c/m"), link("d/m")]);
        let order = |plan: &Plan| plan.links().iter().map(|link| link.target.to_string()).collect::<Vec<_>>().join(" ");
        let is_later = |link: &Link| ["a", "c"].contains(&link.target.provider.as_str());
        assert_eq!(order(&plan.clone().postpone(0, is_later)), "b/m d/m a/m c/m");
        assert_eq!(order(&plan.clone().postpone(1, is_later)), "a/m b/m d/m c/m");
        assert_eq!(plan.clone().postpone(0, |_| true), plan);
    }

    #[test]
    fn an_empty_plan_cannot_be_read() {
        assert!(serde_json::from_str::<Plan>(r#"{"links":[],"at":0}"#).is_err());
    }
}

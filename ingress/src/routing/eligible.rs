//! Which targets may answer a request: the operator's hard rules, and what a model can do and hold. A hard rule that leaves none
//! refuses the request and says which it was; what the catalogue says of a model is taken back when it leaves none, because a
//! catalogue can be wrong. Knows nothing of cost or time.

use super::traits::Traits;
use crate::config::{ModelLink, RouteRule, Routing};
use crate::models::Models;
use crate::refusal::Refusal;
use penstock_schemas::model::ModelCard;
use penstock_schemas::pattern::matches;
use penstock_schemas::route::RouteFilter;

/// A hard rule: which providers and regions may be called.
pub(super) struct HardRule<'a> {
    /// The condition that sets it; empty: it holds for the whole virtual model.
    pub(super) name: &'a str,
    providers: &'a [String],
    regions: &'a [String],
}

impl<'a> HardRule<'a> {
    pub(super) fn of_model(routing: &'a Routing) -> Self {
        Self { name: "", providers: &routing.providers, regions: &routing.regions }
    }

    pub(super) fn of_rule(rule: &'a RouteRule) -> Self {
        Self { name: &rule.name, providers: &rule.providers, regions: &rule.regions }
    }

    /// Why a target may not be called, and by what; `None`: it may.
    pub(super) fn forbids(&self, link: &ModelLink) -> Option<(String, String)> {
        let by = |key: &str| if self.name.is_empty() { key.to_owned() } else { format!("rule {}: {key}", self.name) };
        let provider = link.link.target.provider.as_str();
        if !self.providers.is_empty() && !self.providers.iter().any(|pattern| matches(pattern, provider)) {
            return Some((by("providers"), format!("only {} may be called", self.providers.join(", "))));
        }
        let region = link.region.as_ref();
        if !self.regions.is_empty() && region.is_none_or(|region| !self.regions.contains(region)) {
            let is = region.map_or_else(|| "says no region".to_owned(), |region| format!("is in {region}"));
            return Some((by("regions"), format!("it {is}, and only {} may be called", self.regions.join(", "))));
        }
        None
    }
}

/// The places that are left, and what was left out.
pub(super) fn filter(
    model: (&str, &[ModelLink]),
    places: &[usize],
    rules: &[HardRule],
    traits: &Traits,
    models: &Models,
) -> Result<(Vec<usize>, Vec<RouteFilter>), Refusal> {
    let (name, links) = model;
    let mut filters = Vec::new();
    let mut left = places.to_vec();
    for rule in rules {
        left = remove(left, links, &mut filters, |link| rule.forbids(link));
        refuse_empty(name, &left, &filters)?;
    }
    let allowed = (left.clone(), filters.len());
    let left = remove(left, links, &mut filters, |link| cannot(models.card(&link.link.target).as_deref()?, traits));
    if left.is_empty() {
        // Its provider says better what it cannot do.
        filters.truncate(allowed.1);
        return Ok((allowed.0, filters));
    }
    Ok((left, filters))
}

/// Refuses the request when no target is left, and says what left the last ones out.
pub(super) fn refuse_empty(model: &str, left: &[usize], filters: &[RouteFilter]) -> Result<(), Refusal> {
    let Some(last) = filters.last().filter(|_| left.is_empty()) else { return Ok(()) };
    let all = filters.iter().map(|one| format!("{} ({}: {})", one.target, one.by, one.why));
    let why = format!("`{}` leaves none of {}", last.by, all.collect::<Vec<_>>().join("; "));
    Err(Refusal::NoTarget { model: model.to_owned(), why })
}

pub(super) fn remove(
    places: Vec<usize>,
    links: &[ModelLink],
    filters: &mut Vec<RouteFilter>,
    forbids: impl Fn(&ModelLink) -> Option<(String, String)>,
) -> Vec<usize> {
    let mut left = Vec::new();
    for place in places {
        match forbids(&links[place]) {
            None => left.push(place),
            Some((by, why)) => filters.push(RouteFilter { target: links[place].link.target.to_string(), by, why }),
        }
    }
    left
}

/// What a model cannot do, as far as its card says what it can.
fn cannot(card: &ModelCard, traits: &Traits) -> Option<(String, String)> {
    let can = |word: &str| card.capabilities.is_empty() || card.capabilities.iter().any(|one| one == word);
    let wanted = [
        (traits.has_tools, "tools"),
        (traits.images > 0, "vision"),
        (traits.has_audio, "audio_in"),
        (traits.wants_schema, "json_schema"),
    ];
    if let Some((_, word)) = wanted.iter().find(|(is_wanted, word)| *is_wanted && !can(word)) {
        return Some(("capability".to_owned(), format!("the catalogue says nothing of `{word}`")));
    }
    let context = card.context.filter(|context| traits.tokens > *context)?;
    Some(("context".to_owned(), format!("the request has some {} tokens, and it takes {context}", traits.tokens)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_runtime::bus::Change;
    use penstock_schemas::name::Target;
    use penstock_schemas::plan::Link;
    use std::collections::BTreeMap;

    fn link(target: &str, region: Option<&str>) -> ModelLink {
        let link = Link::to(Target::parse(target).unwrap());
        ModelLink { link, weight: 1, quality: None, region: region.map(ToOwned::to_owned) }
    }

    fn models() -> Models {
        let models = Models::new(BTreeMap::new());
        for (provider, card) in [
            ("a", r#"{"model":"m","mode":"chat","context":1000,"capabilities":["tools"]}"#),
            ("b", r#"{"model":"m","mode":"chat","context":9000,"capabilities":["vision"]}"#),
            ("c", r#"{"model":"m","mode":"chat"}"#),
        ] {
            let json = format!(r#"{{"provider":"{provider}","dialect":"openai","models":[{card}]}}"#);
            models.change(Change::Put(provider.to_owned(), serde_json::from_str(&json).unwrap()));
        }
        models
    }

    fn left(rules: &[HardRule], traits: &Traits) -> String {
        let links = [link("a/m", Some("eu")), link("b/m", Some("us")), link("c/m", None)];
        match filter(("chat", &links), &[0, 1, 2], rules, traits, &models()) {
            Ok((left, _)) => left.iter().map(|place| links[*place].link.target.provider.as_str()).collect(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn models_that_cannot_are_left_out_unless_all_are() {
        let with = |change: fn(&mut Traits)| {
            let mut traits = Traits::default();
            change(&mut traits);
            left(&[], &traits)
        };
        assert_eq!(with(|_| {}), "abc");
        assert_eq!(with(|t| t.has_tools = true), "ac");
        assert_eq!(with(|t| t.images = 1), "bc");
        assert_eq!(with(|t| t.tokens = 1001), "bc");
        assert_eq!(with(|t| (t.tokens, t.has_tools) = (10_000, true)), "c");
        let only = [link("a/m", None)];
        let traits = Traits { images: 1, ..Traits::default() };
        let (left, filters) = filter(("chat", &only), &[0], &[], &traits, &models()).unwrap();
        assert_eq!((left, filters), (vec![0], vec![]), "the provider says better what it cannot do");
    }

    #[test]
    fn a_hard_rule_that_leaves_nothing_is_named() {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (eu, a, z) = (words(&["eu"]), words(&["a*"]), words(&["z"]));
        let region = HardRule { name: "residency", providers: &[], regions: &eu };
        assert_eq!(left(&[region], &Traits::default()), "a");
        let provider = HardRule { name: "", providers: &a, regions: &[] };
        assert_eq!(left(&[provider], &Traits::default()), "a");
        let both = [
            HardRule { name: "residency", providers: &[], regions: &eu },
            HardRule { name: "", providers: &z, regions: &[] },
        ];
        assert_eq!(
            left(&both, &Traits::default()),
            "no target of `chat` may answer this request: `providers` leaves none of b/m (rule residency: regions: it is in us, \
             and only eu may be called); c/m (rule residency: regions: it says no region, and only eu may be called); \
             a/m (providers: only z may be called)"
        );
    }
}

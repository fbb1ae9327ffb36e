//! A name of the operator's that stands for several targets: section `[models.NAME]`. Knows nothing of requests, and not how
//! a strategy decides.

use super::caching;
use super::experiment::Experiment;
use super::route_rule::{self, RouteRule};
use super::strategy::Strategy;
use penstock_runtime::config::{Section, parse_duration};
use penstock_schemas::cache::CacheSettings;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::name::{Target, check_model};
use penstock_schemas::percent::parse_percent;
use penstock_schemas::plan::Link;
use penstock_schemas::score;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// A name of the operator's that stands for several targets.
#[derive(Clone, Debug)]
pub struct VirtualModel {
    /// How a plan is made of them.
    pub strategy: Strategy,
    /// The targets, in the operator's order; never empty.
    pub links: Vec<ModelLink>,
    /// What the strategy goes by.
    pub routing: Routing,
    /// The experiment that is made on it.
    pub experiment: Option<Arc<Experiment>>,
    /// What happens to what a provider cannot express; `None`: as `[ingress] unsupported` says.
    pub unsupported: Option<Unsupported>,
    /// When a second target is asked too; `None`: never.
    pub hedge: Option<Hedge>,
    /// What becomes of a stream that breaks.
    pub on_break: OnBreak,
    /// What is set for the cache, for requests for it.
    pub cache: Option<CacheSettings>,
}

/// One target of a virtual model, and what the operator says of it.
#[derive(Clone, Debug)]
pub struct ModelLink {
    /// The target, and how patient to be with it.
    pub link: Link,
    /// Its share, of `weighted`, and what it can take beside others, of `least_busy`.
    pub weight: u32,
    /// How good its answers are, from 0 to 1; `None`: scores decide, else the order of prices.
    pub quality: Option<f64>,
    /// Where it is, in the operator's own word, for `regions`.
    pub region: Option<String>,
}

/// What a strategy goes by.
#[derive(Clone, Debug)]
pub struct Routing {
    /// What the choice stays the same for; `None`: what suits the strategy.
    pub sticky: Option<Sticky>,
    /// The share of requests that try another target than the best, to learn.
    pub explore: f64,
    /// What quality is worth beside cost, of `auto`: from 0, the cheapest, to 1, the best; `None`: what suits the other keys.
    pub cost_quality: Option<f64>,
    /// The quality that targets have to have, as long as one has it.
    pub min_quality: Option<f64>,
    /// What a request may be expected to cost at a target, in dollars.
    pub max_usd: Option<f64>,
    /// The name of the scores that say how good an answer was.
    pub score: String,
    /// The providers that may be called, `*` standing for any characters. Empty: all.
    pub providers: Vec<String>,
    /// The regions that may be called. Empty: all.
    pub regions: Vec<String>,
    /// Conditions, looked at in this order.
    pub rules: Vec<RouteRule>,
}

/// What a choice stays the same for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// The user; without one, the session or the conversation.
    User,
    /// The session; without one, the conversation.
    Session,
    /// Nothing, but for the calls of tools in one conversation.
    Off,
}

/// What becomes of a stream that breaks after its first content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBreak {
    /// It ends in an error event.
    #[default]
    Error,
    /// The next link that can continue a text goes on with it.
    Resume,
}

/// How long the first content of the first target may take before the second is asked too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// As long as 19 of 20 calls of it took lately.
    P95,
    /// So long.
    After(Duration),
}

impl VirtualModel {
    /// The targets, in the operator's order.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.links.iter().map(|one| &one.link.target)
    }

    /// Whether requests for it may be routed by this strategy.
    pub fn uses(&self, strategy: Strategy) -> bool {
        self.strategy == strategy || self.routing.rules.iter().any(|rule| rule.strategy == Some(strategy))
    }

    /// Reads the section; `None` when it makes no model.
    pub(super) fn read(name: &str, section: &mut Section) -> Option<Self> {
        if Target::parse(name).is_ok() {
            section.mistake("", "a virtual model's name must not look like provider/model");
        }
        if let Err(error) = check_model(name) {
            section.mistake("", &format!("callers could not ask for it: {}", error.rule()));
        }
        let strategy: String = section.or("strategy", "fallback".to_owned());
        let strategy = Strategy::parse(&strategy).unwrap_or_else(|why| {
            section.mistake("strategy", &why);
            Strategy::Fallback
        });
        let links: Vec<ModelLink> = section.entries("targets").iter_mut().filter_map(read_link).collect();
        if links.is_empty() {
            section.mistake("targets", "must name at least one target");
            return None;
        }
        if strategy == Strategy::Weighted && links.iter().all(|one| one.weight == 0) {
            section.mistake("targets", "at least one weight must be above 0");
            return None;
        }
        Some(Self {
            strategy,
            routing: read_routing(section, &links),
            links,
            experiment: None,
            unsupported: section.get("unsupported"),
            hedge: read_hedge(section),
            on_break: section.get("on_break").unwrap_or_default(),
            cache: caching::read_settings(section),
        })
    }
}

fn read_routing(section: &mut Section, links: &[ModelLink]) -> Routing {
    let score: String = section.or("score", "quality".to_owned());
    if let Some(why) = score::mistake_of_name(&score) {
        section.mistake("score", &why);
    }
    Routing {
        sticky: section.get("sticky"),
        explore: read_percent(section, "explore").unwrap_or(0.02),
        cost_quality: read_share(section, "cost_quality"),
        min_quality: read_share(section, "min_quality"),
        max_usd: read_usd(section, "max_usd_per_request"),
        score,
        providers: section.get("providers").unwrap_or_default(),
        regions: section.get("regions").unwrap_or_default(),
        rules: route_rule::read_all(section, &links.iter().map(|one| one.link.target.to_string()).collect::<Vec<_>>()),
    }
}

/// A number from 0 to 1.
fn read_share(section: &mut Section, key: &str) -> Option<f64> {
    let share: f64 = section.get(key)?;
    if !(0.0..=1.0).contains(&share) {
        section.mistake(key, "is a number from 0 to 1");
        return None;
    }
    Some(share)
}

/// A percentage, `"2%"`, as a share.
fn read_percent(section: &mut Section, key: &str) -> Option<f64> {
    let text: String = section.get(key)?;
    let percent = parse_percent(&text);
    if percent.is_none() {
        section.mistake(key, &format!("`{text}` is not a percentage: write it as \"2%\""));
    }
    percent
}

fn read_usd(section: &mut Section, key: &str) -> Option<f64> {
    let text: String = section.get(key)?;
    let usd = text.parse::<f64>().ok().filter(|usd| usd.is_finite() && *usd >= 0.0);
    if usd.is_none() {
        section.mistake(key, &format!("`{text}` is not an amount of dollars: write it as \"0.05\""));
    }
    usd
}

fn read_hedge(section: &mut Section) -> Option<Hedge> {
    let text: String = section.get("hedge")?;
    if text == "p95" {
        return Some(Hedge::P95);
    }
    let after = parse_duration(&text).map(Hedge::After);
    if after.is_none() {
        section.mistake("hedge", &format!("`{text}` is not known: write \"p95\", or a time such as \"800ms\""));
    }
    after
}

fn read_link(section: &mut Section) -> Option<ModelLink> {
    let weight = section.or("weight", 1);
    let (quality, region) = (read_share(section, "quality"), section.get("region"));
    let millis = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let (connect_ms, first_token_ms) = (millis(section.duration("connect")), millis(section.duration("first_token")));
    let (idle_ms, total_ms) = (millis(section.duration("idle")), millis(section.duration("total")));
    let retries: Option<u32> = section.get("retries");
    if retries.is_some_and(|retries| retries > 10) {
        section.mistake("retries", "must be at most 10");
    }
    let error_threshold: Option<u32> = section.get("error_threshold");
    if error_threshold.is_some_and(|percent| percent > 100) {
        section.mistake("error_threshold", "is a percentage: 0 (never) to 100");
    }
    let slow_ms = millis(section.duration("slow"));
    let prefill = section.or("prefill", false);
    let on: Option<Vec<FailureKind>> = section.get("on");
    let Some(model) = section.get::<String>("model") else {
        section.mistake("model", "is missing: write it as provider/model");
        return None;
    };
    let target = Target::parse(&model).map_err(|error| section.mistake("model", &error.to_string())).ok()?;
    let link = Link {
        target,
        connect_ms,
        first_token_ms,
        idle_ms,
        total_ms,
        retries,
        on,
        error_threshold,
        slow_ms,
        prefill,
        worst: None,
    };
    Some(ModelLink { link, weight, quality, region })
}

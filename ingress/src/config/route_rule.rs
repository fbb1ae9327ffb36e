//! Conditions of a virtual model: `[[models.NAME.rules]]`. What a request must be like, and what holds for it then. Knows
//! nothing of requests.

use super::strategy::Strategy;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use penstock_runtime::config::Section;
use penstock_schemas::cycle::zone;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One condition, and what holds for the requests that meet it.
#[derive(Clone, Debug)]
pub struct RouteRule {
    /// Its name, in the reasons that callers and operators see.
    pub name: String,
    /// What a request must be like.
    pub traits: RouteTraits,
    /// When it holds; `None`: always.
    pub hours: Option<RouteHours>,
    /// The places of the targets that may be called, in this order; `None`: all.
    pub targets: Option<Vec<usize>>,
    /// How their order is found; `None`: as for the model.
    pub strategy: Option<Strategy>,
    /// The providers that may be called. Empty: all.
    pub providers: Vec<String>,
    /// The regions that may be called. Empty: all.
    pub regions: Vec<String>,
}

/// What a request must be like: everything that is named. In texts, `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTraits {
    /// Who pays.
    pub project: Option<String>,
    /// Who asks.
    pub user: Option<String>,
    /// The user that the body names.
    pub end_user: Option<String>,
    /// The virtual key.
    pub key: Option<String>,
    /// Tags of the key or of `x-penstock-tags`.
    pub tags: BTreeMap<String, String>,
    /// Fields at the top of the request, in OpenAI's names.
    pub parameters: BTreeMap<String, Value>,
    /// Its length in tokens, from here on, as estimated.
    pub min_tokens: Option<u64>,
    /// Up to here.
    pub max_tokens: Option<u64>,
    /// What it holds besides text.
    pub modality: Option<Modality>,
    /// Whether it declares tools.
    pub tools: Option<bool>,
    /// Whether the answer is wanted as a stream.
    pub stream: Option<bool>,
    /// The language of the last question, as far as it is recognised: `en`, `de`, `zh`, …
    pub language: Option<String>,
}

/// What a request holds besides text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Nothing.
    Text,
    /// Images.
    Image,
    /// Audio.
    Audio,
    /// Documents.
    File,
}

/// A time of the day and days of the week.
#[derive(Clone, Debug)]
pub struct RouteHours {
    /// From when on.
    pub from: Time,
    /// Until when; before `from`: until the next day.
    pub until: Time,
    /// On these days. Empty: on all.
    pub days: Vec<Weekday>,
    /// Of this zone.
    pub zone: TimeZone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    #[serde(rename = "match", default)]
    traits: RouteTraits,
    #[serde(default)]
    hours: Option<String>,
    #[serde(default)]
    days: Vec<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default)]
    providers: Vec<String>,
    #[serde(default)]
    regions: Vec<String>,
}

/// Reads the rules of a model with these targets.
pub(super) fn read_all(section: &mut Section, targets: &[String]) -> Vec<RouteRule> {
    let Some(rules) = section.json("rules") else { return Vec::new() };
    let Value::Array(rules) = rules else {
        section.mistake("rules", "must be a list: write [[models.NAME.rules]]");
        return Vec::new();
    };
    let read = |(at, rule): (usize, Value)| {
        let raw: RawRule = serde_json::from_value(rule).map_err(|error| error.to_string())?;
        let name = raw.name.clone();
        raw.check(targets).map_err(|why| format!("rule {} (`{name}`): {why}", at + 1))
    };
    let rules = rules.into_iter().enumerate().map(read);
    let wrong = |why: String| section.mistake("rules", &why);
    rules.filter_map(|rule| rule.map_err(wrong).ok()).collect()
}

impl RawRule {
    fn check(self, targets: &[String]) -> Result<RouteRule, String> {
        let place = |target: &String| {
            let place = targets.iter().position(|one| one == target);
            place.ok_or_else(|| format!("`{target}` is not one of the model's targets"))
        };
        let targets = self.targets.as_ref().map(|all| all.iter().map(place).collect()).transpose()?;
        if targets.as_ref().is_some_and(Vec::is_empty) {
            return Err("`targets` must name at least one".to_owned());
        }
        let does_nothing = targets.is_none() && self.strategy.is_none() && self.regions.is_empty();
        if does_nothing && self.providers.is_empty() {
            return Err("it changes nothing: set targets, strategy, providers or regions".to_owned());
        }
        Ok(RouteRule {
            hours: self.hours()?,
            strategy: self.strategy.as_deref().map(Strategy::parse).transpose()?,
            name: self.name,
            traits: self.traits,
            targets,
            providers: self.providers,
            regions: self.regions,
        })
    }

    fn hours(&self) -> Result<Option<RouteHours>, String> {
        if self.hours.is_none() && self.days.is_empty() {
            return Ok(None);
        }
        let text = self.hours.as_deref().unwrap_or("00:00-00:00");
        let time = |text: &str| format!("{}:00", text.trim()).parse::<Time>().ok();
        let times = text.split_once('-').and_then(|(from, until)| Some((time(from)?, time(until)?)));
        let (from, until) = times.ok_or_else(|| format!("`{text}` are no hours: write them as \"08:00-18:00\""))?;
        let zone = zone(self.time_zone.as_deref().unwrap_or("UTC")).map_err(|error| error.to_string())?;
        let days = self.days.iter().map(|day| weekday(day)).collect::<Result<_, _>>()?;
        Ok(Some(RouteHours { from, until, days, zone }))
    }
}

fn weekday(name: &str) -> Result<Weekday, String> {
    match name {
        "mon" => Ok(Weekday::Monday),
        "tue" => Ok(Weekday::Tuesday),
        "wed" => Ok(Weekday::Wednesday),
        "thu" => Ok(Weekday::Thursday),
        "fri" => Ok(Weekday::Friday),
        "sat" => Ok(Weekday::Saturday),
        "sun" => Ok(Weekday::Sunday),
        other => Err(format!("`{other}` is no day: write mon, tue, wed, thu, fri, sat, sun")),
    }
}

//! The cache of answers: what may be set for it, what is kept of an answer, and what removes it. Knows neither where entries
//! lie nor when one is looked up.

mod report;

pub use report::{
    CacheReport, CheckReport, HitQuestion, HitReply, NamespaceReport, SemanticHit, SemanticReport, ThresholdRecord,
};

use crate::UnixMicros;
use crate::duration::parse_duration;
use crate::envelope::Operation;
use crate::frame::Summary;
use crate::name::{ProjectId, RequestId, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The longest that an answer may be kept: 30 days, as long as a kept response.
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The shortest: JetStream counts in whole seconds.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// How long an answer is kept unless something else is set.
const TTL: Duration = Duration::from_secs(3600);

/// What is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Nothing.
    #[default]
    Off,
    /// The same request.
    Exact,
    /// The same request, else one of the same meaning.
    Semantic,
}

/// Who shares answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// All of a project.
    #[default]
    Project,
    /// Each user of a project has answers of its own.
    User,
}

/// What may be set for the cache, in `[cache]`, in `[models.NAME.cache]` and in a key. What is absent stays as it is set at
/// the more general place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// What is looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CacheMode>,
    /// How long an answer may be used: `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,12} ?(ms|s|m|h)$"))]
    pub ttl: Option<String>,
    /// Who shares answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<CacheScope>,
    /// The model that embeds requests, for the semantic cache: `openai/text-embedding-3-small`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub embed: Option<String>,
    /// How alike a request must be, for the semantic cache: `"adaptive"`, or a number from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Value>,
    /// The most wrong hits that the semantic cache may make: `0.5%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub target_false_hits: Option<String>,
    /// The share of its hits that are checked: `2%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub sample: Option<String>,
}

/// What holds for one request, or for all until something more particular is set.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePolicy {
    /// What is looked up.
    pub mode: CacheMode,
    /// How long an answer may be used.
    pub ttl: Duration,
    /// Who shares answers.
    pub scope: CacheScope,
    /// The model that embeds requests; `None`: the built-in one.
    pub embed: Option<String>,
    /// How alike a request must be; `None`: adapted to what is measured.
    pub threshold: Option<f64>,
    /// The most wrong hits, from 0 to 1.
    pub target_false_hits: f64,
    /// The share of hits that are checked, from 0 to 1.
    pub sample: f64,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            mode: CacheMode::Off,
            ttl: TTL,
            scope: CacheScope::Project,
            embed: None,
            threshold: None,
            target_false_hits: 0.005,
            sample: 0.02,
        }
    }
}

impl CachePolicy {
    /// This one with what is set at a more particular place. The settings must be right: see [`CacheSettings::mistakes`].
    #[must_use]
    pub fn with(&self, settings: &CacheSettings) -> Self {
        Self {
            mode: settings.mode.unwrap_or(self.mode),
            ttl: settings.ttl.as_deref().and_then(parse_duration).unwrap_or(self.ttl),
            scope: settings.scope.unwrap_or(self.scope),
            embed: settings.embed.clone().or_else(|| self.embed.clone()),
            threshold: settings.threshold.as_ref().map_or(self.threshold, Value::as_f64),
            target_false_hits: settings.target_false_hits.as_deref().and_then(share).unwrap_or(self.target_false_hits),
            sample: settings.sample.as_deref().and_then(share).unwrap_or(self.sample),
        }
    }
}

impl CacheSettings {
    /// These, and those of `other` where nothing is set here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            ttl: self.ttl.or(other.ttl),
            scope: self.scope.or(other.scope),
            embed: self.embed.or(other.embed),
            threshold: self.threshold.or(other.threshold),
            target_false_hits: self.target_false_hits.or(other.target_false_hits),
            sample: self.sample.or(other.sample),
        }
    }

    /// Everything that is wrong with them, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if let Some(text) = &self.ttl {
            let ttl = parse_duration(text);
            if ttl.is_none_or(|ttl| !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl)) {
                mistakes.push(("ttl", format!("`{text}` is not a time from \"1s\" to \"720h\"")));
            }
        }
        let threshold = self.threshold.as_ref();
        if threshold.is_some_and(|value| {
            value != "adaptive" && !value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number))
        }) {
            mistakes.push(("threshold", "must be \"adaptive\", or a number from 0 to 1".to_owned()));
        }
        for (field, text) in [("target_false_hits", &self.target_false_hits), ("sample", &self.sample)] {
            if text.as_deref().is_some_and(|text| share(text).is_none()) {
                mistakes.push((field, "must be a percentage from 0 to 100, such as \"0.5%\"".to_owned()));
            }
        }
        if self.embed.as_ref().is_some_and(|model| Target::parse(model).is_err()) {
            mistakes.push(("embed", "must be a target: write it as provider/model".to_owned()));
        }
        mistakes
    }
}

/// Reads `0.5%` as 0.005.
fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// What is kept of an answer besides its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// Whose it is.
    pub project: ProjectId,
    /// The namespace that its caller named; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The request that it answered, and that paid for it.
    pub request_id: RequestId,
    /// When that request arrived: whatever removes older answers removes this one, however late it is kept.
    pub asked_at: UnixMicros,
    /// When it was complete.
    pub kept_at: UnixMicros,
    /// From when on it is not used any more.
    pub expires_at: UnixMicros,
    /// What was asked.
    pub operation: Operation,
    /// Who answered.
    pub target: Target,
    /// The fields that the provider could not express.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// What it consumed and cost.
    pub summary: Summary,
    /// Whether it ended because of its limit of tokens: complete for the same request, and not for one like it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The question that it answers, where answers to others like it may be it; absent: it answers the same request alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Box<KeptQuestion>>,
    /// How long its content is, in bytes.
    pub bytes: u64,
    /// Whether the content is kept apart, under a name of its own, because it is large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// A question that was answered, as others are compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptQuestion {
    /// Among which questions it stands: a digest, in hexadecimal digits, of whose they are and of everything that shapes the
    /// answer but the question itself.
    pub space: String,
    /// The question.
    pub text: String,
    /// Its vector's direction: a signed byte for each number, in base64.
    pub vector: String,
}

/// That the answers of a project to requests which arrived until now are not to be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMark {
    /// Whose.
    pub project: ProjectId,
    /// Those of one namespace alone, by its name; `None`: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One alone, by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it was said.
    pub at: UnixMicros,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: &Value) -> CacheSettings {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn the_more_particular_settings_win_and_what_they_leave_out_stays() {
        let all = CachePolicy::default().with(&settings(&json!({ "mode": "exact", "ttl": "2m", "sample": "10%" })));
        let one = all.with(&settings(&json!({ "ttl": "5s", "scope": "user", "threshold": 0.9 })));
        assert_eq!((one.mode, one.ttl, one.scope), (CacheMode::Exact, Duration::from_secs(5), CacheScope::User));
        assert_eq!((one.threshold, one.sample), (Some(0.9), 0.1));
        assert_eq!(one.with(&settings(&json!({ "threshold": "adaptive", "mode": "off" }))).threshold, None);
    }

    #[test]
    fn every_mistake_is_found() {
        let wrong =
            json!({ "ttl": "1d", "threshold": "high", "target_false_hits": "0.5", "sample": "101%", "embed": "x" });
        let fields: Vec<_> = settings(&wrong).mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["ttl", "threshold", "target_false_hits", "sample", "embed"]);
        for ttl in ["0s", "500ms", "721h", ""] {
            assert_eq!(settings(&json!({ "ttl": ttl })).mistakes().len(), 1, "{ttl}");
        }
        let right =
            json!({ "ttl": "720h", "threshold": 1, "target_false_hits": "0%", "sample": "2 %", "embed": "a/b" });
        assert!(settings(&right).mistakes().is_empty());
        assert!(serde_json::from_value::<CacheSettings>(json!({ "tttl": "1h" })).is_err());
    }

    #[test]
    fn an_entry_with_a_question_is_written_and_read_as_it_is_today() {
        let question = json!({ "space": "ab", "text": "How?", "vector": "fwA=" });
        let entry = json!({ "project": "search", "request_id": "01900000-0000-7000-8000-000000000001", "asked_at": 1,
            "kept_at": 2, "expires_at": 3, "operation": "chat", "target": "openai/gpt-4o",
            "summary": { "usage": {}, "usage_source": "provider" }, "question": question, "bytes": 9 });
        let read: CacheEntry = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), entry);
    }

    /// What older processes have kept, and must be read for ever.
    #[test]
    fn what_is_kept_is_written_and_read_as_it_is_today() {
        let id = "01900000-0000-7000-8000-000000000001";
        let entry = json!({ "project": "search", "namespace": "faq", "request_id": id, "asked_at": 1, "kept_at": 2, "expires_at": 3,
            "operation": "chat", "target": "openai/gpt-4o", "dropped": ["seed"],
            "summary": { "usage": { "input": 7 }, "usage_source": "provider", "cost": 1_000_000 },
            "cut": true, "bytes": 9, "apart": true });
        let read: CacheEntry = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), entry);
        let mark = json!({ "project": "search", "namespace": "faq", "key": "00", "at": 4 });
        let read: CacheMark = serde_json::from_value(mark.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), mark);
        let least = json!({ "project": "search", "at": 4 });
        assert!(serde_json::from_value::<CacheMark>(least).is_ok_and(|mark| mark.namespace.is_none()));
    }
}

//! The cache of answers: sections `[cache]` and `[models.NAME.cache]`. Knows nothing of requests.

use penstock_runtime::config::{Document, Section};
use penstock_schemas::cache::{CachePolicy, CacheSettings};
use penstock_schemas::name::KeyId;
use serde_json::{Map, Value};

/// The keys of `[cache]` that may also stand at a more particular place.
const SETTINGS: [&str; 7] = ["mode", "ttl", "scope", "embed", "threshold", "target_false_hits", "sample"];

/// The least memory, in bytes: a few large answers.
const LEAST: usize = 1 << 20;

/// What `[cache]` says.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// What holds where nothing more particular is set.
    pub policy: CachePolicy,
    /// What answers may take of this process's memory, in bytes.
    pub memory: u64,
    /// What they may take of the disk together, in bytes.
    pub disk: u64,
    /// Who compares answers when hits are checked. `None`: their vectors do.
    pub judge: Option<CacheJudge>,
}

/// A model that says whether two answers serve a question alike.
#[derive(Clone, Debug)]
pub struct CacheJudge {
    /// The model, as a caller would name it.
    pub model: String,
    /// The virtual key that asks and pays.
    pub key: KeyId,
}

impl CacheConfig {
    pub(super) fn read(document: &mut Document) -> Self {
        let mut section = document.section("cache");
        let settings = SETTINGS.iter().filter_map(|key| Some(((*key).to_owned(), section.json(key)?))).collect();
        let policy = CachePolicy::default().with(&checked(&section, "", settings).unwrap_or_default());
        let mut size = |key, default| section.size(key).unwrap_or(default).max(LEAST) as u64;
        let (memory, disk) = (size("memory", 256 << 20), size("disk", 2 << 30));
        Self { memory, disk, policy, judge: CacheJudge::read(&mut section) }
    }
}

impl CacheJudge {
    fn read(section: &mut Section) -> Option<Self> {
        let (model, key) = (section.get::<String>("judge"), section.get::<String>("judge_key"));
        let (Some(model), Some(key)) = (&model, &key) else {
            if model.is_some() || key.is_some() {
                section.mistake(
                    "judge_key",
                    "`judge`, a model, and `judge_key`, the id of the key that pays, need each other",
                );
            }
            return None;
        };
        match KeyId::parse(key.clone()) {
            Ok(key) => Some(Self { model: model.clone(), key }),
            Err(error) => {
                section.mistake("judge_key", &error.to_string());
                None
            }
        }
    }
}

/// What a model's section sets for the cache.
pub(super) fn read_settings(section: &mut Section) -> Option<CacheSettings> {
    match section.json("cache")? {
        Value::Object(settings) => checked(section, "cache.", settings),
        _ => {
            section.mistake("cache", "must be a section: write [models.NAME.cache]");
            None
        }
    }
}

/// The settings, where they are right.
fn checked(section: &Section, at: &str, settings: Map<String, Value>) -> Option<CacheSettings> {
    let mistake = |key: &str, why: &str| section.mistake(&format!("{at}{key}"), why);
    let mut all = CacheSettings::default();
    for (key, value) in settings {
        let one = Value::Object([(key.clone(), value)].into_iter().collect());
        match serde_json::from_value::<CacheSettings>(one) {
            Ok(one) => all = all.or(one),
            Err(error) => mistake(&key, &error.to_string()),
        }
    }
    let mistakes = all.mistakes();
    mistakes.iter().for_each(|(key, why)| mistake(key, why));
    mistakes.is_empty().then_some(all)
}

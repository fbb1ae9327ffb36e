//! One provider: its section `[providers.NAME]` over the catalogue's row. Knows neither prices nor other providers.

use super::{CONCURRENCY, ProviderConfig};
use crate::catalogue::{self, ProviderEntry};
use crate::keys::ConfiguredKey;
use crate::media::MediaGuard;
use crate::providers;
use crate::providers::local;
use penstock_dialects::provider::{FormatSettings, Quirk};
use penstock_runtime::Secret;
use penstock_runtime::config::Section;
use penstock_schemas::name::ProviderId;
use penstock_schemas::provider_key::{self, HEAVIEST, usual_weight};
use serde::Deserialize;

/// The catalogue's row.
pub(super) fn entry(name: &str) -> Option<ProviderEntry> {
    catalogue::provider(name).map(|entry| entry.expect("a test reads every file of the catalogue"))
}

/// Whether the environment and its row say enough to serve it without a section.
pub(super) fn is_in_environment(name: &str) -> bool {
    entry(name).is_some_and(|entry| has_key(&entry.key_env) && can_be_served(&entry))
}

/// Whether its row alone says enough.
fn can_be_served(entry: &ProviderEntry) -> bool {
    let settings = FormatSettings {
        api_version: from_environment(entry, "api_version"),
        region: from_environment(entry, "region"),
        project: from_environment(entry, "project"),
        ..FormatSettings::default()
    };
    let url = entry.url(settings.region.as_deref()).map(|url| fill(url, &settings));
    providers::of(entry.dialect).is_some() && url.is_some_and(|url| !url.contains('{'))
}

/// A setting that a variable of the catalogue's row holds.
fn from_environment(entry: &ProviderEntry, setting: &str) -> Option<String> {
    let names = entry.setting_env.get(setting)?;
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The URL with the settings in the places that are named like them.
fn fill(url: &str, settings: &FormatSettings) -> String {
    let FormatSettings { api_version, region, project, .. } = settings;
    let mut filled = url.to_owned();
    for (place, setting) in [("{api_version}", api_version), ("{region}", region), ("{project}", project)] {
        if let Some(setting) = setting {
            filled = filled.replace(place, setting);
        }
    }
    filled
}

/// Whether one of the alternatives has all its variables set.
fn has_key(alternatives: &[Vec<String>]) -> bool {
    alternatives
        .iter()
        .any(|names| !names.is_empty() && names.iter().all(|name| std::env::var(name).is_ok_and(|key| !key.is_empty())))
}

/// Reads a provider; `None` when a mistake in its section makes it unusable. `usual_url` is its address when neither the
/// section nor the catalogue has one. `is_served` says whether this process calls it, and so needs its keys.
pub(super) fn read(
    name: &str,
    section: &mut Section,
    usual_url: Option<String>,
    is_served: bool,
) -> Option<ProviderConfig> {
    let id = ProviderId::parse(name).map_err(|error| section.mistake("", &error.to_string())).ok()?;
    let entry = entry(name);
    let dialect = section.get("dialect").or(entry.as_ref().map(|entry| entry.dialect));
    let settings = read_settings(section, entry.as_ref());
    let own_url = section.get::<String>("base_url");
    let of_row = entry.as_ref().and_then(|entry| entry.url(settings.region.as_deref()));
    let base_url = own_url.clone().or(of_row.map(ToOwned::to_owned)).or(usual_url);
    let needs_key = entry.as_ref().is_some_and(|entry| !entry.key_env.is_empty());
    let concurrency = section.or("concurrency", CONCURRENCY);
    if concurrency == 0 {
        section.mistake("concurrency", "must be at least 1");
    }
    let also = section.get("also").or(entry.as_ref().map(|entry| entry.also.clone())).unwrap_or_default();
    let of_row = entry.as_ref().and_then(|entry| entry.most_inputs);
    let most_inputs = section.get("most_inputs").or(of_row);
    if most_inputs == Some(0) {
        section.mistake("most_inputs", "must be at least 1");
    }
    let batch_api = section.get("batch_api").or(entry.as_ref().and_then(|entry| entry.batch_api));
    let keys = read_keys(section, entry.as_ref().map_or(&[][..], |entry| &entry.key_env), is_served);
    let models = entry.map(|entry| entry.models).unwrap_or_default();
    let Some(dialect) = dialect else {
        section.mistake("dialect", "is missing: the catalogue has no such provider. Most servers speak \"openai\"");
        return None;
    };
    let Some(adapter) = providers::of(dialect) else {
        section.mistake("dialect", "is not spoken yet by this version");
        return None;
    };
    let most_inputs = most_inputs.or(adapter.most_inputs());
    let Some(base_url) = base_url else {
        section.mistake("base_url", why_no_address(name));
        return None;
    };
    let base_url = fill(&base_url, &settings);
    check_url(section, &base_url)?;
    // Who writes that there are none has others in mind: those that are managed while everything runs.
    if keys.is_none() && needs_key && own_url.is_none() && is_served {
        section.mistake("keys", "are missing, and none of the provider's variables is set");
    }
    let keys = keys.unwrap_or_default();
    Some(ProviderConfig {
        id,
        dialect,
        also,
        settings,
        base_url,
        keys,
        most_inputs,
        batch_api,
        concurrency,
        probe: section.or("probe", true),
        media: MediaGuard::Public,
        models,
        unknown: None,
    })
}

/// What the provider's format must know, of the section, the environment or the catalogue.
fn read_settings(section: &mut Section, entry: Option<&ProviderEntry>) -> FormatSettings {
    let mut setting = |name: &str| section.get(name).or_else(|| entry.and_then(|entry| from_environment(entry, name)));
    let (api_version, region, project) = (setting("api_version"), setting("region"), setting("project"));
    // Every server gives vectors as numbers. Of a server that is not in the catalogue it is not known whether it can give them as base64.
    let usual = || entry.map_or_else(|| vec![Quirk::FloatVectors], |entry| entry.quirks.clone());
    let quirks = section.get("quirks").unwrap_or_else(usual);
    let of_models = section.get("model_quirks").or(entry.map(|entry| entry.model_quirks.clone()));
    let lacks = section.get("lacks").or(entry.map(|entry| entry.lacks.clone())).unwrap_or_default();
    FormatSettings { api_version, region, project, quirks, model_quirks: of_models.unwrap_or_default(), lacks }
}

fn why_no_address(name: &str) -> &'static str {
    match name {
        local::NAME => "is missing, and the local model is not here: `deploy/setup model` fetches it",
        _ => "is missing: the catalogue knows none for this provider",
    }
}

fn check_url(section: &Section, base_url: &str) -> Option<()> {
    if let Some(brace) = base_url.find('{') {
        let setting = base_url[brace..].split('}').next().unwrap_or_default();
        let why = format!("`{base_url}` needs `{}`: set that, or write the whole URL here", &setting[1..]);
        section.mistake("base_url", &why);
        return None;
    }
    if !base_url.starts_with("http://") && !base_url.starts_with("https://") {
        section.mistake("base_url", "must begin with http:// or https://");
        return None;
    }
    // Everything behind them would be part of them, and no path.
    if base_url.contains(['?', '#']) || base_url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        section.mistake("base_url", "must hold no `?`, no `#` and no spaces: paths are appended to it");
        return None;
    }
    Some(())
}

/// An entry of `keys`: where a key is, with its weight or without.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeyEntry {
    Source(String),
    Weighted(WeightedKey),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightedKey {
    source: String,
    #[serde(default = "usual_weight")]
    weight: u32,
}

/// The keys that the section names, else those of the provider's own variables. `None` when there is neither.
fn read_keys(section: &mut Section, key_env: &[Vec<String>], is_served: bool) -> Option<Vec<ConfiguredKey>> {
    let Some(entries) = section.get::<Vec<KeyEntry>>("keys") else {
        let names = key_env.iter().find(|names| has_key(std::slice::from_ref(*names)))?;
        let parts = names.iter().filter_map(|name| std::env::var(name).ok());
        let parts: Vec<String> = parts.map(|part| part.trim().to_owned()).collect();
        let id = format!("env:{}", names.join("+"));
        let key = ConfiguredKey::new(id, Secret::new(parts.join(":")));
        check_key(section, &key);
        return Some(vec![key]);
    };
    let mut keys = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let (source, weight) = match entry {
            KeyEntry::Source(source) => (source, usual_weight()),
            KeyEntry::Weighted(WeightedKey { source, weight }) => (source, weight),
        };
        if !(1..=HEAVIEST).contains(&weight) {
            section.mistake("keys", &format!("a weight must be 1 to {HEAVIEST}"));
        }
        if !is_served {
            continue; // it is where those who serve the provider can read it
        }
        // A key that stands there itself must not become its own name.
        let id = match source.split_ascii_whitespace().next() {
            Some(place) if Secret::is_reference(place) => place.to_owned(),
            _ => format!("config:{}", at + 1),
        };
        match Secret::of_configuration(&source) {
            Ok(secret) => {
                let key = ConfiguredKey { id, secret, weight };
                check_key(section, &key);
                keys.push(key);
            }
            Err(why) => section.mistake("keys", &why),
        }
    }
    Some(keys)
}

/// A key that no request can carry would fail at every call.
fn check_key(section: &mut Section, key: &ConfiguredKey) {
    if let Some(why) = provider_key::mistake(key.secret.reveal()) {
        section.mistake("keys", &format!("{}: {why}", key.id));
    }
}

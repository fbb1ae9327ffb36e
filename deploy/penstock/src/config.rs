//! The whole configuration: every role reads its sections, so that each process and `penstock check` find the same
//! mistakes. Knows no key itself.

use crate::Place;
use penstock_analytics::AnalyticsConfig;
use penstock_ingress::{IngressConfig, keys};
use penstock_runtime::bus::NatsConfig;
use penstock_runtime::config::{Document, Mistakes};
use penstock_runtime::secret::credential;
use penstock_runtime::telemetry::TelemetryVariables;
use penstock_runtime::{MasterKey, Secret};
use penstock_workers::{ServedProviders, WorkersConfig};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tracing::warn;

/// What every role was told.
pub(crate) struct Config {
    pub(crate) nats: NatsConfig,
    pub(crate) ingress: IngressConfig,
    pub(crate) workers: WorkersConfig,
    pub(crate) analytics: AnalyticsConfig,
    /// What seals the keys of providers; from `PENSTOCK_MASTER_KEY`.
    pub(crate) master_key: Option<MasterKey>,
}

/// The file that is read: the one that was named, else `penstock.toml` if there is one here.
pub(crate) fn file(place: &Place) -> Option<PathBuf> {
    place.config.clone().or_else(|| Some(PathBuf::from("penstock.toml")).filter(|path| path.exists()))
}

impl Config {
    /// Reads everything, for who calls no provider.
    pub(crate) fn load(place: &Place) -> Result<Self, Mistakes> {
        Self::load_for(place, ServedProviders::Nothing)
    }

    /// Reads everything, for who serves these providers.
    pub(crate) fn load_for(place: &Place, serving: ServedProviders<'_>) -> Result<Self, Mistakes> {
        Self::read(file(place).as_deref(), serving).map(|(config, _)| config)
    }

    fn read(file: Option<&Path>, serving: ServedProviders<'_>) -> Result<(Self, BTreeSet<String>), Mistakes> {
        let mut document = Document::open(file, std::env::vars())?;
        let mut config = Self {
            nats: NatsConfig::read(&mut document),
            ingress: IngressConfig::read(&mut document),
            workers: WorkersConfig::read(&mut document, serving),
            analytics: AnalyticsConfig::read(&mut document),
            master_key: None,
        };
        let keys_read = document.keys_read();
        let mut mistakes = document.finish().err().map(|Mistakes(list)| list).unwrap_or_default();
        let mut variable = |name: &str| secret(name).map_err(|why| mistakes.push(why)).ok().flatten();
        config.ingress.preset_key = variable("PENSTOCK_KEY");
        config.ingress.admin_key = variable("PENSTOCK_ADMIN_KEY");
        let master_key = variable("PENSTOCK_MASTER_KEY");
        config.master_key = master_key.and_then(|text| {
            MasterKey::parse(&text).map_err(|why| mistakes.push(format!("PENSTOCK_MASTER_KEY: {why}"))).ok()
        });
        config.ingress.hash_seal = config.master_key.clone();
        config.ingress.master_key = config.master_key.clone();
        config.trace(&TelemetryVariables::of(std::env::vars()));
        if let Some(key) = &config.ingress.preset_key {
            mistakes.extend(keys::check_preset(key).err());
        }
        if mistakes.is_empty() { Ok((config, keys_read)) } else { Err(Mistakes(mistakes)) }
    }
}

impl Config {
    /// Traces are made and exported where OpenTelemetry's variables ask for them.
    fn trace(&mut self, variables: &TelemetryVariables) {
        let (sampling, mistakes) = variables.traces();
        for mistake in mistakes {
            warn!(mistake, "a variable of OpenTelemetry is passed over");
        }
        self.ingress.traces = sampling;
        let export = self.analytics.traces.take();
        self.analytics.traces = sampling.and(export).map(|export| export.with(variables));
    }
}

/// The secret that a variable holds, or says the place of; without the variable, the credential of its name that systemd
/// keeps for this service: `penstock-admin-key` for `PENSTOCK_ADMIN_KEY`.
fn secret(variable: &str) -> Result<Option<Secret>, String> {
    if let Some(text) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
        return Secret::of_configuration(&text).map(Some).map_err(|why| format!("{variable}: {why}"));
    }
    let name = variable.to_lowercase().replace('_', "-");
    if credential(&name).is_none_or(|path| !path.exists()) {
        return Ok(None);
    }
    Secret::resolve(&format!("credential:{name}")).map(Some).map_err(|why| format!("{variable}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commented example holds every key that the code reads, and none that it does not.
    #[test]
    fn the_example_holds_every_key() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../penstock.example.toml");
        let text = std::fs::read_to_string(&example).unwrap();
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("#: ") {
                Some(setting) => format!("{setting}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        let folder = std::env::temp_dir().join(format!("penstock-example-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("penstock.toml");
        std::fs::write(&file, uncommented).unwrap();
        let (_, keys_read) = Config::read(Some(&file), ServedProviders::All).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let missing: Vec<_> = keys_read
            .iter()
            .map(|key| key.rsplit('.').next().unwrap_or_default())
            .filter(|key| !text.lines().any(|line| line.trim_start_matches("#: ").contains(&format!("{key} ="))))
            .collect();
        assert_eq!(missing, Vec::<&str>::new(), "keys that the example does not show");
    }

    /// Every file below a folder, as text.
    fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| {
                if path.is_dir() { texts(&path) } else { vec![(path.clone(), std::fs::read_to_string(&path).unwrap())] }
            })
            .collect()
    }

    #[test]
    fn the_files_for_containers_kubernetes_and_systemd_set_only_what_is_read() {
        let (_, keys_read) = Config::read(None, ServedProviders::Nothing).unwrap();
        let variable = |key: &String| format!("PENSTOCK_{key}").to_uppercase().replace(['.', '-'], "_");
        let keys: BTreeSet<String> = keys_read.iter().map(variable).collect();
        // Of the process itself, and of the files.
        let own = ["CONFIG", "LOG", "KEY", "ADMIN_KEY", "MASTER_KEY", "IMAGE", "LISTEN"];
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = 0;
        for (file, text) in ["compose", "kubernetes", "systemd"].iter().flat_map(|name| texts(&deploy.join(name))) {
            let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            for word in words.filter(|word| word.starts_with("PENSTOCK_")) {
                found += 1;
                let is_own = || {
                    own.iter().any(|name| word.strip_prefix("PENSTOCK_").is_some_and(|rest| rest == *name))
                        || word.starts_with("PENSTOCK_NATS_PASSWORD_")
                };
                assert!(keys.contains(word) || is_own(), "{}: {word} is not read", file.display());
            }
        }
        assert!(found > 30, "{found} variables");
    }
}

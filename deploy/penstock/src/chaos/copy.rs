//! The operator's configuration, copied and pointed at simulated providers: chains, clocks, thresholds and concurrency stay
//! as they are; keys, addresses and dialects go. Knows nothing of what runs on it.

use anyhow::{Context, bail};
use std::path::Path;
use toml::{Table, Value};

/// What is tried when there is no configuration: three links.
const EXAMPLE: &str = r#"
[models.chat]
targets = [{ model = "north/chat" }, { model = "south/chat" }, { model = "west/chat" }]
"#;

/// The copy.
pub(super) struct Copied {
    table: Table,
    models: Vec<String>,
}

impl Copied {
    /// Copies `file`; without one, the example. `models` are asked for, or all virtual models that there are.
    pub(super) fn read(file: Option<&Path>, models: &[String]) -> anyhow::Result<Self> {
        let text = match file {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
            }
            None => EXAMPLE.to_owned(),
        };
        let table: Table = text.parse().context("the configuration is not TOML: see `penstock check`")?;
        let known: Vec<String> = section(&table, "models").map(|(name, _)| name.clone()).collect();
        if let Some(unknown) = models.iter().find(|model| !known.contains(model)) {
            bail!("--model {unknown}: there is no [models.{unknown}]; there are: {}", known.join(", "));
        }
        if known.is_empty() {
            bail!("the configuration has no [models.NAME] with targets: there is nothing to fall back on");
        }
        Ok(Self { table, models: if models.is_empty() { known } else { models.to_vec() } })
    }

    /// The names to ask for.
    pub(super) fn models(&self) -> &[String] {
        &self.models
    }

    /// The providers behind them: the first link's first.
    pub(super) fn providers(&self) -> Vec<String> {
        let mut providers: Vec<String> = Vec::new();
        let asked = section(&self.table, "models").filter(|(name, _)| self.models.contains(name));
        for target in asked.flat_map(|(_, model)| model.get("targets").and_then(Value::as_array).into_iter().flatten())
        {
            let model = target.get("model").and_then(Value::as_str).unwrap_or_default();
            let provider = model.split('/').next().unwrap_or_default().to_owned();
            if !provider.is_empty() && !providers.contains(&provider) {
                providers.push(provider);
            }
        }
        providers
    }

    /// Puts simulated providers at these URLs in the place of all real ones.
    pub(super) fn simulate<'a>(&mut self, urls: impl Iterator<Item = (&'a str, &'a str)>) {
        let real = self.table.remove("providers");
        let mut providers = Table::new();
        for (name, url) in urls {
            let mut provider = Table::new();
            provider.insert("dialect".into(), "openai".into());
            provider.insert("base_url".into(), url.into());
            provider.insert("also".into(), Value::Array(Vec::new()));
            let concurrency = real.as_ref().and_then(|real| real.get(name)?.get("concurrency"));
            provider.extend(concurrency.map(|calls| ("concurrency".to_owned(), calls.clone())));
            providers.insert(name.to_owned(), provider.into());
        }
        self.table.insert("providers".into(), providers.into());
        for (name, key) in [
            ("ingress", "listen"),
            ("nats", "url"),
            ("nats", "credentials"),
            ("nats", "replicas"),
            ("clickhouse", "url"),
        ] {
            if let Some(section) = self.table.get_mut(name).and_then(Value::as_table_mut) {
                section.remove(key);
            }
        }
    }

    /// The copy's text.
    pub(super) fn text(&self) -> String {
        self.table.to_string()
    }
}

fn section<'a>(table: &'a Table, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(name).and_then(Value::as_table).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_real_providers_is_left_but_their_room() {
        let mut copied = Copied { table: Table::new(), models: vec!["chat".to_owned()] };
        copied.table = r#"
            nats.url = "nats://real"
            providers.openai = { keys = ["env:KEY"], concurrency = 3 }
            providers.other = { keys = ["env:OTHER"] }
            models.chat.targets = [{ model = "openai/a" }, { model = "anthropic/b", idle = "3s" }]
        "#
        .parse()
        .unwrap();
        assert_eq!(copied.providers(), ["openai", "anthropic"]);
        copied.simulate([("openai", "http://sim/1"), ("anthropic", "http://sim/2")].into_iter());
        let text = copied.text();
        for gone in ["env:", "nats://real", "other"] {
            assert!(!text.contains(gone), "{text}");
        }
        for kept in ["concurrency = 3", "idle = \"3s\"", "http://sim/1", "http://sim/2"] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn without_a_configuration_there_are_three_links() {
        assert_eq!(Copied::read(None, &[]).unwrap().providers(), ["north", "south", "west"]);
        assert!(Copied::read(None, &["fast".to_owned()]).is_err());
    }
}

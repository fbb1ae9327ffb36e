//! The configuration while a role runs: SIGHUP, or a change of the file, makes it be read again. What is managed is applied at
//! once; what only a restart takes over is named. Knows no key.

use crate::Place;
use crate::config::{self, Config};
use penstock_ingress::Declared;
use penstock_runtime::config::settings;
use penstock_schemas::kind::Kind;
use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::{error, info, warn};

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(5);

/// The file, as it was read last.
pub(crate) struct Reload {
    place: Place,
    file: PathBuf,
    text: String,
    /// What this process was started with.
    started_with: BTreeMap<String, String>,
}

impl Reload {
    /// For a role that was just started; `None` without a file.
    pub(crate) fn new(place: &Place) -> Option<Self> {
        let file = config::file(place)?;
        let text = std::fs::read_to_string(&file).ok()?;
        let started_with = settings(&text).ok()?;
        Some(Self { place: place.clone(), file, text, started_with })
    }

    /// Waits for a reason, reads the file again, and gives what it declares to `apply`; for ever. A file that is wrong changes
    /// nothing.
    pub(crate) async fn run(this: Option<Self>, apply: impl AsyncFn(&Declared)) {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return pending().await };
        let Some(mut this) = this else {
            loop {
                hang_up.recv().await;
                info!("there is no configuration file to read again");
            }
        };
        loop {
            let is_asked = tokio::select! {
                _ = hang_up.recv() => true,
                () = sleep(LOOK) => false,
            };
            // One that is being replaced may be away for a moment.
            let text = std::fs::read_to_string(&this.file).unwrap_or_else(|_| this.text.clone());
            if is_asked || text != this.text {
                this.text = text;
                this.read(&apply).await;
            }
        }
    }

    async fn read(&self, apply: &impl AsyncFn(&Declared)) {
        let file = self.file.display().to_string();
        let (config, now) = match (Config::load(&self.place), settings(&self.text)) {
            (Ok(config), Ok(now)) => (config, now),
            (Err(mistakes), _) => return error!(%mistakes, file, "the file cannot be used; nothing was changed"),
            (_, Err(why)) => return error!(why, file, "the file cannot be used; nothing was changed"),
        };
        let changed = changed(&self.started_with, &now);
        info!(file, "the configuration was read again");
        if !changed.is_empty() {
            warn!(
                keys = changed.join(", "),
                "what these keys say needs a restart: this process goes on with what it had"
            );
        }
        apply(&config.ingress.declared).await;
    }
}

/// The keys that differ and are not applied while a role runs.
fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let is_managed = |key: &str| Kind::ALL.iter().any(|kind| key == kind.plural());
    let keys = before.keys().chain(now.keys()).filter(|key| before.get(*key) != now.get(*key));
    let mut keys: Vec<String> = keys.filter(|key| !is_managed(key)).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_by_its_key_and_what_is_managed_is_not() {
        let read = |text: &str| settings(text).unwrap();
        let before =
            read("[ingress]\nqueue = 1\ndrain = \"1s\"\n[models.a]\ntargets = []\n[[budgets]]\nname = \"x\"\n");
        let now = read("[ingress]\nqueue = 2\ndrain = \"1s\"\n[models.b]\ntargets = []\n[[budgets]]\nname = \"y\"\n");
        assert_eq!(changed(&before, &now), ["ingress.queue", "models.a.targets", "models.b.targets"]);
        assert!(changed(&before, &before).is_empty());
        assert!(settings("[ingress\n").is_err());
    }
}

//! What a world is to be like: its configuration and environment. Every world has the providers `alpha` (two keys) and
//! `beta`, a price for `m` at each, and the virtual model `fast`, which falls back from `alpha/m` to `beta/m`.

use crate::binary::tool;
use crate::small_disk::SmallDisk;
use crate::upstream::Upstream;
use crate::world::World;
use std::fmt::Write;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// The admin key of every world.
pub(crate) const ADMIN_KEY: &str = "psa_0123456789abcdef";

const MODELS: &str = r#"
[models.fast]
targets = [{ model = "alpha/m" }, { model = "beta/m" }]
"#;

const PRICES: &str = r#"
[[prices]]
model = "alpha/m"
input_usd_per_million = "1"
output_usd_per_million = "10"
[[prices]]
model = "beta/m"
input_usd_per_million = "0.000002"
output_usd_per_million = "0.333333"
"#;

/// A world that is yet to start.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    config: String,
    environment: Vec<(String, String)>,
    demo: bool,
    apart: bool,
    older: bool,
    nats_store: Option<PathBuf>,
}

impl Setup {
    /// Adds to the configuration; `{alpha}` and `{beta}` in it are the upstreams' base URLs.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config += toml;
        self
    }

    /// Sets a variable in the environment of every process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the provider `demo`.
    #[must_use]
    pub fn demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// With the workers of `alpha` and `beta` in processes of their own: see [`World::worker`]. `up` serves no provider.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// With an earlier version as `up`, until it starts [`World::again`].
    #[must_use]
    pub fn older(mut self) -> Self {
        self.older = true;
        self
    }

    /// With the store of `up`'s nats-server on this disk.
    #[must_use]
    pub fn nats_on(mut self, disk: &SmallDisk) -> Self {
        self.nats_store = Some(disk.path().to_owned());
        self
    }

    /// Makes the data folder as the test wants it.
    pub(crate) fn prepare(&self, data: &Path) {
        let Some(store) = &self.nats_store else { return };
        DirBuilder::new().mode(0o700).create(data).expect("the test's folder can be written to");
        symlink(store, data.join("nats")).expect("the test's folder takes links");
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> World {
        World::begin(self).await
    }

    pub(crate) fn begins_older(&self) -> bool {
        self.older
    }

    pub(crate) fn with_demo(&self) -> bool {
        self.demo
    }

    /// What `up` and the ingresses read.
    pub(crate) fn front(&self, upstreams: &[Upstream]) -> String {
        let workers = if self.apart { String::new() } else { providers(upstreams) };
        let with_urls =
            |config: String, upstream: &Upstream| config.replace(&format!("{{{}}}", upstream.name()), &upstream.url());
        let config = upstreams.iter().fold(self.config.clone(), with_urls);
        format!("{MODELS}{workers}{config}")
    }

    /// What workers of their own read.
    pub(crate) fn back(upstreams: &[Upstream]) -> String {
        providers(upstreams)
    }

    /// Nothing of the machine's own environment: a provider's key in there would add that provider.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = [
            ("PENSTOCK_NATS_SERVER", tool("PENSTOCK_NATS_SERVER")),
            ("PENSTOCK_CHDB", tool("PENSTOCK_CHDB")),
            ("PENSTOCK_ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("PENSTOCK_LOG", "json,info,async_nats=warn".to_owned()),
            ("ALPHA_KEY_1", "sk-alpha-the-first".to_owned()),
            ("ALPHA_KEY_2", "sk-alpha-the-second".to_owned()),
            ("BETA_KEY", "sk-beta-the-only".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        all.extend(
            // The last one, set to false, runs the tests over NATS alone.
            ["PATH", "HOME", "TMPDIR", "PENSTOCK_NATS_IN_MEMORY"]
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))),
        );
        all.extend(self.environment.iter().cloned());
        all
    }
}

fn providers(upstreams: &[Upstream]) -> String {
    let mut toml = PRICES.to_owned();
    for upstream in upstreams {
        let name = upstream.name();
        let keys = if name == "alpha" { r#""env:ALPHA_KEY_1", "env:ALPHA_KEY_2""# } else { r#""env:BETA_KEY""# };
        let url = upstream.url();
        write!(toml, "[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{url}\"\nkeys = [{keys}]\n")
            .expect("writing to a String cannot fail");
    }
    toml
}

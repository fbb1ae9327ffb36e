//! The sources of the project, as the tests of absence read them: without comments and without tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// One file of Rust.
pub(crate) struct Source {
    /// Its path in the checkout.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Its lines of code with their numbers: neither comments nor what is only built for tests, which stands last.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter_map(|(at, line)| {
            let code = line.split(" // ").next().unwrap_or_default();
            (!code.trim_start().starts_with("//")).then_some((at, code))
        })
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of Rust below a folder of the checkout, but for those of tests.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder of the checkout").flatten() {
            let name = entry.file_name().into_string().expect("names are text");
            let path = format!("{folder}/{name}");
            if entry.path().is_dir() {
                if name != "tests" && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(entry.path()).expect("sources are text");
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The texts in quotes in a line of code.
pub(crate) fn literals(line: &str) -> Vec<String> {
    let line = line.replace("\\\"", "'").replace("'\"'", "");
    line.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

/// A package of the workspace.
pub(crate) struct Package {
    /// Its folder in the checkout.
    pub path: String,
    /// What it is built from; not what its tests are.
    pub dependencies: BTreeSet<String>,
}

/// Every package of the workspace.
pub(crate) fn packages() -> Vec<Package> {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().expect("the workspace has members").clone();
    let package = |member: &Value| {
        let path = member.as_str().expect("a member is a path").to_owned();
        let manifest = manifest(&path);
        let tables =
            ["dependencies", "build-dependencies"].into_iter().filter_map(|table| manifest.get(table)?.as_table());
        let dependencies = tables.flat_map(|table| table.keys().cloned()).collect();
        Package { path, dependencies }
    };
    members.iter().map(package).collect()
}

fn manifest(folder: &str) -> Table {
    let file = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&file).expect("a package has a manifest");
    text.parse().expect("a manifest is TOML")
}

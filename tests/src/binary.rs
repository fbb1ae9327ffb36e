//! Where the program under test and the tools around it are. Builds the program when it is missing or older than its
//! sources, so that `cargo test -p penstock-tests` works alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The `penstock` binary: `PENSTOCK_TEST_BINARY`, else the one beside the tests, built if need be.
pub fn penstock() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("PENSTOCK_TEST_BINARY") {
        Some(binary) => PathBuf::from(binary),
        None => build(),
    });
    &BINARY
}

/// The binary of an earlier version: `PENSTOCK_TEST_OLDER_BINARY`, else the one under test, which plays both parts then.
pub(crate) fn older() -> PathBuf {
    std::env::var_os("PENSTOCK_TEST_OLDER_BINARY").map_or_else(|| penstock().to_owned(), PathBuf::from)
}

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("tests/ stands in the checkout").to_owned()
}

/// A tool that `deploy/setup test` names, from the environment or from the file it wrote.
///
/// # Panics
/// When it is missing: says what to do.
pub fn tool(name: &str) -> String {
    let found = std::env::var(name).ok().filter(|value| !value.is_empty()).or_else(|| {
        let folder =
            std::env::var_os("PENSTOCK_TOOLS").map_or_else(|| checkout().join(".penstock/tools"), PathBuf::from);
        let text = std::fs::read_to_string(folder.join("env")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")))?;
        Some(line.to_owned())
    });
    found.unwrap_or_else(|| panic!("{name} is not set: run `deploy/setup test` first"))
}

/// Builds the program unless it is newer than all its sources. One test process at a time, under a lock.
fn build() -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let binary = folder.join("penstock");
    let lock = File::create(folder.join(".penstock-tests.lock")).expect("the target folder can be written to");
    lock.lock().expect("the file system has locks");
    if is_current(&binary) {
        return binary;
    }
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "penstock"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(folder.parent().expect("target/<profile> is in target"))
        .current_dir(checkout())
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the penstock binary could not be built");
    binary
}

/// Whether none of the files that cargo says it was made of is younger.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let sources = std::fs::read_to_string(binary.with_extension("d")).ok();
    let (Some(built), Some(sources)) = (changed(binary), sources) else { return false };
    // As make has it: `target: source source …`, with `\ ` for a space in a name.
    let sources = sources.split_once(": ").map_or("", |(_, sources)| sources.trim_end()).replace("\\ ", "\0");
    let is_older =
        |source: &str| changed(Path::new(&source.replace('\0', " "))).is_some_and(|at: SystemTime| at <= built);
    !sources.is_empty() && sources.split(' ').all(is_older)
}

//! The programs and libraries that `penstock up` starts or loads: the one that a variable names, else beside this binary,
//! in the tools of the checkout that it was built in, or on the PATH. Starts nothing.

use anyhow::{Context, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where `deploy/setup` puts what it fetches, below a checkout.
const TOOLS: &str = ".penstock/tools";

/// nats-server, a program.
pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    const NAME: &str = "nats-server";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file());
    match named("PENSTOCK_NATS_SERVER")? {
        Some(file) => Ok(file),
        None => beside(NAME)?.or_else(on_path).with_context(|| missing(NAME, "PENSTOCK_NATS_SERVER", "nats")),
    }
}

/// The ClickHouse engine, a library.
pub(crate) fn engine() -> anyhow::Result<PathBuf> {
    const NAME: &str = "libchdb.so";
    match named("PENSTOCK_CHDB")? {
        Some(file) => Ok(file),
        None => beside(NAME)?.with_context(|| missing(NAME, "PENSTOCK_CHDB", "clickhouse")),
    }
}

fn missing(name: &str, variable: &str, section: &str) -> String {
    format!(
        "{name} is not here, nor beside this binary, nor in {TOOLS} of a checkout around it: `deploy/setup run` in the \
         checkout fetches it (deploy/up does so by itself). Else set {variable} to it, or [{section}] url to a server"
    )
}

/// The file that a variable names.
fn named(variable: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(file) = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    // A bare name is looked for on the PATH when it is started.
    if file.components().count() > 1 && !file.exists() {
        bail!("{variable}: {} is not there: run deploy/setup", file.display());
    }
    Ok(Some(file))
}

fn beside(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let program = std::env::current_exe().context("it is not known where this binary is")?;
    Ok(find(name, &program, std::env::var_os("PENSTOCK_TOOLS").as_deref()))
}

/// A file beside the program, in the folder of tools that is named, or in that of a folder around the program. What is
/// fetched in versions stands in a folder of its own there: the newest counts.
fn find(name: &str, program: &Path, tools: Option<&OsStr>) -> Option<PathBuf> {
    let beside = program.parent()?.join(name);
    let around = program.ancestors().skip(1).map(|folder| folder.join(TOOLS));
    let tools = tools.map(PathBuf::from).into_iter().chain(around);
    std::iter::once(beside).filter(|file| file.is_file()).chain(tools.filter_map(|tools| in_tools(name, &tools))).next()
}

fn in_tools(name: &str, tools: &Path) -> Option<PathBuf> {
    let file = tools.join(name);
    if file.is_file() {
        return Some(file);
    }
    let folders = std::fs::read_dir(tools).ok()?.flatten().map(|entry| entry.path().join(name));
    folders.filter(|file| file.is_file()).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, remove_dir_all, write};

    #[test]
    fn what_stands_nearest_is_taken() {
        let root = std::env::temp_dir().join(format!("penstock-programs-{}", std::process::id()));
        let program = root.join("target/release/penstock");
        let put = |place: &str| {
            let file = root.join(place);
            create_dir_all(file.parent().unwrap()).unwrap();
            write(&file, "").unwrap();
            file
        };
        let found = |name: &str| find(name, &program, None);
        assert_eq!(found("server"), None);
        let in_checkout = put(".penstock/tools/server");
        assert_eq!(found("server"), Some(in_checkout));
        put(".penstock/tools/chdb-1/lib.so");
        let newest = put(".penstock/tools/chdb-2/lib.so");
        assert_eq!(found("lib.so"), Some(newest));
        let named = put("elsewhere/server");
        assert_eq!(find("server", &program, Some(root.join("elsewhere").as_os_str())), Some(named));
        let beside = put("target/release/server");
        assert_eq!(found("server"), Some(beside));
        remove_dir_all(&root).unwrap();
    }
}

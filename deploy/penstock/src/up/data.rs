//! The folder of one instance: what `up` keeps between starts, readable by its owner only. Knows nothing of what runs.

use crate::Place;
use anyhow::{Context, bail};
use penstock_runtime::Secret;
use rustix::fs::Mode;
use rustix::process::umask;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, locked for this process.
pub(crate) struct DataDir {
    path: PathBuf,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

/// `run.json`: how the running instance is reached. It holds passwords; the folder and the file are the owner's alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) url: String,
    pub(crate) nats: String,
    pub(crate) clickhouse: String,
    pub(crate) pid: u32,
}

/// Where an instance keeps its data when nobody says.
pub(crate) fn path(place: &Place) -> anyhow::Result<PathBuf> {
    if let Some(path) = &place.data {
        return std::path::absolute(path).context("--data");
    }
    let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = home("XDG_DATA_HOME").or_else(|| Some(home("HOME")?.join(".local/share")));
    Ok(base.context("neither XDG_DATA_HOME nor HOME is set: say --data DIR")?.join("penstock"))
}

impl RunFile {
    /// The running instance's, if there is one.
    pub(crate) fn read(place: &Place) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path(place)?.join("run.json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).context("run.json cannot be read")?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("run.json cannot be read"),
        }
    }
}

impl DataDir {
    /// Makes the folder if needed, and locks it.
    pub(crate) fn open(place: &Place) -> anyhow::Result<Self> {
        let path = path(place)?;
        let shown = path.display().to_string();
        // What this process and its children make is their owner's alone.
        umask(Mode::from_bits_truncate(0o077));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{shown} cannot be made"))?;
        close_to_others(&path)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join("lock"));
        let lock = lock.with_context(|| format!("{shown} cannot be written to"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!("another `penstock up` runs on {shown}: stop it, or say another --data")
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{shown} cannot be locked")),
        }
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.join(name).exists()
    }

    /// A place inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret that is kept under `name`; made at the first start.
    pub(crate) fn secret(&self, name: &str, make: impl FnOnce() -> Secret) -> anyhow::Result<Secret> {
        let file = self.join(name);
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Secret::new(text.trim())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let secret = make();
                self.write(name, secret.reveal().as_bytes())?;
                Ok(secret)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    /// Writes a file that only its owner may read; whoever reads it sees the old one or the new one, never half of one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (file, half) = (self.join(name), self.join(&format!("{name}.new")));
        let write = || -> std::io::Result<()> {
            let mut new = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&half)?;
            new.write_all(bytes)?;
            std::fs::rename(&half, &file)
        };
        write().with_context(|| format!("{} cannot be written", file.display()))
    }

    pub(crate) fn write_run_file(&self, run: &RunFile) -> anyhow::Result<()> {
        self.write("run.json", &serde_json::to_vec_pretty(run)?)
    }

    pub(crate) fn remove_run_file(&self) {
        if let Err(error) = std::fs::remove_file(self.join("run.json")) {
            tracing::warn!(%error, "run.json could not be removed");
        }
    }
}

/// Takes the rights of others from the folder and from what stands in it, as earlier versions may have left them. A folder
/// of something else stays as it is, and is refused.
fn close_to_others(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let others = |place: &Path| -> std::io::Result<Option<u32>> {
        let mode = std::fs::metadata(place)?.permissions().mode();
        Ok((mode & 0o077 != 0).then_some(mode & 0o7777))
    };
    let close = |place: &Path| -> anyhow::Result<()> {
        let Some(mode) = others(place)? else { return Ok(()) };
        let place_shown = place.display();
        std::fs::set_permissions(place, Permissions::from_mode(mode & 0o700))
            .with_context(|| format!("{place_shown} is open to others (mode {mode:o}) and cannot be closed"))?;
        tracing::warn!(place = %place_shown, mode = %format!("{mode:o}"), "it was open to others and is not any more");
        Ok(())
    };
    let entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let is_ours =
        entries.is_empty() || entries.iter().any(|entry| entry.file_name().is_some_and(|name| name == "lock"));
    if let Some(mode) = others(path)?.filter(|_| !is_ours) {
        bail!(
            "{shown} is open to others (mode {mode:o}) and holds what is not Penstock's: say another --data, or chmod 700 it"
        );
    }
    close(path)?;
    entries.iter().try_for_each(|entry| close(entry))
}

/// Opens a log file of a child's, emptied at each start.
pub(crate) fn log_file(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    file.with_context(|| format!("{} cannot be written", path.display()))
}

//! A disk of a few megabytes, for a test that fills it: a file system in memory, mounted for it. Where that is not allowed, the
//! test runs itself again in name spaces of its own, in which it is.

use crate::folder::Folder;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: Folder,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Panics
    /// When neither this process nor one in name spaces of its own may mount.
    pub fn of_megabytes(size: u32) -> Self {
        let disk = Self { folder: Folder::new() };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}m,mode=0700"), "tmpfs"]).arg(disk.path());
        if !mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("PENSTOCK_TEST_UNSHARED").is_none(), "a test disk cannot be mounted here");
            run_unshared();
        }
        disk
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte.
    ///
    /// # Panics
    /// When it does not become full.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("the disk has room for a name");
        let piece = vec![0; 4096];
        while file.write_all(&piece).is_ok() {}
    }

    /// Frees what [`SmallDisk::fill`] took.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Runs this very test again where its user is root, and ends as that ends.
#[expect(clippy::disallowed_methods, reason = "what the test says is what its other self said")]
fn run_unshared() -> ! {
    let test = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(test).args(std::env::args_os().skip(1));
    let status = command.env("PENSTOCK_TEST_UNSHARED", "1").status().expect("unshare can be started");
    std::process::exit(status.code().unwrap_or(1));
}

//! A machine's clock that is off, for one process of a test: a small library in front of the C library, which takes what the
//! clock is off by from a file, so that it can jump while the process runs.

use crate::binary::checkout;
use crate::folder::Folder;
use std::fs::OpenOptions;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::process::Command;

/// The clock.
#[derive(Debug)]
pub struct SkewedClock {
    library: PathBuf,
    file: PathBuf,
}

impl SkewedClock {
    /// One that is so many seconds ahead; with less than zero, behind. Its files are in `folder` under `name`.
    ///
    /// # Panics
    /// When there is no C compiler.
    pub fn new(folder: &Folder, name: &str, seconds: i64) -> Self {
        let (library, file) = (folder.path().join("skew.so"), folder.path().join(format!("{name}.skew")));
        if !library.exists() {
            let mut compile = Command::new("cc");
            compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(checkout().join("tests/src/skew.c"));
            assert!(compile.status().is_ok_and(|status| status.success()), "a C compiler is there: {compile:?}");
        }
        let clock = Self { library, file };
        clock.set(seconds);
        clock
    }

    /// Makes it jump.
    ///
    /// # Panics
    /// When the disk does not let us.
    pub fn set(&self, seconds: i64) {
        // In place, because the process has it in its memory.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.file);
        let mut file = file.expect("the test's folder can be written to");
        file.rewind()
            .and_then(|()| file.write_all(&seconds.to_ne_bytes()))
            .expect("the test's folder can be written to");
    }

    /// What a process has in its environment to have it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        [("LD_PRELOAD", text(&self.library)), ("TEST_SKEW_FILE", text(&self.file))]
    }
}

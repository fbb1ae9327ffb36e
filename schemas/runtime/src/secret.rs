//! A text that must not be seen: it prints as `***`. Knows nothing of what it opens.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Longest wait for a program that a secret comes from; between two looks whether it has ended; and the most that is read.
const EXEC_TIME: Duration = Duration::from_secs(10);
const EXEC_LOOK: Duration = Duration::from_millis(5);
const EXEC_BYTES: u64 = 64 * 1024;

/// A key, token or password. Neither logged nor sent over the bus: it has no serialized form.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new one that nobody can guess: `prefix` and 64 hexadecimal digits, 244 of their bits random.
    pub fn generate(prefix: &str) -> Self {
        Self(format!("{prefix}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads `exec:PROGRAM ARGUMENTS…`, what the program writes, besides all that [`Secret::resolve`] reads: for texts of the
    /// operator's own configuration alone, since a program is started. There is no shell: arguments are split at spaces.
    ///
    /// # Errors
    /// Those of [`Secret::resolve`]; and when the program fails, is too slow or writes too much. What it wrote is not told.
    pub fn of_configuration(text: &str) -> Result<Self, String> {
        text.strip_prefix("exec:").map_or_else(|| Self::resolve(text), |command| written_by(command, EXEC_TIME))
    }

    /// Whether a text says where a secret is, and is not the secret itself.
    pub fn is_reference(text: &str) -> bool {
        ["env:", "file:", "credential:", "exec:"].iter().any(|kind| text.starts_with(kind))
    }

    /// Reads `env:NAME`, `file:PATH` or `credential:NAME`, which systemd keeps for the service; any other text stands for
    /// itself. Without the spaces and line ends around it, which files and secret stores add.
    ///
    /// # Errors
    /// Says which variable is not set or which file cannot be read.
    pub fn resolve(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            std::env::var(name)
                .map(|value| Self(value.trim().to_owned()))
                .map_err(|_| format!("the environment variable {name} is not set"))
        } else if let Some(path) = text.strip_prefix("file:") {
            read(Path::new(path))
        } else if let Some(name) = text.strip_prefix("credential:") {
            let path = credential(name).ok_or("no credentials were given to this service (CREDENTIALS_DIRECTORY)")?;
            read(&path)
        } else {
            Ok(Self(text.trim().to_owned()))
        }
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let read = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(Secret(read.trim().to_owned()))
}

/// Where systemd keeps a credential of this name for the service. `None`: it keeps none, or the name is a path.
/// Source: <https://systemd.io/CREDENTIALS/>.
pub fn credential(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    is_name.then(|| Path::new(&folder).join(name))
}

/// What a program writes within `limit`.
fn written_by(command: &str, limit: Duration) -> Result<Secret, String> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().ok_or("exec: names no program")?;
    let failed = |why: &dyn fmt::Display| format!("exec:{program}: {why}");
    let mut started = Command::new(program);
    started.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = started.spawn().map_err(|error| failed(&error))?;
    let until = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(EXEC_LOOK),
            // It writes more than the pipe holds, or waits for something.
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&format!("has not ended within {limit:?}, or writes too much")));
            }
            Err(error) => return Err(failed(&error)),
        }
    };
    if !status.success() {
        return Err(failed(&format!("failed: {status}")));
    }
    let mut text = String::new();
    let out = child.stdout.take().ok_or_else(|| failed(&"wrote nothing"))?;
    out.take(EXEC_BYTES).read_to_string(&mut text).map_err(|error| failed(&error))?;
    let secret = text.trim();
    if secret.is_empty() { Err(failed(&"wrote nothing")) } else { Ok(Secret(secret.to_owned())) }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        Secret::of_configuration(text).map(|secret| secret.reveal().to_owned())
    }

    #[test]
    fn a_secret_is_what_a_program_writes_and_only_in_the_configuration() {
        assert_eq!(read("exec:echo  s3cret one"), Ok("s3cret one".to_owned()));
        assert_eq!(read("exec:sh -c false"), Err("exec:sh: failed: exit status: 1".to_owned()));
        for bad in ["exec:", "exec:/no/such/program", "exec:true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Secret::resolve("exec:echo x").map(|secret| secret.reveal().to_owned()),
            Ok("exec:echo x".to_owned())
        );
        for (command, why) in [("sleep 600", "has not ended"), ("yes", "has not ended")] {
            let refused = written_by(command, Duration::from_millis(50)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_credential_is_a_name_and_no_path() {
        assert!(["", ".", "..", "a/b", "../x"].iter().all(|name| credential(name).is_none()));
    }
}

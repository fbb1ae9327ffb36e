//! A text that must not be seen: it prints as `***`. Knows nothing of what it opens.

use std::fmt;
use uuid::Uuid;

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

    /// Reads `env:NAME` or `file:PATH`; any other text stands for itself. Without the spaces and line ends around it, which
    /// files and secret stores add.
    ///
    /// # Errors
    /// Says which variable is not set or which file cannot be read.
    pub fn resolve(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            std::env::var(name)
                .map(|value| Self(value.trim().to_owned()))
                .map_err(|_| format!("the environment variable {name} is not set"))
        } else if let Some(path) = text.strip_prefix("file:") {
            let read = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
            Ok(Self(read.trim().to_owned()))
        } else {
            Ok(Self(text.trim().to_owned()))
        }
    }
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

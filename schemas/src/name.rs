//! The names of things: projects, users, keys, providers, models, targets, requests, attempts. Each is right because it
//! exists: made only by `parse` or, for ids, from a UUID. Knows nothing of what the names stand for.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use uuid::Uuid;

/// Why a text is not a name. Says what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` is not valid: {rule}")]
pub struct BadName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $ok:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name that `text` spells.
            ///
            /// # Errors
            /// When a character or the length is not allowed.
            pub fn parse(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                let ok: fn(&str) -> bool = $ok;
                if ok(&text) { Ok(Self(text)) } else { Err(BadName { what: $what, text, rule: $rule }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $rule })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )*};
}

/// One to `longest` characters out of `a-z 0-9 _ -`, so that the name is one token of a NATS subject and a NATS KV key.
fn is_token(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn is_text(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

names! {
    /// Who pays.
    ProjectId, "project", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// The public name of a virtual key; never the key itself.
    KeyId, "key id", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// A provider: `openai`.
    ProviderId, "provider", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// A model as its provider spells it: `gpt-4o-mini`, `meta-llama/Llama-3.3-70B`.
    ModelId, "model", "use 1 to 256 characters without spaces", |text| is_text(text, 256);
    /// A running process of a role: one token, unique in the cluster.
    ProcessId, "process", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "provider/model" })
    }
}

/// One model at one provider: `openai/gpt-4o-mini`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// The provider.
    pub provider: ProviderId,
    /// The model, as the provider spells it; may hold slashes.
    pub model: ModelId,
}

impl Target {
    /// Reads `provider/model`; what follows the first slash is the model.
    ///
    /// # Errors
    /// When there is no slash, or one of the two is not a name.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let Some((provider, model)) = text.split_once('/') else {
            return Err(BadName { what: "target", text: text.to_owned(), rule: "write it as provider/model" });
        };
        Ok(Self { provider: ProviderId::parse(provider)?, model: ModelId::parse(model)? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl TryFrom<String> for Target {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id that `text` spells; `None` when it spells none.
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::parse_str(text).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )*};
}

ids! {
    /// One request of a client: UUIDv7.
    RequestId;
    /// One call to one provider: UUIDv7.
    AttemptId;
    /// One alert: made of what it is about.
    AlertId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_cut_at_its_first_slash() {
        let target = Target::parse("together/meta-llama/Llama-3.3-70B").unwrap();
        assert_eq!((target.provider.as_str(), target.model.as_str()), ("together", "meta-llama/Llama-3.3-70B"));
        assert_eq!(target.to_string(), "together/meta-llama/Llama-3.3-70B");
    }

    #[test]
    fn names_that_would_break_a_subject_are_refused() {
        for bad in ["", "a.b", "a b", "a*", "a>", "A", "ü", &"x".repeat(65)] {
            assert!(ProviderId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["gpt", "/gpt", "openai/", "open.ai/gpt", "openai/g pt"] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }
}

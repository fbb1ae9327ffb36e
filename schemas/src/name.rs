//! The names of things: projects, users, keys, providers, models, targets, requests, attempts. Each is right because it
//! exists: made only by `parse` or, for ids, from a UUID. Knows nothing of what the names stand for.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use uuid::Uuid;

/// How many characters of a wrong name an error repeats.
const SHOWN: usize = 100;

/// The longest name of a model that a caller may ask for, in bytes: a provider, a slash, and a model.
pub const LONGEST_MODEL: usize = 64 + 1 + 256;

/// What a model's name may be. A provider's path holds it: what could mean something there is not in it.
const MODEL: &str = "use letters, digits and - . _ ~ : @ + in parts joined by /, none of them empty, `.` or `..`";

/// Why a text is not a name. Says what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` is not valid: {rule}")]
pub struct BadName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl BadName {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(SHOWN).collect(), rule }
    }

    /// What would be right.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $ok:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name that `text` spells.
            ///
            /// # Errors
            /// When a character or the length is not allowed.
            pub fn parse(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                let ok: fn(&str) -> bool = $ok;
                if ok(&text) { Ok(Self(text.into_boxed_str())) } else { Err(BadName::new($what, &text, $rule)) }
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
                name.0.into_string()
            }
        }
    )*};
}

/// One to `longest` characters out of `a-z 0-9 _ -`, so that the name is one token of a NATS subject and a NATS KV key.
fn is_token(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn is_model(text: &str, longest: usize) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@+".contains(&b))
    };
    text.len() <= longest && text.split('/').all(is_part)
}

/// Checks what a caller asks for, before it is known what it stands for: `openai/gpt-4o-mini`, `gpt-4o-mini`, `chat`.
///
/// # Errors
/// When no model can have the name.
pub fn check_model(asked: &str) -> Result<(), BadName> {
    if asked.len() > LONGEST_MODEL {
        return Err(BadName::new("model", asked, "use at most 321 bytes"));
    }
    if is_model(asked, LONGEST_MODEL) { Ok(()) } else { Err(BadName::new("model", asked, MODEL)) }
}

names! {
    /// Who pays.
    ProjectId, "project", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// The public name of a virtual key; never the key itself.
    KeyId, "key id", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// A provider: `openai`.
    ProviderId, "provider", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
    /// A model as its provider spells it: `gpt-4o-mini`, `meta-llama/Llama-3.3-70B`. `*` stands for each of its models.
    ModelId, "model", "use 1 to 256 letters, digits and - . _ ~ : @ + in parts joined by /, none of them empty, `.` or `..`",
        |text| text == "*" || is_model(text, 256);
    /// A batch of requests: one token. It begins as OpenAI's ids of batches do.
    BatchId, "batch", "use batch_ and then 1 to 58 of a-z, 0-9, _ and -",
        |text| text.strip_prefix("batch_").is_some_and(|rest| is_token(rest, 58));
    /// A running process of a role: one token, unique in the cluster.
    ProcessId, "process", "use 1 to 64 of a-z, 0-9, _ and -", |text| is_token(text, 64);
}

impl ProjectId {
    /// The project of keys that name no other.
    pub fn default_project() -> Self {
        Self("default".into())
    }
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
            return Err(BadName::new("target", text, "write it as provider/model"));
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

    #[test]
    fn a_batchs_id_is_one_token_that_says_what_it_is() {
        for good in ["batch_1", "batch_0190f3a2c5d47e6f8a9b0c1d2e3f4a5b", &format!("batch_{}", "x".repeat(58))] {
            assert_eq!(BatchId::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "batch_", "batch", "1", "msgbatch_1", "batch_A", "batch_a.b", &format!("batch_{}", "x".repeat(59))]
        {
            assert!(BatchId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_models_name_means_nothing_in_a_path() {
        for good in [
            "gpt-4o-mini",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "deepseek/deepseek-r1:free",
            "@cf/meta/llama-3.1-8b-instruct",
            "~anthropic/claude-sonnet-latest",
            "ft:gpt-4o-2024-08-06:my-org:name:id",
            "qwen3-8b@q4_k_m",
            "publishers/meta/models/llama-4",
            "eu/gpt-4.1",
            "gemma-3-27b-it+lora",
            "...",
            &"x".repeat(256),
        ] {
            assert!(ModelId::parse(good).is_ok() && check_model(good).is_ok(), "{good}");
        }
        let forbidden = (0..=127_u8).map(char::from).filter(|c| !c.is_ascii_alphanumeric() && !"-._~:@+/".contains(*c));
        let with = forbidden.chain(['é', '\u{2028}', '\u{ff0e}', '\u{2215}']).map(|c| format!("gpt{c}4o"));
        let paths = ["", "/", ".", "..", "a/", "/a", "a//b", "../a", "a/..", "a/./b", "a/../b"].map(str::to_owned);
        for bad in with.chain(paths).chain(["x".repeat(400)]) {
            assert!(ModelId::parse(&*bad).is_err() && check_model(&bad).is_err(), "{bad:?}");
            let said = check_model(&bad).unwrap_err().to_string();
            assert!(said.len() < 400, "{said}");
        }
        assert!(ModelId::parse("*").is_ok() && check_model("openai/*").is_err());
    }
}

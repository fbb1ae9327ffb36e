//! Whom and what a limit is for, and for what each value of which it has a counter of its own. Knows no limit.

use crate::caller::Caller;
use crate::name::Target;
use crate::pattern::matches;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whom and what a limit is for. What is absent matches everything; in every text `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub project: Option<String>,
    /// Who asks: the key's or the token's user, else the body's, else the header's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// The user that the body names, whoever's the key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub end_user: Option<String>,
    /// The session that the request is a part of, as its caller says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub session: Option<String>,
    /// The id of a virtual key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub key: Option<String>,
    /// What is asked for, or who is called: `chat`, `openai/*`, `gpt-4o*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub model: Option<String>,
    /// Who is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub provider: Option<String>,
    /// Tags that a request must all have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Scope {
    /// Whether a caller, in a session if in any, is in the scope, whatever it calls.
    pub fn matches_caller(&self, caller: &Caller, session: Option<&str>) -> bool {
        let fits = |pattern: &Option<String>, name: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| name.is_some_and(|name| matches(pattern, name)))
        };
        fits(&self.project, Some(caller.project.as_str()))
            && fits(&self.user, caller.user.as_deref())
            && fits(&self.end_user, caller.end_user.as_deref())
            && fits(&self.session, session)
            && fits(&self.key, Some(caller.key_id.as_str()))
            && self.tags.iter().all(|(name, pattern)| caller.tags.get(name).is_some_and(|tag| matches(pattern, tag)))
    }

    /// Whether a call of `target` is in the scope, when the request asks for `asked`.
    pub fn matches_target(&self, asked: &str, target: &Target) -> bool {
        let provider = self.provider.as_ref().is_none_or(|pattern| matches(pattern, target.provider.as_str()));
        provider && self.model.as_ref().is_none_or(|pattern| matches_model(pattern, asked, target))
    }

    /// The one project that it is for, where it is for one.
    pub fn one_project(&self) -> Option<&str> {
        self.project.as_deref().filter(|project| !project.contains('*'))
    }

    /// Whether it makes no difference whom the request calls.
    pub fn is_any_target(&self) -> bool {
        self.model.is_none() && self.provider.is_none()
    }
}

/// Whether a pattern stands for the name that was asked for, or for the target with or without its provider.
fn matches_model(pattern: &str, asked: &str, target: &Target) -> bool {
    matches(pattern, asked) || matches(pattern, target.model.as_str()) || matches(pattern, &target.to_string())
}

/// For what each value of which has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Each project.
    Project,
    /// Each user; requests without one share one.
    User,
    /// Each user that a body names; requests that name none share one.
    EndUser,
    /// Each session; requests that are part of none share one.
    Session,
    /// Each virtual key.
    Key,
}

impl Dimension {
    /// Whether callers name its values, any number of them.
    pub fn is_named_by_callers(self) -> bool {
        match self {
            Self::User | Self::EndUser | Self::Session => true,
            Self::Project | Self::Key => false,
        }
    }

    /// The caller's value, in a session if in any.
    pub fn of<'a>(self, caller: &'a Caller, session: Option<&'a str>) -> &'a str {
        match self {
            Self::Project => caller.project.as_str(),
            Self::User => caller.user.as_deref().unwrap_or_default(),
            Self::EndUser => caller.end_user.as_deref().unwrap_or_default(),
            Self::Session => session.unwrap_or_default(),
            Self::Key => caller.key_id.as_str(),
        }
    }
}

/// What is wrong with whom and what a limit is for.
pub(super) fn check_scope(scope: &Scope, per: &[Dimension]) -> Vec<(&'static str, String)> {
    let mut mistakes = Vec::new();
    let texts =
        [&scope.project, &scope.user, &scope.end_user, &scope.session, &scope.key, &scope.model, &scope.provider];
    let tags = scope.tags.iter().flat_map(|(name, value)| [name, value]);
    for text in texts.into_iter().flatten().chain(tags) {
        if text.is_empty() || text.len() > 256 {
            mistakes.push(("match", format!("`{text}` must be 1 to 256 bytes; leave out what may be anything")));
        }
    }
    if per.iter().enumerate().any(|(at, dimension)| per[..at].contains(dimension)) {
        mistakes.push(("per", "names something twice".to_owned()));
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{KeyId, ProjectId};

    fn caller() -> Caller {
        Caller {
            project: ProjectId::parse("search").unwrap(),
            key_id: KeyId::parse("key_1").unwrap(),
            user: Some("ann@example.org".to_owned()),
            end_user: Some("visitor-7".to_owned()),
            tags: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        }
    }

    fn scope(json: &str) -> Scope {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_scope_matches_when_all_that_it_names_does() {
        for (json, is_in) in [
            ("{}", true),
            (r#"{"project":"search"}"#, true),
            (r#"{"project":"se*","user":"*@example.org","key":"key_1","tags":{"team":"red"}}"#, true),
            (r#"{"project":"other"}"#, false),
            (r#"{"project":"search","tags":{"team":"blue"}}"#, false),
            (r#"{"tags":{"stage":"*"}}"#, false),
            (r#"{"end_user":"visitor-*"}"#, true),
            (r#"{"end_user":"ann*"}"#, false),
            (r#"{"session":"run-*","project":"search"}"#, true),
            (r#"{"session":"run-8"}"#, false),
        ] {
            assert_eq!(scope(json).matches_caller(&caller(), Some("run-7")), is_in, "{json}");
        }
        let nobody = Caller { user: None, ..caller() };
        assert!(!scope(r#"{"user":"*"}"#).matches_caller(&nobody, Some("run-7")));
        assert!(!scope(r#"{"session":"*"}"#).matches_caller(&caller(), None));
    }

    #[test]
    fn a_model_matches_by_the_name_asked_for_and_by_the_target() {
        let target = Target::parse("openai/gpt-4o-mini").unwrap();
        for (json, is_in) in [
            (r#"{"model":"chat"}"#, true),
            (r#"{"model":"openai/*"}"#, true),
            (r#"{"model":"gpt-4o*","provider":"openai"}"#, true),
            (r#"{"model":"gpt-4o*","provider":"azure"}"#, false),
            (r#"{"model":"claude*"}"#, false),
        ] {
            assert_eq!(scope(json).matches_target("chat", &target), is_in, "{json}");
        }
    }
}

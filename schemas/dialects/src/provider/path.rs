//! The path of a request below its provider's base URL, made piece by piece. What a caller or an operator names becomes one
//! step or one value, in which no character has a meaning: this is the only place that puts names into paths. Knows no
//! provider.

use penstock_schemas::failure::{Failure, FailureKind};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// A path without a slash in front: `chat/completions`. Texts of callers come in by `step` and `with_query` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath(Cow<'static, str>);

impl RequestPath {
    /// A path that this program knows.
    pub const fn fixed(path: &'static str) -> Self {
        Self(Cow::Borrowed(path))
    }

    /// Adds a slash and a name, percent-encoded.
    ///
    /// # Errors
    /// When the name is empty, `.` or `..`: every URL library takes these for "here" and "above", encoded or not.
    pub fn step(self, name: &str) -> Result<Self, Failure> {
        Ok(self.join(&Self::of([name])?))
    }

    /// A path of names alone, each percent-encoded.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure> {
        let mut path = String::new();
        for name in names {
            if matches!(name, "" | "." | "..") {
                return Err(bad_model(name));
            }
            if !path.is_empty() {
                path.push('/');
            }
            encode(name, &mut path);
        }
        Ok(Self(path.into()))
    }

    /// Adds a text of this program: `:generateContent`, `/converse`.
    #[must_use]
    pub fn then(self, text: &'static str) -> Self {
        Self((self.0.into_owned() + text).into())
    }

    /// Adds a slash and another path.
    #[must_use]
    pub fn join(self, other: &Self) -> Self {
        Self(format!("{self}/{other}").into())
    }

    /// Adds the query's first and only pair.
    #[must_use]
    pub fn with_query(self, name: &'static str, value: &str) -> Self {
        let mut path = format!("{self}?{name}=");
        encode(value, &mut path);
        Self(path.into())
    }

    /// Adds another pair to a query.
    #[must_use]
    pub fn and_query(self, name: &'static str, value: &str) -> Self {
        let mut path = format!("{self}&{name}=");
        encode(value, &mut path);
        Self(path.into())
    }

    /// The path as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// That a provider can have no model of this name.
pub(crate) fn bad_model(name: &str) -> Failure {
    let mut failure =
        Failure::gateway(FailureKind::BadRequest, format!("`{name}` is not a model's name at this provider"));
    failure.param = Some("model".to_owned());
    failure
}

/// Everything but the characters that need no encoding, and `@`, which Google's names hold plain.
/// Source: <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_one_step_whatever_it_holds() {
        let path = |name: &str| RequestPath::fixed("model").step(name).unwrap().then("/converse").to_string();
        assert_eq!(path("gpt-4o_mini.v1~x"), "model/gpt-4o_mini.v1~x/converse");
        assert_eq!(path("arn:aws:bedrock:x/y"), "model/arn%3Aaws%3Abedrock%3Ax%2Fy/converse");
        assert_eq!(path("a/../b?c#d%2e\\ é"), "model/a%2F..%2Fb%3Fc%23d%252e%5C%20%C3%A9/converse");
        for name in ["", ".", ".."] {
            let failure = RequestPath::fixed("model").step(name).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::BadRequest, Some("model")));
        }
    }

    proptest! {
        #[test]
        fn no_name_changes_where_a_request_goes(name in "[a-z./%?#\\\\:@;=& é2eE\t]{1,24}", version in ".{0,12}") {
            let Ok(path) = RequestPath::fixed("v1/models").step(&name) else {
                prop_assert!(matches!(name.as_str(), "." | ".."));
                return Ok(());
            };
            let path = path.then(":run").with_query("version", &version);
            let url = reqwest::Url::parse(&format!("https://p.example/base/{path}")).unwrap();
            let steps: Vec<&str> = url.path_segments().unwrap().collect();
            prop_assert_eq!(&steps[..3], &["base", "v1", "models"]);
            prop_assert!(steps.len() == 4 && steps[3].ends_with(":run"));
            prop_assert_eq!(url.query_pairs().collect::<Vec<_>>(), vec![("version".into(), version.as_str().into())]);
            prop_assert_eq!(url.fragment(), None);
        }
    }
}

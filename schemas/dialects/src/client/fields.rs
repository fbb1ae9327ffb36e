//! The fields of a JSON request and what they may hold. Reads types only, so that what is wrong is said here, by name, and
//! not by the fifth process behind; what a value means stays unread.

use crate::client::WrongRequest;
use crate::json::{Fields, JsonKind, kind};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::extent::{BadRequest, Extent};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a value may be. `null` always stands for absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Text,
    TextOrList,
    TextOrObject,
    Bool,
    Number,
    /// A whole number, at least this.
    Whole(u64),
    /// The same from 0, also as `100.0`; or -1, which says at copies of OpenAI that there is none.
    Limit,
    List,
    Object,
}

/// The body as text, if it can be JSON at all.
pub(crate) fn text(body: &[u8]) -> Result<&str, WrongRequest> {
    std::str::from_utf8(body).map_err(|error| {
        WrongRequest::InvalidJson(format!("it is not valid UTF-8 from byte {} on", error.valid_up_to()))
    })
}

/// What of a body shapes its cost; the body was found to be JSON.
pub(crate) fn measure(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Extent, WrongRequest> {
    Extent::read(dialect, operation, body).map_err(unmeasured)
}

/// That a request cannot be measured.
pub(crate) fn unmeasured(error: BadRequest) -> WrongRequest {
    match error {
        BadRequest::Wrong { place, why } => WrongRequest::WrongPart { place, why },
        BadRequest::NotJson | BadRequest::TooDeep => WrongRequest::InvalidJson(error.to_string()),
    }
}

impl<'a> Fields<'a> {
    /// The fields of a whole body.
    pub(crate) fn of_body(body: &'a str) -> Result<Self, WrongRequest> {
        serde_json::from_str(body).map_err(|error| {
            let is_other = error.is_data() && !body.trim_start().starts_with('{');
            WrongRequest::InvalidJson(if is_other { "it must be an object".to_owned() } else { error.to_string() })
        })
    }

    /// Checks every field for which there is a rule.
    pub(crate) fn check(&self, rule: impl Fn(&str) -> Option<Rule>) -> Result<(), WrongRequest> {
        for (name, value) in self.iter() {
            if let Some(rule) = rule(name) {
                check(value, rule, || name.to_owned())?;
            }
        }
        Ok(())
    }

    /// The text of a field that was checked to be one.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, WrongRequest> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // A text of half a character, `"\ud800"`, is JSON and yet no text.
        serde_json::from_str(value.get()).map(Some).map_err(|error| wrong(name, error.to_string()))
    }

    /// Whether a field that was checked to be true or false is true.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }
}

/// Checks one value, which stands at `place`.
pub(crate) fn check(value: &RawValue, rule: Rule, place: impl FnOnce() -> String) -> Result<(), WrongRequest> {
    let kind = kind(value);
    let fits = match rule {
        _ if kind == JsonKind::Null => true,
        Rule::Text => kind == JsonKind::Text,
        Rule::TextOrList => matches!(kind, JsonKind::Text | JsonKind::List),
        Rule::TextOrObject => matches!(kind, JsonKind::Text | JsonKind::Object),
        Rule::Bool => kind == JsonKind::Bool,
        Rule::Number => kind == JsonKind::Number,
        Rule::Limit => value.get().parse::<f64>().is_ok_and(|number| number >= -1.0 && number.fract() == 0.0),
        Rule::Whole(least) => value.get().parse::<u64>().is_ok_and(|number| number >= least),
        Rule::List => kind == JsonKind::List,
        Rule::Object => kind == JsonKind::Object,
    };
    if fits { Ok(()) } else { Err(wrong(&place(), format!("it must be {}", rule.describe()))) }
}

impl Rule {
    fn describe(self) -> Cow<'static, str> {
        match self {
            Self::Text => "a string".into(),
            Self::TextOrList => "a string or a list".into(),
            Self::TextOrObject => "a string or an object".into(),
            Self::Bool => "true or false".into(),
            Self::Number => "a number".into(),
            Self::Whole(0) | Self::Limit => "a whole number that is not negative".into(),
            Self::Whole(least) => format!("a whole number of at least {least}").into(),
            Self::List => "a list".into(),
            Self::Object => "an object".into(),
        }
    }
}

/// That the value at a place of the request is not what it should be.
pub(crate) fn wrong(place: &str, why: String) -> WrongRequest {
    WrongRequest::WrongPart { place: place.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(text(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn each_rule_takes_what_it_says_and_nothing_else() {
        let all = ["null", "true", "1", "-1", "1.5", "\"a\"", "[]", "{}"];
        for (rule, fits) in [
            (Rule::Text, vec!["null", "\"a\""]),
            (Rule::TextOrList, vec!["null", "\"a\"", "[]"]),
            (Rule::TextOrObject, vec!["null", "\"a\"", "{}"]),
            (Rule::Bool, vec!["null", "true"]),
            (Rule::Number, vec!["null", "1", "-1", "1.5"]),
            (Rule::Whole(0), vec!["null", "1"]),
            (Rule::Limit, vec!["null", "1", "-1"]),
            (Rule::Whole(2), vec!["null"]),
            (Rule::List, vec!["null", "[]"]),
            (Rule::Object, vec!["null", "{}"]),
        ] {
            let taken = |json: &&str| {
                let value: &RawValue = serde_json::from_str(json).unwrap();
                check(value, rule, || "x".to_owned()).is_ok()
            };
            assert_eq!(all.iter().copied().filter(|json| taken(json)).collect::<Vec<_>>(), fits, "{rule:?}");
        }
    }
}

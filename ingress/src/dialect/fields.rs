//! The fields of a JSON request and what they may hold. Reads types only, so that what is wrong is said here, by name, and
//! not by the fifth process behind; what a value means stays unread.

use crate::refusal::Refusal;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::extent::{BadRequest, Extent};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The fields of an object, in their order, their values unread.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// What a value may be. `null` always stands for absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
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

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

/// The body as text, if it can be JSON at all.
pub(super) fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body)
        .map_err(|error| Refusal::InvalidJson(format!("it is not valid UTF-8 from byte {} on", error.valid_up_to())))
}

/// What of a body shapes its cost; the body was found to be JSON.
pub(super) fn measure(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Extent, Refusal> {
    Extent::read(dialect, operation, body).map_err(unmeasured)
}

/// That a request cannot be measured.
pub(super) fn unmeasured(error: BadRequest) -> Refusal {
    match error {
        BadRequest::Wrong { place, why } => Refusal::WrongPart { place, why },
        BadRequest::NotJson | BadRequest::TooDeep => Refusal::InvalidJson(error.to_string()),
    }
}

impl<'a> Fields<'a> {
    /// The fields of a whole body.
    pub(super) fn read(body: &'a str) -> Result<Self, Refusal> {
        serde_json::from_str(body).map_err(|error| {
            let is_other = error.is_data() && !body.trim_start().starts_with('{');
            Refusal::InvalidJson(if is_other { "it must be an object".to_owned() } else { error.to_string() })
        })
    }

    /// The fields of a value that is an object; none of any other.
    pub(super) fn of(value: &'a RawValue) -> Self {
        serde_json::from_str(value.get()).unwrap_or_default()
    }

    /// The value of a field, unless it is absent or `null`. The last one counts when it comes twice.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value);
        found.filter(|value| kind(value) != Kind::Null)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name, *value))
    }

    /// Checks every field for which there is a rule.
    pub(super) fn check(&self, rule: impl Fn(&str) -> Option<Rule>) -> Result<(), Refusal> {
        for (name, value) in &self.0 {
            if let Some(rule) = rule(name) {
                check(value, rule, || name.clone().into_owned())?;
            }
        }
        Ok(())
    }

    /// The text of a field that was checked to be one.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // A text of half a character, `"\ud800"`, is JSON and yet no text.
        serde_json::from_str(value.get()).map(Some).map_err(|error| wrong(name, error.to_string()))
    }

    /// Whether a field that was checked to be true or false is true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }
}

/// What a value is, by how it begins.
pub(super) fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The items of a value that is a list; none of any other.
pub(super) fn items(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// Checks one value, which stands at `place`.
pub(super) fn check(value: &RawValue, rule: Rule, place: impl FnOnce() -> String) -> Result<(), Refusal> {
    let kind = kind(value);
    let fits = match rule {
        _ if kind == Kind::Null => true,
        Rule::Text => kind == Kind::Text,
        Rule::TextOrList => matches!(kind, Kind::Text | Kind::List),
        Rule::TextOrObject => matches!(kind, Kind::Text | Kind::Object),
        Rule::Bool => kind == Kind::Bool,
        Rule::Number => kind == Kind::Number,
        Rule::Limit => value.get().parse::<f64>().is_ok_and(|number| number >= -1.0 && number.fract() == 0.0),
        Rule::Whole(least) => value.get().parse::<u64>().is_ok_and(|number| number >= least),
        Rule::List => kind == Kind::List,
        Rule::Object => kind == Kind::Object,
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
pub(super) fn wrong(place: &str, why: String) -> Refusal {
    Refusal::WrongPart { place: place.to_owned(), why }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
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

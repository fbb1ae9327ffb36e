//! JSON objects whose values stay unread: their fields, and single fields changed in the text, so that every other byte stays
//! as it came. Knows no dialect.

mod raw_object;
mod unread;

pub use raw_object::RawObject;
pub use unread::{read_all, whole_characters};

use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The request as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(request: &Bytes) -> Result<&str, Failure> {
    std::str::from_utf8(request)
        .map_err(|_| Failure::gateway(FailureKind::BadRequest, "the request is not valid UTF-8"))
}

/// The fields of a JSON object, in their order, their values unread. The one reader of such objects.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonKind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl<'a> Fields<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// When `object` is not a JSON object.
    pub fn read(object: &'a str) -> Result<Self, Failure> {
        serde_json::from_str(object).map_err(|error| {
            Failure::gateway(FailureKind::BadRequest, format!("the request is not a JSON object: {error}"))
        })
    }

    /// The fields of a value that is an object; none of any other.
    pub(crate) fn of(value: &'a RawValue) -> Self {
        serde_json::from_str(value.get()).unwrap_or_default()
    }

    /// The field's value as it stands there; the last one counts when it comes twice.
    pub fn last(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }

    /// The value of a field, unless it is absent or `null`. The last one counts when it comes twice.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value);
        found.filter(|value| kind(value) != JsonKind::Null)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<'a> IntoIterator for Fields<'a> {
    type Item = (Cow<'a, str>, &'a RawValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What a value is, by how it begins.
pub(crate) fn kind(value: &RawValue) -> JsonKind {
    match value.get().as_bytes().first() {
        Some(b'"') => JsonKind::Text,
        Some(b'[') => JsonKind::List,
        Some(b'{') => JsonKind::Object,
        Some(b't' | b'f') => JsonKind::Bool,
        Some(b'n') | None => JsonKind::Null,
        Some(_) => JsonKind::Number,
    }
}

/// The items of a value that is a list; none of any other.
pub(crate) fn items(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
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

/// A copy of an object's text in the making, with some values changed.
pub struct Edit<'a> {
    object: &'a str,
    /// Where something changes, in the object's text: from, to, and what stands there instead.
    changes: Vec<(usize, usize, String)>,
    added: String,
}

impl<'a> Edit<'a> {
    /// One of `object`, whose fields were read from the same text.
    pub fn of(object: &'a str) -> Self {
        Self { object, changes: Vec::new(), added: String::new() }
    }

    /// Gives the field this value wherever it stands, or adds it at the end. A server in Go reads `Model` as `model`, so
    /// that is changed too.
    pub fn set(&mut self, fields: &Fields<'a>, name: &str, value: &str) {
        let mut is_there = false;
        for (key, old) in fields.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            is_there |= key == name;
            self.replace(old.get(), value.to_owned());
        }
        if !is_there {
            let comma = if fields.0.is_empty() && self.added.is_empty() { "" } else { "," };
            self.added.push_str(&format!("{comma}\"{name}\":{value}"));
        }
    }

    /// Puts something else in the place of a part of the object's text.
    pub fn replace(&mut self, old: &str, new: String) {
        let from = old.as_ptr() as usize - self.object.as_ptr() as usize; // `old` is a part of `object`
        self.changes.push((from, from + old.len(), new));
    }

    /// The text with its changes.
    pub fn finish(mut self) -> String {
        let end = self.object.rfind('}').unwrap_or(self.object.len());
        self.changes.push((end, end, std::mem::take(&mut self.added)));
        self.changes.sort_unstable_by_key(|(from, _, _)| *from);
        let longer: usize = self.changes.iter().map(|(_, _, value)| value.len()).sum();
        let mut out = String::with_capacity(self.object.len() + longer);
        let mut copied = 0;
        for (from, to, value) in &self.changes {
            out.push_str(&self.object[copied..*from]);
            out.push_str(value);
            copied = *to;
        }
        out.push_str(&self.object[copied..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_set_wherever_a_server_might_read_it() {
        for (object, edited) in [
            (r#"{}"#, r#"{"model":1}"#),
            (r#"{"model":"a"}"#, r#"{"model":1}"#),
            (r#"{"model":"a","MODEL":"b", "x":[]}"#, r#"{"model":1,"MODEL":1, "x":[]}"#),
            (r#"{"Model":"a"}"#, r#"{"Model":1,"model":1}"#),
            (r#"{"mod\u0065l":"a","model":"b"}"#, r#"{"mod\u0065l":1,"model":1}"#),
        ] {
            let mut edit = Edit::of(object);
            edit.set(&Fields::read(object).unwrap(), "model", "1");
            assert_eq!(edit.finish(), edited);
        }
    }
}

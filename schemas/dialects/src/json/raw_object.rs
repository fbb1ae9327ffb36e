//! The fields of a JSON object that outlives its text: to change some and pass on the others as they came. Knows no dialect.

use super::Fields;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// The fields.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads them.
    ///
    /// # Errors
    /// When `object` is not a JSON object.
    pub fn read(object: &[u8]) -> Result<Self, serde_json::Error> {
        let fields: Fields<'_> = serde_json::from_slice(object)?;
        Ok(Self(fields.into_iter().map(|(name, value)| (name.into_owned(), value.to_owned())).collect()))
    }

    /// A field's value as it came, unless it is null; the last one counts when it comes twice.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| &**value).filter(|value| value.get() != "null")
    }

    /// Gives the field this value where it stands, or adds it at the end.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = to_raw_value(value).expect("what is set here has a JSON form");
        match self.0.iter_mut().rev().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Whether the field is there, if only as null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The names of its fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the field away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// The object as text.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("fields have a JSON form")
    }

    /// The object.
    pub fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("fields have a JSON form")
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

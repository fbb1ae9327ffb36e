//! The fields of a JSON object, in their order, their values unread: to change some and pass on the others as they came.
//! Knows no dialect.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;

/// The fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads them.
    ///
    /// # Errors
    /// When `object` is not a JSON object.
    pub(crate) fn read(object: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(object)
    }

    /// A field's value as it came, unless it is null; the last one counts when it comes twice.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| &**value).filter(|value| value.get() != "null")
    }

    /// Gives the field this value where it stands, or adds it at the end.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) {
        let value = to_raw_value(value).expect("what is set here has a JSON form");
        match self.0.iter_mut().rev().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes the field away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// The object.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("fields have a JSON form")
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push(entry);
                }
                Ok(RawObject(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_came() {
        let mut fields = RawObject::read(br#"{"a":1.50,"b":{"x" : 9007199254740993},"c":null}"#).unwrap();
        assert!(fields.get("c").is_none());
        fields.set("a", &"s");
        fields.remove("c");
        fields.set("d", &true);
        assert_eq!(String::from_utf8(fields.to_vec()).unwrap(), r#"{"a":"s","b":{"x" : 9007199254740993},"d":true}"#);
    }
}

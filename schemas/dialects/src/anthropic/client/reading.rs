//! Values and objects of a request, read as what they must be. Knows no field.

use crate::client::WrongRequest;
use crate::client::fields::wrong;
use crate::json::{Fields, JsonKind, kind};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A value of a type.
///
/// # Errors
/// When it is of another; the refusal names its place.
pub(super) fn read<T: DeserializeOwned>(value: &RawValue, place: &str) -> Result<T, WrongRequest> {
    serde_json::from_str(value.get()).map_err(|error| wrong(place, error.to_string()))
}

/// What is left of a block or a tool besides the fields that are known.
pub(super) fn rest(fields: &Fields<'_>, known: &[&str], place: &str) -> Result<Map<String, Value>, WrongRequest> {
    let unknown = fields.iter().filter(|(name, value)| !known.contains(name) && kind(value) != JsonKind::Null);
    unknown.map(|(name, value)| Ok((name.to_string(), read(value, &format!("{place}.{name}"))?))).collect()
}

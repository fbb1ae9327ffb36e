//! Reads a managed object field by field, so that every mistake is found at once. Knows no rule between fields.

use super::{Kind, Mistake, Object};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The error when a provider's key is read as a managed object.
const NO_OBJECT: &str = "a key for a provider is managed by `penstock providers keys` and /admin/v1/providers alone";

/// What fits of a value, and what does not, by its form alone.
pub(super) fn parsed(kind: Kind, value: &Value) -> (Option<Object>, Vec<Mistake>) {
    let value = &whole(value.clone());
    match kind {
        Kind::Project => fields(value, Object::Project),
        Kind::User => fields(value, Object::User),
        Kind::Budget => fields(value, Object::Budget),
        Kind::Limit => fields(value, Object::Limit),
        Kind::Key => fields(value, |settings| Object::Key(Box::new(settings))),
        Kind::Admin => fields(value, Object::Admin),
        Kind::Webhook => fields(value, Object::Webhook),
        Kind::ProviderKey | Kind::Target | Kind::Cache | Kind::Batch | Kind::Body | Kind::Session | Kind::Heads => {
            (None, vec![Mistake { field: String::new(), message: NO_OBJECT.to_owned(), is_rule: true }])
        }
    }
}

/// The value with `5` in the place of `5.0`: JSON knows no difference.
pub fn whole(value: Value) -> Value {
    /// Up to here, every whole number is one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => {
                format!("{float:.0}").parse::<i64>().map_or(Value::Number(number), Value::from)
            }
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

/// Whether a value was read as what it is: serde also reads a type with fields from a list, which is never meant.
fn is_same_form(given: &Value, read: &Value) -> bool {
    match (given, read) {
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).all(|(given, read)| is_same_form(given, read))
        }
        (Value::Object(given), Value::Object(read)) => {
            let both = given.iter().filter_map(|(name, given)| Some((given, read.get(name)?)));
            both.into_iter().all(|(given, read)| is_same_form(given, read))
        }
        _ => std::mem::discriminant(given) == std::mem::discriminant(read),
    }
}

/// A mistake for each field that does not fit; what fits, as an object.
fn fields<T: DeserializeOwned + Serialize>(
    value: &Value,
    object: impl Fn(T) -> Object,
) -> (Option<Object>, Vec<Mistake>) {
    let wrong = |field: &str, message: String| Mistake { field: field.to_owned(), message, is_rule: false };
    let Value::Object(map) = value else {
        return (None, vec![wrong("", "must be a JSON object".to_owned())]);
    };
    let (mut fit, mut mistakes) = (Map::new(), Vec::new());
    for (field, value) in map {
        let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
        match serde_path_to_error::deserialize::<_, T>(&alone) {
            Ok(read) => {
                let read = serde_json::to_value(&read).unwrap_or_default();
                if read.get(field).is_none_or(|read| is_same_form(value, read)) {
                    fit.insert(field.clone(), value.clone());
                } else {
                    mistakes.push(wrong(field, "has the wrong form".to_owned()));
                }
            }
            Err(error) => {
                let path = error.path().to_string();
                let path = if path.starts_with(field.as_str()) { path } else { field.clone() };
                mistakes.push(wrong(&path, error.inner().to_string()));
            }
        }
    }
    (serde_json::from_value(Value::Object(fit)).ok().map(object), mistakes)
}

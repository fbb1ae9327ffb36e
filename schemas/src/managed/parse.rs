//! Reads a managed object field by field, so that every mistake is found at once. Knows no sort of object, nor a rule between
//! fields.

use super::Mistake;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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

/// The most mistakes of one object that are told. Its other fields are not read then.
const MOST: usize = 100;

/// What fits of a value, and a mistake for each field that does not, by its form alone.
pub(super) fn parsed<T: DeserializeOwned + Serialize>(value: &Value) -> (Option<T>, Vec<Mistake>) {
    let wrong = |field: &str, message: String| Mistake { field: field.to_owned(), message, is_rule: false };
    let Value::Object(map) = whole(value.clone()) else {
        return (None, vec![wrong("", "must be a JSON object".to_owned())]);
    };
    let (mut fit, mut mistakes) = (Map::new(), Vec::new());
    for (field, value) in &map {
        if mistakes.len() == MOST {
            break;
        }
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
    (serde_json::from_value(Value::Object(fit)).ok(), mistakes)
}

//! What may be asked of a managed object, and what becomes of the object then. Pure: knows nothing of what stands beside it,
//! nor of who asks.

use super::ManageError;
use penstock_schemas::kind::Kind;
use penstock_schemas::managed::Object;
use serde_json::{Map, Value};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A new object.
    Create(Value),
    /// The object of this name is to be this, whether it is there or not.
    Replace(String, Value),
    /// The fields that are given are to be so; null takes one away (RFC 7396).
    Merge(String, Value),
    /// The object is to be gone; with force, even if others need it.
    Delete(String, Force),
    /// A new secret; those before it hold for so long.
    Rotate(String, Duration),
}

/// Whether what others need may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It stays.
    No,
    /// It goes.
    Yes,
}

impl Wish {
    /// Which object it is about.
    pub(super) fn name(&self, kind: Kind) -> &str {
        match self {
            Self::Create(value) => value.get(kind.name_field()).and_then(Value::as_str).unwrap_or_default(),
            Self::Replace(name, _) | Self::Merge(name, _) | Self::Delete(name, _) | Self::Rotate(name, _) => name,
        }
    }
}

/// What becomes of an object; `None`: it is gone.
pub(super) fn resolve(kind: Kind, wish: &Wish, before: Option<&Object>) -> Result<Option<Object>, ManageError> {
    let unknown = |name: &String| ManageError::Unknown { kind, name: name.clone() };
    let read = |value: &Value| Object::read(kind, value).map(Some).map_err(ManageError::Wrong);
    match (wish, before) {
        (Wish::Create(value), None) => read(value),
        (Wish::Create(_), Some(object)) => Err(ManageError::Duplicate { kind, name: object.name().to_owned() }),
        (Wish::Replace(name, value), _) => read(&named(kind, name, value.clone())?),
        (Wish::Merge(name, _) | Wish::Delete(name, _) | Wish::Rotate(name, _), None) => Err(unknown(name)),
        (Wish::Merge(name, patch), Some(object)) => {
            let mut value = object.value();
            merge(&mut value, patch);
            read(&named(kind, name, value)?)
        }
        (Wish::Delete(..), Some(_)) => Ok(None),
        (Wish::Rotate(name, _), Some(object)) if !kind.description().is_some_and(|kind| kind.has_secret) => {
            Err(ManageError::rule("", format!("the {} `{name}` has no secret", object.kind().as_str())))
        }
        (Wish::Rotate(..), Some(object)) => Ok(Some(object.clone())),
    }
}

/// The value with the name that its address has; another name is a mistake.
fn named(kind: Kind, name: &str, mut value: Value) -> Result<Value, ManageError> {
    let field = kind.name_field();
    let Value::Object(fields) = &mut value else { return Ok(value) };
    match fields.get(field) {
        None => drop(fields.insert(field.to_owned(), Value::String(name.to_owned()))),
        Some(Value::String(given)) if given != name => {
            return Err(ManageError::rule(field, format!("must be `{name}`, or absent: a name is not changed")));
        }
        Some(_) => {}
    }
    Ok(value)
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (name, patch) in patch {
        if patch.is_null() {
            fields.shift_remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), patch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_changes_what_it_names_and_null_takes_away() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": 5});
        merge(&mut value, &json!({"a": {"b": null, "x": {"y": 1}}, "d": [2], "e": null}));
        assert_eq!(value, json!({"a": {"c": 2, "x": {"y": 1}}, "d": [2]}));
    }

    #[test]
    fn a_wish_is_resolved_on_what_is_there() {
        let budget = json!({"name": "b", "limit_usd": "1"});
        let there = Object::read(Kind::Budget, &budget).unwrap();
        let resolve = |wish: Wish, before| resolve(Kind::Budget, &wish, before);
        assert_eq!(resolve(Wish::Create(budget.clone()), None).unwrap().as_ref(), Some(&there));
        assert!(matches!(resolve(Wish::Create(budget.clone()), Some(&there)), Err(ManageError::Duplicate { .. })));
        let unnamed = Wish::Replace("b".to_owned(), json!({"limit_usd": "1"}));
        assert_eq!(resolve(unnamed, None).unwrap().as_ref(), Some(&there));
        let renamed = Wish::Replace("other".to_owned(), budget);
        assert!(matches!(resolve(renamed, None), Err(ManageError::Wrong(_))));
        let patch = Wish::Merge("b".to_owned(), json!({"limit_usd": null, "limit_tokens": 5}));
        assert!(matches!(resolve(patch.clone(), None), Err(ManageError::Unknown { .. })));
        let Some(Object::Budget(after)) = resolve(patch, Some(&there)).unwrap() else { panic!("it is a budget") };
        assert_eq!((after.limit_usd, after.limit_tokens), (None, Some(5)));
        assert_eq!(resolve(Wish::Delete("b".to_owned(), Force::No), Some(&there)), Ok(None));
    }
}

//! What an operator manages, as people write it and as they are shown it: one closed set of objects, read with every
//! mistake at once. What each sort is stands in [`crate::kind`]. Knows nothing of where they are kept, nor of who may change
//! them.

mod parse;

pub use parse::whole;

use crate::budget::{Budget, RateLimit};
use crate::directory::{Directory, InDirectory};
use crate::kind::{AdminSettings, Check, Description, KeySettings, Kind, Managed, Project, User, Webhook};
use parse::parsed;
use schemars::{JsonSchema, Schema, SchemaGenerator, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The error when what is no object is read as one.
const NO_OBJECT: &str = "a key for a provider is managed by `penstock providers keys` and /admin/v1/providers alone";

/// What is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// The field, such as `match.project`; empty for the whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether it has the right form, and breaks a rule.
    #[serde(skip)]
    pub is_rule: bool,
}

/// What leads from a sort to the type of its objects.
pub struct ObjectType {
    /// What holds for all of them.
    pub description: Description,
    /// What one looks like as people write it.
    pub written: fn(&mut SchemaGenerator) -> Schema,
    /// What one looks like as it is shown.
    pub shown: fn(&mut SchemaGenerator) -> Schema,
    read: fn(&Value) -> (Option<Object>, Vec<Mistake>),
    find: fn(&Directory, &str) -> Option<Object>,
    names: fn(&Directory) -> Vec<String>,
    schema: fn() -> Schema,
}

/// Makes [`Object`] of the types of objects, and leads from each to what it says of itself.
macro_rules! objects {
    ($($kind:ident($object:ty): $about:literal,)+) => {
        /// An object of any sort.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Object {
            $(#[doc = $about] $kind($object),)+
        }

        static TYPES: &[ObjectType] = &[$(ObjectType {
            description: <$object>::DESCRIPTION,
            read: |value| {
                let (object, mistakes) = parsed::<$object>(value);
                (object.map(Object::$kind), mistakes)
            },
            find: |directory, name| <$object>::find(directory, name).map(Object::$kind),
            names: <$object>::names,
            schema: || schema_for!($object),
            written: |generator| generator.subschema_for::<$object>(),
            shown: |generator| generator.subschema_for::<<$object as Managed>::Shown>(),
        },)+];

        impl Kind {
            /// Those of which there are objects.
            pub const ALL: &[Self] = &[$(Self::$kind),+];
        }

        impl Object {
            /// As people write it.
            pub fn value(&self) -> Value {
                match self { $(Self::$kind(object) => serde_json::to_value(object),)+ }
                    .expect("objects have a JSON form")
            }

            /// Its sort.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)+ }
            }

            /// Its name among those of its sort.
            pub fn name(&self) -> &str {
                match self { $(Self::$kind(object) => Managed::name(object),)+ }
            }

            /// The one project that it belongs to, where it does.
            pub fn project(&self) -> Option<&str> {
                match self { $(Self::$kind(object) => Managed::project(object),)+ }
            }

            /// What has to be looked at beside it, in the order in which it is told.
            pub fn checks(&self) -> Vec<Check<'_>> {
                match self { $(Self::$kind(object) => Managed::checks(object),)+ }
            }

            fn mistakes(&self) -> Vec<(&'static str, String)> {
                match self { $(Self::$kind(object) => Managed::mistakes(object),)+ }
            }

            /// Writes it into the directory, which holds no keys, and an admin only once there is a token.
            pub fn put(self, directory: &mut Directory) {
                match self { $(Self::$kind(object) => object.put(directory),)+ }
            }

            /// Removes it from the directory.
            pub fn remove(&self, directory: &mut Directory) {
                match self { $(Self::$kind(_) => <$object>::remove(directory, self.name()),)+ }
            }
        }
    };
}

objects! {
    Project(Project): "Who pays.",
    User(User): "Who asks.",
    Key(KeySettings): "A virtual key.",
    Budget(Budget): "A limit on spending.",
    Limit(RateLimit): "A limit on rates.",
    Admin(AdminSettings): "Who manages.",
    Webhook(Webhook): "Where alerts are posted to.",
}

impl Kind {
    /// The type of its objects; `None`: there are none.
    pub fn object_type(self) -> Option<&'static ObjectType> {
        TYPES.iter().find(|one| one.description.kind == self)
    }

    /// What holds for all objects of the sort; `None`: there are none.
    pub fn description(self) -> Option<&'static Description> {
        self.object_type().map(|one| &one.description)
    }
}

impl ObjectType {
    /// All of them.
    pub fn all() -> &'static [Self] {
        TYPES
    }

    /// The names of the fields that people write.
    pub fn fields(&self) -> Vec<String> {
        let schema = (self.schema)();
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    }
}

impl Object {
    /// Reads one as people write it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(kind: Kind, value: &Value) -> Result<Self, Vec<Mistake>> {
        let (object, mut mistakes) = Self::parsed(kind, value);
        let broken: Vec<String> = mistakes.iter().map(|mistake| mistake.field.clone()).collect();
        for (field, message) in object.iter().flat_map(Self::mistakes) {
            // What could not be read looks as if it were absent.
            let hides = |broken: &String| {
                broken.split('.').next() == Some(field) || (field == "limit_usd" && broken == "limit_tokens")
            };
            if !broken.iter().any(hides) {
                mistakes.push(Mistake { field: field.to_owned(), message, is_rule: true });
            }
        }
        match object {
            Some(object) if mistakes.is_empty() => Ok(object),
            _ => Err(mistakes),
        }
    }

    /// Whether these fields have the right form, whatever they say.
    pub fn fits(kind: Kind, value: &Value) -> bool {
        Self::parsed(kind, value).1.is_empty()
    }

    /// What fits of a value, and what does not, by its form alone.
    fn parsed(kind: Kind, value: &Value) -> (Option<Self>, Vec<Mistake>) {
        let no_object = || Mistake { field: String::new(), message: NO_OBJECT.to_owned(), is_rule: true };
        kind.object_type().map_or_else(|| (None, vec![no_object()]), |one| (one.read)(value))
    }

    /// The one of this name in the directory, which holds no keys.
    pub fn find(directory: &Directory, kind: Kind, name: &str) -> Option<Self> {
        (kind.object_type()?.find)(directory, name)
    }

    /// All of a sort in the directory, which holds no keys.
    pub fn all(directory: &Directory, kind: Kind) -> Vec<Self> {
        let names = kind.object_type().map(|one| (one.names)(directory)).unwrap_or_default();
        names.iter().filter_map(|name| Self::find(directory, kind, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_of_an_object_is_told_with_its_field() {
        for (kind, json, expected) in [
            (Kind::Budget, r#"{"name":"a","limit_usd":"5","cycle":"daily"}"#, &[][..]),
            (
                Kind::Budget,
                r#"{"name":"A","limit_usd":5,"cycle":"hourly","time_zone":"Berlin","match":{"projct":"x"},"colour":1}"#,
                &["limit_usd", "cycle", "match.projct", "colour", "name", "time_zone"],
            ),
            (Kind::Budget, r#"{"name":"a","limit_usd":"-5"}"#, &["limit_usd"]),
            (Kind::Limit, r#"{"name":"a","rates":{"requests_per_minute":-1}}"#, &["rates.requests_per_minute"]),
            (Kind::Limit, r#"{"name":"a","rates":{"requests_per_minute":0}}"#, &["requests_per_minute"]),
            (Kind::Project, r#"{"name":"a","models":["x",""]}"#, &["models"]),
            (Kind::Key, r#"{"id":"k","project":"P","expires_at":"soon"}"#, &["expires_at", "project"]),
            (Kind::Key, r#"{"id":"k","budgets":[{"name":"b"}],"rates":{"tokens_per_day":0}}"#, &["budgets", "rates"]),
            (Kind::Admin, r#"{"name":"a","role":"owner"}"#, &["projects"]),
            (Kind::Admin, r#"{"name":"a","hash":"x"}"#, &["hash"]),
            (Kind::User, "[]", &[""]),
            (Kind::Limit, r#"{"name":"a","rates":[5]}"#, &["rates"]),
            (Kind::Budget, r#"{"name":"a","limit_tokens":5.0,"on_exceed":{"reject":null}}"#, &["on_exceed"]),
            (Kind::Budget, r#"{"name":"a","limit_tokens":5.5}"#, &["limit_tokens"]),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            let mistakes = Object::read(kind, &value).err().unwrap_or_default();
            let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
            assert_eq!(found, expected, "{json}: {mistakes:?}");
        }
    }

    #[test]
    fn of_an_object_of_mistakes_alone_a_hundred_are_told() {
        let value: Value = (0..100_000).map(|at| (format!("f{at}"), json!(1))).collect();
        for kind in [Kind::Key, Kind::Budget, Kind::Limit] {
            assert_eq!(Object::read(kind, &value).err().map(|mistakes| mistakes.len() <= 110), Some(true));
        }
    }

    #[test]
    fn lists_of_an_object_have_an_end() {
        let models = vec!["openai/*"; 501];
        let budgets: Vec<Value> = (0..33).map(|at| json!({"name": format!("b{at}"), "limit_usd": "1"})).collect();
        for (kind, value, field) in [
            (Kind::Key, json!({"id": "k", "project": "p", "models": models}), "models"),
            (Kind::Project, json!({"name": "p", "models": models}), "models"),
            (Kind::Key, json!({"id": "k", "project": "p", "budgets": budgets}), "budgets"),
        ] {
            let mistakes = Object::read(kind, &value).err().unwrap_or_default();
            let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
            assert_eq!(found, [field]);
        }
    }

    #[test]
    fn an_object_reads_as_it_was_written() {
        for (kind, json) in [
            (Kind::Project, r#"{"name":"a","enabled":false,"models":["openai/*"]}"#),
            (Kind::Admin, r#"{"name":"a","role":"owner","projects":["p"],"expires_at":"2027-01-01T00:00:00Z"}"#),
            (Kind::Key, r#"{"id":"k","project":"p","tags":{"a":"b"},"rates":{"requests_per_minute":5}}"#),
        ] {
            let object = Object::read(kind, &serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!(Object::read(kind, &object.value()).unwrap(), object);
        }
    }

    #[test]
    fn an_object_is_found_where_it_was_put_until_it_is_removed() {
        let mut directory = Directory::default();
        for (kind, json) in [
            (Kind::Project, r#"{"name":"a"}"#),
            (Kind::User, r#"{"name":"a"}"#),
            (Kind::Budget, r#"{"name":"a","limit_usd":"1"}"#),
            (Kind::Limit, r#"{"name":"a","rates":{"requests_per_minute":1}}"#),
            (Kind::Webhook, r#"{"name":"a","url":"https://x","secret":"env:A"}"#),
        ] {
            let object = Object::read(kind, &serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!((object.kind(), object.name()), (kind, "a"));
            object.clone().put(&mut directory);
            assert_eq!(Object::find(&directory, kind, "a").as_ref(), Some(&object));
            assert_eq!(Object::all(&directory, kind), std::slice::from_ref(&object));
            object.remove(&mut directory);
            assert_eq!(Object::find(&directory, kind, "a"), None);
        }
        assert_eq!(directory, Directory::default());
    }

    #[test]
    fn a_sort_is_described_under_its_own_words() {
        for kind in Kind::ALL {
            assert_eq!(kind.description().map(|description| description.kind), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            let object_type = kind.object_type().unwrap();
            assert!(object_type.fields().iter().any(|field| field == kind.name_field()), "{kind:?}");
        }
        assert_eq!(Kind::Batch.description().map(|description| description.kind), None);
    }
}

//! What is managed, as it stands in `penstock.toml`: sections `[[projects]]`, `[[users]]`, `[[budgets]]`, `[[limits]]`,
//! `[[webhooks]]` and `[[keys]]`. Knows nothing of what is there already.

use crate::keys;
use penstock_runtime::Secret;
use penstock_runtime::config::{Document, Section};
use penstock_schemas::kind::{Check, KeySettings, Kind};
use penstock_schemas::managed::{Object, ObjectType};
use penstock_schemas::name::Target;
use serde_json::Value;

/// Everything that a file declares.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// What stands in the directory.
    pub objects: Vec<Object>,
    /// Virtual keys.
    pub keys: Vec<DeclaredKey>,
}

/// A virtual key of a file.
#[derive(Clone, Debug)]
pub struct DeclaredKey {
    /// What it may do.
    pub settings: KeySettings,
    /// Its secret; `None`: one is made.
    pub secret: Option<Secret>,
}

impl Declared {
    /// What it declares, such as `budget search-monthly`.
    pub fn names(&self) -> Vec<String> {
        let objects = self.objects.iter().map(|object| format!("{} {}", object.kind().as_str(), object.name()));
        objects.chain(self.keys.iter().map(|key| format!("key {}", key.settings.id))).collect()
    }

    /// Whether the file declares nothing.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.keys.is_empty()
    }

    /// Reads the sections. `is_model`: whether the file has a virtual model of this name.
    pub(crate) fn read(document: &mut Document, is_model: impl Fn(&str) -> bool) -> Self {
        let mut declared = Self::default();
        for object_type in ObjectType::all().iter().filter(|one| one.description.is_declared) {
            let kind = object_type.description.kind;
            let mut names: Vec<String> = Vec::new();
            for mut section in document.entries(kind.plural()) {
                let secret = if kind == Kind::Key { read_secret(&mut section) } else { None };
                let Some(object) = read_object(&mut section, object_type) else { continue };
                if names.iter().any(|name| name == object.name()) {
                    section.mistake(kind.name_field(), &format!("`{}` is there twice", object.name()));
                }
                names.push(object.name().to_owned());
                check_downgrades(&section, &object, &is_model);
                match object {
                    Object::Key(settings) => declared.keys.push(DeclaredKey { settings, secret }),
                    object => declared.objects.push(object),
                }
            }
        }
        declared
    }
}

fn read_object(section: &mut Section, object_type: &ObjectType) -> Option<Object> {
    let names = object_type.fields().into_iter();
    let fields = names.filter_map(|name| Some((name.clone(), section.json(&name)?)));
    match Object::read(object_type.description.kind, &Value::Object(fields.collect())) {
        Ok(object) => Some(object),
        Err(mistakes) => {
            for mistake in mistakes {
                section.mistake(&mistake.field, &mistake.message);
            }
            None
        }
    }
}

fn read_secret(section: &mut Section) -> Option<Secret> {
    let text: String = section.get("secret")?;
    if !Secret::is_reference(&text) {
        section.mistake(
            "secret",
            "must not stand here itself: write env:NAME, file:PATH, credential:NAME or exec:PROGRAM",
        );
        return None;
    }
    let secret = Secret::of_configuration(&text);
    match secret.and_then(|secret| keys::check_secret(&secret).map(|()| secret)) {
        Ok(secret) => Some(secret),
        Err(why) => {
            section.mistake("secret", &why);
            None
        }
    }
}

fn check_downgrades(section: &Section, object: &Object, is_model: &impl Fn(&str) -> bool) {
    for check in object.checks() {
        if let Check::Downgrade(field, model) = check
            && !is_model(model)
            && Target::parse(model).is_err()
        {
            section.mistake(field, &format!("there is no [models.{model}] to downgrade to, nor is it provider/model"));
        }
    }
}

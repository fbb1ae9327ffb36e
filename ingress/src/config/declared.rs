//! What is managed, as it stands in `penstock.toml`: sections `[[projects]]`, `[[users]]`, `[[budgets]]`, `[[limits]]`,
//! `[[webhooks]]` and `[[keys]]`. Knows nothing of what is there already.

use crate::keys;
use penstock_runtime::Secret;
use penstock_runtime::config::{Document, Section};
use penstock_schemas::alert::Webhook;
use penstock_schemas::budget::{Budget, OnExceed, RateLimit};
use penstock_schemas::directory::{Project, User};
use penstock_schemas::managed::{KeySettings, Kind, Object};
use penstock_schemas::name::Target;
use schemars::{Schema, schema_for};
use serde_json::{Map, Value};

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

/// The sorts that a file may declare. Who manages is not among them: a token is shown once, and files are not.
const SORTS: [Kind; 6] = [Kind::Project, Kind::User, Kind::Budget, Kind::Limit, Kind::Webhook, Kind::Key];

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
        for kind in SORTS {
            let mut names: Vec<String> = Vec::new();
            for mut section in document.entries(kind.plural()) {
                let secret = if kind == Kind::Key { read_secret(&mut section) } else { None };
                let Some(object) = read_object(&mut section, kind) else { continue };
                if names.iter().any(|name| name == object.name()) {
                    section.mistake(kind.name_field(), &format!("`{}` is there twice", object.name()));
                }
                names.push(object.name().to_owned());
                check_downgrades(&section, &object, &is_model);
                match object {
                    Object::Key(settings) => declared.keys.push(DeclaredKey { settings: *settings, secret }),
                    object => declared.objects.push(object),
                }
            }
        }
        declared
    }
}

fn read_object(section: &mut Section, kind: Kind) -> Option<Object> {
    let schema = schema(kind);
    let names: Vec<&String> =
        schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).collect();
    let fields = names.into_iter().filter_map(|name| Some((name.clone(), section.json(name)?)));
    match Object::read(kind, &Value::Object(fields.collect())) {
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
    let (field, budgets) = match object {
        Object::Budget(budget) => ("on_exceed", std::slice::from_ref(budget)),
        Object::Key(settings) => ("budgets", settings.budgets.as_slice()),
        _ => return,
    };
    for budget in budgets {
        if let OnExceed::Downgrade(model) = &budget.on_exceed
            && !is_model(model)
            && Target::parse(model).is_err()
        {
            section.mistake(field, &format!("there is no [models.{model}] to downgrade to, nor is it provider/model"));
        }
    }
}

/// What a sort of object looks like.
fn schema(kind: Kind) -> Schema {
    match kind {
        Kind::Project => schema_for!(Project),
        Kind::User => schema_for!(User),
        Kind::Budget => schema_for!(Budget),
        Kind::Limit => schema_for!(RateLimit),
        Kind::Key => schema_for!(KeySettings),
        Kind::Webhook => schema_for!(Webhook),
        Kind::Admin => schema_for!(penstock_schemas::directory::AdminSettings),
        Kind::ProviderKey => schema_for!(penstock_schemas::provider_key::NewProviderKey),
        Kind::Target => schema_for!(penstock_schemas::target::ResumeTarget),
        Kind::Cache => schema_for!(penstock_schemas::cache::CacheReport),
        Kind::Batch | Kind::Body | Kind::Session | Kind::Heads => schema_for!(Value),
    }
}

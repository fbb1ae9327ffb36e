//! Makes what is there be what a file declares: the directory in one change, so that it is there in full or not at all, and
//! then the keys. Says what it does, or would do, step by step.

use super::keys::{ATTEMPTS, changed_by_others};
use super::rules::Surroundings;
use super::{Actor, Changed, Declared, DeclaredKey, ManageError, Objects, put, token};
use crate::keys::{self, Keys};
use penstock_runtime::{Secret, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::directory::Directory;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::{KeySettings, Kind};
use penstock_schemas::managed::{Mistake, Object};
use penstock_schemas::name::{KeyId, ProjectId};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a file is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applying {
    /// Whether nothing is changed, and only told.
    pub is_dry: bool,
    /// Whether what the file does not declare is removed.
    pub is_pruning: bool,
    /// Whether keys without a secret of their own get one: it must be shown to somebody.
    pub is_making_secrets: bool,
}

/// What is done to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplyStep {
    /// What is done.
    pub action: Sign,
    /// To which sort of object.
    pub kind: Kind,
    /// To which one.
    pub name: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it is then.
    pub after: Option<Value>,
}

/// What was applied, or would be.
#[derive(Debug, Default)]
pub struct Applied {
    /// The steps.
    pub steps: Vec<ApplyStep>,
    /// What is probably not what was meant.
    pub warnings: Vec<String>,
    /// The secrets of new keys: shown here and never again.
    pub secrets: Vec<(KeyId, Secret)>,
    /// Why not all of it could be done: the keys behind the last step are as they were.
    pub unfinished: Option<ManageError>,
}

impl Objects {
    /// Applies what is declared.
    ///
    /// # Errors
    /// When something declared is impossible here, or it cannot be done now. Then all is as it was.
    pub async fn apply(&self, actor: &Actor, declared: &Declared, how: Applying) -> Result<Applied, ManageError> {
        let (keys, now) = (self.keys.bucket().list().await?, clock::now());
        let change = |directory: &mut Directory, _: u64| -> Result<(Vec<Changed>, Vec<String>), ManageError> {
            let changes = plan(directory, declared, how);
            let budgets = directory.budgets.clone();
            for change in &changes {
                match (&change.before, &change.after) {
                    (_, Some(after)) => drop(put(directory, after, &token::generate(), false)),
                    (Some(before), None) => before.remove(directory),
                    (None, None) => {}
                }
            }
            directory.renew_generations(&budgets, now);
            let around = Surroundings { directory, keys: &keys, models: &self.models, now };
            Ok((changes, check(&around, declared)?))
        };
        let (mut changes, warnings) = if how.is_dry {
            let (mut directory, revision) = self.directories.read().await?;
            change(&mut directory, revision)?
        } else {
            self.directories.change(change).await?.0
        };
        if !how.is_dry {
            self.record(events(&changes, actor)).await?;
        }
        let mut applied = Applied { warnings, ..Applied::default() };
        let mut of_keys = Vec::new();
        let done = self.apply_keys(&keys, declared, how, (&mut of_keys, &mut applied.secrets)).await;
        let recorded = if how.is_dry { Ok(()) } else { self.record(events(&of_keys, actor)).await };
        applied.unfinished = done.and(recorded).err();
        changes.extend(of_keys);
        applied.steps = changes.iter().filter_map(ApplyStep::of).collect();
        Ok(applied)
    }

    /// Does one key after the other, and notes each that is done, with the secret that was made for it.
    async fn apply_keys(
        &self,
        keys: &[VirtualKey],
        declared: &Declared,
        how: Applying,
        (changes, secrets): (&mut Vec<Changed>, &mut Vec<(KeyId, Secret)>),
    ) -> Result<(), ManageError> {
        for wanted in &declared.keys {
            let Some((change, secret)) = self.apply_key(wanted, how).await? else { continue };
            changes.push(change);
            secrets.extend(secret);
        }
        let is_declared = |key: &&VirtualKey| declared.keys.iter().any(|wanted| wanted.settings.id == key.id.as_str());
        if how.is_pruning && !declared.keys.is_empty() {
            for key in keys.iter().filter(|key| !is_declared(key) && !keys::is_preset(&key.id)) {
                if !how.is_dry {
                    self.keys.bucket().delete(key.id.as_str()).await?;
                }
                changes.push(change_of(Some(settings(key)), None, false));
            }
        }
        Ok(())
    }

    /// Changes one key by compare-and-set: what others change meanwhile, such as its secret, is kept. `None`: nothing
    /// differs.
    async fn apply_key(
        &self,
        wanted: &DeclaredKey,
        how: Applying,
    ) -> Result<Option<(Changed, Option<(KeyId, Secret)>)>, ManageError> {
        for _ in 0..ATTEMPTS {
            let there = self.keys.bucket().get_with_revision(&wanted.settings.id).await?;
            let (key, at) = there.map_or((None, 0), |(key, at)| (Some(key), at));
            let Some((new, fresh)) = become_wanted(&self.keys, key.as_ref(), wanted, how) else { return Ok(None) };
            if how.is_dry || self.write_key(&new, at).await?.is_some() {
                let is_rotated = key.as_ref().is_some_and(|key| is_other(key, &new));
                let change = change_of(key.as_ref().map(settings), Some(settings(&new)), is_rotated);
                let secret = fresh.filter(|_| !how.is_dry).map(|secret| (new.id, secret));
                return Ok(Some((change, secret)));
            }
        }
        Err(changed_by_others())
    }
}

fn events(changes: &[Changed], actor: &Actor) -> Vec<penstock_schemas::audit::AuditEvent> {
    changes.iter().filter_map(|change| change.event(actor)).collect()
}

fn settings(key: &VirtualKey) -> Object {
    Object::Key(KeySettings::of(key))
}

/// Whether a key has got another secret.
fn is_other(before: &VirtualKey, after: &VirtualKey) -> bool {
    before.all_secrets() != after.all_secrets()
}

/// The key as it is to be, and its secret if one was made for it. `None` when it is so, or must wait for its secret.
fn become_wanted(
    keys: &Keys,
    key: Option<&VirtualKey>,
    wanted: &DeclaredKey,
    how: Applying,
) -> Option<(VirtualKey, Option<Secret>)> {
    let (mut new, fresh) = match (key, &wanted.secret) {
        (Some(key), Some(secret)) if !keys.is_of(key, secret) => {
            (keys.renewed(key.clone(), secret, Duration::ZERO), None)
        }
        (Some(key), _) => (key.clone(), None),
        (None, given) => {
            let id = KeyId::parse(wanted.settings.id.clone()).expect("it was checked when the file was read");
            let made = given.is_none().then(keys::generate);
            if made.is_some() && !how.is_making_secrets {
                tracing::warn!(key = %id, "a key of the configuration has no secret yet: `penstock apply` makes it and shows it");
                return None;
            }
            let secret = given.as_ref().or(made.as_ref()).expect("it was given or made");
            (keys.describe(id, secret), made)
        }
    };
    wanted.settings.clone().put_into(&mut new, clock::now());
    (key != Some(&new)).then_some((new, fresh))
}

fn change_of(before: Option<Object>, after: Option<Object>, is_rotated: bool) -> Changed {
    Changed { before, after, shown: Value::Null, secret: None, warnings: Vec::new(), is_rotated }
}

/// What has to be done to the directory: what is declared first, in the order of the file, then what is not.
fn plan(directory: &Directory, declared: &Declared, how: Applying) -> Vec<Changed> {
    let wanted = declared.objects.iter().filter_map(|object| {
        let before = Object::find(directory, object.kind(), object.name());
        (before.as_ref() != Some(object)).then(|| change_of(before, Some(object.clone()), false))
    });
    let is_declared = |kind: &Kind| kind.description().is_some_and(|kind| kind.is_declared);
    let kinds = Kind::ALL.iter().copied().filter(|kind| how.is_pruning && is_declared(kind));
    let others = kinds.flat_map(|kind| Object::all(directory, kind)).filter(|object| {
        !declared.objects.iter().any(|wanted| wanted.kind() == object.kind() && wanted.name() == object.name())
    });
    wanted.chain(others.map(|object| change_of(Some(object), None, false))).collect()
}

/// The warnings about all that is declared, as if it were there.
fn check(around: &Surroundings<'_>, declared: &Declared) -> Result<Vec<String>, ManageError> {
    let keys = declared.keys.iter().map(|key| Object::Key(key.settings.clone()));
    let of_projects: Vec<VirtualKey> = declared.keys.iter().map(stand_in).collect();
    let all: Vec<VirtualKey> = around.keys.iter().cloned().chain(of_projects).collect();
    let around = Surroundings { keys: &all, ..*around };
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    for object in declared.objects.iter().cloned().chain(keys) {
        let place = format!("{}.{}", object.kind().plural(), object.name());
        let placed = |mistake: Mistake| Mistake { field: format!("{place}.{}", mistake.field), ..mistake };
        mistakes.extend(around.mistakes(&object).into_iter().map(placed));
        warnings.extend(around.warnings(&object).into_iter().map(|warning| format!("{place}: {warning}")));
    }
    if mistakes.is_empty() { Ok(warnings) } else { Err(ManageError::Wrong(mistakes)) }
}

/// A key that is declared, where only its names count.
fn stand_in(key: &DeclaredKey) -> VirtualKey {
    let id = KeyId::parse(key.settings.id.clone()).expect("it was checked when the file was read");
    let mut made = VirtualKey {
        id,
        sha256: String::new(),
        prefix: String::new(),
        secrets: Vec::new(),
        project: ProjectId::default_project(),
        user: None,
        name: None,
        models: Vec::new(),
        tags: BTreeMap::new(),
        created_at: UnixMicros(0),
        expires_at: None,
        disabled: false,
        budgets: Vec::new(),
        generations: BTreeMap::new(),
        rates: None,
        cache: None,
        addresses: Vec::new(),
    };
    key.settings.clone().put_into(&mut made, UnixMicros(0));
    made
}

impl ApplyStep {
    fn of(change: &Changed) -> Option<Self> {
        let object = change.after.as_ref().or(change.before.as_ref())?;
        Some(Self {
            action: match (&change.before, &change.after) {
                (None, _) => Sign::Create,
                (Some(_), Some(_)) => Sign::Update,
                (Some(_), None) => Sign::Delete,
            },
            kind: object.kind(),
            name: object.name().to_owned(),
            before: change.before.as_ref().map(Object::value),
            after: change.after.as_ref().map(Object::value),
        })
    }

    /// For people: `~ budget search: limit_usd "50" → "60"`.
    pub fn line(&self) -> String {
        let sign = match self.action {
            Sign::Create => "+",
            Sign::Update => "~",
            Sign::Delete => "-",
        };
        let (before, after) = (fields(self.before.as_ref()), fields(self.after.as_ref()));
        let is_name = |name: &str| name == self.kind.name_field();
        let differences: Vec<String> = match self.action {
            Sign::Create => {
                after.iter().filter(|(name, _)| !is_name(name)).map(|(name, value)| format!("{name} {value}")).collect()
            }
            Sign::Delete => Vec::new(),
            Sign::Update => {
                let names =
                    before.iter().chain(after.iter().filter(|(name, _)| !before.iter().any(|(n, _)| n == name)));
                let value = |of: &[(String, String)], name: &str| {
                    of.iter().find(|(n, _)| n == name).map_or("none".to_owned(), |(_, value)| value.clone())
                };
                let pairs = names.map(|(name, _)| (name, value(&before, name), value(&after, name)));
                let changed = pairs.filter(|(_, before, after)| before != after);
                let lines: Vec<String> =
                    changed.map(|(name, before, after)| format!("{name} {before} → {after}")).collect();
                if lines.is_empty() { vec!["another secret".to_owned()] } else { lines }
            }
        };
        let differences = differences.join(", ");
        let colon = if differences.is_empty() { "" } else { ": " };
        format!("{sign} {} {}{colon}{differences}", self.kind.as_str(), self.name)
    }
}

fn fields(value: Option<&Value>) -> Vec<(String, String)> {
    let fields = value.and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, json: &str) -> Object {
        Object::read(kind, &serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn a_plan_makes_changes_and_removes_what_differs() {
        let declared = |objects| Declared { objects, keys: Vec::new() };
        let file = declared(vec![
            object(Kind::Project, r#"{"name":"a"}"#),
            object(Kind::Budget, r#"{"name":"b","limit_usd":"60"}"#),
            object(Kind::Budget, r#"{"name":"same","limit_usd":"1"}"#),
        ]);
        let mut directory = Directory::default();
        for there in [
            object(Kind::Budget, r#"{"name":"b","limit_usd":"50","cycle":"daily"}"#),
            object(Kind::Budget, r#"{"name":"same","limit_usd":"1"}"#),
            object(Kind::User, r#"{"name":"ann"}"#),
        ] {
            put(&mut directory, &there, &Secret::new(""), false);
        }
        let lines = |how| -> Vec<String> {
            plan(&directory, &file, how).iter().filter_map(ApplyStep::of).map(|step| step.line()).collect()
        };
        let made = "+ project a: enabled true";
        let changed = "~ budget b: limit_usd \"50\" → \"60\", cycle \"daily\" → \"monthly\"";
        assert_eq!(lines(Applying::default()), [made, changed]);
        let pruning = Applying { is_pruning: true, ..Applying::default() };
        assert_eq!(lines(pruning), [made, changed, "- user ann"]);
    }
}

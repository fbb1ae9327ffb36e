//! Create, read, update and delete for managed objects: projects, users, keys, budgets, limits, admins, webhooks. The admin
//! API, the command line and the configuration file all use this, so that the rules, the roles and the record of every change
//! are the same for all. Knows no HTTP.

mod actor;
mod apply;
mod batches;
mod bodies;
mod cached;
mod heads;
mod keys;
mod provider_keys;
mod rules;
mod sessions;
mod targets;
mod token;
mod windows;
mod wish;

pub use crate::config::{Declared, DeclaredKey};
pub use crate::refusal::ManageError;
pub use actor::Actor;
pub use apply::{Applied, ApplyStep, Applying, Sign};
pub(crate) use token::{Holder, hash};
pub use wish::{Force, Wish};

use crate::config::IngressConfig;
use crate::keys::Keys;
use crate::models::Models;
use penstock_runtime::bus::{Bucket, Bus, BusError, Change, Directories, Journal};
use penstock_runtime::{MasterKey, Secret, clock};
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::book::Book;
use penstock_schemas::directory::Directory;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::{Admin, AdminShown, Kind};
use penstock_schemas::managed::{Mistake, Object};
use rules::Surroundings;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;
use tracing::info;
use wish::resolve;

/// Longest wait for the ledger to confirm the record of a change.
const RECORDED: Duration = Duration::from_secs(10);

/// All managed objects, and the record of their changes. Cloning shares what they stand on.
#[derive(Clone)]
pub struct Objects {
    directories: Directories,
    keys: Keys,
    books: Bucket<Book>,
    models: Models,
    journal: Journal,
    /// What seals the keys of providers.
    master: Option<MasterKey>,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// What was done; `None`: it was so already.
    pub action: Option<Action>,
    /// The object as it is shown; of one that is gone, as it was.
    pub object: Value,
    /// Its secret, where it is new: shown here and never again.
    pub secret: Option<Secret>,
    /// What is probably not what was meant.
    pub warnings: Vec<String>,
    /// The revision that it has now.
    pub revision: u64,
}

/// A change within the directory or of a key, before it is recorded.
struct Changed {
    before: Option<Object>,
    after: Option<Object>,
    shown: Value,
    secret: Option<Secret>,
    warnings: Vec<String>,
    is_rotated: bool,
}

impl Objects {
    /// Opens it for the ingress.
    pub(crate) async fn open(
        bus: &Bus,
        keys: Keys,
        directories: Directories,
        models: Models,
        journal: Journal,
    ) -> Result<Self, BusError> {
        Ok(Self { directories, keys, books: bus.books().await?, models, journal, master: None })
    }

    /// With what seals the keys of providers.
    #[must_use]
    pub(crate) fn sealing(self, master: Option<&MasterKey>) -> Self {
        Self { master: master.cloned(), ..self }
    }

    /// Opens it for a tool, which ends it with [`Objects::close`].
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn for_tool(bus: &Bus, config: &IngressConfig) -> Result<Self, BusError> {
        let models = Models::new(config.models.clone());
        for card in bus.models().await?.list().await? {
            models.change(Change::Put(card.provider.to_string(), card));
        }
        let keys = Keys::open(bus, config.hash_seal.as_ref()).await?;
        let objects = Self::open(bus, keys, bus.directories().await?, models, Journal::open(bus).await?).await?;
        Ok(objects.sealing(config.master_key.as_ref()))
    }

    /// Waits until everything is recorded. False when it is not.
    pub async fn close(self) -> bool {
        self.journal.finish(RECORDED).await
    }

    /// All objects of a sort that the actor sees, as they are shown, and the revision of the directory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list(&self, actor: &Actor, kind: Kind) -> Result<(Vec<Value>, u64), ManageError> {
        if kind == Kind::Key {
            return Ok((self.list_keys(actor).await?, 0));
        }
        let (directory, revision) = self.directories.read().await?;
        let objects = Object::all(&directory, kind).into_iter().filter(|object| actor.sees(object)).collect();
        Ok((self.show(&directory, objects).await?, revision))
    }

    /// One object as it is shown, and its revision.
    ///
    /// # Errors
    /// When there is none of this name, or the actor may not see it.
    pub async fn one(&self, actor: &Actor, kind: Kind, name: &str) -> Result<(Value, u64), ManageError> {
        if kind == Kind::Key {
            return self.one_key(actor, name).await;
        }
        let (directory, revision) = self.directories.read().await?;
        let unknown = || ManageError::Unknown { kind, name: name.to_owned() };
        let object = Object::find(&directory, kind, name).ok_or_else(unknown)?;
        actor.must_see(&object)?;
        let shown = self.show(&directory, vec![object]).await?;
        Ok((shown.into_iter().next().unwrap_or_default(), revision))
    }

    /// Does what is asked for, records it, and says what came of it. `revision`: only if it still has this one.
    ///
    /// # Errors
    /// When it is wrong, the actor may not, or it cannot be done now.
    pub async fn carry_out(
        &self,
        actor: &Actor,
        kind: Kind,
        wish: Wish,
        revision: Option<u64>,
    ) -> Result<Done, ManageError> {
        let (changed, revision) = match kind {
            Kind::Key => self.change_key(actor, &wish, revision).await?,
            _ => self.change_directory(actor, kind, &wish, revision).await?,
        };
        let action = changed.action();
        if let Some(event) = changed.event(actor) {
            self.record(vec![event]).await?;
        }
        let Changed { shown, secret, warnings, .. } = changed;
        Ok(Done { action, object: shown, secret, warnings, revision })
    }

    /// Writes down what was changed. Whoever asked for it is told only then.
    async fn record(&self, events: Vec<AuditEvent>) -> Result<(), ManageError> {
        let mut pending = Vec::with_capacity(events.len());
        for event in events {
            info!(
                actor = event.actor,
                role = event.role.as_str(),
                action = event.action.as_str(),
                kind = event.kind.as_str(),
                name = event.name,
                way = event.way.as_str(),
                "changed"
            );
            pending.push(self.journal.append(UsageEvent::Audit(Box::new(event))).await);
        }
        for event in pending {
            if !timeout(RECORDED, event.acknowledged()).await.unwrap_or(false) {
                return Err(ManageError::Unrecorded);
            }
        }
        Ok(())
    }

    async fn change_directory(
        &self,
        actor: &Actor,
        kind: Kind,
        wish: &Wish,
        revision: Option<u64>,
    ) -> Result<(Changed, u64), ManageError> {
        let needs_keys = kind.description().is_some_and(|kind| kind.is_beside_keys);
        let keys = if needs_keys { self.keys.bucket().list().await? } else { Vec::new() };
        let (fresh, now) = (token::generate(), clock::now());
        let name = wish.name(kind);
        let change = |directory: &mut Directory, at: u64| {
            let before = Object::find(directory, kind, name);
            let after = resolve(kind, wish, before.as_ref())?;
            for object in before.iter().chain(&after) {
                actor.must_change(object)?;
            }
            check_revision(revision, at)?;
            check_use(&before, &after, wish, &keys)?;
            let is_rotated = matches!(wish, Wish::Rotate(..));
            let budgets = directory.budgets.clone();
            let secret = match &after {
                Some(after) => put(directory, after, &fresh, is_rotated),
                None => {
                    before.iter().for_each(|before| before.remove(directory));
                    None
                }
            };
            directory.renew_generations(&budgets, now);
            let around = Surroundings { directory, keys: &keys, models: &self.models, now };
            let warnings = judge(&around, after.as_ref())?;
            let object = after.as_ref().or(before.as_ref());
            let shown = object.map_or(Value::Null, |object| show(directory, object));
            Ok(Changed { before, after, shown, secret, warnings, is_rotated })
        };
        Ok(self.directories.change(change).await?)
    }

    async fn show(&self, directory: &Directory, objects: Vec<Object>) -> Result<Vec<Value>, ManageError> {
        let budgets: Vec<_> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Budget(budget) => Some(budget.clone()),
                _ => None,
            })
            .collect();
        if budgets.is_empty() {
            return Ok(objects.iter().map(|object| show(directory, object)).collect());
        }
        Ok(self.with_windows(budgets, &directory.generations, clock::now()).await?.iter().map(to_value).collect())
    }
}

/// An object as it is shown, but for what is read elsewhere.
fn show(directory: &Directory, object: &Object) -> Value {
    match object {
        Object::Admin(settings) => directory.admins.get(&settings.name).map(AdminShown::of).as_ref().map(to_value),
        _ => None,
    }
    .unwrap_or_else(|| object.value())
}

fn to_value(shown: &impl serde::Serialize) -> Value {
    serde_json::to_value(shown).expect("what is shown has a JSON form")
}

/// # Errors
/// When it was changed since it was read.
fn check_revision(wanted: Option<u64>, now: u64) -> Result<(), ManageError> {
    if wanted.is_none_or(|wanted| wanted == now) { Ok(()) } else { Err(ManageError::Stale { now }) }
}

/// A project is not taken away under its keys.
fn check_use(
    before: &Option<Object>,
    after: &Option<Object>,
    wish: &Wish,
    keys: &[VirtualKey],
) -> Result<(), ManageError> {
    let (Some(Object::Project(project)), None, Wish::Delete(_, Force::No)) = (before, after, wish) else {
        return Ok(());
    };
    let keys = keys.iter().filter(|key| key.project.as_str() == project.name).count();
    if keys == 0 { Ok(()) } else { Err(ManageError::InUse { project: project.name.clone(), keys }) }
}

/// The warnings.
fn judge(around: &Surroundings<'_>, after: Option<&Object>) -> Result<Vec<String>, ManageError> {
    let Some(object) = after else { return Ok(Vec::new()) };
    let mistakes = around.mistakes(object);
    if mistakes.is_empty() { Ok(around.warnings(object)) } else { Err(ManageError::Wrong(mistakes)) }
}

/// Writes what has become of an object. Gives the fresh secret where it has taken it: it is new, or has to have another.
fn put(directory: &mut Directory, object: &Object, fresh: &Secret, is_rotated: bool) -> Option<Secret> {
    let Object::Admin(settings) = object else {
        object.clone().put(directory);
        return None;
    };
    let before = directory.admins.get(&settings.name);
    if before.is_some() && !is_rotated {
        object.clone().put(directory);
        return None;
    }
    let created_at = before.map_or_else(clock::now, |admin| admin.created_at);
    let admin = Admin { settings: settings.clone(), sha256: hash(fresh.reveal()), created_at };
    directory.admins.insert(settings.name.clone(), admin);
    Some(fresh.clone())
}

impl Changed {
    fn action(&self) -> Option<Action> {
        match (&self.before, &self.after) {
            _ if self.is_rotated => Some(Action::Rotate),
            (None, Some(_)) => Some(Action::Create),
            (Some(_), None) => Some(Action::Delete),
            (Some(before), Some(after)) if before != after => Some(Action::Update),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// The record of it; `None` when nothing was changed.
    fn event(&self, actor: &Actor) -> Option<AuditEvent> {
        let object = self.after.as_ref().or(self.before.as_ref())?;
        Some(AuditEvent {
            id: clock::id(),
            at: clock::now(),
            actor: actor.name.clone(),
            role: actor.role,
            action: self.action()?,
            kind: object.kind(),
            name: object.name().to_owned(),
            project: object.project().map(ToOwned::to_owned),
            before: self.before.as_ref().map(Object::value),
            after: self.after.as_ref().map(Object::value),
            request_id: actor.request_id,
            way: actor.way,
        })
    }
}

/// A mistake in the form of what was asked for.
pub(crate) fn malformed(message: impl Into<String>) -> ManageError {
    ManageError::Wrong(vec![Mistake { field: String::new(), message: message.into(), is_rule: false }])
}

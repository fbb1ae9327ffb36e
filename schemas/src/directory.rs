//! Everything that an operator manages besides virtual keys, as one document: it is changed as a whole and against the
//! revision that was read, so that a change is there in full or not at all, and every process sees the same. Knows nothing
//! of where it is kept, nor of who may change it.

use crate::UnixMicros;
use crate::book::{self, Generations};
use crate::budget::{Budget, RateLimit};
use crate::kind::{Admin, AdminSettings, KeySettings, Managed, Project, User, Webhook};
use crate::provider_key::ProviderKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The document. Every map is by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// Who pays. A project that is not listed is one without settings, unless `closed` says otherwise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, Project>,
    /// Who asks. Like projects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    /// Limits on spending.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, Budget>,
    /// The generations of those.
    #[serde(skip_serializing_if = "Generations::is_empty")]
    pub generations: Generations,
    /// Limits on rates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, RateLimit>,
    /// Keys for providers, by provider.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_keys: BTreeMap<String, Vec<ProviderKey>>,
    /// Where alerts are posted to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, Webhook>,
    /// Who manages all this, besides the root key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub admins: BTreeMap<String, Admin>,
    /// Sessions that were stopped, by project and name, and until when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stopped_sessions: BTreeMap<String, BTreeMap<String, UnixMicros>>,
}

/// Sessions of a project that are stopped at once. The one that would end first gives way to another.
pub const MOST_STOPPED: usize = 1_000;

impl Directory {
    /// Until when a session is stopped.
    pub fn stopped_until(&self, project: &str, session: &str, now: UnixMicros) -> Option<UnixMicros> {
        self.stopped_sessions.get(project)?.get(session).copied().filter(|until| now < *until)
    }

    /// Stops a session until then; forgets those whose time is over.
    pub fn stop_session(&mut self, project: &str, session: &str, (now, until): (UnixMicros, UnixMicros)) {
        self.stopped_sessions.values_mut().for_each(|sessions| sessions.retain(|_, until| now < *until));
        self.stopped_sessions.retain(|_, sessions| !sessions.is_empty());
        let sessions = self.stopped_sessions.entry(project.to_owned()).or_default();
        if sessions.len() >= MOST_STOPPED
            && let Some(first) = sessions.iter().min_by_key(|(_, until)| **until).map(|(name, _)| name.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(session.to_owned(), until);
    }

    /// A session may go on. Whether it was stopped.
    pub fn resume_session(&mut self, project: &str, session: &str) -> bool {
        let Some(sessions) = self.stopped_sessions.get_mut(project) else { return false };
        let was_stopped = sessions.remove(session).is_some();
        self.stopped_sessions.retain(|_, sessions| !sessions.is_empty());
        was_stopped
    }

    /// Brings the generations to what has become of the budgets since they were `before`.
    pub fn renew_generations(&mut self, before: &BTreeMap<String, Budget>, now: UnixMicros) {
        let [before, after] = [before, &self.budgets].map(|all| all.values().cloned().collect::<Vec<_>>());
        book::renew(&mut self.generations, &before, &after, now);
    }
}

/// Where the objects of a sort stand in the directory.
pub(crate) trait InDirectory: Managed {
    /// The one of this name.
    fn find(directory: &Directory, name: &str) -> Option<Self>;

    /// The names of all.
    fn names(directory: &Directory) -> Vec<String>;

    /// Writes one, in the place of the one of its name.
    fn put(self, directory: &mut Directory);

    /// Removes the one of this name.
    fn remove(directory: &mut Directory, name: &str);
}

macro_rules! in_directory {
    ($object:ty, $field:ident) => {
        impl InDirectory for $object {
            fn find(directory: &Directory, name: &str) -> Option<Self> {
                directory.$field.get(name).cloned()
            }

            fn names(directory: &Directory) -> Vec<String> {
                directory.$field.keys().cloned().collect()
            }

            fn put(self, directory: &mut Directory) {
                directory.$field.insert(self.name.clone(), self);
            }

            fn remove(directory: &mut Directory, name: &str) {
                directory.$field.remove(name);
            }
        }
    };
}

in_directory!(Project, projects);
in_directory!(User, users);
in_directory!(Budget, budgets);
in_directory!(RateLimit, limits);
in_directory!(Webhook, webhooks);

/// Kept with the hash of a token.
impl InDirectory for AdminSettings {
    fn find(directory: &Directory, name: &str) -> Option<Self> {
        directory.admins.get(name).map(|admin| admin.settings.clone())
    }

    fn names(directory: &Directory) -> Vec<String> {
        directory.admins.keys().cloned().collect()
    }

    /// One who is new needs a token, and is put there with it: see [`Admin`].
    fn put(self, directory: &mut Directory) {
        if let Some(admin) = directory.admins.get_mut(&self.name) {
            admin.settings = self;
        }
    }

    fn remove(directory: &mut Directory, name: &str) {
        directory.admins.remove(name);
    }
}

/// Each is an entry of its own in another bucket.
impl InDirectory for KeySettings {
    fn find(_: &Directory, _: &str) -> Option<Self> {
        None
    }

    fn names(_: &Directory) -> Vec<String> {
        Vec::new()
    }

    fn put(self, _: &mut Directory) {}

    fn remove(_: &mut Directory, _: &str) {}
}

//! The keys of providers, managed: who may manage them, and the record of every change. How they are kept stands in
//! `crate::provider_keys`.

use super::{Actor, ManageError, Objects, to_value};
use crate::provider_keys::{self, Given, ProviderKeyWish, Unmanaged};
use penstock_runtime::{Secret, clock};
use penstock_schemas::audit::{Action, AuditEvent};
use penstock_schemas::kind::{Kind, Role};
use penstock_schemas::name::ProviderId;
use penstock_schemas::provider_key::{NewProviderKey, ProviderKey, ProviderKeyChange, ProviderKeyShown};

/// How a key was before, and how it is now.
type Turn = (Option<ProviderKey>, Option<ProviderKey>);

impl Objects {
    /// The keys that are managed, of one provider or of all, and the revision of the directory.
    ///
    /// # Errors
    /// When the actor may not see them, or they cannot be read.
    pub async fn provider_keys(
        &self,
        actor: &Actor,
        provider: Option<&str>,
    ) -> Result<(Vec<ProviderKeyShown>, u64), ManageError> {
        actor.must_see_all()?;
        if let Some(wrong) = provider.and_then(|provider| ProviderId::parse(provider).err()) {
            return Err(ManageError::rule("provider", wrong.to_string()));
        }
        let (directory, revision) = self.directories.read().await?;
        let keys = directory.provider_keys.iter();
        let keys = keys.filter(|(name, _)| provider.is_none_or(|provider| provider == *name));
        let shown = keys.flat_map(|(name, keys)| keys.iter().map(|key| ProviderKeyShown::of(name, key)));
        Ok((shown.collect(), revision))
    }

    /// Adds a key: what is secret of it is sealed before it leaves this process.
    ///
    /// # Errors
    /// When it is wrong, the actor may not, or it cannot be done now.
    pub async fn add_provider_key(
        &self,
        actor: &Actor,
        provider: &str,
        new: NewProviderKey,
    ) -> Result<(ProviderKeyShown, u64), ManageError> {
        must_manage(actor)?;
        let provider = read(provider)?;
        let secret = match (new.key, new.source) {
            (Some(key), None) => Given::Secret(Secret::new(key)),
            (None, Some(place)) => Given::Place(place),
            _ => return Err(ManageError::rule("key", "give either the key itself, or its source")),
        };
        let wish = ProviderKeyWish { id: new.id, secret, weight: new.weight };
        let key = provider_keys::prepare(&provider, wish, self.master.as_ref())?;
        let turn = |directory: &mut _| Ok((None, Some(provider_keys::add(directory, &provider, key.clone())?)));
        self.turn_provider_key(actor, &provider, turn).await
    }

    /// Changes whether a key is used, and its share of the calls.
    ///
    /// # Errors
    /// When it is wrong, the actor may not, or it cannot be done now.
    pub async fn change_provider_key(
        &self,
        actor: &Actor,
        (provider, id): (&str, &str),
        change: &ProviderKeyChange,
    ) -> Result<(ProviderKeyShown, u64), ManageError> {
        must_manage(actor)?;
        let provider = read(provider)?;
        let turn = |directory: &mut _| {
            let (before, after) = provider_keys::change(directory, &provider, id, (change.enabled, change.weight))?;
            Ok((before, Some(after)))
        };
        self.turn_provider_key(actor, &provider, turn).await
    }

    /// Takes a key out: calls that are under way finish with it.
    ///
    /// # Errors
    /// When there is none, the actor may not, or it cannot be done now.
    pub async fn remove_provider_key(
        &self,
        actor: &Actor,
        provider: &str,
        id: &str,
    ) -> Result<(ProviderKeyShown, u64), ManageError> {
        must_manage(actor)?;
        let provider = read(provider)?;
        let turn = |directory: &mut _| Ok((Some(provider_keys::remove(directory, &provider, id)?), None));
        self.turn_provider_key(actor, &provider, turn).await
    }

    async fn turn_provider_key(
        &self,
        actor: &Actor,
        provider: &ProviderId,
        turn: impl Fn(&mut penstock_schemas::directory::Directory) -> Result<Turn, Unmanaged>,
    ) -> Result<(ProviderKeyShown, u64), ManageError> {
        let ((before, after), revision) =
            self.directories.change(|directory, _| turn(directory).map_err(ManageError::from)).await?;
        let show = |key: &ProviderKey| ProviderKeyShown::of(provider.as_str(), key);
        let shown = after.as_ref().or(before.as_ref()).map(show).expect("a change is of a key");
        let action = match (&before, &after) {
            (None, _) => Action::Create,
            (Some(_), None) => Action::Delete,
            (Some(_), Some(_)) => Action::Update,
        };
        if before != after {
            let event = AuditEvent {
                id: clock::id(),
                at: clock::now(),
                actor: actor.name.clone(),
                role: actor.role,
                action,
                kind: Kind::ProviderKey,
                name: format!("{provider}/{}", shown.id),
                project: None,
                before: before.as_ref().map(|key| to_value(&show(key))),
                after: after.as_ref().map(|key| to_value(&show(key))),
                request_id: actor.request_id,
                way: actor.way,
            };
            self.record(vec![event]).await?;
        }
        Ok((shown, revision))
    }
}

pub(super) fn must_manage(actor: &Actor) -> Result<(), ManageError> {
    if actor.role == Role::Admin { Ok(()) } else { Err(ManageError::Forbidden { needed: "admin".to_owned() }) }
}

fn read(provider: &str) -> Result<ProviderId, ManageError> {
    ProviderId::parse(provider).map_err(|error| ManageError::rule("provider", error.to_string()))
}

impl From<Unmanaged> for ManageError {
    fn from(why: Unmanaged) -> Self {
        let kind = Kind::ProviderKey;
        match why {
            Unmanaged::NoMaster => Self::Unavailable(why.to_string()),
            Unmanaged::Wrong(field, message) => Self::rule(field, message),
            Unmanaged::Duplicate(provider, id) => Self::Duplicate { kind, name: format!("{provider}/{id}") },
            Unmanaged::Unknown(provider, id) => Self::Unknown { kind, name: format!("{provider}/{id}") },
        }
    }
}

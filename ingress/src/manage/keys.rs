//! Virtual keys as managed objects: each is an entry of its own, changed against its own revision. What a secret is,
//! and how it is hashed, is known in `crate::keys`.

use super::rules::Surroundings;
use super::{Actor, Changed, ManageError, Objects, Wish, check_revision, judge, malformed, resolve, to_value};
use crate::keys;
use penstock_runtime::{Secret, clock};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::{KeySettings, KeyShown, Kind};
use penstock_schemas::managed::Object;
use penstock_schemas::name::KeyId;
use serde_json::Value;

/// How often a key is changed anew on what somebody else has made of it meanwhile.
pub(super) const ATTEMPTS: usize = 20;

impl Objects {
    pub(super) async fn list_keys(&self, actor: &Actor) -> Result<Vec<Value>, ManageError> {
        let keys = self.keys.bucket().list().await?;
        let seen = keys.iter().filter(|key| actor.sees(&object(key)));
        Ok(seen.map(|key| to_value(&KeyShown::of(key))).collect())
    }

    pub(super) async fn one_key(&self, actor: &Actor, name: &str) -> Result<(Value, u64), ManageError> {
        let unknown = || ManageError::Unknown { kind: Kind::Key, name: name.to_owned() };
        let id = KeyId::parse(name).map_err(|_| unknown())?;
        let (key, revision) = self.keys.bucket().get_with_revision(id.as_str()).await?.ok_or_else(unknown)?;
        actor.must_see(&object(&key))?;
        Ok((to_value(&KeyShown::of(&key)), revision))
    }

    pub(super) async fn change_key(
        &self,
        actor: &Actor,
        wish: &Wish,
        revision: Option<u64>,
    ) -> Result<(Changed, u64), ManageError> {
        let wish = &with_id(wish);
        let name = wish.name(Kind::Key);
        for _ in 0..ATTEMPTS {
            let is_name = KeyId::parse(name).is_ok();
            let there = if is_name { self.keys.bucket().get_with_revision(name).await? } else { None };
            let (key, at) = there.map_or((None, 0), |(key, at)| (Some(key), at));
            let before = key.as_ref().map(object);
            let after = resolve(Kind::Key, wish, before.as_ref())?;
            for object in before.iter().chain(&after) {
                actor.must_change(object)?;
            }
            check_revision(revision, at)?;
            let directory = self.directories.read().await?.0;
            let around = Surroundings { directory: &directory, keys: &[], models: &self.models, now: clock::now() };
            let warnings = judge(&around, after.as_ref())?;
            let changed = |key: &VirtualKey, secret| Changed {
                shown: to_value(&KeyShown::of(key)),
                secret,
                warnings: warnings.clone(),
                is_rotated: matches!(wish, Wish::Rotate(..)),
                before: before.clone(),
                after: after.clone(),
            };
            match (key, &after) {
                (Some(key), None) => {
                    self.keys.bucket().delete(name).await?;
                    return Ok((changed(&key, None), at));
                }
                (None, None) => return Err(malformed("there is nothing to do")),
                (before, Some(after)) => {
                    let (key, secret) = self.made(before, after, wish);
                    if let Some(revision) = self.write_key(&key, at).await? {
                        return Ok((changed(&key, secret), revision));
                    }
                }
            }
        }
        Err(changed_by_others())
    }

    pub(super) async fn write_key(&self, key: &VirtualKey, revision: u64) -> Result<Option<u64>, ManageError> {
        Ok(match revision {
            0 => self.keys.bucket().create(key.id.as_str(), key).await?,
            revision => self.keys.bucket().update(key.id.as_str(), key, revision).await?,
        })
    }

    /// The key with its new settings; with a secret where it has a new one.
    fn made(&self, before: Option<VirtualKey>, after: &Object, wish: &Wish) -> (VirtualKey, Option<Secret>) {
        let Object::Key(settings) = after else { unreachable!("a key stays a key") };
        let (mut key, secret) = match (before, wish) {
            (Some(key), Wish::Rotate(_, overlap)) => {
                let secret = keys::generate();
                (self.keys.renewed(key, &secret, *overlap), Some(secret))
            }
            (Some(key), _) => (key, None),
            (None, _) => {
                let id = KeyId::parse(settings.id.clone()).expect("the id was checked with the settings");
                let secret = keys::generate();
                (self.keys.describe(id, &secret), Some(secret))
            }
        };
        settings.clone().put_into(&mut key, clock::now());
        (key, secret)
    }
}

fn object(key: &VirtualKey) -> Object {
    Object::Key(KeySettings::of(key))
}

/// A new key without an id gets one here, so that it keeps it however often it is tried.
fn with_id(wish: &Wish) -> Wish {
    match wish {
        Wish::Create(Value::Object(fields)) if fields.get("id").is_none() => {
            let mut fields = fields.clone();
            fields.insert("id".to_owned(), Value::String(keys::new_id().to_string()));
            Wish::Create(Value::Object(fields))
        }
        other => other.clone(),
    }
}

pub(super) fn changed_by_others() -> ManageError {
    ManageError::Unavailable("others change the key all the time".to_owned())
}

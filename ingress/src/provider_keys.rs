//! The keys of providers as an operator manages them: put into the directory, sealed or as the name of a place, and taken
//! out. Workers follow the directory. Gives no secret back, and has none once it is sealed.

use penstock_runtime::{MasterKey, Secret, clock};
use penstock_schemas::directory::Directory;
use penstock_schemas::name::ProviderId;
use penstock_schemas::provider_key::{HEAVIEST, KeySource, ProviderKey, hint, mistake};

/// What a new key is to be.
#[derive(Clone, Debug)]
pub(crate) struct ProviderKeyWish {
    /// Its name; one is made when it is absent.
    pub id: Option<String>,
    /// The key, or where workers find it.
    pub secret: Given,
    /// Its share of the calls.
    pub weight: u32,
}

/// How a key is given.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// Itself: it is sealed before it goes anywhere.
    Secret(Secret),
    /// `env:NAME` or `file:PATH`, as the workers see it.
    Place(String),
}

/// Why a key is not managed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmanaged {
    /// Nothing to seal it with.
    #[error(
        "a key can only be kept sealed, and PENSTOCK_MASTER_KEY is not set here (`penstock keys master` makes one)"
    )]
    NoMaster,
    /// A field is wrong.
    #[error("{0}: {1}")]
    Wrong(&'static str, String),
    /// There is one of this name.
    #[error("{0} has a key `{1}` already: remove that one, or take another name")]
    Duplicate(ProviderId, String),
    /// There is none of this name.
    #[error("{0} has no key `{1}`")]
    Unknown(ProviderId, String),
}

/// The key as it will be kept.
///
/// # Errors
/// When it cannot be.
pub(crate) fn prepare(
    provider: &ProviderId,
    wish: ProviderKeyWish,
    master: Option<&MasterKey>,
) -> Result<ProviderKey, Unmanaged> {
    let (id, hint, source) = match wish.secret {
        Given::Place(text) => {
            let source = KeySource::parse(&text);
            let source = source.ok_or(Unmanaged::Wrong("source", "must be env:NAME or file:PATH".to_owned()))?;
            (wish.id.unwrap_or(text), None, source)
        }
        Given::Secret(secret) => {
            let text = secret.reveal().trim();
            if text.is_empty() || text.len() > 64 * 1024 {
                return Err(Unmanaged::Wrong("key", "must be 1 to 65536 bytes".to_owned()));
            }
            if let Some(why) = mistake(text) {
                return Err(Unmanaged::Wrong("key", why));
            }
            let master = master.ok_or(Unmanaged::NoMaster)?;
            let id = wish.id.unwrap_or_else(|| format!("key_{}", &Secret::generate("").reveal()[..10]));
            let sealed = master.seal(&Secret::new(text), &ProviderKey::place(provider.as_str(), &id));
            (id, hint(text), KeySource::Sealed(sealed))
        }
    };
    let key = ProviderKey { id, source, weight: wish.weight, enabled: true, hint, created_at: clock::now() };
    match key.mistakes().into_iter().next() {
        Some((field, why)) => Err(Unmanaged::Wrong(field, why)),
        None => Ok(key),
    }
}

/// Adds a key.
///
/// # Errors
/// When there is one of its name.
pub(crate) fn add(
    directory: &mut Directory,
    provider: &ProviderId,
    key: ProviderKey,
) -> Result<ProviderKey, Unmanaged> {
    let keys = directory.provider_keys.entry(provider.to_string()).or_default();
    if keys.iter().any(|there| there.id == key.id) {
        return Err(Unmanaged::Duplicate(provider.clone(), key.id));
    }
    keys.push(key.clone());
    Ok(key)
}

/// Changes a key: whether it is used, and its share. Gives it as it was and as it is. One of the workers' configuration,
/// `env:NAME` or `file:PATH`, is managed from now on.
///
/// # Errors
/// When there is none of this name.
pub(crate) fn change(
    directory: &mut Directory,
    provider: &ProviderId,
    id: &str,
    (enabled, weight): (Option<bool>, Option<u32>),
) -> Result<(Option<ProviderKey>, ProviderKey), Unmanaged> {
    if weight.is_some_and(|weight| !(1..=HEAVIEST).contains(&weight)) {
        return Err(Unmanaged::Wrong("weight", format!("must be 1 to {HEAVIEST}")));
    }
    let unknown = || Unmanaged::Unknown(provider.clone(), id.to_owned());
    let there = directory.provider_keys.get(provider.as_str()).and_then(|keys| keys.iter().find(|key| key.id == id));
    let before = there.cloned();
    let mut key = match &before {
        Some(key) => key.clone(),
        None => {
            let source = KeySource::parse(id).ok_or_else(unknown)?;
            ProviderKey { id: id.to_owned(), source, weight: 1, enabled: true, hint: None, created_at: clock::now() }
        }
    };
    key.enabled = enabled.unwrap_or(key.enabled);
    key.weight = weight.unwrap_or(key.weight);
    let keys = directory.provider_keys.entry(provider.to_string()).or_default();
    keys.retain(|key| key.id != id);
    keys.push(key.clone());
    Ok((before, key))
}

/// Takes a key out: calls that are under way finish with it, and no more begin.
///
/// # Errors
/// When there is none of this name.
pub(crate) fn remove(directory: &mut Directory, provider: &ProviderId, id: &str) -> Result<ProviderKey, Unmanaged> {
    let unknown = || Unmanaged::Unknown(provider.clone(), id.to_owned());
    let keys = directory.provider_keys.get_mut(provider.as_str()).ok_or_else(unknown)?;
    let at = keys.iter().position(|key| key.id == id).ok_or_else(unknown)?;
    let removed = keys.remove(at);
    if keys.is_empty() {
        directory.provider_keys.remove(provider.as_str());
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::provider_key::ProviderKeyShown;

    fn provider() -> ProviderId {
        ProviderId::parse("house").unwrap()
    }

    fn wish(id: &str, secret: Given) -> ProviderKeyWish {
        ProviderKeyWish { id: Some(id.to_owned()), secret, weight: 1 }
    }

    #[test]
    fn a_secret_is_sealed_for_its_place_or_not_kept_at_all() {
        let secret = || Given::Secret(Secret::new("sk-0123456789\n"));
        assert_eq!(prepare(&provider(), wish("a", secret()), None), Err(Unmanaged::NoMaster));
        let master = MasterKey::parse(&MasterKey::generate()).unwrap();
        let key = prepare(&provider(), wish("a", secret()), Some(&master)).unwrap();
        let KeySource::Sealed(sealed) = &key.source else { panic!("{key:?}") };
        assert_eq!(master.open(sealed, "provider key house a").unwrap().reveal(), "sk-0123456789");
        assert!(master.open(sealed, "provider key house b").is_err());
        let shown = format!("{:?}", ProviderKeyShown::of("house", &key));
        assert!(!shown.contains(sealed.as_str()) && shown.contains("\"6789\""), "{shown}");
        let empty = prepare(&provider(), wish("a", Given::Secret(Secret::new(" \n"))), Some(&master));
        assert!(matches!(empty, Err(Unmanaged::Wrong("key", _))));
        let torn = prepare(&provider(), wish("a", Given::Secret(Secret::new("sk-0123\n456789"))), Some(&master));
        assert!(matches!(torn, Err(Unmanaged::Wrong("key", why)) if why.contains("its character 8 is a line break")));
        let place = prepare(&provider(), wish("b", Given::Place("env:X".to_owned())), None).unwrap();
        assert_eq!(place.source, KeySource::Env("X".to_owned()));
        let wrong = prepare(&provider(), wish("b", Given::Place("sk-secret".to_owned())), None);
        assert!(matches!(wrong, Err(Unmanaged::Wrong("source", _))));
    }

    #[test]
    fn keys_are_added_changed_and_removed_by_name() {
        let (mut directory, house) = (Directory::default(), provider());
        let key = prepare(&house, wish("a", Given::Place("env:A".to_owned())), None).unwrap();
        add(&mut directory, &house, key.clone()).unwrap();
        assert_eq!(add(&mut directory, &house, key), Err(Unmanaged::Duplicate(house.clone(), "a".to_owned())));
        let (before, after) = change(&mut directory, &house, "a", (Some(false), Some(3))).unwrap();
        assert_eq!((before.unwrap().enabled, after.enabled, after.weight), (true, false, 3));
        assert!(change(&mut directory, &house, "a", (None, Some(0))).is_err());
        let (before, after) = change(&mut directory, &house, "env:CONFIGURED", (Some(false), None)).unwrap();
        assert_eq!((before, after.enabled), (None, false));
        assert_eq!(
            change(&mut directory, &house, "b", (None, None)),
            Err(Unmanaged::Unknown(house.clone(), "b".to_owned()))
        );
        assert!(remove(&mut directory, &house, "b").is_err());
        remove(&mut directory, &house, "env:CONFIGURED").unwrap();
        remove(&mut directory, &house, "a").unwrap();
        assert_eq!(directory, Directory::default());
    }
}

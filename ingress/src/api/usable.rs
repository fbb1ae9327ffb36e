//! The models that a key may use: all of them, and the one that a name stands for. Knows no shape in which they are shown.

use crate::models::{Listed, Named};
use crate::refusal::Refusal;
use crate::stage::authenticate::Found;
use crate::state::Shared;

/// Where to find a name.
const LISTED: &str = ": GET /v1/models lists those that do";

/// The model that a name stands for, as it does in a request, if the key may use it.
pub(super) fn find(ingress: &Shared, key: &Found, name: &str) -> Result<Listed, Refusal> {
    let unknown = |hint: String| Refusal::UnknownModel { name: name.to_owned(), hint };
    match ingress.models.find(name) {
        Named::Own(_) if key.may_use_name(name, ingress) => {
            Ok(Listed { name: name.to_owned(), provider: None, model: None })
        }
        Named::Target(target) if key.may_use_name(name, ingress) => Ok(Listed {
            name: name.to_owned(),
            provider: Some(target.provider.to_string()),
            model: ingress.models.card(&target).map(|card| (*card).clone()),
        }),
        Named::Ambiguous(targets) => {
            let targets = targets.iter().map(ToString::to_string).filter(|target| key.may_use(target));
            let targets: Vec<String> = targets.map(|target| format!("`{target}`")).collect();
            let is_none = targets.is_empty();
            Err(unknown(if is_none { LISTED.to_owned() } else { format!(": say {}", targets.join(" or ")) }))
        }
        Named::Own(_) | Named::Target(_) | Named::Unknown(_) => Err(unknown(LISTED.to_owned())),
    }
}

/// The models that a key may use.
pub(super) fn allowed(ingress: &Shared, key: &Found) -> Vec<Listed> {
    let may_use = |model: &Listed| match model.provider {
        Some(_) => key.may_use(&model.name),
        None => key.may_use_name(&model.name, ingress),
    };
    ingress.models.list().into_iter().filter(may_use).collect()
}

//! What was learnt of virtual models that `auto` routes: `GET /admin/v1/heads`, and `POST` to freeze it, let it learn again or throw it
//! away. Knows nothing of how it is learnt.

use super::{AdminRequest, Reply};
use crate::config::Strategy;
use crate::manage::ManageError;
use crate::refusal::Refusal;
use penstock_schemas::head::{HeadsChange, ModelHeads};
use serde_json::json;

/// `GET /admin/v1/heads`.
pub(super) async fn list(asked: AdminRequest) -> Result<Reply, Refusal> {
    asked.actor.must_see_all()?;
    let ingress = &asked.ingress;
    let own = ingress.config.models.iter().filter(|(_, model)| model.uses(Strategy::Auto));
    let known = |name: &str| ingress.routes.heads.of(name).map_or_else(|| ModelHeads::new(name), |one| (*one).clone());
    let data: Vec<ModelHeads> = own.map(|(name, _)| known(name)).collect();
    Ok(Reply::new(json!({ "data": data })))
}

/// `POST /admin/v1/heads {"model": "chat", "action": "freeze"}`.
pub(super) async fn change(mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let change: HeadsChange = super::provider_keys::read(asked.body.take())?;
    let ingress = &asked.ingress;
    if !ingress.config.models.get(&change.model).is_some_and(|model| model.uses(Strategy::Auto)) {
        return Err(ManageError::rule("model", "is no virtual model that `auto` routes".to_owned()).into());
    }
    let changed = ingress.objects.change_heads(&asked.actor, &ingress.bus, &change).await?;
    Ok(Reply::new(json!(changed)))
}

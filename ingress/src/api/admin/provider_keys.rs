//! The keys of providers over HTTP: a secret comes in and never goes out. Knows no rule about them: `manage` does.

use super::{AdminRequest, Reply};
use crate::manage::malformed;
use crate::refusal::Refusal;
use penstock_schemas::managed::whole;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(super) async fn list(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (keys, revision) = asked.ingress.objects.provider_keys(&asked.actor, Some(asked.place("provider"))).await?;
    Ok(Reply::new(json!({ "data": keys })).at(revision))
}

pub(super) async fn add(mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let new = read(asked.body.take())?;
    let (key, revision) = asked.ingress.objects.add_provider_key(&asked.actor, asked.place("provider"), new).await?;
    Ok(Reply::new(json!(key)).created().at(revision))
}

pub(super) async fn change(mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let change = read(asked.body.take())?;
    let place = (asked.place("provider"), asked.place("id"));
    let (key, revision) = asked.ingress.objects.change_provider_key(&asked.actor, place, &change).await?;
    Ok(Reply::new(json!(key)).at(revision))
}

pub(super) async fn remove(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (provider, id) = (asked.place("provider"), asked.place("id"));
    let (key, revision) = asked.ingress.objects.remove_provider_key(&asked.actor, provider, id).await?;
    Ok(Reply::new(json!(key)).at(revision))
}

/// The reader's own words may quote a secret.
pub(super) fn read<T: DeserializeOwned>(body: Option<Value>) -> Result<T, Refusal> {
    let wrong = "the body is not as /openapi.json has it: a field is unknown, or of another type";
    // A list would be read as the fields in their order.
    let body = body.filter(Value::is_object).ok_or_else(|| malformed(wrong))?;
    serde_json::from_value(whole(body)).map_err(|_| malformed(wrong).into())
}

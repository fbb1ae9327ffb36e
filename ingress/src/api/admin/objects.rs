//! Projects, users, keys, budgets, limits, admins, webhooks over HTTP: the same five verbs for all. Knows no rule about any
//! of them: `manage` does.

use super::{AdminRequest, Reply};
use crate::manage::{Done, Force, Wish};
use crate::refusal::Refusal;
use penstock_runtime::config::parse_duration;
use penstock_schemas::audit::Action;
use penstock_schemas::kind::Kind;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the older secrets of a key hold when a new one is made, unless the caller says.
pub(super) const OVERLAP: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn list(kind: Kind, asked: AdminRequest) -> Result<Reply, Refusal> {
    let (objects, revision) = asked.ingress.objects.list(&asked.actor, kind).await?;
    let reply = Reply::new(json!({ "data": objects }));
    Ok(if kind == Kind::Key { reply } else { reply.at(revision) })
}

pub(super) async fn one(kind: Kind, asked: AdminRequest) -> Result<Reply, Refusal> {
    let (object, revision) = asked.ingress.objects.one(&asked.actor, kind, &asked.name).await?;
    Ok(Reply::new(object).at(revision))
}

pub(super) async fn create(kind: Kind, mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let body = asked.body.take().unwrap_or_default();
    carry_out(kind, asked, Wish::Create(body)).await
}

pub(super) async fn replace(kind: Kind, mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let body = asked.body.take().unwrap_or_default();
    let wish = Wish::Replace(asked.name.clone(), body);
    carry_out(kind, asked, wish).await
}

pub(super) async fn change(kind: Kind, mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let body = asked.body.take().unwrap_or_default();
    let wish = Wish::Merge(asked.name.clone(), body);
    carry_out(kind, asked, wish).await
}

pub(super) async fn delete(kind: Kind, asked: AdminRequest) -> Result<Reply, Refusal> {
    let force = match asked.query("force") {
        None | Some("false") => Force::No,
        Some("true") => Force::Yes,
        Some(_) => return Err(Refusal::BadQuery("`force` is true or false".to_owned())),
    };
    let wish = Wish::Delete(asked.name.clone(), force);
    carry_out(kind, asked, wish).await
}

pub(super) async fn rotate(kind: Kind, asked: AdminRequest) -> Result<Reply, Refusal> {
    let wrong = || Refusal::BadQuery("`overlap` is a time such as 30m or 24h; 0s: none".to_owned());
    let overlap = asked.query("overlap").map(|text| parse_duration(text).ok_or_else(wrong)).transpose()?;
    let wish = Wish::Rotate(asked.name.clone(), overlap.unwrap_or(OVERLAP));
    carry_out(kind, asked, wish).await
}

pub(super) async fn disable(asked: AdminRequest) -> Result<Reply, Refusal> {
    let wish = Wish::Merge(asked.name.clone(), json!({ "disabled": true }));
    carry_out(Kind::Key, asked, wish).await
}

pub(super) async fn enable(asked: AdminRequest) -> Result<Reply, Refusal> {
    let wish = Wish::Merge(asked.name.clone(), json!({ "disabled": false }));
    carry_out(Kind::Key, asked, wish).await
}

async fn carry_out(kind: Kind, asked: AdminRequest, wish: Wish) -> Result<Reply, Refusal> {
    let revision = asked.revision()?;
    let done = asked.ingress.objects.carry_out(&asked.actor, kind, wish, revision).await?;
    let (is_new, is_gone) = (done.action == Some(Action::Create), done.action == Some(Action::Delete));
    let revision = done.revision;
    let reply = Reply::new(tell(done));
    let reply = if is_new { reply.created() } else { reply };
    // A key that is gone has no revision.
    Ok(if is_gone && kind == Kind::Key { reply } else { reply.at(revision) })
}

/// The object, its secret if it has a new one, and the warnings.
fn tell(done: Done) -> Value {
    let Value::Object(mut fields) = done.object else { return done.object };
    if let Some(secret) = done.secret {
        fields.insert("key".to_owned(), Value::String(secret.reveal().to_owned()));
    }
    fields.insert("warnings".to_owned(), done.warnings.into());
    Value::Object(fields)
}

//! The objects of the running instance, for the tools that manage: the same rules, roles and records as the admin API's.
//! Knows nothing of what is asked of it.

use super::output::print;
use crate::config::Config;
use crate::{Format, Place};
use anyhow::{anyhow, bail};
use penstock_ingress::manage::{Actor, Done, ManageError, Objects, Wish};
use penstock_schemas::audit::{Action, Way};
use penstock_schemas::kind::Kind;
use serde_json::Value;

/// The objects, and in whose name they are changed.
pub(super) struct Counter {
    pub(super) objects: Objects,
    pub(super) actor: Actor,
}

impl Counter {
    /// Who can reach the bus may do everything: the audit gets the name of the system's user.
    pub(super) async fn open(place: &Place, way: Way) -> anyhow::Result<Self> {
        let config = Config::load(place)?;
        let bus = Box::pin(super::bus(place)).await?;
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        let name = user.map_or("cli".to_owned(), |user| format!("cli:{user}"));
        Ok(Self { objects: Box::pin(Objects::for_tool(&bus, &config.ingress)).await?, actor: Actor::admin(name, way) })
    }

    /// Does one thing, and tells on standard error what is probably not what was meant.
    pub(super) async fn carry_out(self, kind: Kind, wish: Wish) -> anyhow::Result<Done> {
        let done = Box::pin(self.objects.carry_out(&self.actor, kind, wish, None)).await.map_err(told)?;
        warn(&done.warnings);
        Box::pin(self.close()).await?;
        Ok(done)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        if Box::pin(self.objects.close()).await {
            Ok(())
        } else {
            bail!("the record of the change is not confirmed by the ledger")
        }
    }
}

#[expect(clippy::print_stderr, reason = "beside what the tool answers")]
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// The reason with the next step.
pub(super) fn told(refused: ManageError) -> anyhow::Error {
    match &refused {
        ManageError::Unknown { kind: Kind::Target, .. } => {
            anyhow!("{refused}: `penstock models` shows what is served")
        }
        ManageError::Unknown { kind, .. } => {
            anyhow!("{refused}: `penstock {} list` shows those that are", kind.plural())
        }
        ManageError::InUse { .. } => anyhow!("{refused}: --force"),
        ManageError::Duplicate { kind, .. } => anyhow!("{refused}: `penstock {} set`", kind.plural()),
        _ => anyhow!(refused),
    }
}

/// Prints what was done: a line for people, the object with its warnings, and its secret if it has a new one.
pub(super) fn print_done(kind: Kind, done: &Done, format: Format) -> anyhow::Result<()> {
    let mut value = done.object.clone();
    let name = value[kind.name_field()].as_str().unwrap_or_default().to_owned();
    value["warnings"] = done.warnings.clone().into();
    let what = match done.action {
        Some(Action::Create) => "created",
        Some(Action::Update) => "changed",
        Some(Action::Delete) => "deleted",
        Some(Action::Rotate) => "rotated",
        None => "was so already",
    };
    let Some(secret) = &done.secret else {
        return print(format, &[kind.as_str(), ""], &[[name, what.to_owned()]], &value);
    };
    value["key"] = Value::String(secret.reveal().to_owned());
    let row = [name, what.to_owned(), secret.reveal().to_owned()];
    print(format, &[kind.as_str(), "", "key (shown only now)"], &[row], &value)
}

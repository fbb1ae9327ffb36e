//! What is seen of requests beside the ledger's rows: bodies that were kept, and drift. Routes alone.

use super::parameters::{PROJECT, USER, time};
use super::{AdminRoute, ContentForm, content, handler, question};
use crate::api::admin::{bodies, ledger_rows};
use axum::http::Method;
use penstock_schemas::body::BodyDeleted;
use serde_json::Value;

/// All of them.
pub(super) fn routes() -> Vec<AdminRoute> {
    vec![of_bodies(), of_drift()]
}

/// What was kept of requests and answers.
fn of_bodies() -> AdminRoute {
    AdminRoute {
        method: Method::DELETE,
        is_change: true,
        tag: "bodies",
        parameters: vec![USER, PROJECT],
        answer: content::<BodyDeleted>(ContentForm::Plain),
        handler: handler(bodies::delete),
        ..question("bodies", "delete_bodies", "The kept requests and answers of a user are deleted, and counted again")
    }
}

/// Whether answers are other than they were.
fn of_drift() -> AdminRoute {
    AdminRoute {
        parameters: vec![time("day", "Which day, of UTC; yesterday where it is not said"), PROJECT],
        answer: content::<Value>(ContentForm::Plain),
        handler: handler(ledger_rows::drift),
        ..question("drift", "drift", "Whether the answers of a day are other than those of the weeks before")
    }
}

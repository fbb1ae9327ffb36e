//! What is seen of requests beside the ledger's rows: bodies that were kept. Routes alone.

use super::parameters::{PROJECT, USER};
use super::{AdminRoute, ContentForm, content, handler, question};
use crate::api::admin::bodies;
use axum::http::Method;
use penstock_schemas::body::BodyDeleted;

/// All of them.
pub(super) fn routes() -> Vec<AdminRoute> {
    vec![of_bodies()]
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

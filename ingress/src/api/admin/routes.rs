//! The table of the admin API: every route once, with its handler and with what the OpenAPI document says about it. The
//! router and the document are both made of it, so that neither has a route that the other has not.

mod insight;
mod managed;
mod parameters;

use super::{AdminRequest, Handler, Reply, batches, cached, dry_route, heads, ledger_rows, questions, trials};
use crate::refusal::Refusal;
use axum::http::Method;
use axum::routing::MethodFilter;
use parameters::{
    ACTOR, AFTER_BATCH, AFTER_REQUEST, AFTER_SESSION, BY, FORECAST, KIND, NAMESPACE, OBJECT, PAGE_OF_BATCHES, PROJECT,
    STATUS, STATUS_OF_BATCH, filters, quality, time,
};
use penstock_schemas::activity::ActivityReport;
use penstock_schemas::alert::AlertReport;
use penstock_schemas::audit::AuditReport;
use penstock_schemas::cache::{CacheReport, NamespaceReport};
use penstock_schemas::experiment::ExperimentReport;
use penstock_schemas::head::{HeadsChange, ModelHeads};
use penstock_schemas::load::FleetReport;
use penstock_schemas::question::Answered;
use penstock_schemas::route::{RoutePlan, RouteQuestion};
use penstock_schemas::rows::RowReport;
use penstock_schemas::target::ResumeTarget;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use std::sync::Arc;

/// One route.
pub(crate) struct AdminRoute {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// What it does, in a line.
    pub(crate) summary: String,
    /// Its name in generated clients.
    pub(crate) id: String,
    /// What it is about.
    pub(crate) tag: &'static str,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<BodyContent>,
    pub(crate) answer: BodyContent,
    /// Whether it changes something, and so can meet others who do.
    pub(crate) is_change: bool,
    pub(crate) handler: Handler,
}

/// A parameter in the query, or a header.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) is_in_query: bool,
    /// What a value looks like, as JSON Schema.
    pub(crate) pattern: &'static str,
    pub(crate) about: &'static str,
}

/// What a body or an answer looks like.
#[derive(Clone, Copy)]
pub(crate) struct BodyContent {
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) form: ContentForm,
}

/// What becomes of a schema where it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentForm {
    /// As it is.
    Plain,
    /// With the field that names it.
    Named(&'static str),
    /// Every field may be absent, or null to take it away.
    Patch,
    /// `{"data": [ … ]}`.
    List,
    /// With `warnings`.
    Changed,
    /// With `warnings` and, where it has a new one, its secret.
    Secret,
}

fn content<T: JsonSchema>(form: ContentForm) -> BodyContent {
    BodyContent { schema: |generator| generator.subschema_for::<T>(), form }
}

/// Every route of the admin API.
pub(crate) fn routes() -> Vec<AdminRoute> {
    let mut routes = managed::routes();
    routes.push(AdminRoute {
        parameters: vec![
            BY,
            time("since", "From when on: 7d, or a day"),
            time("until", "Until when, exclusive"),
            FORECAST,
            time("reprice", "What it would have cost at the prices of this date"),
        ],
        ..question("spend", "spend", "Who spent what, where that leads to, and what it would have cost")
    });
    routes.push(AdminRoute {
        parameters: vec![KIND, time("since", "From when on: 7d, or a day"), time("until", "Until when, exclusive")],
        answer: content::<AlertReport>(ContentForm::Plain),
        handler: handler(questions::alerts),
        ..question("alerts", "alerts", "What somebody had to be told, the latest first")
    });
    routes.push(AdminRoute {
        parameters: vec![time("since", "From when on: 7d, or a day"), OBJECT, ACTOR],
        answer: content::<AuditReport>(ContentForm::Plain),
        handler: handler(questions::audit),
        ..question("audit", "audit", "Who changed what, the latest first")
    });
    routes.push(AdminRoute {
        answer: content::<questions::Targets>(ContentForm::Plain),
        handler: handler(questions::targets),
        ..question("targets", "targets", "Which targets are well, and why not")
    });
    routes.push(AdminRoute {
        answer: content::<FleetReport>(ContentForm::Plain),
        handler: handler(questions::workers),
        ..question("workers", "workers", "Who serves what, how busy they are, and what waits for them")
    });
    routes.extend(of_rows());
    routes.extend(of_sessions());
    routes.extend(of_activity());
    routes.push(of_targets());
    routes.push(of_routes());
    routes.push(AdminRoute {
        answer: content::<ExperimentReport>(ContentForm::List),
        handler: handler(trials::list),
        ..question("experiments", "list_experiments", "What experiments have shown, arm by arm")
    });
    routes.extend(of_heads());
    routes.extend(of_cache());
    routes.extend(of_batches());
    routes.extend(insight::routes());
    routes
}

/// What is only asked for.
fn question(path: &str, id: &str, summary: &str) -> AdminRoute {
    AdminRoute {
        method: Method::GET,
        path: format!("/admin/v1/{path}"),
        summary: summary.to_owned(),
        id: id.to_owned(),
        tag: "reports",
        parameters: Vec::new(),
        body: None,
        answer: content::<Answered>(ContentForm::Plain),
        is_change: false,
        handler: handler(questions::spend),
    }
}

/// Traffic, and who asks.
fn of_activity() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            parameters: vec![time("since", "From when on: 1h, 7d, or a day"), time("until", "Until when, exclusive")],
            answer: content::<ActivityReport>(ContentForm::Plain),
            handler: handler(questions::activity),
            ..question("activity", "activity", "Traffic over time: requests, failures, times and cost, also by target")
        },
        AdminRoute {
            answer: content::<questions::Me>(ContentForm::Plain),
            handler: handler(questions::me),
            ..question("me", "me", "Who asks, in which role and for which projects")
        },
    ]
}

/// Single requests and sessions, as the ledger has them.
fn of_rows() -> Vec<AdminRoute> {
    let route = |path: &str, id: &str, summary: &str| AdminRoute {
        answer: content::<RowReport>(ContentForm::Plain),
        handler: handler(ledger_rows::requests),
        ..question(path, id, summary)
    };
    vec![
        AdminRoute {
            parameters: filters(&[AFTER_REQUEST, STATUS]),
            ..route("requests", "list_requests", "The latest requests, the newest first")
        },
        AdminRoute {
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(ledger_rows::request),
            ..route("requests/{id}", "show_request", "One request and its attempts")
        },
        AdminRoute {
            parameters: filters(&[AFTER_SESSION]),
            handler: handler(ledger_rows::sessions),
            ..route("sessions", "list_sessions", "The sessions of agents and conversations, the latest first")
        },
        AdminRoute {
            parameters: vec![PROJECT],
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(ledger_rows::session),
            ..route("sessions/{id}", "show_session", "One session and its requests in their order")
        },
        AdminRoute {
            parameters: quality(),
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(ledger_rows::quality),
            ..route("quality", "quality", "What answers were worth over time: scores, refusals, lengths, by target")
        },
    ]
}

/// What is done to sessions.
fn of_sessions() -> Vec<AdminRoute> {
    let route = |verb: &str, summary: &str| AdminRoute {
        method: Method::POST,
        is_change: true,
        parameters: vec![PROJECT],
        answer: content::<Value>(ContentForm::Plain),
        handler: handler(ledger_rows::resume),
        ..question(&format!("sessions/{{id}}/{verb}"), &format!("{verb}_session"), summary)
    };
    vec![
        AdminRoute {
            handler: handler(ledger_rows::stop),
            ..route("stop", "What is in flight of the session ends, and nothing more of it begins for a week")
        },
        route("resume", "A session that was stopped may go on"),
    ]
}

/// The cached answers.
fn of_cache() -> Vec<AdminRoute> {
    let route = |method: Method, id: &str, summary: &str| AdminRoute {
        path: "/admin/v1/cache".to_owned(),
        summary: summary.to_owned(),
        id: id.to_owned(),
        tag: "cache",
        parameters: vec![PROJECT, NAMESPACE],
        body: None,
        answer: content::<CacheReport>(ContentForm::Plain),
        is_change: method != Method::GET,
        method,
        handler: handler(cached::report),
    };
    vec![
        route(Method::GET, "show_cache", "How many answers are cached, by project and namespace"),
        AdminRoute {
            answer: content::<NamespaceReport>(ContentForm::Plain),
            handler: handler(cached::clear),
            ..route(Method::DELETE, "clear_cache", "The project's cached answers are not used any more, in any ingress")
        },
    ]
}

/// Batches of all projects.
fn of_batches() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            parameters: vec![PROJECT, STATUS_OF_BATCH, AFTER_BATCH, PAGE_OF_BATCHES],
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(batches::list),
            ..question("batches", "list_batches", "Batches, the newest first")
        },
        AdminRoute {
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(batches::show),
            ..question("batches/{id}", "show_batch", "One batch: how far it is, and what it costs")
        },
        AdminRoute {
            method: Method::POST,
            is_change: true,
            answer: content::<Value>(ContentForm::Plain),
            handler: handler(batches::cancel),
            ..question("batches/{id}/cancel", "cancel_batch", "The batch is to stop; what was answered is there")
        },
    ]
}

/// What is done to targets.
fn of_targets() -> AdminRoute {
    AdminRoute {
        method: Method::POST,
        path: "/admin/v1/targets/resume".to_owned(),
        summary: "Calls go to the target again, though its provider asked for a pause".to_owned(),
        id: "resume_target".to_owned(),
        tag: "reports",
        parameters: Vec::new(),
        body: Some(content::<ResumeTarget>(ContentForm::Plain)),
        answer: content::<ResumeTarget>(ContentForm::Plain),
        is_change: true,
        handler: handler(questions::resume),
    }
}

/// What was learnt of virtual models.
fn of_heads() -> [AdminRoute; 2] {
    let list = AdminRoute {
        answer: content::<ModelHeads>(ContentForm::List),
        handler: handler(heads::list),
        ..question("heads", "list_heads", "What virtual models with the strategy auto have learnt of their targets")
    };
    let change = AdminRoute {
        method: Method::POST,
        body: Some(content::<HeadsChange>(ContentForm::Plain)),
        answer: content::<ModelHeads>(ContentForm::Plain),
        is_change: true,
        handler: handler(heads::change),
        ..question("heads", "change_heads", "What was learnt stays as it is, learns again, or is thrown away")
    };
    [list, change]
}

/// Where requests would go.
fn of_routes() -> AdminRoute {
    AdminRoute {
        method: Method::POST,
        body: Some(content::<RouteQuestion>(ContentForm::Plain)),
        answer: content::<RoutePlan>(ContentForm::Plain),
        handler: handler(dry_route::ask),
        ..question("route", "dry_route", "Where a request would go now, and why, without a call")
    }
}

fn handler<F>(handle: impl Fn(AdminRequest) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Result<Reply, Refusal>> + Send + 'static,
{
    Arc::new(move |asked| Box::pin(handle(asked)))
}

impl AdminRoute {
    /// The method as the router wants it.
    pub(crate) fn filter(&self) -> MethodFilter {
        MethodFilter::try_from(self.method.clone()).expect("the table names methods of HTTP")
    }
}

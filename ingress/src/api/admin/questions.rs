//! What is only asked for: spend, targets, alerts, the audit. Asks the analytics role over the bus; knows nothing of where its
//! numbers are.

use super::{AdminRequest, Reply};
use crate::manage::{Actor, ManageError};
use crate::refusal::Refusal;
use penstock_runtime::bus::BusError;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::activity::ActivityQuery;
use penstock_schemas::alert::AlertQuery;
use penstock_schemas::audit::{AuditQuery, AuditReply};
use penstock_schemas::kind::Role;
use penstock_schemas::question::{Answered, Question, Words};
use penstock_schemas::spend::{ReportReply, SpendQuery, parse_time};
use penstock_schemas::target::{ResumeTarget, TargetReport};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

/// The longest name of an object and of an actor that can be asked for, in characters; as the table of routes says.
const LONGEST: (usize, usize) = (320, 300);

/// The answer of `GET /admin/v1/targets`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Targets {
    /// All targets that are served.
    targets: Vec<TargetReport>,
}

/// `GET /admin/v1/spend?by=model,project&since=7d`.
pub(super) async fn spend(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (since, until) = (asked.query("since"), asked.query("until"));
    let now = clock::now();
    check_words(&asked, since, until, now)?;
    let words = Words {
        by: asked.query("by"),
        since,
        until,
        forecast: asked.query("forecast"),
        reprice: asked.query("reprice"),
    };
    // Each word is right by itself: what is wrong now is that they stand beside each other.
    let mut question = Question::parse(words, now).map_err(|why| ManageError::rule("", why))?;
    if !asked.actor.sees_all() {
        question = question.of_projects(&asked.actor.projects);
    }
    let bus = &asked.ingress.bus;
    let answered = match question {
        Question::Spend(query) => Answered::Spend(answered(bus.ask_spend(&query).await)?),
        Question::Reprice(query) => Answered::Reprice(answered(bus.ask_reprice(&query).await)?),
        Question::Forecast(query) => Answered::Forecast(answered(bus.ask_forecast(&query).await)?),
    };
    Ok(Reply::new(to_value(&answered)))
}

/// Whether each word of a question can be read by itself.
fn check_words(asked: &AdminRequest, since: Option<&str>, until: Option<&str>, now: UnixMicros) -> Result<(), Refusal> {
    SpendQuery::parse(asked.query("by"), None, None, now).map_err(Refusal::BadQuery)?;
    for (name, text) in [("since", since), ("until", until), ("reprice", asked.query("reprice"))] {
        text.map(|text| parse_time(name, text, now)).transpose().map_err(Refusal::BadQuery)?;
    }
    match asked.query("forecast") {
        None | Some("true" | "false") => Ok(()),
        Some(_) => Err(Refusal::BadQuery("`forecast` is true or false".to_owned())),
    }
}

/// `GET /admin/v1/alerts?since=7d&kind=budget_exceeded`.
pub(super) async fn alerts(asked: AdminRequest) -> Result<Reply, Refusal> {
    asked.actor.must_see_all()?;
    let (kind, since, until) = (asked.query("kind"), asked.query("since"), asked.query("until"));
    let now = clock::now();
    for (name, text) in [("since", since), ("until", until)] {
        text.map(|text| parse_time(name, text, now)).transpose().map_err(Refusal::BadQuery)?;
    }
    AlertQuery::parse(kind, None, None, now).map_err(Refusal::BadQuery)?;
    let query = AlertQuery::parse(kind, since, until, now).map_err(|why| ManageError::rule("since", why))?;
    Ok(Reply::new(to_value(&answered(asked.ingress.bus.ask_alerts(&query).await)?)))
}

/// What the analytics role answered.
pub(super) fn answered<T>(answer: Result<ReportReply<T>, BusError>) -> Result<T, Refusal> {
    match answer {
        Ok(ReportReply::Report(report)) => Ok(report),
        Ok(ReportReply::BadQuery(why)) => Err(Refusal::BadQuery(why)),
        Ok(ReportReply::Unavailable(why)) => {
            warn!(why, "a question cannot be answered");
            Err(Refusal::NotReady("the records of spend cannot be read now"))
        }
        Err(error) => {
            warn!(%error, "a question cannot be answered");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// `GET /admin/v1/audit?since=7d&object=budget&actor=ann`.
pub(super) async fn audit(asked: AdminRequest) -> Result<Reply, Refusal> {
    asked.actor.must_see_all()?;
    let since = parse_time("since", asked.query("since").unwrap_or("30d"), clock::now()).map_err(Refusal::BadQuery)?;
    let text = |name: &str, longest: usize| match asked.query(name).filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > longest => {
            Err(Refusal::BadQuery(format!("`{name}` is longer than {longest} characters")))
        }
        text => Ok(text.map(ToOwned::to_owned)),
    };
    let query = AuditQuery { since, object: text("object", LONGEST.0)?, actor: text("actor", LONGEST.1)? };
    match asked.ingress.bus.ask_audit(&query).await {
        Ok(AuditReply::Report(report)) => Ok(Reply::new(to_value(&report))),
        Ok(AuditReply::Unavailable(why)) => {
            warn!(why, "the audit cannot be read");
            Err(Refusal::NotReady("the audit cannot be read now"))
        }
        Err(error) => {
            warn!(%error, "the audit cannot be read");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct Me {
    /// The name that the audit shows.
    name: String,
    /// What they may do.
    role: Role,
    /// With which projects; empty: with all.
    projects: Vec<String>,
}

/// `GET /admin/v1/me`.
pub(super) async fn me(asked: AdminRequest) -> Result<Reply, Refusal> {
    let Actor { name, role, projects, .. } = asked.actor;
    Ok(Reply::new(to_value(&Me { name, role, projects })))
}

/// `GET /admin/v1/activity?since=1h`.
pub(super) async fn activity(asked: AdminRequest) -> Result<Reply, Refusal> {
    let query = activity_query(&asked.actor, asked.query("since"), asked.query("until"))?;
    Ok(Reply::new(to_value(&answered(asked.ingress.bus.ask_activity(&query).await)?)))
}

/// The traffic that an admin may see.
pub(super) fn activity_query(
    actor: &Actor,
    since: Option<&str>,
    until: Option<&str>,
) -> Result<ActivityQuery, Refusal> {
    let now = clock::now();
    for (name, text) in [("since", since), ("until", until)] {
        text.map(|text| parse_time(name, text, now)).transpose().map_err(Refusal::BadQuery)?;
    }
    // Each is a time: what is wrong now is their order.
    let mut query = ActivityQuery::parse(since, until, now).map_err(|why| ManageError::rule("since", why))?;
    if !actor.sees_all() {
        if actor.projects.is_empty() {
            return Err(Refusal::NoRole);
        }
        query.projects.clone_from(&actor.projects);
    }
    Ok(query)
}

/// `GET /admin/v1/targets`: which targets are well, and why not.
pub(super) async fn targets(asked: AdminRequest) -> Result<Reply, Refusal> {
    Ok(Reply::new(to_value(&Targets { targets: asked.ingress.health.report(clock::now()) })))
}

/// `GET /admin/v1/workers`: who serves what, and how busy they are.
pub(super) async fn workers(asked: AdminRequest) -> Result<Reply, Refusal> {
    Ok(Reply::new(to_value(&asked.ingress.health.fleet(clock::now()))))
}

/// `POST /admin/v1/targets/resume`: a target is called again, though its provider asked for a pause.
pub(super) async fn resume(mut asked: AdminRequest) -> Result<Reply, Refusal> {
    let wish: ResumeTarget = super::provider_keys::read(asked.body.take())?;
    let target = asked.ingress.objects.resume_target(&asked.actor, &asked.ingress.bus, &wish.target).await?;
    Ok(Reply::new(to_value(&ResumeTarget { target: target.to_string() })))
}

fn to_value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have a JSON form")
}

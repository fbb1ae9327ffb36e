//! What is asked about single requests and sessions: `GET /admin/v1/requests` and `/admin/v1/sessions`. An asker who may see
//! some projects only gets no row of another project: such a row is answered like one that does not exist.

use super::questions::answered;
use super::{AdminRequest, Reply};
use crate::manage::ManageError;
use crate::refusal::Refusal;
use penstock_runtime::clock;
use penstock_schemas::name::{ProjectId, RequestId};
use penstock_schemas::rfc3339;
use penstock_schemas::rows::{MOST_LISTED, RequestFilter, RowCursor, RowQuery, RowQuestion, RowReport, StatusRange};
use penstock_schemas::session::LONGEST;
use penstock_schemas::spend::parse_time;
use serde_json::{Value, json};

/// `GET /admin/v1/requests?since=1h&project=search&model=chat&failure=any&limit=50`: the latest first.
pub(super) async fn requests(asked: AdminRequest) -> Result<Reply, Refusal> {
    let filter = filter(&asked, "1h")?;
    let is_id = |text: &str| RequestId::parse(text).is_some_and(|id| id.to_string() == text);
    if filter.after.as_ref().is_some_and(|after| !is_id(&after.id)) {
        return Err(wrong_cursor());
    }
    Ok(Reply::new(to_value(&ask(&asked, RowQuestion::Requests(filter)).await?)))
}

/// `GET /admin/v1/requests/{id}`: one request, and its attempts.
pub(super) async fn request(asked: AdminRequest) -> Result<Reply, Refusal> {
    let unknown = || Refusal::from(ManageError::NoRow { what: "request", name: asked.name.clone() });
    let id = RequestId::parse(&asked.name).ok_or_else(unknown)?;
    let found = ask(&asked, RowQuestion::Request(id)).await?.data.into_iter().next();
    Ok(Reply::new(found.ok_or_else(unknown)?))
}

/// `GET /admin/v1/sessions?since=7d&project=search`: the latest first.
pub(super) async fn sessions(asked: AdminRequest) -> Result<Reply, Refusal> {
    let filter = filter(&asked, "7d")?;
    if filter.after.as_ref().is_some_and(|after| !after.id.contains('/')) {
        return Err(wrong_cursor());
    }
    Ok(Reply::new(to_value(&ask(&asked, RowQuestion::SessionList(filter)).await?)))
}

/// `GET /admin/v1/sessions/{id}?project=search`: one session, and its requests in their order. Two projects may each have one
/// of that name; without the project it is the one with the latest request.
pub(super) async fn session(asked: AdminRequest) -> Result<Reply, Refusal> {
    let id = asked.name.clone();
    let question = match asked.query("project") {
        Some(project) => {
            ProjectId::parse(project).map_err(|error| Refusal::BadQuery(format!("`project`: {error}")))?;
            RowQuestion::ProjectSession { project: project.to_owned(), id }
        }
        None => RowQuestion::Session(id),
    };
    let found = ask(&asked, question).await?.data.into_iter().next();
    let unknown = || Refusal::from(ManageError::NoRow { what: "session", name: asked.name.clone() });
    let mut found = found.ok_or_else(unknown)?;
    let project = found["session"]["project"].as_str().unwrap_or_default();
    let until = asked.ingress.keys.directory().stopped_until(project, &asked.name, clock::now());
    found["session"]["stopped_until"] = json!(until.map(rfc3339::write));
    Ok(Reply::new(found))
}

/// `POST /admin/v1/sessions/{id}/stop?project=search`: what is in flight of it ends, and nothing more of it begins.
pub(super) async fn stop(asked: AdminRequest) -> Result<Reply, Refusal> {
    let project = asked.query("project").ok_or_else(|| ManageError::rule("project", "say whose"))?;
    let until = asked.ingress.objects.stop_session(&asked.actor, project, &asked.name).await?;
    Ok(Reply::new(json!({ "session": asked.name, "project": project, "stopped_until": rfc3339::write(until) })))
}

/// `POST /admin/v1/sessions/{id}/resume?project=search`: it may go on.
pub(super) async fn resume(asked: AdminRequest) -> Result<Reply, Refusal> {
    let project = asked.query("project").ok_or_else(|| ManageError::rule("project", "say whose"))?;
    asked.ingress.objects.resume_session(&asked.actor, project, &asked.name).await?;
    Ok(Reply::new(json!({ "session": asked.name, "project": project, "stopped_until": null })))
}

/// `GET /admin/v1/quality?since=7d&project=search&model=chat`: what answers were worth over time.
pub(super) async fn quality(asked: AdminRequest) -> Result<Reply, Refusal> {
    let filter = filter(&asked, "7d")?;
    let found = ask(&asked, RowQuestion::Quality(filter)).await?.data.into_iter().next();
    Ok(Reply::new(found.unwrap_or_default()))
}

/// `GET /admin/v1/drift?day=2026-11-20&project=search`: whether the answers of a day are other than those of the weeks before.
pub(super) async fn drift(asked: AdminRequest) -> Result<Reply, Refusal> {
    let day = parse_time("day", asked.query("day").unwrap_or("1d"), clock::now()).map_err(Refusal::BadQuery)?.day();
    let project = asked.query("project").map(ToOwned::to_owned);
    if let Some(Err(error)) = project.as_deref().map(ProjectId::parse) {
        return Err(Refusal::BadQuery(format!("`project`: {error}")));
    }
    let found = ask(&asked, RowQuestion::Drift { day, project }).await?.data.into_iter().next();
    Ok(Reply::new(found.unwrap_or_default()))
}

/// The filter that the words of a question make; a route knows only those that its table names.
fn filter(asked: &AdminRequest, since: &str) -> Result<RequestFilter, Refusal> {
    let given = |name: &str| asked.query(name);
    let text = |name: &str| match given(name).filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > LONGEST => {
            Err(Refusal::BadQuery(format!("`{name}` is longer than {LONGEST} characters")))
        }
        text => Ok(text.map(ToOwned::to_owned)),
    };
    let now = clock::now();
    let time = |name: &str, text: &str| parse_time(name, text, now).map_err(Refusal::BadQuery);
    let since = time("since", given("since").unwrap_or(since))?;
    let until = given("until").map(|text| time("until", text)).transpose()?;
    if until.is_some_and(|until| until <= since) {
        return Err(ManageError::rule("since", "it must be before `until`".to_owned()).into());
    }
    let limit = given("limit").map(|text| text.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit)));
    let wrong_limit = || Refusal::BadQuery(format!("`limit` is a number from 1 to {MOST_LISTED}"));
    let wrong_status =
        || Refusal::BadQuery("`status` is an HTTP status, such as 429, or a class, such as 5xx".to_owned());
    Ok(RequestFilter {
        until,
        project: text("project")?,
        user: text("user")?,
        key_id: text("key_id")?,
        session: text("session")?,
        model: text("model")?,
        target: text("target")?,
        failure: text("failure")?,
        status: given("status").map(|text| StatusRange::parse(text).ok_or_else(wrong_status)).transpose()?,
        after: given("after").map(|text| RowCursor::parse(text).ok_or_else(wrong_cursor)).transpose()?,
        limit: limit.map(|limit| limit.ok_or_else(wrong_limit)).transpose()?,
        ..RequestFilter::since(since)
    })
}

fn wrong_cursor() -> Refusal {
    Refusal::BadQuery("`after` is the `next` of an earlier answer".to_owned())
}

async fn ask(asked: &AdminRequest, what: RowQuestion) -> Result<RowReport, Refusal> {
    let projects = (!asked.actor.sees_all()).then(|| asked.actor.projects.clone());
    answered(asked.ingress.bus.ask_rows(&RowQuery { what, projects }).await)
}

fn to_value(report: &RowReport) -> Value {
    serde_json::to_value(report).expect("answers have a JSON form")
}

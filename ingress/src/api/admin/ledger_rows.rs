//! What is asked about single requests and sessions: `GET /admin/v1/requests` and `/admin/v1/sessions`. An asker who may see
//! some projects only gets no row of another project: such a row is answered like one that does not exist.

use super::questions::answered;
use super::{AdminRequest, Reply};
use crate::manage::ManageError;
use crate::refusal::Refusal;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::RequestId;
use penstock_schemas::rows::{RequestFilter, RowQuery, RowQuestion, RowReport};
use penstock_schemas::session::LONGEST;
use penstock_schemas::spend::parse_time;
use serde_json::Value;

/// `GET /admin/v1/requests?since=1h&project=search&model=chat&failure=any`: the latest first.
pub(super) async fn requests(asked: AdminRequest) -> Result<Reply, Refusal> {
    let text = |name: &str| match asked.query(name).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LONGEST => {
            Err(Refusal::BadQuery(format!("`{name}` is longer than {LONGEST} bytes")))
        }
        text => Ok(text.map(ToOwned::to_owned)),
    };
    let (project, model, failure) = (text("project")?, text("model")?, text("failure")?);
    let filter = RequestFilter { since: since(&asked, "1h")?, project, model, failure };
    let report = ask(&asked, RowQuestion::Requests(filter)).await?;
    Ok(Reply::new(to_value(&report)))
}

/// `GET /admin/v1/requests/{id}`: one request, and its attempts.
pub(super) async fn request(asked: AdminRequest) -> Result<Reply, Refusal> {
    let unknown = || Refusal::from(ManageError::NoRow { what: "request", name: asked.name.clone() });
    let id = RequestId::parse(&asked.name).ok_or_else(unknown)?;
    let found = ask(&asked, RowQuestion::Request(id)).await?.data.into_iter().next();
    Ok(Reply::new(found.ok_or_else(unknown)?))
}

/// `GET /admin/v1/sessions?since=7d`: the latest first.
pub(super) async fn sessions(asked: AdminRequest) -> Result<Reply, Refusal> {
    let report = ask(&asked, RowQuestion::Sessions(since(&asked, "7d")?)).await?;
    Ok(Reply::new(to_value(&report)))
}

/// `GET /admin/v1/sessions/{id}`: one session, and its requests in their order.
pub(super) async fn session(asked: AdminRequest) -> Result<Reply, Refusal> {
    let found = ask(&asked, RowQuestion::Session(asked.name.clone())).await?.data.into_iter().next();
    let unknown = || Refusal::from(ManageError::NoRow { what: "session", name: asked.name.clone() });
    Ok(Reply::new(found.ok_or_else(unknown)?))
}

fn since(asked: &AdminRequest, default: &str) -> Result<UnixMicros, Refusal> {
    parse_time("since", asked.query("since").unwrap_or(default), clock::now()).map_err(Refusal::BadQuery)
}

async fn ask(asked: &AdminRequest, what: RowQuestion) -> Result<RowReport, Refusal> {
    let projects = (!asked.actor.sees_all()).then(|| asked.actor.projects.clone());
    answered(asked.ingress.bus.ask_rows(&RowQuery { what, projects }).await)
}

fn to_value(report: &RowReport) -> Value {
    serde_json::to_value(report).expect("answers have a JSON form")
}

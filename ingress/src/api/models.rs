//! `GET /v1/models` and `/v1/models/{model}`: what the caller's key may use, in OpenAI's shape with what the catalogue knows
//! of it besides, or in Anthropic's where the caller says which version of that API it speaks.

use super::google;
use super::usable::{allowed, find};
use crate::http::reply;
use crate::models::Listed;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use serde_json::{Value, json};

/// The day of a model whose day is not known: clients take the day 0 for a mistake. It is that of OpenAI's first chat model.
/// Source: <https://openai.com/index/introducing-chatgpt-and-whisper-apis/>.
const UNDATED: Date = date(2023, 3, 1);

/// The list.
pub(crate) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    if google::is_asking(&credentials) {
        return google::list(State(ingress), credentials).await;
    }
    let (id, dialect) = (clock::request_id(), dialect(&credentials.headers));
    match credentials.find_key(&ingress).await {
        Ok(key) => {
            let models = allowed(&ingress, &key).into_iter().map(|model| described(model, dialect));
            reply::json(&page(dialect, &models.collect::<Vec<_>>()), id)
        }
        Err(refusal) => reply::refuse(dialect, &refusal, id),
    }
}

/// One model, under the name that was asked for, which may be any that a request can name.
pub(crate) async fn show(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(name): Path<String>,
) -> Response {
    if google::is_asking(&credentials) {
        return google::show(State(ingress), credentials, Path(name)).await;
    }
    let (id, dialect) = (clock::request_id(), dialect(&credentials.headers));
    match credentials.find_key(&ingress).await.and_then(|key| find(&ingress, &key, &name)) {
        Ok(model) => reply::json(&described(model, dialect), id),
        Err(refusal) => reply::refuse(dialect, &refusal, id),
    }
}

/// In whose shape the caller wants to read it: only Anthropic's clients say which version they speak.
/// Source: <https://platform.claude.com/docs/en/api/versioning>.
pub(super) fn dialect(headers: &HeaderMap) -> Dialect {
    if headers.contains_key("anthropic-version") { Dialect::Anthropic } else { Dialect::Openai }
}

/// All of it on one page.
fn page(dialect: Dialect, models: &[Value]) -> Value {
    if dialect != Dialect::Anthropic {
        return json!({ "object": "list", "data": models });
    }
    let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
    json!({ "first_id": id(models.first()), "last_id": id(models.last()), "has_more": false, "data": models })
}

/// A model in the shape of a dialect.
fn described(listed: Listed, dialect: Dialect) -> Value {
    if dialect == Dialect::Anthropic { describe_for_anthropic(&listed) } else { describe(listed) }
}

/// Source: <https://platform.claude.com/docs/en/api/models/list>.
fn describe_for_anthropic(listed: &Listed) -> Value {
    let model = listed.model.as_ref();
    json!({
        "type": "model",
        "id": listed.name,
        "display_name": listed.name,
        "created_at": day(&listed.name),
        "lifecycle": "active",
        "max_input_tokens": model.and_then(|model| model.context),
        "max_tokens": model.and_then(|model| model.max_output),
    })
}

/// OpenAI's fields, and ours beside them.
fn describe(listed: Listed) -> Value {
    let owner = listed.provider.unwrap_or_else(|| "penstock".to_owned());
    let created = released(&listed.name).to_zoned(TimeZone::UTC).map_or(0, |day| day.timestamp().as_second());
    let mut value = json!({ "id": listed.name, "object": "model", "created": created, "owned_by": owner });
    if let (Some(fields), Some(model)) = (value.as_object_mut(), listed.model) {
        fields.insert("mode".to_owned(), json!(model.mode));
        fields.insert("context_window".to_owned(), json!(model.context));
        fields.insert("max_output_tokens".to_owned(), json!(model.max_output));
        fields.insert("capabilities".to_owned(), json!(model.capabilities));
        fields.insert("deprecated_on".to_owned(), json!(model.deprecated_on));
        fields.insert("usd_per_million_tokens".to_owned(), json!(model.price.map(|price| price.prices)));
    }
    value
}

/// The day of a model as its first moment.
pub(super) fn day(name: &str) -> String {
    format!("{}T00:00:00Z", released(name))
}

/// The day of a model: the one in its name, where providers write it (`gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`), else
/// [`UNDATED`]. The catalogue knows no other.
fn released(name: &str) -> Date {
    let digits = name.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    let runs: Vec<&str> = digits.collect();
    let day = |run: &str| Date::strptime("%Y%m%d", run).ok();
    let together = runs.iter().filter(|run| run.len() == 8).find_map(|run| day(run));
    let apart = || runs.windows(3).filter(|run| [4, 2, 2] == [run[0].len(), run[1].len(), run[2].len()]);
    let found = together.or_else(|| apart().find_map(|run| day(&run.concat())));
    found.filter(|day| *day > UNDATED).unwrap_or(UNDATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_day_is_the_one_in_its_name_and_never_the_day_0() {
        for (name, day) in [
            ("openai/gpt-4o-2024-08-06", "2024-08-06"),
            ("claude-sonnet-4-5-20250929", "2025-09-29"),
            ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "2025-09-29"),
            ("google/gemini-2.5-flash", "2023-03-01"),
            ("house/m-99999999", "2023-03-01"),
            ("house/m-00000000-1999-01-01", "2023-03-01"),
            ("chat", "2023-03-01"),
            ("", "2023-03-01"),
        ] {
            assert_eq!(released(name).to_string(), day, "{name}");
        }
    }
}

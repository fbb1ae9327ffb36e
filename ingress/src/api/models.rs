//! `GET /v1/models` and `/v1/models/{model}`: what the caller's key may use, in OpenAI's shape with what the catalogue knows
//! of it besides, or in Anthropic's where the caller says which version of that API it speaks.

use super::google;
use crate::models::Listed;
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::stage::answer;
use crate::stage::authenticate::{Credentials, Found};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use serde_json::{Value, json};

/// The list.
pub(crate) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    if google::is_asking(&credentials) {
        return google::list(State(ingress), credentials).await;
    }
    let (id, dialect) = (clock::request_id(), dialect(&credentials.headers));
    match credentials.find_key(&ingress).await {
        Ok(key) => answer::json(&page(dialect, &allowed(&ingress, &key, dialect)), id),
        Err(refusal) => answer::refuse(dialect, &refusal, id),
    }
}

/// One model.
pub(crate) async fn show(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(name): Path<String>,
) -> Response {
    if google::is_asking(&credentials) {
        return google::show(State(ingress), credentials, Path(name)).await;
    }
    let (id, dialect) = (clock::request_id(), dialect(&credentials.headers));
    let found = credentials.find_key(&ingress).await.and_then(|key| {
        let model = allowed(&ingress, &key, dialect).into_iter().find(|model| model["id"] == name.as_str());
        let hint = ": GET /v1/models lists those that do".to_owned();
        model.ok_or(Refusal::UnknownModel { name, hint })
    });
    match found {
        Ok(model) => answer::json(&model, id),
        Err(refusal) => answer::refuse(dialect, &refusal, id),
    }
}

/// In whose shape the caller wants to read it: only Anthropic's clients say which version they speak.
/// Source: <https://platform.claude.com/docs/en/api/versioning>.
fn dialect(headers: &HeaderMap) -> Dialect {
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

/// The models that a key may use, in the shape of a dialect.
pub(super) fn allowed(ingress: &Shared, key: &Found, dialect: Dialect) -> Vec<Value> {
    let models = ingress.models.list().into_iter().filter(|model| key.may_use(&model.name));
    models
        .map(|model| if dialect == Dialect::Anthropic { describe_for_anthropic(&model) } else { describe(model) })
        .collect()
}

/// Source: <https://platform.claude.com/docs/en/api/models/list>. Nobody knows when the models were made: the day 0 stands
/// for that there too.
fn describe_for_anthropic(listed: &Listed) -> Value {
    let model = listed.model.as_ref();
    json!({
        "type": "model",
        "id": listed.name,
        "display_name": listed.name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": model.and_then(|model| model.context),
        "max_tokens": model.and_then(|model| model.max_output),
    })
}

/// OpenAI's fields, and ours beside them.
fn describe(listed: Listed) -> Value {
    let owner = listed.provider.unwrap_or_else(|| "penstock".to_owned());
    let mut value = json!({ "id": listed.name, "object": "model", "created": 0, "owned_by": owner });
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

//! Other paths under which clients look for what is here: one table. A request is given the path that the router knows
//! before anything else looks at it, so that limits, metrics and `/openapi.json` know each route by one name. Knows no handler.

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};
use penstock_dialects::google::client as google;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Beginnings of paths, and what stands for them. The first that fits counts.
const BEGINNINGS: [(&str, &str); 20] = [
    // A base URL that ends in `/v1` given to an SDK that adds it.
    ("/v1/v1", "/v1"),
    // Azure's, for what has no deployment, and its newer API. Source:
    // <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle>.
    ("/openai/v1", "/v1"),
    ("/openai", "/v1"),
    // OpenRouter's. Source: <https://openrouter.ai/docs/quickstart>.
    ("/api/v1", "/v1"),
    // Google's for OpenAI's SDKs. Source: <https://ai.google.dev/gemini-api/docs/openai>.
    ("/v1beta/openai", "/v1"),
    // Where Google's clients ask for the older version of its API.
    ("/upload/v1", "/upload/v1beta"),
    // A base URL without `/v1`.
    ("/chat/completions", "/v1/chat/completions"),
    ("/completions", "/v1/completions"),
    ("/responses", "/v1/responses"),
    ("/conversations", "/v1/conversations"),
    ("/messages", "/v1/messages"),
    ("/embeddings", "/v1/embeddings"),
    ("/moderations", "/v1/moderations"),
    ("/images", "/v1/images"),
    ("/audio", "/v1/audio"),
    ("/rerank", "/v1/rerank"),
    ("/realtime", "/v1/realtime"),
    ("/models", "/v1/models"),
    ("/files", "/v1/files"),
    ("/uploads", "/v1/uploads"),
];

/// What Azure has below a deployment. Source: <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>.
const OF_DEPLOYMENTS: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/images/edits",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
];

/// The model that a path names as Azure's do: it counts whatever the body says.
#[derive(Clone, Debug)]
pub(crate) struct Deployment(pub(crate) String);

/// The path as the caller wrote it, where the router knows it under another.
#[derive(Clone, Debug)]
pub(crate) struct WrittenPath(pub(crate) String);

/// The path of the router's that a path stands for, and the deployment in it; `None` when it is none of these.
fn canonical(path: &str) -> Option<(String, Option<Deployment>)> {
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        let (name, end) = OF_DEPLOYMENTS.iter().find_map(|end| Some((rest.strip_suffix(end)?, end)))?;
        let name = percent_decode_str(name).decode_utf8().ok()?;
        return (!name.is_empty()).then(|| (format!("/v1{end}"), Some(Deployment(name.into_owned()))));
    }
    // Google's clients leave `models/` out before a name with a slash. Source: `getModelPath` in
    // <https://github.com/vercel/ai/blob/main/packages/google/src/get-model-path.ts>.
    for version in ["/v1beta/", "/v1/"] {
        if let Some(rest) = path.strip_prefix(version)
            && !rest.starts_with("models/")
            && google::read_path(rest).is_some()
        {
            return Some((format!("{version}models/{rest}"), None));
        }
    }
    let (rest, to) = BEGINNINGS.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((rest, to))
    })?;
    Some((format!("{to}{rest}"), None))
}

/// The path below `/v1beta` of a batch or file that a Google client asks for below `/v1`, where OpenAI's are. A Google client is
/// recognized by the header or query that its key comes in.
fn of_google<B>(request: &Request<B>) -> Option<(String, Option<Deployment>)> {
    let rest = request.uri().path().strip_prefix("/v1/")?;
    let is_one = rest == "batches" || rest.starts_with("batches/");
    let is_asked = [Method::GET, Method::DELETE].contains(request.method());
    let is_file = rest == "files" || rest.strip_prefix("files/").is_some_and(|id| !id.contains('/'));
    let has_key = || {
        let mut query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        request.headers().contains_key("x-goog-api-key") || query.any(|(name, _)| name == "key")
    };
    ((is_one || is_file && is_asked) && has_key()).then(|| (format!("/v1beta/{rest}"), None))
}

/// Gives a request the path that the router knows.
pub(crate) fn resolve<B>(request: &mut Request<B>) {
    let Some((path, deployment)) = of_google(request).or_else(|| canonical(request.uri().path())) else { return };
    let written = WrittenPath(request.uri().path().to_owned());
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    let Ok(path) = PathAndQuery::try_from(path + &query) else { return };
    parts.path_and_query = Some(path);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(written);
    if let Some(deployment) = deployment {
        request.extensions_mut().insert(deployment);
    }
}

/// A request's path as its caller wrote it.
pub(crate) fn written(request: &Request) -> Cow<'_, str> {
    match request.extensions().get::<WrittenPath>() {
        Some(WrittenPath(path)) => path.into(),
        None => request.uri().path().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn resolved(uri: &str) -> (String, Option<String>, String) {
        let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        resolve(&mut request);
        let model = request.extensions().get::<Deployment>().map(|deployment| deployment.0.clone());
        (request.uri().to_string(), model, written(&request).into_owned())
    }

    #[test]
    fn a_batch_or_file_is_googles_when_its_client_is() {
        for (uri, key, to) in [
            ("/v1/batches/batch_1", true, "/v1beta/batches/batch_1"),
            ("/v1/batches/batch_1:cancel?x=1", true, "/v1beta/batches/batch_1:cancel?x=1"),
            ("/v1/batches?key=psk", false, "/v1beta/batches?key=psk"),
            ("/v1/files/file-1:download?alt=media", true, "/v1beta/files/file-1:download?alt=media"),
            ("/v1/files/file-1", true, "/v1beta/files/file-1"),
            ("/v1/files?pageSize=2", true, "/v1beta/files?pageSize=2"),
            ("/v1/files/file-1/content", true, "/v1/files/file-1/content"),
            ("/v1/files/file-1", false, "/v1/files/file-1"),
            ("/upload/v1/files?upload_id=a", false, "/upload/v1beta/files?upload_id=a"),
            ("/upload/v1beta/files", true, "/upload/v1beta/files"),
            ("/v1/batches/batch_1", false, "/v1/batches/batch_1"),
            ("/v1/batchesx", true, "/v1/batchesx"),
        ] {
            let request = Request::builder().uri(uri);
            let request = if key { request.header("x-goog-api-key", "psk") } else { request };
            let mut request = request.body(Body::empty()).unwrap();
            resolve(&mut request);
            assert_eq!(request.uri().to_string(), to, "{uri}");
        }
    }

    #[test]
    fn every_path_of_the_table_leads_to_one_route() {
        for (uri, to, model) in [
            ("/chat/completions", "/v1/chat/completions", None),
            ("/v1/chat/completions?x=1", "/v1/chat/completions?x=1", None),
            ("/v1/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true", None),
            ("/models", "/v1/models", None),
            ("/models/openai%2Fgpt-4o", "/v1/models/openai%2Fgpt-4o", None),
            ("/modelsx", "/modelsx", None),
            ("/openai/v1/responses/resp_1/cancel", "/v1/responses/resp_1/cancel", None),
            ("/openai/responses?api-version=2025-04-01-preview", "/v1/responses?api-version=2025-04-01-preview", None),
            ("/v1beta/openai/chat/completions", "/v1/chat/completions", None),
            (
                "/openai/deployments/chat/chat/completions?api-version=1",
                "/v1/chat/completions?api-version=1",
                Some("chat"),
            ),
            ("/openai/deployments/openai/gpt-4o/embeddings", "/v1/embeddings", Some("openai/gpt-4o")),
            ("/openai/deployments/openai%2Fgpt-4o/completions", "/v1/completions", Some("openai/gpt-4o")),
            ("/openai/deployments//completions", "/openai/deployments//completions", None),
            ("/openai/deployments/a/files", "/openai/deployments/a/files", None),
            (
                "/v1beta/google/gemini-2.5-flash:generateContent",
                "/v1beta/models/google/gemini-2.5-flash:generateContent",
                None,
            ),
            (
                "/v1beta/openai/gpt-4o:streamGenerateContent?alt=sse",
                "/v1beta/models/openai/gpt-4o:streamGenerateContent?alt=sse",
                None,
            ),
            ("/v1/google%2Fg:countTokens", "/v1/models/google%2Fg:countTokens", None),
            ("/v1beta/models/a/b:generateContent", "/v1beta/models/a/b:generateContent", None),
            ("/v1beta/google/g:predict", "/v1beta/google/g:predict", None),
            ("/api/v1/chat/completions", "/v1/chat/completions", None),
            ("/api/chat", "/api/chat", None),
            ("/admin/v1/keys", "/admin/v1/keys", None),
            ("/", "/", None),
        ] {
            let (found, deployment, path) = resolved(uri);
            assert_eq!((found.as_str(), deployment.as_deref()), (to, model), "{uri}");
            assert_eq!(path, uri.split('?').next().unwrap_or_default(), "{uri}");
        }
    }
}

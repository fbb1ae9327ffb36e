//! Reading golden files and comparing with what stands beside them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_dialects::provider::{Form, FormatRequest, FormatSettings, Observed, Wanted};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
use penstock_schemas::failure::Failure;
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::sse::{Event, Parser};
use penstock_workers::providers::{Adapter, ErrorResponse};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// 2026-11-22T10:00:00Z.
pub(crate) const NOW: UnixMicros = UnixMicros(1_795_341_600_000_000);

/// What the operator says of every provider here.
static SETTINGS: std::sync::LazyLock<FormatSettings> = std::sync::LazyLock::new(|| FormatSettings {
    api_version: None,
    region: Some("us-east-1".to_owned()),
    project: Some("acme".to_owned()),
    ..FormatSettings::default()
});

/// What callers send besides: nothing.
static HEADERS: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();

/// The folder of a dialect.
pub(crate) fn golden(dialect: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect)
}

/// The golden files of a dialect's folder with this ending, by name; none when there is no such folder.
pub(crate) fn files(dialect: &str, folder: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(golden(dialect).join(folder)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending) && !path.to_str().unwrap().contains(".expected."));
    files.sort();
    files
}

/// Compares with the file `NAME.expected.json` beside `path`.
pub(crate) fn expect(path: &Path, found: &Value) {
    let beside = path.with_extension("expected.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&beside, format!("{found:#}\n")).unwrap();
    }
    let expected: Value = serde_json::from_slice(&fs::read(&beside).unwrap()).unwrap();
    assert_eq!(found, &expected, "{}", path.display());
}

/// What an answer says besides its content.
pub(crate) fn observed(observed: &Observed) -> Value {
    let mut found = json!({
        "usage": observed.usage,
        "usage_mismatch": observed.usage_mismatch,
        "model_version": observed.model_version,
        "provider_request_id": observed.provider_request_id,
        "finish_reason": observed.finish_reason,
    });
    if !observed.tools.is_empty() {
        found["tools"] = json!(observed.tools);
    }
    if let Some(fingerprint) = &observed.system_fingerprint {
        found["system_fingerprint"] = json!(fingerprint);
    }
    found
}

/// That, or why there is no answer.
pub(crate) fn verdict(result: Result<Observed, Failure>) -> Value {
    result.map_or_else(|failure| json!({ "failure": failure }), |known| json!({ "observed": observed(&known) }))
}

/// A chat answer.
pub(crate) fn wanted(form: Form, delivery: Delivery) -> Wanted {
    Wanted { operation: Operation::Chat, form, delivery }
}

/// A request with nothing known of the model.
pub(crate) fn ask<'a>(body: &'a Bytes, model: &'a ModelId, wanted: Wanted) -> FormatRequest<'a> {
    FormatRequest {
        wanted,
        body,
        content_type: None,
        headers: &HEADERS,
        model,
        card: None,
        settings: &SETTINGS,
        unsupported: Unsupported::Refuse,
    }
}

/// The events of a stream that comes in these pieces.
pub(crate) fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next_event().unwrap() {
            events.push(event);
        }
    }
    events.extend(parser.finish().unwrap());
    events
}

/// Compares what becomes of each error of a dialect.
pub(crate) fn errors_of(adapter: &dyn Adapter, dialect: &str) {
    let provider = ProviderId::parse(dialect).unwrap();
    for path in files(dialect, "errors", ".http") {
        let text = fs::read_to_string(&path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = lines.map(header).collect();
        let key = Some("sk-proj-golden-key");
        let refusal =
            ErrorResponse { provider: &provider, key, status, headers: &headers, body: body.as_bytes(), now: NOW };
        expect(&path, &json!(adapter.refuse(&refusal)));
    }
}

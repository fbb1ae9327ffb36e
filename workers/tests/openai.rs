//! The OpenAI dialect against golden files: requests as they are sent, and replies, streams and errors as providers give
//! them. Beside each file stands what it must come to; `UPDATE_GOLDEN=1` writes that anew, to be read in the diff.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its golden files has failed")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect};
use penstock_schemas::failure::Failure;
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_workers::providers::{Adapter, Observed, Refusal, Step};
use penstock_workers::sse::{Event, Parser};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// 2026-11-22T10:00:00Z.
const NOW: UnixMicros = UnixMicros(1_795_341_600_000_000);

fn adapter() -> Adapter {
    Adapter::of(Dialect::Openai).unwrap()
}

/// The golden files of a folder with this ending, by name.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending) && !path.to_str().unwrap().contains(".expected."));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Compares with the file `NAME.expected.json` beside `path`.
fn expect(path: &Path, found: &Value) {
    let beside = path.with_extension("expected.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&beside, format!("{found:#}\n")).unwrap();
    }
    let expected: Value = serde_json::from_slice(&fs::read(&beside).unwrap()).unwrap();
    assert_eq!(found, &expected, "{}", path.display());
}

fn observed(observed: &Observed) -> Value {
    json!({
        "usage": observed.usage,
        "usage_mismatch": observed.usage_mismatch,
        "model_version": observed.model_version,
        "provider_request_id": observed.provider_request_id,
        "finish_reason": observed.finish_reason,
    })
}

fn verdict(result: Result<Observed, Failure>) -> Value {
    result.map_or_else(|failure| json!({ "failure": failure }), |known| json!({ "observed": observed(&known) }))
}

#[test]
fn requests_are_sent_with_nothing_else_changed() {
    let model = ModelId::parse("gpt-4o-mini").unwrap();
    for path in files("requests", ".json") {
        let request = Bytes::from(fs::read(&path).unwrap());
        let is_stream = serde_json::from_slice::<Value>(&request).unwrap()["stream"] == true;
        let delivery = if is_stream { Delivery::Stream } else { Delivery::Whole };
        let spelled = adapter().spell(&request, &model, delivery).unwrap();
        assert_eq!(spelled.path, "chat/completions");
        assert_eq!(spelled.headers["content-type"], "application/json");

        let sent = path.with_extension("sent");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&sent, &spelled.body).unwrap();
        }
        assert_eq!(spelled.body, fs::read(&sent).unwrap(), "{}", path.display());
        serde_json::from_slice::<Value>(&spelled.body).unwrap();
    }
}

#[test]
fn whole_replies_are_understood() {
    for path in files("replies", ".json") {
        let body = Bytes::from(fs::read(&path).unwrap());
        expect(&path, &verdict(adapter().read_whole(&body)));
    }
}

/// The events of a stream that comes in these pieces.
fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
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

#[test]
fn a_stream_cut_anywhere_gives_the_same_events_and_the_same_bytes() {
    for path in files("streams", ".sse") {
        let stream = fs::read(&path).unwrap();
        let uncut = events([&stream[..]]);
        for at in 0..=stream.len() {
            let (one, two) = stream.split_at(at);
            assert_eq!(events([one, two]), uncut, "{} cut at {at}", path.display());
        }
        assert_eq!(events(stream.chunks(1)), uncut, "{} byte by byte", path.display());
        let raw: Vec<u8> = uncut.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert!(raw.starts_with(&stream), "{}", path.display());
        assert!(raw[stream.len()..].iter().all(|byte| *byte == b'\n'), "{}", path.display());
    }
}

/// Each event's step in a word, with what passes as it came; and how the stream ends.
fn read_stream(stream: &[u8], delivery: Delivery) -> Value {
    let mut reader = adapter().stream(delivery);
    let mut steps = Vec::new();
    for event in events([stream]) {
        let (word, bytes) = match reader.read(&event) {
            Ok(Step::Hold(bytes)) => ("hold", bytes),
            Ok(Step::Content(bytes)) => ("content", bytes),
            Ok(Step::Done(bytes)) => ("done", bytes),
            Ok(Step::Hide) => ("hide", event.raw.clone()),
            Err(failure) => {
                return json!({"steps": steps.join(" "), "failure": failure, "so_far": observed(reader.observed())});
            }
        };
        assert_eq!(bytes, event.raw);
        steps.push(word);
    }
    let mut found = verdict(reader.finished());
    found["steps"] = steps.join(" ").into();
    found["is_done"] = reader.is_done().into();
    found
}

#[test]
fn streams_are_understood() {
    for path in files("streams", ".sse") {
        let stream = fs::read(&path).unwrap();
        let mut found = read_stream(&stream, Delivery::Stream);
        let with_usage = read_stream(&stream, Delivery::StreamWithUsage);
        found["steps_with_usage"] = with_usage["steps"].clone();
        assert_eq!(found["observed"], with_usage["observed"]);
        expect(&path, &found);
    }
}

#[test]
fn errors_are_understood() {
    let provider = ProviderId::parse("openai").unwrap();
    for path in files("errors", ".http") {
        let text = fs::read_to_string(&path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = lines.map(header).collect();
        let failure = adapter().refuse(&Refusal {
            provider: &provider,
            key: Some("sk-proj-golden-key"),
            status,
            headers: &headers,
            body: body.as_bytes(),
            now: NOW,
        });
        expect(&path, &json!(failure));
    }
}

#[test]
fn the_key_travels_in_a_header_that_is_never_printed() {
    let (name, value) = adapter().authorize("sk-secret").unwrap();
    assert_eq!(
        (name.as_str(), value.to_str().unwrap(), value.is_sensitive()),
        ("authorization", "Bearer sk-secret", true)
    );
    assert!(adapter().authorize("sk\n").is_err());
}

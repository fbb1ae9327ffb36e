//! Doors to what reads bytes and is not public, for `tests/fuzz`; no other build has them. Knows no fuzzer.

use crate::identity;
use bytes::Bytes;
use penstock_dialects::client::{Endpoint, Numbers, Rewriter};
use penstock_dialects::google::client as google;
use penstock_dialects::openai::client::lists::{Joined, cut};
use penstock_runtime::config::Document;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::usage::{Usage, UsageSource};

/// The model and the operation of a path behind Google's `models/`.
pub fn google_path(rest: &str) -> Option<(String, Operation)> {
    let endpoint = google::read_path(rest)?;
    Some((endpoint.model?, endpoint.operation))
}

/// Whether a token that was signed by one of these keys is taken.
pub fn token(text: &str, keys: &[u8]) -> bool {
    identity::fuzzing::token(text, keys, NOW)
}

/// What a token of these claims may do; `None` when it is not taken.
pub fn claims(json: &[u8]) -> Option<String> {
    let config = "[[oidc]]\nissuer = \"https://i.test\"\naudience = \"penstock\"\nproject_claim = \"p\"\nrole_claim = \"r\"\nmodels_claim = \"m\"\ntags = { team = \"t\" }";
    let mut document = Document::read("fuzz", config, []).expect("it is TOML");
    let issuer = identity::IssuerConfig::read_all(&mut document).pop().expect("it is an issuer");
    identity::fuzzing::claims(&issuer, json)
}

/// The requests that a request for embeddings is cut into, and how many texts each has.
pub fn lists(request: &Bytes, most: usize) -> Option<Vec<(Bytes, usize)>> {
    cut(request, most)
}

/// One answer made of several, each to so many texts.
pub fn joined(answers: &[(Bytes, usize)]) -> Option<Bytes> {
    let mut joined = Joined::default();
    for (answer, expected) in answers {
        joined.add(answer.clone(), *expected).ok()?;
    }
    joined.finish().ok()
}

/// What a client of this dialect gets of a whole answer in this form.
pub fn whole(caller: Dialect, form: Dialect, answer: &Bytes) -> Option<Bytes> {
    rewriter(caller, form, Delivery::Whole).whole(answer.clone(), &summary()).ok()
}

/// The same of a stream that comes in these pieces.
pub fn stream<'a>(caller: Dialect, form: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut rewriter = rewriter(caller, form, Delivery::StreamWithUsage);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&rewriter.next(Bytes::copy_from_slice(piece)).ok()?);
    }
    out.extend_from_slice(&rewriter.end(Bytes::new(), &summary()).ok()?);
    let _ = rewriter.kept();
    Some(out)
}

fn rewriter(caller: Dialect, form: Dialect, delivery: Delivery) -> Rewriter {
    let body = match caller {
        Dialect::Google => r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
        Dialect::Responses => r#"{"model":"m","input":"hi"}"#,
        _ => r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
    };
    let of_path = caller == Dialect::Google;
    let endpoint = Endpoint {
        model: of_path.then(|| "m".to_owned()),
        delivery: of_path.then_some(delivery),
        ..Endpoint::new(caller, Operation::Chat)
    };
    let id = RequestId::parse("01900000-0000-7000-8000-000000000007").expect("it is an id");
    let asked = endpoint.read(Bytes::from_static(body.as_bytes()), None).expect("the shortest request is one");
    let numbers = (caller == Dialect::Responses && delivery.is_stream()).then(|| Numbers::new(id, 0));
    let mut rewriter = Rewriter::of(&asked, id, numbers, || NOW);
    rewriter.answers_in(form, caller);
    rewriter
}

fn summary() -> Summary {
    let usage = Usage { input: Some(4), cache_read: Some(6), output: Some(1), reasoning: Some(2), ..Usage::default() };
    Summary { usage, usage_source: UsageSource::Provider, cost: None }
}

/// The time of every check.
const NOW: UnixMicros = UnixMicros(1_795_341_600_000_000);

//! Texts that people and programs name things by: models, paths, amounts, times, patterns, managed objects, tokens; and the
//! configuration.

use crate::Input;
use penstock_dialects::provider::RequestPath;
use penstock_ingress::{IngressConfig, fuzzing};
use penstock_runtime::config::{Document, parse_duration};
use penstock_schemas::alert::AlertQuery;
use penstock_schemas::kind::Kind;
use penstock_schemas::managed::Object;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{self, ModelId, ProjectId, Target};
use penstock_schemas::price::{PerMillion, PerUnit};
use penstock_schemas::question::{Question, Words};
use penstock_schemas::{UnixMicros, pattern, rfc3339};
use penstock_workers::{ServedProviders, WorkersConfig};
use serde_json::Value;

const NOW: UnixMicros = UnixMicros(1_795_341_600_000_000);

/// Keys of an issuer: one that the tests of the tokens use, and odd ones.
const KEYS: &str = r#"[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},
    {"kty":"OKP","crv":"Ed25519","x":"AAAA"}]"#;

/// What is taken for a name or an amount reads back the same.
pub fn read(mut input: Input<'_>) {
    let what = input.number() % 8;
    let kind = input.one(Kind::ALL);
    let Some(text) = input.text() else { return };
    match what {
        0 => named(text),
        1 => amount(text),
        2 => times(text),
        3 => pattern(text),
        4 => object(kind, text),
        5 => {
            let (token, keys) = text.split_once('\n').unwrap_or((text, KEYS));
            assert!(!fuzzing::token(token, keys.as_bytes()), "none of these keys has signed anything");
        }
        6 => drop(fuzzing::claims(text.as_bytes())),
        _ => path(text),
    }
}

fn named(text: &str) {
    if let Ok(target) = Target::parse(text) {
        assert_eq!(target.to_string(), text);
        assert!(target.model.as_str() == "*" || name::check_model(text).is_ok(), "a target is a model: {text}");
    }
    if let Ok(model) = ModelId::parse(text) {
        assert_eq!(model.as_str(), text);
    }
    if let Ok(project) = ProjectId::parse(text) {
        assert!(!project.as_str().contains(['.', '*', '>', ' ']));
    }
    name::check_model(text).inspect_err(|why| assert!(why.to_string().len() < 1024)).ok();
}

fn amount(text: &str) {
    if let Ok(amount) = Picodollars::parse(text) {
        assert_eq!(Picodollars::parse(&amount.to_string()), Ok(amount));
    }
    if let Ok(price) = PerMillion::parse(text) {
        assert_eq!(PerMillion::parse(&price.to_string()), Ok(price));
    }
    if let Ok(price) = PerUnit::parse(text) {
        assert_eq!(PerUnit::parse(&price.to_string()), Ok(price));
    }
}

fn times(text: &str) {
    let mut parts = text.splitn(5, '\n');
    let (since, until, by) = (parts.next(), parts.next(), parts.next());
    let (reprice, forecast) = (parts.next(), parts.next());
    if let Ok(moment) = rfc3339::read(text) {
        assert_eq!(rfc3339::read(&rfc3339::write(moment)), Ok(moment));
    }
    let _ = Question::parse(Words { by, since, until, forecast, reprice }, NOW);
    let _ = AlertQuery::parse(by, since, until, NOW);
    let _ = parse_duration(text);
}

fn pattern(text: &str) {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let is_match = pattern::matches(pattern, name);
    assert_eq!(is_match, by_the_book(pattern.as_bytes(), name.as_bytes()), "{pattern:?} for {name:?}");
}

/// The same by the plainest algorithm.
fn by_the_book(pattern: &[u8], name: &[u8]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for byte in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match byte {
                b'*' => row[at] || at > 0 && next[at - 1],
                byte => at > 0 && row[at - 1] && name[at - 1] == *byte,
            };
        }
        row = next;
    }
    row[name.len()]
}

fn object(kind: Kind, text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let _ = Object::fits(kind, &value);
    let Ok(object) = Object::read(kind, &value) else { return };
    assert_eq!(Object::read(kind, &object.value()), Ok(object));
}

fn path(text: &str) {
    if let Some((model, _)) = fuzzing::google_path(text) {
        assert!(!model.is_empty());
    }
    let Ok(path) = RequestPath::fixed("v1/models").step(text) else { return };
    let path = path.then(":run").with_query("version", text).to_string();
    let (path, query) = path.split_once('?').expect("it has a query");
    assert_eq!(path.split('/').count(), 3, "{path}");
    assert!(!query.contains(['&', '#', '?', '/']) && !path.contains(['#', '\\']), "{path} {query}");
}

/// Every configuration is read, or its mistakes are named.
pub fn config(input: Input<'_>) {
    let Some(text) = input.text() else { return };
    let (file, variable) = text.rsplit_once("\u{1}").unwrap_or((text, ""));
    let variable = variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let Ok(mut document) = Document::read("penstock.toml", file, variable) else { return };
    drop(format!("{:?}", IngressConfig::read(&mut document)));
    let _ = WorkersConfig::read(&mut document, ServedProviders::All);
    if let Err(mistakes) = document.finish() {
        input.bounds(mistakes.to_string().len());
    }
}

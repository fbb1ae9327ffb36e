//! What a caller sends: requests in the four dialects with the bound of their cost, and forms.

use crate::{Input, is_json};
use bytes::Bytes;
use penstock_ingress::{fuzzing, reading};
use penstock_schemas::bound;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::form::{FormPiece, FormReader, MultipartForm};
use penstock_schemas::model::ModelCard;
use std::sync::LazyLock;

const DIALECTS: [Dialect; 4] = [Dialect::Openai, Dialect::Anthropic, Dialect::Responses, Dialect::Google];

const OF_OPENAI: [Operation; 7] = [
    Operation::Chat,
    Operation::Completions,
    Operation::Embeddings,
    Operation::Moderations,
    Operation::Images,
    Operation::Speech,
    Operation::Rerank,
];

static CARD: LazyLock<ModelCard> = LazyLock::new(|| {
    let card = r#"{"model":"m","mode":"chat","context":100000,"max_output":1000,"price":{"price_id":"p","valid_from":0,
        "prices":{"input":"3","output":"15","cache_read":"0.3","per_image":"0.04","per_search":"0.01",
        "tiers":[{"above_input_tokens":200000,"input":"6"}]}}}"#;
    serde_json::from_str(card).expect("it is a card")
});

/// What a dialect reads is bounded, and has an agnostic form that reads back the same.
pub fn read(mut input: Input<'_>) {
    let dialect = input.one(&DIALECTS);
    let operation = match dialect {
        Dialect::Openai => input.one(&OF_OPENAI),
        Dialect::Google => input.one(&[Operation::Chat, Operation::Embeddings, Operation::CountTokens]),
        Dialect::Anthropic => input.one(&[Operation::Chat, Operation::CountTokens]),
        _ => input.one(&[Operation::Chat]),
    };
    let body = input.bytes();
    if operation == Operation::Embeddings && dialect == Dialect::Openai {
        let pieces = fuzzing::lists(&body, 3).unwrap_or_default();
        pieces.iter().for_each(|(piece, texts)| {
            assert!(*texts <= 3 && fuzzing::lists(piece, 3).is_none(), "a piece is still too long");
        });
    }
    let Ok(read) = reading::read(dialect, operation, &body, None) else { return };
    bounded(operation, &read.extent);
    assert!(is_json(&body), "what is accepted is JSON");
    let Some(agnostic) = read.agnostic else { return };
    input.bounds(agnostic.len());
    if operation != Operation::Chat || dialect == Dialect::Openai {
        return;
    }
    let chat: ChatRequest = serde_json::from_slice(&agnostic).expect("the agnostic form is a chat request");
    let again = serde_json::to_vec(&chat).expect("a chat request has a JSON form");
    assert_eq!(chat, serde_json::from_slice::<ChatRequest>(&again).expect("it can be read again"));
}

fn bounded(operation: Operation, extent: &Extent) {
    let worst = bound::worst(Some(&CARD), operation, extent);
    assert_eq!(
        worst.usd.is_none(),
        extent.is_priority,
        "only a dearer service has no bound at a model with prices: {extent:?}"
    );
    let _ = (bound::usual(Some(&CARD), operation, extent), bound::longest_input(None, extent));
    let _ = bound::worst(None, operation, extent);
    let on_the_bus = serde_json::to_vec(extent).expect("an extent has a JSON form");
    assert_eq!(*extent, serde_json::from_slice::<Extent>(&on_the_bus).expect("an extent can be read again"));
}

/// What is read of a form can be changed, and then says what it was changed to and else the same.
pub fn form(mut input: Input<'_>) {
    let operation = input.one(&[Operation::Transcriptions, Operation::Translations]);
    let mut parts = input.rest.splitn(2, |byte| *byte == b'\n');
    let content_type = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let body = parts.next().unwrap_or_default();
    let read = reading::read(Dialect::Openai, operation, &Bytes::copy_from_slice(body), Some(&content_type));
    read.iter().for_each(|read| bounded(operation, &read.extent));
    let length = 1 + body.first().map_or(0, |byte| usize::from(*byte));
    let arrived = in_pieces(body, &content_type, length);
    let Ok(form) = MultipartForm::read(body, &content_type) else {
        assert_eq!(arrived, None, "one reader takes what the other refuses");
        return;
    };
    let arrived = arrived.expect("one reader refuses what the other takes");
    for (name, value) in &arrived {
        let is_last = arrived.iter().filter(|(other, _)| other == name).count() == 1;
        assert!(!is_last || form.value(name).is_none_or(|own| own == value), "{name}");
    }
    let _ = form.repeated();
    let changed = form.with("model", "another");
    input.bounds(changed.len());
    let again = MultipartForm::read(&changed, &content_type).expect("what was changed is a form");
    assert_eq!(again.value("model"), Some(&b"another"[..]));
    for name in ["language", "prompt", "response_format", "stream", ""] {
        assert_eq!(again.value(name), form.value(name), "{name}");
    }
    assert_eq!(again.has_file("file"), form.has_file("file"));
}

/// The parts of a form that arrives in pieces of this length, by their names; `None` when it is refused.
fn in_pieces(body: &[u8], content_type: &str, length: usize) -> Option<Vec<(String, Vec<u8>)>> {
    let mut reader = FormReader::new(content_type).ok()?;
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for piece in body.chunks(length) {
        reader.push(piece);
        while let Some(piece) = reader.next_piece().ok()? {
            match piece {
                FormPiece::Part(head) => parts.push((head.name, Vec::new())),
                FormPiece::Value(bytes) => parts.last_mut().expect("a part comes first").1.extend(bytes),
                FormPiece::End => {}
            }
        }
    }
    reader.finish().ok().map(|()| parts)
}

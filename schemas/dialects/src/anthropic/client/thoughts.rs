//! Thoughts as blocks and back. A block has room for one opaque text: those of other issuers than Anthropic are sealed with
//! all that the issuer needs, so that they find back to it and nobody else is ever sent them.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks>.

use penstock_schemas::chat::{Issuer, ReasoningDetail};
use serde_json::{Map, Value, json};

/// The block for a piece of reasoning.
pub(super) fn block(detail: &ReasoningDetail) -> Value {
    match readable(detail) {
        Some(text) => json!({ "type": "thinking", "thinking": text, "signature": signature(detail) }),
        None if detail.signature.is_some() => {
            json!({ "type": "thinking", "thinking": "", "signature": signature(detail) })
        }
        None => json!({ "type": "redacted_thinking", "data": hidden(detail) }),
    }
}

/// What a person can read of it.
pub(super) fn readable(detail: &ReasoningDetail) -> Option<&str> {
    detail.text.as_deref().or(detail.summary.as_deref())
}

/// What a block of thinking is signed with.
pub(super) fn signature(detail: &ReasoningDetail) -> String {
    match (detail.format, &detail.signature) {
        (Some(Issuer::Anthropic), Some(signature)) => signature.clone(),
        _ => seal(detail),
    }
}

fn hidden(detail: &ReasoningDetail) -> String {
    match (detail.format, &detail.data) {
        (Some(Issuer::Anthropic), Some(data)) => data.clone(),
        _ => seal(detail),
    }
}

/// All but what stands readable beside it.
fn seal(detail: &ReasoningDetail) -> String {
    let opaque = ReasoningDetail { text: None, summary: None, format: None, extra: Map::new(), ..detail.clone() };
    let text = serde_json::to_string(&opaque).expect("a piece of reasoning has a JSON form");
    detail.format.unwrap_or(Issuer::Unknown).seal(&text)
}

/// The piece that a block of thinking was made of; `None` when nobody would take it back.
pub(super) fn signed(thinking: &str, signature: &str, index: u32) -> Option<ReasoningDetail> {
    if signature.is_empty() {
        return None;
    }
    let mut detail = match Issuer::unseal(signature) {
        None => ReasoningDetail {
            kind: "reasoning.text".to_owned(),
            signature: Some(signature.to_owned()),
            format: Some(Issuer::Anthropic),
            ..ReasoningDetail::default()
        },
        Some((issuer, opaque)) => unsealed(issuer, opaque)?,
    };
    let text = Some(thinking.to_owned()).filter(|text| !text.is_empty());
    if detail.kind == "reasoning.summary" {
        detail.summary = text;
    } else {
        detail.text = text;
    }
    detail.index = Some(index);
    Some(detail)
}

/// The piece that a block of redacted thinking was made of.
pub(super) fn redacted(data: &str, index: u32) -> Option<ReasoningDetail> {
    let detail = match Issuer::unseal(data) {
        None => ReasoningDetail {
            kind: "reasoning.encrypted".to_owned(),
            data: Some(data.to_owned()),
            format: Some(Issuer::Anthropic),
            ..ReasoningDetail::default()
        },
        Some((issuer, opaque)) => unsealed(issuer, opaque)?,
    };
    Some(ReasoningDetail { index: Some(index), ..detail })
}

fn unsealed(issuer: Issuer, opaque: &str) -> Option<ReasoningDetail> {
    let detail: ReasoningDetail = serde_json::from_str(opaque).ok()?;
    (issuer != Issuer::Unknown).then_some(ReasoningDetail { format: Some(issuer), ..detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_finds_back_to_its_issuer() {
        let base = ReasoningDetail { index: Some(3), ..ReasoningDetail::default() };
        let text = |text: &str| Some(text.to_owned());
        for detail in [
            ReasoningDetail {
                kind: "reasoning.text".to_owned(),
                text: text("hm"),
                signature: text("sig"),
                format: Some(Issuer::Anthropic),
                ..base.clone()
            },
            ReasoningDetail {
                kind: "reasoning.encrypted".to_owned(),
                data: text("xyz"),
                format: Some(Issuer::Anthropic),
                ..base.clone()
            },
            ReasoningDetail {
                kind: "reasoning.encrypted".to_owned(),
                data: text("a.b=="),
                id: text("call_1"),
                format: Some(Issuer::Google),
                ..base.clone()
            },
            ReasoningDetail {
                kind: "reasoning.summary".to_owned(),
                summary: text("\"so\""),
                id: text("rs_1"),
                format: Some(Issuer::Openai),
                ..base.clone()
            },
        ] {
            let block = block(&detail);
            let back = match block["type"].as_str().unwrap() {
                "thinking" => signed(block["thinking"].as_str().unwrap(), block["signature"].as_str().unwrap(), 3),
                _ => redacted(block["data"].as_str().unwrap(), 3),
            };
            assert_eq!(back, Some(detail));
        }
        let nobodys = ReasoningDetail { kind: "reasoning.text".to_owned(), text: text("hm"), ..base };
        let block = block(&nobodys);
        assert!(block["signature"].as_str().unwrap().starts_with("psr1.unknown."));
        assert_eq!(signed("hm", block["signature"].as_str().unwrap(), 0), None);
    }
}

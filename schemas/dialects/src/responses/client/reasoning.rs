//! What a model thought, as an item and back. Of OpenAI's own models an item holds what they said; everybody else's pieces
//! travel whole in its one opaque field, sealed with their issuer's name.
//! Source: <https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items>.

use penstock_schemas::chat::{Issuer, Message, ReasoningDetail};
use serde_json::{Value, json};

/// Puts what an item holds into the assistant's turn.
pub(super) fn read(item: &Value, turn: &mut Message) {
    let texts = |name: &str| -> Vec<String> {
        let parts = item.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        parts.iter().filter_map(|part| part.get("text")?.as_str().map(ToOwned::to_owned)).collect()
    };
    let (summary, raw) = (texts("summary"), texts("content"));
    let opaque = item.get("encrypted_content").and_then(Value::as_str).filter(|text| !text.is_empty());
    let unsealed = opaque.and_then(Issuer::unseal);
    let readable = if raw.is_empty() { &summary } else { &raw }.join("\n\n");
    if !readable.is_empty() {
        let before = turn.reasoning_content.take().map(|before| before + "\n\n").unwrap_or_default();
        turn.reasoning_content = Some(before + &readable);
    }
    let details = turn.reasoning_details.get_or_insert_default();
    if let Some((_, payload)) = unsealed {
        details.extend(serde_json::from_str::<Vec<ReasoningDetail>>(payload).unwrap_or_default());
    } else {
        let id = item.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
        let own = |kind: &str| ReasoningDetail {
            kind: kind.to_owned(),
            id: id.clone(),
            format: Some(Issuer::Openai),
            ..ReasoningDetail::default()
        };
        let pieces =
            summary.into_iter().map(|text| ReasoningDetail { summary: Some(text), ..own("reasoning.summary") });
        let raw = raw.into_iter().map(|text| ReasoningDetail { text: Some(text), ..own("reasoning.text") });
        let opaque = opaque.map(|data| ReasoningDetail { data: Some(data.to_owned()), ..own("reasoning.encrypted") });
        details.extend(pieces.chain(raw).chain(opaque));
    }
    if details.is_empty() {
        turn.reasoning_details = None;
    }
}

/// An item in the making.
#[derive(Debug, Default)]
pub(super) struct Thought {
    /// What there is to read.
    pub(super) text: String,
    /// The pieces as they came, those of one place joined.
    details: Vec<ReasoningDetail>,
}

impl Thought {
    /// Takes in a piece, which may go on with one that came before.
    pub(super) fn add(&mut self, piece: ReasoningDetail) {
        let same = self.details.iter_mut().find(|one| {
            one.index.is_some() && one.index == piece.index && one.kind == piece.kind && one.id == piece.id
        });
        let Some(same) = same else { return self.details.push(piece) };
        for (old, new) in [
            (&mut same.text, piece.text),
            (&mut same.summary, piece.summary),
            (&mut same.data, piece.data),
            (&mut same.signature, piece.signature),
        ] {
            if let Some(new) = new {
                old.get_or_insert_default().push_str(&new);
            }
        }
        same.extra.extend(piece.extra);
    }

    /// Whether OpenAI's own model thought it, and under which name.
    pub(super) fn own_id(&self) -> Option<&str> {
        let first = self.details.first().filter(|piece| piece.format == Some(Issuer::Openai))?;
        first.id.as_deref()
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.details.is_empty()
    }

    /// The finished item.
    pub(super) fn item(&self, id: &str) -> Value {
        let mut summary = Vec::new();
        if !self.text.is_empty() {
            summary.push(json!({ "type": "summary_text", "text": self.text }));
        }
        let issuer = self.details.iter().find_map(|piece| piece.format).unwrap_or(Issuer::Unknown);
        let opaque = if issuer == Issuer::Openai {
            self.details.iter().find_map(|piece| piece.data.clone())
        } else {
            // Also where there is nothing opaque: no provider of this dialect knows the item.
            let pieces = serde_json::to_string(&self.details).expect("pieces have a JSON form");
            Some(issuer.seal(&pieces))
        };
        let mut item = json!({ "id": id, "type": "reasoning", "status": "completed", "summary": summary });
        if let Some(opaque) = opaque {
            item["encrypted_content"] = opaque.into();
        }
        item
    }
}

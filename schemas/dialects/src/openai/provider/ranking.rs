//! What servers that rank documents call the parts of the request; an answer is put into shape by `client::rankings`.
//! Sources: <https://huggingface.github.io/text-embeddings-inference/>, <https://docs.voyageai.com/reference/reranker-api>.

use crate::json::RawObject;
use crate::provider::{FormatSettings, Quirk};
use serde::Deserialize;
use serde_json::Value;

/// A document: its text, or an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Fields { text: String },
    Other(Value),
}

/// The request in the server's words; `None` when it takes it as it is.
pub(super) fn fit(body: &str, settings: &FormatSettings) -> Option<String> {
    let has_texts = settings.has(Quirk::RankedTexts);
    if !has_texts && !settings.has(Quirk::RankedTopK) {
        return None;
    }
    let mut request = RawObject::read(body.as_bytes()).ok()?;
    if has_texts {
        let documents: Vec<Document> = serde_json::from_str(request.get("documents")?.get()).ok()?;
        let texts: Vec<String> = documents.into_iter().map(Document::into_text).collect();
        request.remove("documents");
        request.set("texts", &texts);
        rename(&mut request, "return_documents", "return_text");
        request.remove("top_n"); // it ranks them all, and the answer is cut
    } else {
        rename(&mut request, "top_n", "top_k");
    }
    Some(request.to_text())
}

fn rename(request: &mut RawObject, old: &str, new: &str) {
    if let Some(value) = request.get(old).map(ToOwned::to_owned) {
        request.remove(old);
        request.set(new, &value);
    }
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Fields { text } => text,
            Self::Other(other) => other.to_string(),
        }
    }
}

//! Documents by rank in Cohere's shape, which clients of reranking read, from servers that answer in another: the list alone,
//! under another name, with other words for the rank, or with more of them than were asked for.
//! Sources: <https://docs.cohere.com/reference/rerank>, <https://docs.voyageai.com/reference/reranker-api>,
//! <https://huggingface.github.io/text-embeddings-inference/>, <https://github.com/diegosouzapw/OmniRoute/pull/13733>.

use crate::json::Fields;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// How many of the documents a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rankings(Option<usize>);

impl Rankings {
    /// What a request asks for.
    pub(crate) fn of(request: &[u8]) -> Self {
        let fields = std::str::from_utf8(request).ok().and_then(|request| Fields::of_body(request).ok());
        Self(fields.as_ref().and_then(|fields| fields.get("top_n")?.get().parse().ok()))
    }

    /// The answer in Cohere's shape; as it is when it has that, or when it cannot be read.
    pub(crate) fn put_into(self, answer: Bytes) -> Bytes {
        let mut list = match serde_json::from_slice(&answer) {
            Ok(Value::Array(results)) => Map::from_iter([("results".to_owned(), results.into())]),
            Ok(Value::Object(list)) => list,
            _ => return answer,
        };
        let name = ["results", "data"].into_iter().find(|name| list.get(*name).is_some_and(Value::is_array));
        let Some(Value::Array(mut results)) = name.and_then(|name| list.shift_remove(name)) else { return answer };
        let is_named = name == Some("results") && answer.trim_ascii_start().starts_with(b"{");
        let are_told = results.iter().all(|result| result.get("relevance_score").is_some());
        let are_few = self.0.is_none_or(|most| results.len() <= most);
        if is_named && are_told && are_few {
            return answer; // most are as they were asked for, and stay as the provider wrote them
        }
        results.iter_mut().filter_map(Value::as_object_mut).for_each(rename);
        let rank = |result: &Value| result.get("relevance_score").and_then(Value::as_f64).unwrap_or(f64::MIN);
        results.sort_by(|one, other| rank(other).total_cmp(&rank(one)));
        results.truncate(self.0.unwrap_or(usize::MAX));
        list.insert("results".to_owned(), results.into());
        Value::Object(list).to_string().into()
    }
}

/// A document with its rank and its text where Cohere has them.
fn rename(result: &mut Map<String, Value>) {
    if !result.contains_key("relevance_score")
        && let Some(score) = result.shift_remove("score")
    {
        result.insert("relevance_score".to_owned(), score);
    }
    let text = match result.shift_remove("text") {
        None => result.get("document").filter(|document| document.is_string()).cloned(),
        text => text,
    };
    if let Some(text) = text.filter(Value::is_string) {
        result.insert("document".to_owned(), json!({ "text": text }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_by_rank_have_the_shape_that_clients_read() {
        let request = br#"{"query":"q","documents":["a","b"],"top_n":1}"#;
        for (answer, expected) in [
            (
                r#"[{"index":0,"score":0.1},{"index":1,"score":0.9,"text":"b"}]"#,
                json!({ "results": [{ "index": 1, "relevance_score": 0.9, "document": { "text": "b" } }] }),
            ),
            (
                r#"{"object":"list","data":[{"relevance_score":0.9,"index":1,"document":"b"}],"model":"m","usage":{"total_tokens":26}}"#,
                json!({ "object": "list", "model": "m", "usage": { "total_tokens": 26 },
                    "results": [{ "relevance_score": 0.9, "index": 1, "document": { "text": "b" } }] }),
            ),
            (
                r#"{"results":[{"index":0,"relevance_score":0.1},{"index":1,"relevance_score":0.9}]}"#,
                json!({ "results": [{ "index": 1, "relevance_score": 0.9 }] }),
            ),
        ] {
            let shaped = Rankings::of(request).put_into(Bytes::from_static(answer.as_bytes()));
            assert_eq!(serde_json::from_slice::<Value>(&shaped).expect("it is JSON"), expected, "{answer}");
        }
    }

    #[test]
    fn what_has_that_shape_or_none_stays_byte_by_byte() {
        for answer in [
            r#"{ "results":[{"index":0,"relevance_score":0.90}] }"#,
            r#"{ "results":[{"index":0,"relevance_score":0.90,"document":{"text":"a"}}],"meta":{} }"#,
            "not json",
            r#"{ "error":"x" }"#,
        ] {
            let answer = Bytes::from_static(answer.as_bytes());
            assert_eq!(Rankings::of(b"{}").put_into(answer.clone()), answer);
        }
    }
}

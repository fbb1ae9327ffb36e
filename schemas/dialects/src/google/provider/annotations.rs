//! What an answer rests on: grounding and citations as OpenAI's annotations, and the odds of tokens as its logprobs.
//! Sources: <https://ai.google.dev/api/generate-content#GroundingMetadata>,
//! <https://platform.openai.com/docs/api-reference/chat/object>.

use serde_json::{Value, json};

/// The annotations of `text`: who supports which part of it.
pub(super) fn of_grounding(metadata: &Value, text: &str) -> Vec<Value> {
    let list = |name: &str| metadata.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let chunks = list("groundingChunks");
    let source = |chunk: &Value| {
        let place = ["web", "retrievedContext", "maps"].into_iter().find_map(|kind| chunk.get(kind))?;
        Some((place.get("uri")?.clone(), place.get("title").cloned().unwrap_or_else(|| json!(""))))
    };
    let mut found = Vec::new();
    for support in list("groundingSupports") {
        let segment = support.get("segment").unwrap_or(&Value::Null);
        let at = |name: &str| segment.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (start, end) = (characters(text, at("startIndex")), characters(text, at("endIndex")));
        let indices = support.get("groundingChunkIndices").and_then(Value::as_array).into_iter().flatten();
        for chunk in indices.filter_map(|index| chunks.get(usize::try_from(index.as_u64()?).ok()?)) {
            found.extend(source(chunk).map(|(url, title)| annotation(&url, &title, start, end)));
        }
    }
    if found.is_empty() {
        let end = text.chars().count();
        found.extend(chunks.iter().filter_map(source).map(|(url, title)| annotation(&url, &title, end, end)));
    }
    found
}

/// The annotations of a recitation: `citationSources` in the Gemini API, `citations` in Vertex AI.
pub(super) fn of_citations(metadata: &Value, text: &str) -> Vec<Value> {
    let sources = metadata.get("citationSources").or_else(|| metadata.get("citations"));
    let sources = sources.and_then(Value::as_array).into_iter().flatten();
    let annotate = |source: &Value| {
        let at = |name: &str| characters(text, source.get(name).and_then(Value::as_u64).unwrap_or(0));
        let title = source.get("title").cloned().unwrap_or_else(|| json!(""));
        Some(annotation(source.get("uri")?, &title, at("startIndex"), at("endIndex")))
    };
    sources.filter_map(annotate).collect()
}

fn annotation(url: &Value, title: &Value, start: usize, end: usize) -> Value {
    let citation = json!({ "url": url, "title": title, "start_index": start, "end_index": end });
    json!({ "type": "url_citation", "url_citation": citation })
}

/// Google counts bytes, OpenAI characters.
fn characters(text: &str, bytes: u64) -> usize {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    text.char_indices().take_while(|(at, _)| *at < bytes).count()
}

/// The odds of each token.
pub(super) fn logprobs(result: &Value) -> Value {
    let list = |name: &str| result.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let token = |chosen: &Value| {
        let text = chosen.get("token").and_then(Value::as_str).unwrap_or_default();
        json!({ "token": text, "logprob": chosen.get("logProbability"), "bytes": text.as_bytes() })
    };
    let tops = list("topCandidates");
    let content = list("chosenCandidates").iter().enumerate().map(|(at, chosen)| {
        let top = tops.get(at).and_then(|top| top.get("candidates")?.as_array()).into_iter().flatten();
        let mut one = token(chosen);
        one["top_logprobs"] = top.map(token).collect();
        one
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}

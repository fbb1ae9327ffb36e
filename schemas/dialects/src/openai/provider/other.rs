//! Reads whole answers that hold no choices: embeddings, moderations, images, transcriptions, rerankings; and the counts
//! in them. Their content stays unread.
//! Sources: <https://platform.openai.com/docs/api-reference>, and beside the field where a copy differs.

use super::answer::{Said, is_filled};
use super::errors;
use super::usage::{at, whole_number};
use crate::errors::tells;
use crate::provider::{Observed, Wanted};
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::usage::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Of an answer, what is read. A list's items are counted, and otherwise passed over.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parts {
    id: Option<Value>,
    model: Option<Value>,
    data: Option<Vec<IgnoredAny>>,
    results: Option<Vec<IgnoredAny>>,
    text: Option<IgnoredAny>,
    usage: Option<Value>,
    meta: Option<Value>,
    duration: Option<Value>,
    error: Option<Value>,
    object: Option<Value>,
    message: Option<Value>,
}

/// What the answer says besides its content.
///
/// # Errors
/// When it is an error in spite of its status, holds nothing, or is not JSON.
pub(super) fn read(wanted: Wanted, body: &Bytes) -> Result<Observed, Failure> {
    let is_transcript = matches!(wanted.operation, Operation::Transcriptions | Operation::Translations);
    if is_transcript && !body.trim_ascii_start().starts_with(b"{") {
        // A plain text or subtitles, which report nothing.
        return Ok(Observed::default());
    }
    let read = match serde_json::from_slice(body) {
        // One server answers with the list alone: https://huggingface.github.io/text-embeddings-inference/
        Ok(results) if wanted.operation == Operation::Rerank => {
            Ok(Parts { results: Some(results), ..Parts::default() })
        }
        _ => serde_json::from_slice::<Parts>(body),
    };
    let parts = read.map_err(|error| {
        let what = if error.is_eof() { "is cut short" } else { "is not what was asked for" };
        let at = format!("at line {} column {}", error.line(), error.column());
        broken(&format!("the provider's answer {what} {at}"))
    })?;
    let items = match wanted.operation {
        Operation::Embeddings | Operation::Images | Operation::ImageEdits | Operation::ImageVariations => {
            parts.data.as_ref().map(Vec::len)
        }
        Operation::Moderations => parts.results.as_ref().map(Vec::len),
        // One copy calls them data: https://docs.voyageai.com/reference/reranker-api
        Operation::Rerank => parts.results.as_ref().or(parts.data.as_ref()).map(Vec::len),
        Operation::Transcriptions | Operation::Translations => parts.text.map(|_| 1),
        Operation::Chat | Operation::Completions | Operation::Speech | Operation::CountTokens | Operation::Realtime => {
            None
        }
    };
    if let Some(error) = parts.error.as_ref().filter(|error| is_filled(Some(error))) {
        return Err(errors::within_success(&Said::Part(error), body));
    }
    let is_error = parts.object.as_ref().is_some_and(|object| object == "error");
    if is_error || (items.is_none() && is_filled(parts.message.as_ref())) {
        return Err(errors::within_success(&Said::Whole, body));
    }
    if items.is_none_or(|items| items == 0) && tells(body) {
        return Err(errors::within_stream(body));
    }
    let items = items.filter(|items| *items > 0).ok_or_else(|| broken("the provider's answer holds no result"))?;
    Ok(parts.observe(wanted.operation, items as u64))
}

impl Parts {
    fn observe(&self, operation: Operation, items: u64) -> Observed {
        let text = |value: &Option<Value>| {
            value.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        let mut counts = Counts::read(operation, self.usage.as_ref());
        if let Some(units) = self.meta.as_ref().and_then(|meta| whole_number(at(meta, "billed_units/search_units")?)) {
            counts.usage.searches = Some(units);
        }
        // Rounded up, as it is charged.
        let duration =
            self.duration.as_ref().and_then(Value::as_f64).and_then(|seconds| whole_number(&seconds.ceil().into()));
        if counts.usage == Usage::default() {
            counts.usage.seconds = duration;
        }
        if operation.makes_images() {
            counts.usage.images = Some(items);
        }
        Observed {
            usage: Some(counts.usage).filter(|usage| *usage != Usage::default()),
            usage_mismatch: counts.mismatch,
            model_version: text(&self.model),
            provider_request_id: text(&self.id),
            ..Observed::default()
        }
    }
}

/// The counts of a `usage` object, in disjoint classes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) usage: Usage,
    /// The classes do not add up to the provider's own total.
    pub(super) mismatch: bool,
}

impl Counts {
    /// Reads them; no class that is not there.
    pub(super) fn read(operation: Operation, usage: Option<&Value>) -> Self {
        let Some(value) = usage else { return Self::default() };
        let count = |places: &[&str]| places.iter().find_map(|place| whole_number(at(value, place)?));
        let total = count(&["total_tokens"]);
        let output = count(&["output_tokens", "completion_tokens"]);
        // Where nothing is written, some copies report the total alone: https://docs.voyageai.com/reference/embeddings-api
        let writes = !matches!(operation, Operation::Embeddings | Operation::Rerank | Operation::Moderations);
        let input = count(&["input_tokens", "prompt_tokens"]).or(total.filter(|_| !writes));
        let detail = |name: &str| {
            ["input_tokens_details", "input_token_details", "prompt_tokens_details"]
                .iter()
                .find_map(|group| whole_number(value.get(group)?.get(name)?))
        };
        let (image, audio, cached) = (detail("image_tokens"), detail("audio_tokens"), detail("cached_tokens"));
        let parts: u64 = [image, audio, cached].into_iter().flatten().sum();
        // Some count what the cache gave beside the input instead of in it, which shows in their totals.
        let is_beside = |cached: u64| {
            cached > 0 && total.zip(input).is_some_and(|(total, input)| total == input + cached + output.unwrap_or(0))
        };
        let input = input.map(|input| input + cached.filter(|cached| is_beside(*cached)).unwrap_or(0));
        let agrees = input.is_none_or(|input| parts <= input);
        let (image, audio, cached) = if agrees { (image, audio, cached) } else { (None, None, None) };
        let rest = input.map(|input| if agrees { input - parts } else { input });
        let output = output.filter(|output| writes || *output > 0);
        let (is_audio, is_image) = (operation == Operation::Speech, operation.makes_images());
        // Models that make images alone report no parts of their output.
        let drawn = whole_number_at(value, "output_tokens_details/image_tokens").or(output).filter(|_| is_image);
        let drawn = drawn.map(|drawn| drawn.min(output.unwrap_or(0)));
        let output = output.map(|output| output - drawn.unwrap_or(0)).filter(|output| !is_image || *output > 0);
        let usage = Usage {
            input: rest,
            cache_read: cached,
            input_audio: audio,
            input_image: image,
            output: output.filter(|_| !is_audio),
            output_audio: output.filter(|_| is_audio),
            output_image: drawn,
            seconds: count(&["seconds"]),
            ..Usage::default()
        };
        let adds_up = total.is_none_or(|total| total == usage.input_total() + usage.output_total());
        Self { usage, mismatch: !agrees || !adds_up }
    }
}

fn whole_number_at(value: &Value, place: &str) -> Option<u64> {
    whole_number(at(value, place)?)
}

fn broken(why: &str) -> Failure {
    Failure::provider(FailureKind::Broken, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Form;
    use penstock_schemas::envelope::Delivery;
    use serde_json::json;

    fn usage(operation: Operation, answer: &Value) -> Result<Value, FailureKind> {
        let wanted = Wanted { operation, form: Form::Own, delivery: Delivery::Whole };
        let observed = read(wanted, &Bytes::from(answer.to_string())).map_err(|failure| failure.kind)?;
        assert!(!observed.usage_mismatch, "{answer}");
        Ok(json!(observed.usage))
    }

    #[test]
    fn each_endpoints_counts_give_disjoint_classes() {
        use Operation::{Embeddings, Images, Moderations, Rerank, Transcriptions};
        for (operation, answer, classes) in [
            (Embeddings, json!({"data": [{}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}), json!({"input": 8})),
            (Embeddings, json!({"data": [{}], "usage": {"total_tokens": 8}}), json!({"input": 8})),
            (
                Embeddings,
                json!({"data": [{}], "usage": {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}}),
                json!({"input": 8}),
            ),
            (Embeddings, json!({"data": [{}]}), json!(null)),
            (Moderations, json!({"results": [{}]}), json!(null)),
            (Images, json!({"data": [{}, {}]}), json!({"images": 2})),
            (
                Images,
                json!({"data": [{}], "usage": {"input_tokens": 50, "output_tokens": 100, "total_tokens": 150,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}}),
                json!({"input": 10, "input_image": 40, "output_image": 100, "images": 1}),
            ),
            (
                Images,
                json!({"data": [{}], "usage": {"input_tokens": 50, "output_tokens": 100, "total_tokens": 150,
                    "output_tokens_details": {"image_tokens": 90, "text_tokens": 10}}}),
                json!({"input": 50, "output": 10, "output_image": 90, "images": 1}),
            ),
            (Transcriptions, json!({"text": "", "usage": {"type": "duration", "seconds": 9}}), json!({"seconds": 9})),
            (Transcriptions, json!({"text": "a", "duration": 8.2}), json!({"seconds": 9})),
            (
                Transcriptions,
                json!({"text": "a", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "total_tokens": 18,
                    "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}}),
                json!({"input": 0, "input_audio": 14, "output": 4}),
            ),
            (Rerank, json!({"results": [{}], "meta": {"billed_units": {"search_units": 1}}}), json!({"searches": 1})),
            (Rerank, json!({"results": [{}], "usage": {"total_tokens": 15}}), json!({"input": 15})),
            (Rerank, json!([{"index": 0, "score": 0.9}]), json!(null)),
        ] {
            assert_eq!(usage(operation, &answer), Ok(classes), "{answer}");
        }
    }

    #[test]
    fn an_answer_that_holds_nothing_or_an_error_is_a_failure() {
        use Operation::{Embeddings, Images, Rerank, Speech, Transcriptions};
        for (operation, answer, kind) in [
            (Embeddings, json!({"data": []}), FailureKind::Broken),
            (Embeddings, json!({"object": "list"}), FailureKind::Broken),
            (Images, json!({"error": {"code": "moderation_blocked", "message": "m"}}), FailureKind::ContentRefused),
            (Embeddings, json!({"object": "error", "message": "m", "code": 429}), FailureKind::RateLimited),
            (Rerank, json!({"message": "m", "code": "server_error"}), FailureKind::ServerError),
            (Transcriptions, json!({}), FailureKind::Broken),
            (Speech, json!({"error": {"message": "m", "code": "server_error"}}), FailureKind::ServerError),
            (Embeddings, json!({"data": 3}), FailureKind::Broken),
            (Rerank, json!([]), FailureKind::Broken),
        ] {
            assert_eq!(usage(operation, &answer), Err(kind), "{answer}");
        }
    }
}

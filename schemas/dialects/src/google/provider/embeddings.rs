//! Vectors for texts. Sources: <https://ai.google.dev/api/embeddings>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>.

use super::resource::{name, path};
use super::{Service, errors};
use crate::data_url::Inline;
use crate::fit::{Fit, wrong};
use crate::provider::{Form, FormatRequest, Observed, Spelled, Whole, json_headers};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// What texts are embedded for: the word that others use, and Google's.
/// Source: <https://ai.google.dev/gemini-api/docs/embeddings#task-types>.
const TASKS: [(&str, &str); 8] = [
    ("search_document", "RETRIEVAL_DOCUMENT"),
    ("search_query", "RETRIEVAL_QUERY"),
    ("classification", "CLASSIFICATION"),
    ("clustering", "CLUSTERING"),
    // Jina's: <https://jina.ai/embeddings/>.
    ("retrieval.passage", "RETRIEVAL_DOCUMENT"),
    ("retrieval.query", "RETRIEVAL_QUERY"),
    ("text-matching", "SEMANTIC_SIMILARITY"),
    ("separation", "CLUSTERING"),
];

/// The fields that clients have it in; the first is the agnostic one.
const TASK_FIELDS: [&str; 4] = ["input_type", "task_type", "taskType", "task"];

/// What stands in the names of models that embed images and sounds too. Source:
/// <https://ai.google.dev/gemini-api/docs/embeddings#multimodal>.
const MULTIMODAL: &str = "embedding-2";

/// A request for many texts at once.
pub(super) fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_slice(ask.body)
        .map_err(|error| Failure::gateway(FailureKind::BadRequest, format!("the request cannot be read: {error}")))?;
    let mut fit = Fit::new(ask.unsupported);
    let texts = texts(fields.remove("input"), &mut fit)?;
    let dimensions = fields.remove("dimensions").filter(|dimensions| !dimensions.is_null());
    if dimensions.as_ref().is_some_and(|dimensions| !dimensions.is_u64()) {
        return Err(wrong("dimensions", "it must be a whole number"));
    }
    let asked = TASK_FIELDS.into_iter().filter_map(|name| Some((name, fields.remove(name)?)));
    let task = task(asked.filter(|(_, value)| !value.is_null()).last())?;
    for (name, value) in fields {
        match name.as_str() {
            "model" | "encoding_format" => {} // the vectors are always floats: who asked for base64 gets it from the ingress
            "user" => fit.omit(name),
            _ if value.is_null() => {}
            _ => fit.cannot(&name, "the provider has no such field")?,
        }
    }
    let (method, body) = match service {
        Service::Gemini => {
            (":batchEmbedContents", gemini(&name(ask, service)?, &texts, dimensions.as_ref(), task.as_deref()))
        }
        Service::Vertex => (":predict", vertex(&texts, dimensions.as_ref(), task.as_deref())),
    };
    let (path, headers) = (path(ask, service, method)?, json_headers(ask.wanted.delivery));
    Ok(Spelled { path, headers, body: body.to_string().into(), dropped: fit.dropped() })
}

fn texts(input: Option<Value>, fit: &mut Fit) -> Result<Vec<String>, Failure> {
    let items = match input {
        Some(Value::String(text)) => return Ok(vec![text]),
        Some(Value::Array(items)) if !items.is_empty() => items,
        _ => return Err(wrong("input", "it must be a text or a list of texts")),
    };
    let text = |item: Value| if let Value::String(text) = item { Some(text) } else { None };
    let is_tokens = items.iter().all(|item| item.is_number() || item.is_array());
    if is_tokens {
        // Nothing is left without it: what cannot be dropped is refused under either fit.
        *fit = Fit::new(penstock_schemas::envelope::Unsupported::Refuse);
        fit.cannot("input", "the provider takes texts, not tokens")?;
    }
    items.into_iter().map(text).collect::<Option<_>>().ok_or_else(|| wrong("input", "it must be a list of texts"))
}

fn task(asked: Option<(&str, Value)>) -> Result<Option<String>, Failure> {
    let Some((field, asked)) = asked else { return Ok(None) };
    let word = asked.as_str().ok_or_else(|| wrong(field, "it must be a text"))?;
    let known = TASKS.iter().find(|(ours, _)| *ours == word).map_or(word, |(_, theirs)| theirs);
    Ok(Some(known.to_owned()))
}

fn gemini(model: &str, texts: &[String], dimensions: Option<&Value>, task: Option<&str>) -> Value {
    let takes_media = model.contains(MULTIMODAL);
    let one = |text: &String| {
        let media =
            Some(text).filter(|text| takes_media && text.starts_with("data:")).and_then(|text| Inline::read(text));
        let part = match &media {
            Some(media) => json!({ "inlineData": { "mimeType": media.media_type, "data": media.data } }),
            None => json!({ "text": text }),
        };
        let mut request = json!({ "model": model, "content": { "parts": [part] } });
        if let Some(dimensions) = dimensions {
            request["outputDimensionality"] = dimensions.clone();
        }
        if let Some(task) = task {
            request["taskType"] = task.into();
        }
        request
    };
    json!({ "requests": texts.iter().map(one).collect::<Vec<_>>() })
}

fn vertex(texts: &[String], dimensions: Option<&Value>, task: Option<&str>) -> Value {
    let one = |text: &String| match task {
        Some(task) => json!({ "content": text, "task_type": task }),
        None => json!({ "content": text }),
    };
    let mut body = json!({ "instances": texts.iter().map(one).collect::<Vec<_>>() });
    if let Some(dimensions) = dimensions {
        body["parameters"] = json!({ "outputDimensionality": dimensions });
    }
    body
}

/// An answer in any of the shapes: one vector, many, or predictions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    embedding: Option<Vector<'a>>,
    #[serde(borrow)]
    embeddings: Option<Vec<Vector<'a>>>,
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
    usage_metadata: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    /// Unread, so that no digit is lost.
    #[serde(borrow)]
    values: &'a RawValue,
    statistics: Option<Value>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Vector<'a>,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: &'a RawValue,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'static str,
    usage: Value,
}

/// The vectors, in the order of the texts.
pub(super) fn read(form: Form, body: &Bytes) -> Result<Whole, Failure> {
    let broken = || Failure::provider(FailureKind::Broken, "the provider's answer holds no vectors");
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| broken())?;
    if let Some(error) = &answer.error {
        return Err(errors::within(error));
    }
    let vectors: Vec<Vector<'_>> = match (answer.embedding, answer.embeddings, answer.predictions) {
        (Some(one), ..) => vec![one],
        (_, Some(many), _) => many,
        (.., Some(predictions)) => predictions.into_iter().map(|prediction| prediction.embeddings).collect(),
        _ => return Err(broken()),
    };
    let counted = |vector: &Vector<'_>| vector.statistics.as_ref()?.get("token_count")?.as_f64();
    let metadata = answer.usage_metadata.as_ref();
    let reported = metadata.and_then(|usage| usage.get("promptTokenCount")?.as_u64());
    let tokens = reported.or_else(|| vectors.iter().map(counted).sum::<Option<f64>>().and_then(whole_number));
    let usage = tokens.filter(|_| !vectors.is_empty()).map(|tokens| Usage { input: Some(tokens), ..Usage::default() });
    let bytes = match form {
        Form::Own => body.clone(),
        Form::Agnostic => {
            let items = vectors.iter().map(|vector| vector.values).enumerate();
            let data = items.map(|(index, embedding)| Item { object: "embedding", index, embedding }).collect();
            let counts = tokens.unwrap_or(0);
            let usage = json!({ "prompt_tokens": counts, "total_tokens": counts });
            let list = List { object: "list", data, model: "", usage };
            serde_json::to_vec(&list).expect("a list has a JSON form").into()
        }
    };
    Ok(Whole { bytes, observed: Observed { usage, ..Observed::default() } })
}

/// A count, which Vertex AI writes as a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within the exact integers")]
fn whole_number(count: f64) -> Option<u64> {
    (0.0..9e15).contains(&count).then_some(count.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_the_words_of_others() {
        for (field, asked, theirs) in [
            ("input_type", json!("search_query"), "RETRIEVAL_QUERY"),
            ("task", json!("retrieval.passage"), "RETRIEVAL_DOCUMENT"),
            ("task_type", json!("CODE_RETRIEVAL_QUERY"), "CODE_RETRIEVAL_QUERY"),
        ] {
            assert_eq!(task(Some((field, asked))).unwrap().as_deref(), Some(theirs));
        }
        assert_eq!(task(None).unwrap(), None);
        assert_eq!(task(Some(("task", json!(7)))).unwrap_err().param.as_deref(), Some("task"));
    }

    #[test]
    fn an_image_in_place_is_embedded_as_one_where_the_model_can() {
        let texts = ["data:image/png;base64,iVBORw0KGgo=".to_owned(), "a".to_owned()];
        let part =
            |model: &str, at: usize| gemini(model, &texts, None, None)["requests"][at]["content"]["parts"][0].clone();
        assert_eq!(part("models/gemini-embedding-2", 0)["inlineData"]["mimeType"], "image/png");
        assert_eq!(part("models/gemini-embedding-2", 1), json!({"text": "a"}));
        assert_eq!(part("models/gemini-embedding-001", 0)["text"], texts[0]);
    }
}

//! Embeddings: one content, or a batch of requests that agree in everything but their contents.
//! Source: <https://ai.google.dev/api/embeddings>.

use super::object::{Item, Object, cannot};
use crate::client::{ClientRequest, Writer, WrongRequest, unreadable};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The requests of a batch.
pub(super) fn requests<'a>(object: &mut Object<'a>) -> Result<Vec<Item<'a>>, WrongRequest> {
    let requests = object.list("requests")?;
    if requests.is_empty() { Err(object.wrong("requests", "it must hold at least one request")) } else { Ok(requests) }
}

/// The request in its agnostic form, which is OpenAI's, with Cohere's word for what the vectors are for.
pub(super) fn agnostic(asked: &ClientRequest) -> Result<Bytes, WrongRequest> {
    let mut body = Object::of_body(&asked.body)?;
    let mut texts = Vec::new();
    let mut common: Option<Map<String, Value>> = None;
    if body.has("requests") {
        for request in requests(&mut body)? {
            let place = request.0.clone();
            let settings = one(Object::read(request)?, &mut texts)?;
            if *common.get_or_insert_with(|| settings.clone()) != settings {
                return Err(cannot(place, "the settings of all requests of a batch must be the same"));
            }
        }
        body.end()?;
    } else {
        common = Some(one(body, &mut texts)?);
    }
    let mut request = Map::from_iter([
        ("model".to_owned(), json!(asked.model)),
        ("input".to_owned(), json!(texts)),
        ("encoding_format".to_owned(), json!("float")),
    ]);
    request.extend(common.unwrap_or_default());
    Ok(Value::Object(request).to_string().into())
}

/// Reads one request: adds its text, and gives its settings.
fn one(mut request: Object<'_>, texts: &mut Vec<String>) -> Result<Map<String, Value>, WrongRequest> {
    request.skip("model");
    request.needs("content")?;
    texts.push(match request.object("content")? {
        Some(content) => text(content)?,
        None => String::new(),
    });
    let mut settings = Map::new();
    let nested = request.object("embed_content_config")?;
    for mut source in std::iter::once(request).chain(nested) {
        if let Some(dimensions) = source.take::<u32>("output_dimensionality")? {
            settings.insert("dimensions".to_owned(), json!(dimensions));
        }
        if let Some(task) = source.take::<String>("task_type")? {
            let task = match task.as_str() {
                "RETRIEVAL_QUERY" | "QUESTION_ANSWERING" | "FACT_VERIFICATION" | "CODE_RETRIEVAL_QUERY" => {
                    "search_query"
                }
                "RETRIEVAL_DOCUMENT" => "search_document",
                "CLASSIFICATION" => "classification",
                "CLUSTERING" => "clustering",
                _ => return Err(source.wrong("task_type", "no other provider has this task")),
            };
            settings.insert("input_type".to_owned(), json!(task));
        }
        source.end()?;
    }
    Ok(settings)
}

fn text(mut content: Object<'_>) -> Result<String, WrongRequest> {
    content.skip("role");
    let mut texts = Vec::new();
    for part in content.list("parts")? {
        let mut part = Object::read(part)?;
        texts.push(
            part.take::<String>("text")?
                .ok_or_else(|| part.wrong("text", "it is missing: only texts can be embedded"))?,
        );
    }
    if texts.is_empty() {
        return Err(content.wrong("parts", "it must hold at least one part"));
    }
    Ok(texts.join("\n"))
}

/// Vectors on their way to a client.
pub(super) struct Embedded {
    is_batch: bool,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Vector<'a>>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    index: Option<usize>,
    /// Unread, so that no digit is lost.
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Serialize)]
struct Values<'a> {
    values: &'a RawValue,
}

impl Embedded {
    pub(super) fn of(asked: &ClientRequest) -> Self {
        Self { is_batch: Object::of_body(&asked.body).is_ok_and(|body| body.has("requests")) }
    }
}

impl Writer for Embedded {
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Response<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            embedding: Option<Values<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            embeddings: Option<Vec<Values<'a>>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            usage_metadata: Option<Value>,
        }
        let mut answer: Answer<'_> = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        answer.data.sort_by_key(|vector| vector.index);
        let mut vectors = answer.data.iter().map(|vector| Values { values: vector.embedding });
        let usage_metadata =
            summary.usage.input.map(|tokens| json!({ "promptTokenCount": tokens, "totalTokenCount": tokens }));
        let response = if self.is_batch {
            Response { embedding: None, embeddings: Some(vectors.collect()), usage_metadata }
        } else {
            let first = vectors.next().ok_or_else(|| unreadable(&"it holds no vector"))?;
            Response { embedding: Some(first), embeddings: None, usage_metadata }
        };
        Ok(serde_json::to_vec(&response).expect("an answer has a JSON form").into())
    }

    fn chunk(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }

    fn end(&mut self, _summary: &Summary, _out: &mut Vec<u8>) {}
}

//! The simulator's endpoints beside chat: completions of texts, vectors, judgements, pictures, sounds, transcripts, orders.
//! The same request gives the same answer; a token is four characters, as in its chats.

use super::model::Model;
use super::pace::Pace;
use super::picture::{png, wav};
use super::script::tokens;
use super::{stream, wire};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream as streams;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use penstock_schemas::envelope::Operation;
use penstock_schemas::form::MultipartForm;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::sleep;

/// Numbers of a vector, when the request does not say.
const DIMENSIONS: u64 = 64;

/// The most of them, and of pictures.
const MOST_DIMENSIONS: u64 = 3_072;
const MOST_PICTURES: u64 = 10;

/// Bytes of audio that the simulator takes for a second.
const BYTES_A_SECOND: usize = 8_000;

/// Answers a request that is JSON.
pub(super) async fn answer(operation: Operation, body: Bytes) -> Response {
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return wire::refuse(400, &format!("The request cannot be read: {error}"), None),
    };
    let name = request["model"].as_str().unwrap_or_default().to_owned();
    let model = match Model::parse(&name) {
        Ok(model) => model,
        Err(unknown) => return wire::refuse(404, &unknown, None),
    };
    if let Some(refusal) = first(&model, hash(&body)).await {
        return refusal;
    }
    match operation {
        Operation::Completions => complete(&request, &model, hash(&body)),
        Operation::Embeddings => whole(&model, &embeddings(&request)),
        Operation::Moderations => whole(&model, &moderations(&request)),
        Operation::Images | Operation::ImageEdits | Operation::ImageVariations => whole(&model, &pictures(&request)),
        Operation::Rerank => whole(&model, &ranking(&request)),
        Operation::Speech => speak(&request, &model),
        Operation::Chat
        | Operation::Transcriptions
        | Operation::Translations
        | Operation::CountTokens
        | Operation::Realtime => wire::refuse(404, "There is no such endpoint here.", None),
    }
}

/// The wait before anything comes, and the refusal that the model was told to give.
async fn first(model: &Model, seed: u64) -> Option<Response> {
    sleep(Pace::new(model, seed).before_first()).await;
    let status = model.faults.status?;
    Some(wire::refuse(status, "The simulated provider was told to refuse.", model.faults.retry_after))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// An answer in one piece, with the model's faults.
fn whole(model: &Model, answer: &Value) -> Response {
    let faults = &model.faults;
    let body = if faults.abort_after.is_some() {
        Body::from_stream(streams::iter([Err::<Bytes, _>(stream::hang_up())]))
    } else if faults.malformed {
        Body::from(r#"{"object":"list","data":["#)
    } else if faults.error_first {
        Body::from(wire::error("The simulated provider was told to fail.", "server_error", None))
    } else {
        Body::from(answer.to_string())
    };
    wire::respond(200, "application/json", body)
}

/// The texts of a field that holds one or several; token lists are taken for a text of as many tokens.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(tokens) => "tok ".repeat(tokens.len()),
        other => other["text"].as_str().unwrap_or_default().to_owned(),
    };
    match value {
        Value::Array(items) if items.first().is_some_and(|first| !first.is_number()) => {
            items.iter().map(text).collect()
        }
        one => vec![text(one)],
    }
}

fn complete(request: &Value, model: &Model, seed: u64) -> Response {
    let prompts = texts(&request["prompt"]);
    let limit = request["max_tokens"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(16);
    let text = |prompt: &String| {
        let all =
            format!(" … and so on, said demo/{}, a simulation that read {} characters.", model.name, prompt.len());
        match all.char_indices().nth(limit.saturating_mul(4)) {
            Some((end, _)) => (all[..end].to_owned(), "length"),
            None => (all, "stop"),
        }
    };
    let answers: Vec<(String, &str)> = prompts.iter().map(text).collect();
    let read: u64 = prompts.iter().map(|prompt| tokens(prompt)).sum();
    let written: u64 = answers.iter().map(|(text, _)| tokens(text)).sum();
    let usage = json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written});
    let part = |choices: Value, usage: Option<&Value>| {
        let mut part = json!({
            "id": format!("cmpl-demo-{seed:016x}"), "object": "text_completion", "created": 0, "model": model.name,
            "choices": choices,
        });
        if let Some(usage) = usage {
            part["usage"] = usage.clone();
        }
        part
    };
    let choice = |(index, (text, reason)): (usize, &(String, &str))| json!({"index": index, "text": text, "logprobs": null, "finish_reason": reason});
    if request["stream"] != true {
        return whole(model, &part(answers.iter().enumerate().map(choice).collect(), Some(&usage)));
    }
    let pace = Pace::new(model, seed);
    let mut steps = Vec::new();
    for (index, (text, reason)) in answers.iter().enumerate() {
        for (number, piece) in text.split_inclusive(' ').enumerate() {
            let choices = json!([{"index": index, "text": piece, "logprobs": null, "finish_reason": null}]);
            steps.push((pace.before(number + 1, piece), wire::event(&part(choices, None).to_string())));
        }
        let choices = json!([{"index": index, "text": "", "logprobs": null, "finish_reason": reason}]);
        steps.push((Duration::ZERO, wire::event(&part(choices, None).to_string())));
    }
    if request["stream_options"]["include_usage"] == true {
        steps.push((Duration::ZERO, wire::event(&part(json!([]), Some(&usage)).to_string())));
    }
    steps.push((Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n")));
    stream::respond(steps, model)
}

/// Vectors of length one that are the same for the same text, and mean nothing else.
fn embeddings(request: &Value) -> Value {
    let dimensions = request["dimensions"].as_u64().unwrap_or(DIMENSIONS).min(MOST_DIMENSIONS);
    let texts = texts(&request["input"]);
    let vector = |text: &String| -> Vec<f32> {
        let raw: Vec<f32> =
            (0..dimensions).map(|at| f32::from(u8::try_from(hash(&(text, at)) % 255).unwrap_or(0)) - 127.0).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(1.0);
        raw.iter().map(|x| x / length).collect()
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text);
            let embedding = if request["encoding_format"] == "base64" {
                json!(base64(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let read: u64 = texts.iter().map(|text| tokens(text)).sum();
    json!({"object": "list", "data": data, "model": request["model"], "usage": {"prompt_tokens": read, "total_tokens": read}})
}

fn moderations(request: &Value) -> Value {
    let result = |text: &String| {
        let text = text.to_lowercase();
        let (violence, hate) = (text.contains("kill"), text.contains("hate"));
        let score = |flagged: bool| if flagged { 0.97 } else { 0.0001 };
        json!({
            "flagged": violence || hate,
            "categories": {"violence": violence, "hate": hate},
            "category_scores": {"violence": score(violence), "hate": score(hate)},
        })
    };
    let results: Vec<Value> = texts(&request["input"]).iter().map(result).collect();
    json!({"id": "modr-demo", "model": request["model"], "results": results})
}

fn pictures(request: &Value) -> Value {
    let count = request["n"].as_u64().unwrap_or(1).clamp(1, MOST_PICTURES);
    let picture = |number| {
        let [red, green, blue, ..] = hash(&(request["prompt"].as_str(), number)).to_le_bytes();
        let picture = base64(&png(64, [red, green, blue]));
        if request["response_format"] == "url" {
            json!({"url": format!("data:image/png;base64,{picture}")})
        } else {
            json!({"b64_json": picture})
        }
    };
    json!({"created": 0, "data": (0..count).map(picture).collect::<Vec<Value>>()})
}

/// Documents by how many words they share with the query.
fn ranking(request: &Value) -> Value {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let query = words(request["query"].as_str().unwrap_or_default());
    let documents = texts(&request["documents"]);
    let mut order: Vec<(usize, usize)> = documents
        .iter()
        .map(|document| words(document))
        .map(|found| query.iter().filter(|word| found.contains(word)).count())
        .enumerate()
        .collect();
    order.sort_by_key(|(index, shared)| (std::cmp::Reverse(*shared), *index));
    let most = request["top_n"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(order.len());
    #[expect(clippy::cast_precision_loss, reason = "counts of words")]
    let score = |shared: usize| shared as f64 / query.len().max(1) as f64;
    let results: Vec<Value> = order
        .into_iter()
        .take(most)
        .map(|(index, shared)| json!({"index": index, "relevance_score": score(shared)}))
        .collect();
    let searches = documents.len().div_ceil(100).max(1);
    json!({"id": "rank-demo", "results": results, "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": searches}}})
}

/// A tone for each word, as a WAV file whatever was asked for, a second at a time.
fn speak(request: &Value, model: &Model) -> Response {
    if model.faults.malformed || model.faults.error_first {
        return whole(model, &Value::Null);
    }
    let words = request["input"].as_str().unwrap_or_default().split_whitespace();
    let heights: Vec<u8> = words.map(|word| hash(&word).to_le_bytes()[0]).take(60).collect();
    let audio = Bytes::from(wav(&heights));
    let count = model.faults.abort_after.unwrap_or(usize::MAX);
    let delay = model.faults.delay.unwrap_or_default();
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        audio.chunks(BYTES_A_SECOND).map(|piece| Ok(audio.slice_ref(piece))).take(count).collect();
    let cut = model.faults.abort_after.map(|_| Err(stream::hang_up()));
    let body = streams::unfold(pieces.into_iter().chain(cut), move |mut pieces| async move {
        let piece = pieces.next()?;
        sleep(delay).await;
        Some((piece, pieces))
    });
    wire::respond(200, "audio/wav", Body::from_stream(body))
}

/// Answers a form with a sound in it.
pub(super) async fn listen(headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match MultipartForm::read(&body, kind) {
        Ok(form) => form,
        Err(error) => return wire::refuse(400, &format!("The form cannot be read: {error}"), None),
    };
    let value = |name: &str| form.value(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let model = match Model::parse(value("model")) {
        Ok(model) => model,
        Err(unknown) => return wire::refuse(404, &unknown, None),
    };
    let seed = hash(&body);
    if let Some(refusal) = first(&model, seed).await {
        return refusal;
    }
    let seconds = body.len().div_ceil(BYTES_A_SECOND);
    let text =
        format!("This is demo/{}, a simulation: it heard {seconds} seconds and understood none of them.", model.name);
    let usage = json!({"type": "duration", "seconds": seconds});
    if value("stream") == "true" {
        let pace = Pace::new(&model, seed);
        let pieces = text.split_inclusive(' ').enumerate().map(|(number, piece)| {
            let event = json!({"type": "transcript.text.delta", "delta": piece});
            (pace.before(number + 1, piece), wire::event(&event.to_string()))
        });
        let done = json!({"type": "transcript.text.done", "text": text, "usage": usage});
        let steps = pieces.chain([(Duration::ZERO, wire::event(&done.to_string()))]).collect();
        return stream::respond(steps, &model);
    }
    match value("response_format") {
        "text" => wire::respond(200, "text/plain; charset=utf-8", Body::from(format!("{text}\n"))),
        "srt" => wire::respond(
            200,
            "text/plain; charset=utf-8",
            Body::from(format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n")),
        ),
        "vtt" => wire::respond(
            200,
            "text/vtt; charset=utf-8",
            Body::from(format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n\n")),
        ),
        _ => whole(&model, &json!({"text": text, "usage": usage})),
    }
}

/// Base64 of the standard alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use penstock_dialects::openai::provider::Openai;
    use penstock_dialects::provider::{Form, ProviderFormat, Wanted};
    use penstock_schemas::envelope::Delivery;

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("\u{ff}~", "w79+")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_is_understood_by_the_adapter() {
        for (operation, request, usage) in [
            (
                Operation::Completions,
                json!({"model": "fast", "prompt": ["Hello!!!", "a"]}),
                json!({"input": 3, "output": 32}),
            ),
            (Operation::Embeddings, json!({"model": "embed", "input": [[1, 2], [3]]}), json!({"input": 3})),
            (Operation::Moderations, json!({"model": "moderate", "input": "I hate it"}), json!(null)),
            (Operation::Images, json!({"model": "paint", "prompt": "a", "n": 2}), json!({"images": 2})),
            (
                Operation::Rerank,
                json!({"model": "rank", "query": "red car", "documents": ["blue", "a red car"], "top_n": 1}),
                json!({"searches": 1}),
            ),
        ] {
            let response = answer(operation, request.to_string().into()).await;
            assert_eq!(response.status(), 200, "{request}");
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let wanted = Wanted { operation, form: Form::Own, delivery: Delivery::Whole };
            let observed = Openai.read_whole(wanted, &body).unwrap().observed;
            assert_eq!(json!(observed.usage), usage, "{}", String::from_utf8_lossy(&body));
            if operation == Operation::Rerank {
                assert!(String::from_utf8_lossy(&body).contains(r#""index":1,"relevance_score":1.0"#));
            }
        }
    }
}

//! What a message says, as content of an item. Knows nothing of items.
//! Source: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>.

use super::spelling::{Spelling, wrong};
use crate::data_url::Inline;
use penstock_schemas::chat::{Content, FilePart, Part};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Which side says it: the same text has another name on each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// To the model.
    Input,
    /// By the model.
    Output,
}

/// The content of a message that stands at `place`.
pub(super) fn parts(content: Content, side: Side, place: &str, spelling: &mut Spelling) -> Result<Vec<Value>, Failure> {
    let mut out = Vec::new();
    for (at, part) in content.into_parts().into_iter().enumerate() {
        let place = format!("{place}.content[{at}]");
        let spelt = match (part.kind.as_str(), side) {
            ("text", Side::Input) => Some(json!({ "type": "input_text", "text": part.text.unwrap_or_default() })),
            ("text", Side::Output) => Some(output_text(&part.text.unwrap_or_default())),
            ("refusal", Side::Output) => {
                let refusal = part.extra.get("refusal").and_then(Value::as_str).unwrap_or_default();
                Some(json!({ "type": "refusal", "refusal": refusal }))
            }
            ("image_url", Side::Input) => Some(image(part, &place)?),
            ("file", Side::Input) => Some(file(part, &place)?),
            ("input_audio", Side::Input) => {
                let audio = part.input_audio.ok_or_else(|| wrong(format!("{place}.input_audio"), "it is missing"))?;
                Some(json!({
                    "type": "input_audio",
                    "input_audio": { "data": audio.data, "format": audio.format },
                }))
            }
            _ => {
                spelling.cannot(format!("{place}.type"), "the provider takes no such content here")?;
                None
            }
        };
        out.extend(spelt);
    }
    Ok(out)
}

/// Text of an assistant.
pub(super) fn output_text(text: &str) -> Value {
    json!({ "type": "output_text", "text": text })
}

fn image(part: Part, place: &str) -> Result<Value, Failure> {
    let image = part.image_url.ok_or_else(|| wrong(format!("{place}.image_url"), "it is missing"))?;
    // Some write files so.
    if image.url.starts_with("data:") && Inline::read(&image.url).is_some_and(|inline| inline.is_pdf()) {
        let pdf = FilePart { file_data: Some(image.url), ..FilePart::default() };
        return file(Part { file: Some(pdf), ..Part::default() }, place);
    }
    let detail = image.detail.unwrap_or_else(|| "auto".to_owned());
    Ok(json!({ "type": "input_image", "image_url": image.url, "detail": detail }))
}

fn file(part: Part, place: &str) -> Result<Value, Failure> {
    let file = part.file.ok_or_else(|| wrong(format!("{place}.file"), "it is missing"))?;
    let mut out = Map::from_iter([("type".to_owned(), Value::from("input_file"))]);
    // Inline data is refused without a name.
    let name = file.filename.or_else(|| file.file_data.as_ref().map(|_| "document.pdf".to_owned()));
    for (key, value) in
        [("filename", name), ("file_data", file.file_data), ("file_id", file.file_id), ("file_url", file.file_url)]
    {
        out.extend(value.map(|value| (key.to_owned(), value.into())));
    }
    Ok(Value::Object(out))
}

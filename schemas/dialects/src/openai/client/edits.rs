//! Edits of images that come as JSON, with the images in place as data URLs: OpenAI takes them so too, its copies take forms.
//! Put into a form here, they are measured, paid for and passed on as every other.
//! Source: <https://platform.openai.com/docs/api-reference/images/createEdit>.

use crate::client::WrongRequest;
use crate::client::fields::wrong;
use crate::data_url::Inline;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value};

/// The form, and its media type.
///
/// # Errors
/// When it is no JSON object, or an image of it is not in place.
pub(crate) fn form_of(body: &[u8]) -> Result<(Bytes, String), WrongRequest> {
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| wrong("body", error.to_string()))?;
    let mut parts = Vec::new();
    for (name, value) in &fields {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("images" | "image" | "image[]", Value::Array(images)) => {
                for (at, image) in images.iter().enumerate() {
                    parts.push(file("image[]", &format!("{name}[{at}]"), image)?);
                }
            }
            ("images" | "image" | "image[]", image) => parts.push(file("image", name, image)?),
            ("mask", mask) => parts.push(file("mask", name, mask)?),
            (_, Value::String(text)) => parts.push(text_part(name, text)?),
            (_, other) => parts.push(text_part(name, &other.to_string())?),
        }
    }
    let boundary = boundary(&parts);
    let mut form = Vec::new();
    for part in &parts {
        form.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        form.extend_from_slice(part);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((form.into(), format!("multipart/form-data; boundary={boundary}")))
}

fn text_part(name: &str, text: &str) -> Result<Vec<u8>, WrongRequest> {
    if name.chars().any(|c| c.is_control() || c == '"') {
        return Err(wrong("body", "a field has no such name".to_owned()));
    }
    Ok(format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}").into_bytes())
}

/// An image: `{"image_url": "data:…"}`, the same in an object of its own, or the data URL alone.
fn file(name: &str, place: &str, image: &Value) -> Result<Vec<u8>, WrongRequest> {
    let url = image.get("image_url").unwrap_or(image);
    let url = url.get("url").unwrap_or(url).as_str().unwrap_or_default();
    let why =
        || wrong(place, "it must hold the image as a data URL: addresses and ids of files are not fetched".to_owned());
    let inline = Some(url).filter(|url| url.starts_with("data:")).and_then(Inline::read).ok_or_else(why)?;
    let bytes = STANDARD.decode(inline.data.as_bytes()).map_err(|_| wrong(place, "it is not base64".to_owned()))?;
    let kind = inline.media_type.strip_prefix("image/").filter(|kind| kind.bytes().all(|c| c.is_ascii_alphanumeric()));
    let kind = kind.ok_or_else(|| wrong(place, "it is not an image".to_owned()))?;
    let head = format!(
        "Content-Disposition: form-data; name=\"{name}\"; filename=\"image.{kind}\"\r\nContent-Type: image/{kind}\r\n\r\n"
    );
    Ok([head.as_bytes(), &bytes].concat())
}

/// A line that stands in no part.
fn boundary(parts: &[Vec<u8>]) -> String {
    let mut number = 0_u32;
    loop {
        let boundary = format!("penstock-form-{number:08x}");
        if parts.iter().all(|part| memmem::find(part, boundary.as_bytes()).is_none()) {
            return boundary;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::form::MultipartForm;
    use serde_json::json;

    const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

    #[test]
    fn an_edit_in_json_is_the_form_that_it_stands_for() {
        let request = json!({"model": "m", "prompt": "penstock-form-00000000", "n": 2, "stream": false, "user": null,
            "images": [{"image_url": PNG}, {"image_url": {"url": PNG}}], "mask": {"image_url": PNG}});
        let (form, kind) = form_of(request.to_string().as_bytes()).unwrap();
        let form = MultipartForm::read(&form, &kind).unwrap();
        assert!(form.has_file("image[]") && form.has_file("mask") && !form.has_file("image"));
        assert_eq!((form.value("n"), form.value("stream")), (Some(&b"2"[..]), Some(&b"false"[..])));
        assert_eq!((form.value("prompt"), form.value("user")), (Some(&b"penstock-form-00000000"[..]), None));
    }

    #[test]
    fn an_image_that_is_elsewhere_is_refused_by_its_place() {
        for (images, place) in [
            (json!([{"image_url": PNG}, {"image_url": "https://a.example/b.png"}]), "images[1]"),
            (json!([{"file_id": "file-1"}]), "images[0]"),
            (json!("data:text/plain;base64,YQ=="), "images"),
        ] {
            let request = json!({"model": "m", "prompt": "p", "images": images});
            let refused = form_of(request.to_string().as_bytes()).unwrap_err();
            assert!(format!("{refused:?}").contains(place), "{refused:?}");
        }
    }
}

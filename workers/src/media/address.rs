//! Where a chat request in OpenAI's form names images and documents by address. Knows nothing of fetching.

use super::Addresses;
use penstock_schemas::chat::FilePart;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One address, and where it stands.
#[derive(Debug)]
pub(super) struct Place<'a> {
    message: usize,
    part: usize,
    pub(super) is_document: bool,
    pub(super) url: String,
    /// The part of the request that holds it: the address of an image, or a whole `file`.
    pub(super) value: &'a str,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    url: &'a RawValue,
}

/// Every address. A request that is not as it should be has none here; the adapter will say what is wrong with it.
pub(super) fn find(request: &str, wanted: Addresses) -> Vec<Place<'_>> {
    let Ok(Request { messages }) = serde_json::from_str(request) else { return Vec::new() };
    let mut places = Vec::new();
    for (message, Message { content }) in messages.iter().enumerate() {
        let Some(parts) = content.filter(|content| content.get().starts_with('[')) else { continue };
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(parts.get()) else { continue };
        for (part, raw) in parts.into_iter().enumerate() {
            let Ok(Part { image_url, file }) = serde_json::from_str(raw.get()) else { continue };
            let found = match (image_url, file) {
                (Some(image), _) if wanted == Addresses::All => {
                    image_address(image).map(|(url, value)| (url, value, false))
                }
                (_, Some(file)) => file_address(file).map(|url| (url, file.get(), true)),
                _ => None,
            };
            places.extend(found.map(|(url, value, is_document)| Place { message, part, is_document, url, value }));
        }
    }
    places
}

fn image_address(image: &RawValue) -> Option<(String, &str)> {
    let Image { url } = serde_json::from_str(image.get()).ok()?;
    let text: String = serde_json::from_str(url.get()).ok()?;
    is_address(&text).then_some((text, url.get()))
}

fn file_address(file: &RawValue) -> Option<String> {
    let file: FilePart = serde_json::from_str(file.get()).ok()?;
    let has_content = file.file_data.is_some() || file.file_id.is_some();
    file.file_url.filter(|url| !has_content && is_address(url))
}

fn is_address(text: &str) -> bool {
    let starts = |with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    starts("http://") || starts("https://")
}

impl Place<'_> {
    /// The field, for people.
    pub(super) fn field(&self) -> String {
        let what = if self.is_document { "file.file_url" } else { "image_url.url" };
        format!("messages[{}].content[{}].{what}", self.message, self.part)
    }

    /// What stands in the place of `value` when it holds the data.
    pub(super) fn with_data(&self, url: &str) -> String {
        let file = self.is_document.then(|| serde_json::from_str::<FilePart>(self.value).ok()).flatten();
        let Some(mut file) = file else { return serde_json::json!(url).to_string() };
        if file.filename.is_none() {
            file.filename = file.file_url.as_deref().and_then(name);
        }
        (file.file_url, file.file_data) = (None, Some(url.to_owned()));
        serde_json::json!(file).to_string()
    }
}

/// The last step of an address's path: some providers want a document to have a name.
fn name(address: &str) -> Option<String> {
    let url = reqwest::Url::parse(address).ok()?;
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = r#"{"messages":[{"content":"http://a"},{"content":[{"type":"text","text":"http://a"},
        {"type":"image_url","image_url":{"url":"https:\/\/a.example\/b.png","detail":"low"}},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},
        {"type":"file","file":{"file_url":"http://a.example/x/c.pdf?d"}},
        {"type":"file","file":{"file_url":"http://a.example/c.pdf","file_id":"f"}}, 7]}]}"#;

    #[test]
    fn every_address_is_found_at_its_place() {
        let found: Vec<(String, String)> =
            find(REQUEST, Addresses::All).into_iter().map(|place| (place.field(), place.url)).collect();
        let expected = [
            ("messages[1].content[1].image_url.url", "https://a.example/b.png"),
            ("messages[1].content[3].file.file_url", "http://a.example/x/c.pdf?d"),
        ];
        assert_eq!(found, expected.map(|(field, url)| (field.to_owned(), url.to_owned())));
        assert_eq!(find(REQUEST, Addresses::Documents).len(), 1);
        for odd in ["", "[]", "{\"messages\":3}", "{\"messages\":[{\"content\":[{\"image_url\":3}]}]}"] {
            assert!(find(odd, Addresses::All).is_empty());
        }
    }

    #[test]
    fn data_takes_the_place_of_an_address() {
        let places = find(REQUEST, Addresses::All);
        assert_eq!(places[0].with_data("data:x"), "\"data:x\"");
        assert_eq!(places[1].with_data("data:x"), r#"{"file_data":"data:x","filename":"c.pdf"}"#);
    }
}

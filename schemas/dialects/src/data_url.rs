//! Bytes that a request holds in place, as providers want them: plain base64, under the media type that the bytes have. What
//! the caller calls them counts only where the bytes do not tell. Knows no provider.
//! Source: RFC 2397.

use crate::media_kind::MediaKind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// The first characters of base64 that are decoded to see what it is: enough for the longest beginning.
const LOOKED_AT: usize = 32;

/// The images that every provider takes.
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The data URL of bytes that are base64 already.
pub fn write(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

/// The media type and the base64 of a data URL as [`write`] makes it.
pub(crate) fn parts(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

/// Bytes in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inline<'a> {
    /// `image/jpeg`, in lower case, without parameters.
    pub(crate) media_type: String,
    /// Base64 of the common alphabet, padded, on one line.
    pub(crate) data: Cow<'a, str>,
    /// What the bytes are, if their beginning tells.
    pub(crate) kind: Option<MediaKind>,
}

impl<'a> Inline<'a> {
    /// Reads a data URL, or base64 alone where its bytes tell what they are. `None` when it is neither.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let Some(rest) = text.get(..5).filter(|head| head.eq_ignore_ascii_case("data:")).map(|_| &text[5..]) else {
            return Self::of("", tidy(text)?).filter(|inline| inline.kind.is_some());
        };
        let (head, data) = rest.split_once(',')?;
        let mut words = head.split(';').map(str::trim);
        let named = words.next().unwrap_or_default();
        if words.any(|word| word.eq_ignore_ascii_case("base64")) {
            return Self::of(named, tidy(data)?);
        }
        Self::of(named, Cow::Owned(STANDARD.encode(unescape(data)?)))
    }

    /// Base64 that the caller calls so.
    pub(crate) fn of(named: &str, data: Cow<'a, str>) -> Option<Self> {
        let beginning = &data.as_bytes()[..data.len().min(LOOKED_AT)];
        let kind = MediaKind::of(&STANDARD.decode(beginning).ok()?);
        let named = named.to_ascii_lowercase();
        let media_type = match (kind, named.as_str()) {
            (Some(kind), _) => kind.media_type().to_owned(),
            (None, "image/jpg" | "image/pjpeg") => "image/jpeg".to_owned(),
            (None, "") => "text/plain".to_owned(),
            (None, _) => named,
        };
        Some(Self { media_type, data, kind })
    }

    /// Whether it is one of the images that every provider takes, as far as can be told.
    pub(crate) fn is_image(&self) -> bool {
        match self.kind {
            Some(kind) => !kind.is_document(),
            None => IMAGES.contains(&self.media_type.as_str()),
        }
    }

    /// Whether it is a PDF, as far as can be told.
    pub(crate) fn is_pdf(&self) -> bool {
        self.kind.map_or(self.media_type == "application/pdf", MediaKind::is_document)
    }

    /// The text that the bytes are; `None` when they are none.
    pub(crate) fn text(&self) -> Option<String> {
        if self.kind.is_some() {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(&*self.data).ok()?).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}

/// Base64 of either alphabet, with or without padding and line breaks, as the common one.
fn tidy(data: &str) -> Option<Cow<'_, str>> {
    let is_common = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let digits = data.trim_end_matches('=');
    if data.len().is_multiple_of(4) && data.len() - digits.len() <= 2 && digits.bytes().all(is_common) {
        return Some(Cow::Borrowed(data));
    }
    let common = |byte: u8| match byte {
        b'-' => '+',
        b'_' => '/',
        other => char::from(other),
    };
    let kept = data.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let mut tidy: String = kept.map(common).collect();
    if !tidy.bytes().all(is_common) || tidy.len() % 4 == 1 {
        return None;
    }
    while !tidy.len().is_multiple_of(4) {
        tidy.push('=');
    }
    Some(Cow::Owned(tidy))
}

/// The bytes of a data URL that is not base64: `a%20b`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatRequest, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
    use penstock_schemas::name::ModelId;
    use serde_json::{Value, json};

    #[test]
    fn a_pdf_that_stands_where_an_image_does_is_a_document_for_every_provider() {
        let image = json!({ "type": "image_url", "image_url": { "url": "data:application/pdf;base64,JVBERi0xLjQK" } });
        let said = json!([{ "role": "user", "content": [{ "type": "text", "text": "What?" }, image] }]);
        let body = bytes::Bytes::from(json!({ "model": "m", "messages": said }).to_string());
        for (dialect, model, place, expected) in [
            (Dialect::Anthropic, "claude-sonnet-4-5", "/messages/0/content/1/type", "document"),
            (Dialect::Bedrock, "anthropic.claude-sonnet-4-5-v1:0", "/messages/0/content/1/document/format", "pdf"),
            (Dialect::Google, "gemini-2.5-flash", "/contents/0/parts/1/inlineData/mimeType", "application/pdf"),
            (Dialect::Responses, "gpt-5", "/input/0/content/1/type", "input_file"),
        ] {
            let ask = FormatRequest {
                wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
                body: &body,
                content_type: None,
                headers: &std::collections::BTreeMap::new(),
                model: &ModelId::parse(model).unwrap(),
                card: None,
                settings: &FormatSettings::default(),
                unsupported: Unsupported::Refuse,
            };
            let (spelled, _) = crate::spell(crate::format_of(dialect), &ask).unwrap();
            let sent: Value = serde_json::from_slice(&spelled.body).unwrap();
            assert_eq!(sent.pointer(place), Some(&json!(expected)), "{dialect:?} {sent}");
        }
    }

    #[test]
    fn bytes_tell_what_they_are_and_names_only_where_they_do_not() {
        for (text, found) in [
            ("data:image/png;base64,iVBORw0KGgo=", Some(("image/png", "iVBORw0KGgo=", true))),
            ("data:image/jpg;base64,/9j/4AAQ", Some(("image/jpeg", "/9j/4AAQ", true))),
            ("DATA:IMAGE/PNG;charset=x;BASE64,_9j_4AAQ", Some(("image/jpeg", "/9j/4AAQ", true))),
            ("data:image/webp;base64,iVBORw0K\nGgo", Some(("image/png", "iVBORw0KGgo=", true))),
            ("/9j/4AAQ", Some(("image/jpeg", "/9j/4AAQ", true))),
            ("data:image/jpg;base64,AAAA", Some(("image/jpeg", "AAAA", true))),
            ("data:text/plain,a%20b", Some(("text/plain", "YSBi", false))),
            ("data:,a", Some(("text/plain", "YQ==", false))),
            ("data:image/png;base64,@@@", None),
            ("data:image/png;base64,AAAAA", None),
            ("data:image/png;base64", None),
            ("data:text/plain,%4", None),
            ("YSBi", None),
            ("https://example.org/a.png", None),
        ] {
            let read = Inline::read(text);
            let short = read.as_ref().map(|read| (read.media_type.as_str(), &*read.data, read.is_image()));
            assert_eq!(short, found, "{text}");
        }
        assert_eq!(Inline::read("data:text/plain;base64,w7w=").unwrap().text().as_deref(), Some("ü"));
        assert_eq!(Inline::read("data:text/plain;base64,AP8=").unwrap().text(), None);
    }
}

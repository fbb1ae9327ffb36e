//! What kind of file some bytes are, by their first bytes, as providers look at them. Knows no provider.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The beginnings of files. Sources: RFC 2083 section 3.1, ITU T.81 annex B, GIF89a section 17, RFC 9649 section 2.4,
/// ISO 32000-2 section 7.5.2.
const BEGINNINGS: [(&[u8], &str); 5] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"%PDF-", "application/pdf"),
];

/// The kind of a file given as base64. `None` when it is none that is known here: then its name is believed.
///
/// # Errors
/// When it is not base64.
pub fn media_type(data: &str) -> Result<Option<&'static str>, base64::DecodeError> {
    let bytes = STANDARD.decode(data)?;
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    let is_webp = bytes.get(8..12) == Some(b"WEBP");
    Ok(known.map(|(_, kind)| *kind).filter(|kind| *kind != "image/webp" || is_webp))
}

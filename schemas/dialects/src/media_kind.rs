//! What bytes are, by how they begin; what a server says of them counts for nothing.
//! Source: <https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern>.

/// What providers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A PNG image.
    Png,
    /// A JPEG image.
    Jpeg,
    /// A GIF image.
    Gif,
    /// A WebP image.
    Webp,
    /// A PDF document.
    Pdf,
}

impl MediaKind {
    /// What the bytes are; `None` when they are nothing of this.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let kinds = [
            (&b"\x89PNG\r\n\x1a\n"[..], Self::Png),
            (b"\xff\xd8\xff", Self::Jpeg),
            (b"GIF87a", Self::Gif),
            (b"GIF89a", Self::Gif),
            (b"%PDF-", Self::Pdf),
        ];
        if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            return Some(Self::Webp);
        }
        kinds.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| kind)
    }

    /// Whether it is a document and not an image.
    pub fn is_document(self) -> bool {
        self == Self::Pdf
    }

    /// `image/png`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Pdf => "application/pdf",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_by_how_they_begin() {
        for (bytes, kind) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], Some(MediaKind::Png)),
            (b"\xff\xd8\xff\xe0", Some(MediaKind::Jpeg)),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some(MediaKind::Webp)),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"%PDF-1.7", Some(MediaKind::Pdf)),
            (b"<svg xmlns", None),
            (b"", None),
        ] {
            assert_eq!(MediaKind::of(bytes), kind);
        }
    }
}

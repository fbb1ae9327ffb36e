//! Bodies of requests that clients compress, as they were before: some agents do it by themselves once a conversation is long.
//! What comes out is read piece by piece, so that every bound on a body counts that. Knows nothing of what the bytes mean.

use crate::refusal::Refusal;
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use futures_util::{StreamExt, TryStreamExt};
use std::io;
use tokio::io::AsyncBufRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// The most that is decompressed at once, in bytes.
const PIECE: usize = 16 << 10;

/// How far back a zstd frame may refer, as a power of two: 8 MiB, which every decoder must be able to hold.
/// Source: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2>.
const ZSTD_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

impl BodyEncoding {
    /// What the headers say; `None`: the body is as it is.
    ///
    /// # Errors
    /// When it is none that is known here, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let said = headers.get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
        match said.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "br" => Ok(Some(Self::Brotli)),
            "deflate" => Ok(Some(Self::Deflate)),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(Refusal::WrongEncoding(said.chars().take(100).collect())),
        }
    }

    /// What decompressing may take besides what comes out, in bytes.
    pub(crate) fn window(self) -> usize {
        match self {
            Self::Brotli => 16 << 20,
            Self::Zstd => 1 << ZSTD_WINDOW,
            Self::Deflate | Self::Gzip => 64 << 10,
        }
    }

    /// The body as it was.
    pub(crate) fn unpacked(self, body: Body) -> Body {
        let body = StreamReader::new(TryStreamExt::map_err(body.into_data_stream(), io::Error::other));
        match self {
            Self::Brotli => stream(BrotliDecoder::new(body)),
            Self::Deflate => stream(ZlibDecoder::new(body)),
            Self::Gzip => stream(GzipDecoder::new(body)),
            Self::Zstd => stream(zstd(body)),
        }
    }
}

fn zstd<B: AsyncBufRead>(body: B) -> ZstdDecoder<B> {
    ZstdDecoder::with_params(body, &[DParameter::window_log_max(ZSTD_WINDOW)])
}

/// Gives its thread back now and then: few bytes may become many, without a wait for the socket between.
fn stream(reader: impl tokio::io::AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(reader, PIECE).then(async |piece| {
        tokio::task::consume_budget().await;
        piece
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn each_name_of_an_encoding_is_known_and_several_at_once_are_not() {
        let of = |value: &'static str| {
            BodyEncoding::of(&HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]))
        };
        for (value, encoding) in [
            ("identity", None),
            (" ", None),
            ("zstd", Some(BodyEncoding::Zstd)),
            ("GZIP", Some(BodyEncoding::Gzip)),
            ("x-gzip", Some(BodyEncoding::Gzip)),
            ("br", Some(BodyEncoding::Brotli)),
            ("deflate", Some(BodyEncoding::Deflate)),
        ] {
            assert_eq!(of(value).unwrap(), encoding, "{value}");
        }
        assert!(of("compress").is_err() && of("gzip, zstd").is_err());
        assert_eq!(BodyEncoding::of(&HeaderMap::new()).unwrap(), None);
    }
}

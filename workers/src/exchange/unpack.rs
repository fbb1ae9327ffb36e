//! An answer's body as it was before the provider compressed it. An answer that is said to be compressed and is not goes
//! through as it is. Each bound on a body counts what comes out of here. Knows nothing of what the answer says.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http_body_util::BodyExt;
use reqwest::{Body, Response};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead};
use tokio_util::io::{ReaderStream, StreamReader};

/// What the provider is told that may come.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";

/// The longest name of an encoding that an error tells, in characters.
const NAME: usize = 32;

/// The most that is decompressed at once, in bytes.
const PIECE: usize = 16 << 10;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

#[derive(Clone, Copy)]
enum Encoding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

impl Encoding {
    /// `None`: the body is as it is.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let said = headers.get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
        match said.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "br" => Ok(Some(Self::Brotli)),
            "deflate" => Ok(Some(Self::Deflate)),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(said.chars().take(NAME).collect()),
        }
    }

    /// Whether a body that begins so is in this encoding. Brotli has no mark of its own: the header is believed.
    fn marks(self, begin: &[u8]) -> bool {
        match self {
            Self::Brotli => true,
            Self::Deflate => matches!(begin, [first, ..] if first & 0x0F == 8), // RFC 1950: CM
            Self::Gzip => matches!(begin, [0x1F, ..]),                          // RFC 1952: ID1
            Self::Zstd => matches!(begin, [0x28, ..]),                          // RFC 8878: Magic_Number
        }
    }

    fn decoder(self, body: impl AsyncBufRead + Send + Unpin + 'static) -> Reader {
        match self {
            Self::Brotli => Box::new(BrotliDecoder::new(body)),
            Self::Deflate => Box::new(ZlibDecoder::new(body)),
            Self::Gzip => Box::new(GzipDecoder::new(body)),
            Self::Zstd => Box::new(ZstdDecoder::new(body)),
        }
    }
}

/// The answer with its body decompressed as it is read.
///
/// # Errors
/// The name of an encoding that is not known here.
pub(super) fn unpacked(response: Response) -> Result<Response, String> {
    let Some(encoding) = Encoding::of(response.headers())? else { return Ok(response) };
    let (mut head, body) = http::Response::from(response).into_parts();
    head.headers.remove(CONTENT_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    let body = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let chunks = stream::once(opened(encoding, body)).try_flatten();
    Ok(http::Response::from_parts(head, Body::wrap_stream(chunks)).into())
}

/// Waits for the first bytes, and decides by them.
async fn opened<B>(encoding: Encoding, mut body: B) -> io::Result<impl stream::Stream<Item = io::Result<Bytes>>>
where
    B: AsyncBufRead + Send + Unpin + 'static,
{
    let is_marked = encoding.marks(body.fill_buf().await?);
    let reader: Reader = if is_marked { encoding.decoder(body) } else { Box::new(body) };
    Ok(ReaderStream::with_capacity(reader, PIECE))
}

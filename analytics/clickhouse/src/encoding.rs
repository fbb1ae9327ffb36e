//! Bodies in their encodings: lz4 frames, gzip and deflate, and ClickHouse's own checksummed blocks. Knows no statements.
//!
//! The engine takes a compressed body for an empty one and answers with success, so what cannot be decoded is refused.

use crate::exception::{Exception, Kind};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use lz4_flex::block;
use lz4_flex::frame::FrameDecoder;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Checksum, method, both sizes.
const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const LZ4: u8 = 0x82;
const NONE: u8 = 0x02;
/// A server writes blocks of 1 MiB; this bounds what a header may make us allocate.
const LARGEST_BLOCK: u32 = 64 << 20;
const WRITTEN_BLOCK: usize = 1 << 20;

/// A body as the client meant it.
pub(crate) fn decoded<'a>(
    body: impl Read + 'a,
    content_encoding: Option<&str>,
    native: bool,
) -> Result<Box<dyn Read + 'a>, Exception> {
    let plain: Box<dyn Read + 'a> = match content_encoding.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Box::new(body),
        Some("lz4") => Box::new(Frames::new(body)),
        Some("gzip" | "x-gzip") => Box::new(MultiGzDecoder::new(body)),
        Some("deflate") => Box::new(ZlibDecoder::new(body)),
        Some(other) => {
            return Err(Exception::new(
                Kind::UnsupportedMediaType,
                format_args!("Content-Encoding {other:?} is not supported here: send identity, lz4, gzip or deflate"),
            ));
        }
    };
    Ok(if native { Box::new(Blocks { body: plain, block: Bytes::new() }) } else { plain })
}

/// A piece of a result as checksummed blocks (`compress=1`).
pub(crate) fn as_blocks(plain: &[u8]) -> Bytes {
    let mut all = BytesMut::new();
    for piece in plain.chunks(WRITTEN_BLOCK) {
        let compressed = block::compress(piece);
        let mut part = BytesMut::with_capacity(HEADER + compressed.len());
        part.put_u8(LZ4);
        part.put_u32_le(size(HEADER + compressed.len()));
        part.put_u32_le(size(piece.len()));
        part.put_slice(&compressed);
        all.put_u128_le(checksum(&part));
        all.put(part);
    }
    all.freeze()
}

fn size(length: usize) -> u32 {
    u32::try_from(length).expect("pieces are of 1 MiB, and lz4 adds little")
}

/// CityHash128 as of its version 1.0.2, the two halves exchanged.
fn checksum(bytes: &[u8]) -> u128 {
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64)
}

/// ClickHouse's native compression: a sequence of blocks, each with its checksum (`decompress=1`).
struct Blocks<R> {
    body: R,
    block: Bytes,
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            match self.next_block()? {
                Some(block) => self.block = block,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.block.len());
        buffer[..length].copy_from_slice(&self.block.split_to(length));
        Ok(length)
    }
}

impl<R: Read> Blocks<R> {
    fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        let mut head = [0_u8; CHECKSUM + HEADER];
        let first = read_some(&mut self.body, &mut head)?;
        if first == 0 {
            return Ok(None);
        }
        self.body.read_exact(&mut head[first..])?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (compressed, plain) = (word(CHECKSUM + 1), word(CHECKSUM + 5));
        if compressed > LARGEST_BLOCK || plain > LARGEST_BLOCK || (compressed as usize) < HEADER {
            return Err(invalid("a block of the native compression states an impossible size"));
        }
        let mut part = vec![0; compressed as usize];
        part[..HEADER].copy_from_slice(&head[CHECKSUM..]);
        self.body.read_exact(&mut part[HEADER..])?;
        if head[..CHECKSUM] != checksum(&part).to_le_bytes() {
            return Err(invalid("the checksum of a block of the native compression does not match"));
        }
        let block = match part[0] {
            LZ4 => block::decompress(&part[HEADER..], plain as usize).map_err(invalid)?,
            NONE => part.split_off(HEADER),
            _ => return Err(invalid("a block of the native compression is neither lz4 nor uncompressed")),
        };
        if block.len() != plain as usize {
            return Err(invalid("a block of the native compression is shorter than it states"));
        }
        Ok(Some(block.into()))
    }
}

/// A sequence of lz4 frames. The decoder takes a frame that is cut off between two blocks for a complete one; we do not.
struct Frames<R: Read> {
    decoder: FrameDecoder<Watched<R>>,
    seen: Rc<Seen>,
}

/// What the decoder read: bytes since the last complete frame, and whether it met the end.
#[derive(Default)]
struct Seen {
    bytes: Cell<u64>,
    end: Cell<bool>,
}

struct Watched<R> {
    body: R,
    seen: Rc<Seen>,
}

impl<R: Read> Frames<R> {
    fn new(body: R) -> Frames<R> {
        let seen = Rc::new(Seen::default());
        Frames { decoder: FrameDecoder::new(Watched { body, seen: Rc::clone(&seen) }), seen }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.decoder.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match (self.seen.end.get(), self.seen.bytes.replace(0)) {
                (false, _) => {}
                (true, 0) => return Ok(0),
                (true, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(buffer)?;
        self.seen.bytes.set(self.seen.bytes.get() + length as u64);
        self.seen.end.set(length == 0 && !buffer.is_empty());
        Ok(length)
    }
}

fn read_some(body: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{GzEncoder, ZlibEncoder};
    use lz4_flex::frame::FrameEncoder;
    use std::io::Write;

    fn read(body: &[u8], encoding: Option<&str>, native: bool) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        decoded(body, encoding, native).expect("a known encoding").read_to_end(&mut plain).map(|_| plain)
    }

    fn frame(plain: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(plain).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn all(mut encoder: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).expect("from memory");
        bytes
    }

    #[test]
    fn every_encoding_is_decoded_and_its_truncation_noticed() {
        let plain: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let bodies = [
            ("lz4", false, frame(&plain)),
            ("gzip", false, all(GzEncoder::new(plain.as_slice(), Compression::fast()))),
            ("deflate", false, all(ZlibEncoder::new(plain.as_slice(), Compression::fast()))),
            ("identity", true, as_blocks(&plain).to_vec()),
        ];
        for (encoding, native, body) in bodies {
            assert!(read(&body, Some(encoding), native).expect(encoding) == plain, "{encoding}");
            for cut in [1, 3, body.len() / 2, body.len() - 1] {
                assert!(read(&body[..cut], Some(encoding), native).is_err(), "{encoding} cut at {cut}");
            }
            assert!(read(b"this is not compressed at all, no", Some(encoding), native).is_err(), "{encoding}");
        }
    }

    #[test]
    fn frames_may_follow_each_other_and_none_may_be_cut_between_blocks() {
        let two = [frame(b"one "), frame(b"two")].concat();
        assert_eq!(read(&two, Some("lz4"), false).expect("two frames"), b"one two");
        let one = frame(b"one");
        assert!(read(&one[..one.len() - 4], Some("lz4"), false).is_err());
        assert_eq!(read(b"", Some("lz4"), false).expect("nothing"), b"");
    }

    #[test]
    fn a_changed_block_is_noticed() {
        let mut body = as_blocks(b"some data, some data").to_vec();
        *body.last_mut().expect("not empty") ^= 1;
        assert!(read(&body, None, true).is_err());
    }

    #[test]
    fn an_unknown_encoding_is_refused_by_name() {
        let error = decoded(&b""[..], Some("br"), false).err().expect("refused");
        assert_eq!(error.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(error.to_string().contains("\"br\""), "{error}");
    }
}

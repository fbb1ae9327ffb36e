//! Pictures and sounds that the simulator makes: a square of one colour, a tone. Small, valid, and the same each time.

/// A picture in the PNG format: `side` times `side` pixels of one colour.
/// Source: <https://www.w3.org/TR/png-3/>.
pub(super) fn png(side: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    header.extend([1, 3, 0, 0, 0]); // one bit a pixel, by palette
    let line = side.div_ceil(8) as usize + 1;
    let pixels = vec![0; line * side as usize];
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"PLTE", &colour);
    chunk(&mut png, *b"IDAT", &stored(&pixels));
    chunk(&mut png, *b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    png.extend(length.to_be_bytes());
    let body = [&kind, bytes].concat();
    png.extend(&body);
    png.extend(crc(&body).to_be_bytes());
}

/// Bytes in zlib's format, uncompressed.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut parts = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(part) = parts.next() {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.push(u8::from(parts.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

/// Samples a second of the sounds.
pub(super) const RATE: u32 = 8_000;

/// A sound in the WAV format: a second of it for each number, which says how high it is.
pub(super) fn wav(heights: &[u8]) -> Vec<u8> {
    let samples: Vec<u8> = heights.iter().flat_map(|height| tone(*height)).collect();
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX - 36);
    let mut wav = b"RIFF".to_vec();
    wav.extend((length + 36).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]); // plain samples, one channel
    wav.extend(RATE.to_le_bytes());
    wav.extend(RATE.to_le_bytes());
    wav.extend([1, 0, 8, 0]); // a byte a sample
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.extend(samples);
    wav
}

/// A second of a square wave, silent in its last tenth.
fn tone(height: u8) -> impl Iterator<Item = u8> {
    let half = 8 + u32::from(height % 16);
    (0..RATE).map(move |at| match at {
        at if at > RATE / 10 * 9 => 128,
        at if at / half % 2 == 0 => 112,
        _ => 144,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_and_a_sound_say_what_they_are() {
        let png = png(64, [1, 2, 3]);
        assert!(
            png.starts_with(b"\x89PNG") && png.ends_with(b"IEND\xae\x42\x60\x82"),
            "with the checksum of an empty end"
        );
        let wav = wav(&[1, 2]);
        assert!(wav.starts_with(b"RIFF") && wav.len() == 44 + 2 * RATE as usize);
    }
}

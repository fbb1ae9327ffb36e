//! A request's body as a blocking reader: bounded, and never taken for shorter than it is. Knows no encodings.

use crate::exception::{Exception, Kind};
use bytes::Bytes;
use std::io::{self, Read};
use std::ops::Range;
use tokio::sync::mpsc::Receiver;

/// A piece of the body; `None` is its end. A channel that closes before is a client that went away.
pub(crate) type BodyPiece = Option<Bytes>;

/// The body as it comes from the connection's task.
pub(crate) struct Wire<'a> {
    pieces: &'a mut Receiver<BodyPiece>,
    piece: Bytes,
    ended: bool,
}

impl Wire<'_> {
    pub(crate) fn of(pieces: &mut Receiver<BodyPiece>) -> Wire<'_> {
        Wire { pieces, piece: Bytes::new(), ended: false }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Fails, where `Read::take` would end: a body that is too large must not pass for a shorter one.
pub(crate) struct Bounded<R> {
    pub(crate) body: R,
    pub(crate) left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.body.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(length)
    }
}

pub(crate) fn read_up_to(body: &mut impl Read, limit: u64) -> Result<Vec<u8>, Exception> {
    let mut bytes = Vec::new();
    Bounded { body, left: limit }.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Reads until `piece` is full or the body ends, so that the engine gets few and large pieces.
pub(crate) fn fill(data: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut range = Range { start: 0, end: piece.len() };
    while !range.is_empty() {
        match data.read(&mut piece[range.clone()])? {
            0 => break,
            length => range.start += length,
        }
    }
    Ok(range.start)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn failed(error: io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Exception::new(Kind::QueryIsTooLarge, "The request's body is too large"),
        io::ErrorKind::ConnectionAborted => Exception::new(Kind::Aborted, "The client went away before its body ended"),
        io::ErrorKind::UnexpectedEof => Exception::new(Kind::CannotDecompress, "The compressed body is cut off"),
        _ => Exception::new(Kind::CannotDecompress, format_args!("The compressed body cannot be read: {error}")),
    }
}

//! What the client of a session says, as it comes to the worker that holds the session; and when its ingress was last heard
//! of. Reads no message.

use bytes::Bytes;
use penstock_schemas::frame::{CLIENT_WINDOW, ClientPiece, FRAME_COST};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces that may wait: the window allows no more; and the word that the client has left.
const PIECES: usize = (CLIENT_WINDOW / FRAME_COST) as usize + 2;

/// Where the pieces of one session go.
pub(super) struct PieceSender {
    pieces: mpsc::Sender<ClientPiece>,
    heard: Arc<Mutex<Instant>>,
}

/// What the client of one session says.
pub struct ClientPieces {
    pieces: mpsc::Receiver<ClientPiece>,
    heard: Arc<Mutex<Instant>>,
    next_seq: u32,
}

/// What comes from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A piece of its messages.
    Piece(Bytes),
    /// It has left.
    Left,
    /// A piece was lost on its way.
    Gap,
}

pub(super) fn channel() -> (PieceSender, ClientPieces) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let heard = Arc::new(Mutex::new(Instant::now()));
    (PieceSender { pieces: sender, heard: heard.clone() }, ClientPieces { pieces, heard, next_seq: 0 })
}

impl PieceSender {
    /// Passes on what has come. False when it is more than may be under way.
    pub(super) fn pass(&self, piece: Option<ClientPiece>) -> bool {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        piece.is_none_or(|piece| self.pieces.try_send(piece).is_ok())
    }
}

impl ClientPieces {
    /// Waits for what comes next. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Heard {
        let Some(ClientPiece { seq, bytes }) = self.pieces.recv().await else { return Heard::Left };
        if bytes.is_empty() {
            return Heard::Left;
        }
        if seq != self.next_seq {
            return Heard::Gap;
        }
        self.next_seq += 1;
        Heard::Piece(bytes)
    }

    /// When something of the ingress was last heard, if only its question whether the session is still held.
    pub fn last_heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_piece_that_is_missing_is_noticed_and_more_than_may_wait_is_not_taken() {
        let (sender, mut pieces) = channel();
        let piece = |seq, text: &'static str| Some(ClientPiece { seq, bytes: Bytes::from_static(text.as_bytes()) });
        assert!(
            sender.pass(piece(0, "a")) && sender.pass(None) && sender.pass(piece(2, "c")) && sender.pass(piece(3, ""))
        );
        assert_eq!(pieces.next().await, Heard::Piece("a".into()));
        assert_eq!((pieces.next().await, pieces.next().await), (Heard::Gap, Heard::Left));
        let taken = (0..).take_while(|seq| sender.pass(piece(*seq, "x"))).count();
        assert_eq!(taken, PIECES);
    }
}

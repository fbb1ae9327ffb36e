//! Usage that no provider reported, counted with a tokenizer: OpenAI's `o200k`, whoever's model it is, since only few
//! publish their own. So a counted figure is an estimate, and every row that rests on one says so. Knows no provider.
//!
//! The vocabulary takes some 50 MB and half a second, at the first answer that must be counted, and is given back when none
//! was for a while; nothing else costs more than a copy of the bytes that were sent.

mod asked;
mod sent;

pub(crate) use sent::Sent;

use bytes::Bytes;
use penstock_runtime::Life;
use penstock_schemas::usage::Usage;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tiktoken_rs::CoreBPE;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::sleep;

/// The one vocabulary of this process.
static O200K: Vocabulary = Vocabulary(Mutex::new(None));

/// How long the vocabulary is kept when nothing is counted, and how often that is looked at.
const IDLE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);

/// Texts that are counted at once; others wait.
static COUNTING: Semaphore = Semaphore::const_new(2);

/// A vocabulary while it is needed, and when it was last.
struct Vocabulary(Mutex<Option<(Arc<CoreBPE>, Instant)>>);

impl Vocabulary {
    fn get(&self) -> Arc<CoreBPE> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let load = || {
            let loaded = tiktoken_rs::o200k_base().expect("the vocabulary is a part of the crate");
            (Arc::new(loaded), Instant::now())
        };
        let (vocabulary, used) = known.get_or_insert_with(load);
        *used = Instant::now();
        vocabulary.clone()
    }

    /// Whether there was one that was not used for so long; then it is gone.
    fn forget_unused_for(&self, idle: Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unused = known.as_ref().is_some_and(|(_, used)| used.elapsed() >= idle);
        if is_unused {
            *known = None;
        }
        is_unused
    }
}

/// Gives the vocabulary's memory back whenever nothing was counted for a while. Goes on for ever.
pub(crate) async fn forget_when_idle() {
    loop {
        sleep(LOOK).await;
        O200K.forget_unused_for(IDLE);
    }
}

/// What is counted in one piece, in bytes: the tokenizer's time grows faster than the length of a word without an end.
const PIECE: usize = 4096;

/// What is counted at most, in bytes; a longer text is taken to go on as it began.
const MOST: usize = 2 * 1024 * 1024;

/// Tokens of `text`.
fn tokens(text: &str) -> u64 {
    let head = &text[..boundary(text, MOST)];
    let vocabulary = O200K.get();
    let (mut count, mut rest) = (0, head);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(end_of_piece(rest));
        count += vocabulary.encode_ordinary(piece).len() as u64;
        rest = after;
    }
    if head.len() == text.len() {
        return count;
    }
    count.saturating_mul(text.len() as u64) / (head.len() as u64).max(1)
}

/// The last place up to `most` that does not cut a character in two.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Where a piece ends: before a space where there is one, since no word goes across it.
fn end_of_piece(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = boundary(text, PIECE);
    match memchr::memrchr(b' ', &text.as_bytes()[..end]) {
        Some(space) if space > 0 => space,
        _ => end,
    }
}

/// What a request and what was sent of its answer come to. `None` when nobody waits for it any more, or the request cannot
/// be read.
pub(crate) async fn usage(life: &Life, request: Bytes, answer: Sent) -> Option<Usage> {
    apart(life, move || {
        let input = asked::tokens_of(&request)?;
        Some(Usage { input: Some(input), output: Some(answer.tokens(tokens)), ..Usage::default() })
    })
    .await
}

/// How many tokens the words of an answer are.
pub(crate) async fn sent(life: &Life, answer: Sent) -> Option<u64> {
    apart(life, move || Some(answer.tokens(tokens))).await
}

/// How many tokens a request is.
pub(crate) async fn input(life: &Life, request: Bytes) -> Option<u64> {
    apart(life, move || asked::tokens_of(&request)).await
}

/// The same without waiting for it.
pub(crate) fn begin(life: &Life, request: Bytes) -> oneshot::Receiver<Option<u64>> {
    let (give, take) = oneshot::channel();
    let own = life.clone();
    life.work(async move {
        let _ = give.send(input(&own, request).await); // the call may be over
    });
    take
}

/// On a thread of its own: a long text takes its time.
async fn apart<T: Send + 'static>(life: &Life, count: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    let _place = COUNTING.acquire().await.ok()?;
    let (give, take) = oneshot::channel();
    life.blocking(move || drop(give.send(count())));
    take.await.ok().flatten()
}

/// The figures of an answer that was cut off: what the provider had reported by then is of its beginning, so the larger
/// output counts.
pub(crate) fn larger(reported: Option<Usage>, counted: Usage) -> Usage {
    let Some(reported) = reported else { return counted };
    let missing = counted.output_total().saturating_sub(reported.output_total());
    let input = if reported.input_total() > 0 { reported.input } else { counted.input };
    Usage { input, output: Some(reported.output.unwrap_or(0) + missing), ..reported }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_o200k() {
        for (text, count) in [("", 0), ("hello world", 2), ("Grüße, 世界!", 6), ("<|endoftext|>", 7)] {
            assert_eq!(tokens(text), count, "{text}");
        }
        let long = "The quick brown fox jumps over the lazy dog. ".repeat(1000);
        assert!((9_990..=10_020).contains(&tokens(&long)), "{}", tokens(&long));
    }

    #[test]
    fn the_vocabulary_is_forgotten_when_it_is_not_used_and_loaded_again_when_it_is() {
        let vocabulary = Vocabulary(Mutex::new(None));
        assert!(!vocabulary.forget_unused_for(Duration::ZERO), "there is none yet");
        let first = vocabulary.get();
        assert!(Arc::ptr_eq(&first, &vocabulary.get()));
        assert!(!vocabulary.forget_unused_for(Duration::from_secs(3600)));
        assert!(vocabulary.forget_unused_for(Duration::ZERO));
        assert!(!Arc::ptr_eq(&first, &vocabulary.get()));
    }

    #[test]
    fn no_text_is_too_odd_or_too_long() {
        for text in [" ".repeat(300_000), "a".repeat(300_000), "\u{301}".repeat(20_000), "é".repeat(PIECE)] {
            assert!(tokens(&text) > 0);
        }
    }

    #[test]
    fn a_beginning_that_was_reported_gives_way_to_what_was_sent() {
        let usage = |input, output| Usage { input, output, ..Usage::default() };
        let counted = usage(Some(10), Some(20));
        assert_eq!(larger(None, counted), counted);
        assert_eq!(larger(Some(usage(Some(12), Some(1))), counted), usage(Some(12), Some(20)));
        assert_eq!(larger(Some(usage(Some(12), Some(30))), counted), usage(Some(12), Some(30)));
        let cached = Usage { cache_read: Some(9), ..usage(None, None) };
        assert_eq!(larger(Some(cached), counted), Usage { output: Some(20), ..cached });
    }
}

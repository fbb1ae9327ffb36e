//! Sentence embeddings on the CPU: all-MiniLM-L6-v2 from a folder of its files. Knows texts and vectors; knows nothing of
//! requests, of tasks or of where the folder came from. It computes on the calling thread: call it where blocking is allowed.
//!
//! The kernels are our own because they were measured to be the fastest at the length of a chat question, build in seconds
//! and need no `unsafe`: figures in `deploy/docs/cache.md`.

mod bert;
mod kernel;
mod tokenizer;
mod weights;

use bert::Bert;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
pub use tokenizer::{MAX_TOKENS, Tokenizer};
use weights::Weights;

/// Numbers in a vector.
pub const DIMENSIONS: usize = bert::HIDDEN;

/// The model's files in its folder.
const FILES: [&str; 2] = ["model.safetensors", "vocab.txt"];

/// The most bytes of the file of weights, which is read whole: the real one has 90,868,376.
const WEIGHTS_BYTES: u64 = 128 * 1024 * 1024;

/// The most bytes of the vocabulary: the real one has 231,508.
const VOCABULARY_BYTES: u64 = 4 * 1024 * 1024;

/// Why the model cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file of it is not there or cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not all-MiniLM-L6-v2's: {why}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A text's place among texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// [`DIMENSIONS`] numbers, of length 1: the dot product of two is their cosine.
    pub vector: Vec<f32>,
    /// The tokens that were read, at most [`MAX_TOKENS`], with the two that begin and end a text.
    pub tokens: usize,
}

/// The model, ready to embed: about 70 MB. Sharing it between threads needs no lock.
pub struct SentenceModel {
    tokenizer: Tokenizer,
    bert: Bert,
}

impl SentenceModel {
    /// Whether the folder has the model's files; what is in them is seen when they are read.
    pub fn is_in(folder: &Path) -> bool {
        FILES.iter().all(|file| folder.join(file).is_file())
    }

    /// Reads the model, which takes part of a second.
    ///
    /// # Errors
    /// When a file is missing, or is not that of this model.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let [weights, vocabulary] = FILES.map(|file| folder.join(file));
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |why| ModelError::Wrong { path, why }
        };
        let text = String::from_utf8(read(&vocabulary, VOCABULARY_BYTES)?);
        let text = text.map_err(|error| error.to_string()).map_err(wrong(&vocabulary))?;
        let tokenizer = Tokenizer::parse(&text).map_err(wrong(&vocabulary))?;
        let bytes = read(&weights, WEIGHTS_BYTES)?;
        let bert = Weights::parse(&bytes).and_then(|weights| Bert::load(&weights)).map_err(wrong(&weights))?;
        if tokenizer.words() != bert.words() {
            return Err(wrong(&vocabulary)(format!("{} words, and weights for {}", tokenizer.words(), bert.words())));
        }
        Ok(Self { tokenizer, bert })
    }

    /// The text's vector. What is beyond [`MAX_TOKENS`] is not read.
    pub fn embed(&self, text: &str) -> Embedded {
        let ids = self.tokenizer.encode(text);
        Embedded { vector: self.bert.embed(&ids), tokens: ids.len() }
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModelError> {
    let unreadable = |error| ModelError::Unreadable { path: path.to_owned(), error };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > most {
        return Err(ModelError::Wrong { path: path.to_owned(), why: format!("{length} bytes") });
    }
    std::fs::read(path).map_err(unreadable)
}

//! The benchmarks' pairs, their split, and the vectors of their texts. Knows nothing of how they are judged.

use anyhow::Context;
use flate2::read::GzDecoder;
use penstock_local::SentenceModel;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Two texts, and whether both want the same.
#[derive(Clone)]
pub struct Pair {
    pub a: String,
    pub b: String,
    pub is_same: bool,
}

pub fn gptcache(folder: &Path) -> anyhow::Result<Vec<Pair>> {
    let pair = |row: &Value| Some(Pair { a: text(row, "origin")?, b: text(row, "similar")?, is_same: true });
    read(&folder.join("gptcache_pairs.jsonl.gz"), pair)
}

/// Quora's pairs in two halves, to train and to test with: a question stands in one of them alone, with all that it is
/// paired with, directly or through others.
pub fn quora(folder: &Path) -> anyhow::Result<(Vec<Pair>, Vec<Pair>)> {
    let pair = |row: &Value| Some(Pair { a: text(row, "a")?, b: text(row, "b")?, is_same: row["same"] == 1 });
    let pairs = read(&folder.join("qqp_pairs.jsonl.gz"), pair)?;
    let parents = parents(&pairs);
    Ok(pairs.into_iter().partition(|pair| hash(&root(&parents, &pair.a)) % 2 == 0))
}

/// Each question with the name of all that it is paired with, directly or through others.
pub fn components(pairs: &[Pair]) -> BTreeMap<&str, String> {
    let parents = parents(pairs);
    pairs.iter().flat_map(|pair| [&pair.a, &pair.b]).map(|text| (text.as_str(), root(&parents, text))).collect()
}

fn parents(pairs: &[Pair]) -> HashMap<String, String> {
    let mut parents: HashMap<String, String> = HashMap::new();
    for pair in pairs {
        let (a, b) = (root(&parents, &pair.a), root(&parents, &pair.b));
        if a != b {
            parents.insert(a.clone().max(b.clone()), a.min(b));
        }
    }
    parents
}

fn root(parents: &HashMap<String, String>, text: &str) -> String {
    let mut at = text;
    while let Some(parent) = parents.get(at) {
        at = parent;
    }
    at.to_owned()
}

/// FNV-1a: the same on every machine and in every version.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) >> 7
}

fn text(row: &Value, key: &str) -> Option<String> {
    row[key].as_str().map(ToOwned::to_owned)
}

fn read(path: &Path, pair: impl Fn(&Value) -> Option<Pair>) -> anyhow::Result<Vec<Pair>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| pair(&serde_json::from_str(&line?)?).with_context(|| format!("a line of {}", path.display())))
        .collect()
}

/// The vectors of texts, kept in a file beside the program, since making 40,000 takes minutes.
pub struct Vectors {
    model: SentenceModel,
    known: HashMap<String, Vec<f32>>,
    kept: PathBuf,
}

impl Vectors {
    pub fn open(model: &Path) -> anyhow::Result<Self> {
        let kept = std::env::current_exe()?.with_file_name("vectors.bin");
        let mut known = HashMap::new();
        if let Ok(file) = File::open(&kept) {
            let mut file = BufReader::new(file);
            let mut length = [0; 4];
            while file.read_exact(&mut length).is_ok() {
                let mut text = vec![0; u32::from_le_bytes(length) as usize];
                let mut numbers = vec![0; 384 * 4];
                file.read_exact(&mut text)?;
                file.read_exact(&mut numbers)?;
                let vector =
                    numbers.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
                known.insert(String::from_utf8(text)?, vector.collect());
            }
        }
        Ok(Self { model: SentenceModel::open(model)?, known, kept })
    }

    pub fn of(&mut self, text: &str) -> Vec<f32> {
        if let Some(vector) = self.known.get(text) {
            return vector.clone();
        }
        let vector = self.model.embed(text).vector;
        self.known.insert(text.to_owned(), vector.clone());
        if self.known.len() % 5_000 == 0 {
            // What was made survives an interruption; a failure only costs time.
            let _ = self.keep();
        }
        vector
    }

    pub fn cosine(&mut self, a: &str, b: &str) -> f32 {
        self.of(a).iter().zip(self.of(b)).map(|(a, b)| a * b).sum()
    }

    pub fn keep(&self) -> anyhow::Result<()> {
        let mut file = std::io::BufWriter::new(File::create(&self.kept)?);
        for (text, vector) in &self.known {
            file.write_all(&u32::try_from(text.len())?.to_le_bytes())?;
            file.write_all(text.as_bytes())?;
            vector.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))?;
        }
        Ok(file.flush()?)
    }
}

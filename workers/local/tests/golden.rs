//! Ids and vectors against other implementations: ids from Hugging Face's `tokenizers` 0.21, vectors from the Flax BERT of
//! its `transformers` 4.48, both in Python, with the same files. Needs the model: `deploy/setup model`.

use penstock_local::{DIMENSIONS, SentenceModel, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};

const GOLDEN: &str = include_str!("golden.json");

/// The model's folder: in `PENSTOCK_LOCAL_MODELS`, else where deploy/setup puts it.
fn folder() -> PathBuf {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let tools = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.penstock/tools");
    let models = || named("PENSTOCK_TOOLS").unwrap_or_else(tools).join("models");
    named("PENSTOCK_LOCAL_MODELS").unwrap_or_else(models).join("all-MiniLM-L6-v2")
}

fn golden() -> Vec<Value> {
    serde_json::from_str(GOLDEN).expect("the file is JSON")
}

#[test]
fn ids_are_those_of_the_tokenizers_library() {
    let vocabulary = std::fs::read_to_string(folder().join("vocab.txt")).expect("run `deploy/setup model`");
    let tokenizer = Tokenizer::parse(&vocabulary).unwrap();
    for case in golden() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(serde_json::json!(tokenizer.encode(text)), case["ids"], "{text}");
    }
}

#[test]
fn vectors_are_those_of_the_transformers_library() {
    let model = SentenceModel::open(&folder()).expect("run `deploy/setup model`");
    for case in golden() {
        let text = case["text"].as_str().unwrap();
        let embedded = model.embed(text);
        let length: f32 = embedded.vector.iter().map(|value| value * value).sum();
        assert!(embedded.vector.len() == DIMENSIONS && (length - 1.0).abs() < 1e-5, "{text}: {length}");
        assert_eq!(embedded.tokens, case["ids"].as_array().unwrap().len(), "{text}");
        for (value, expected) in embedded.vector.iter().zip(case["vector"].as_array().unwrap()) {
            let off = f64::from(*value) - expected.as_f64().unwrap();
            assert!(off.abs() < 2e-5, "{text}: {value} instead of {expected}");
        }
    }
}

#[test]
fn a_folder_without_the_model_says_which_file_is_missing() {
    let missing = Path::new("/nowhere/models");
    assert!(!SentenceModel::is_in(missing));
    let error = SentenceModel::open(missing).err().unwrap().to_string();
    assert!(error.starts_with("/nowhere/models/vocab.txt cannot be read: "), "{error}");
}

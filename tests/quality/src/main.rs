//! Measures the semantic cache on public benchmarks, and trains its verifier on a part of one. `quality report DATA` prints
//! GPTCache's curve, Quora's pairs and near-misses; `quality train DATA` writes the verifier's weights.
//! Knows the data's form; knows nothing of the gateway.

mod data;
mod near_miss;
mod report;
mod train;

use anyhow::{Context, bail};
use data::Vectors;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (command, folder) = (arguments.next(), arguments.next().map(PathBuf::from));
    let folder = folder
        .context("usage: quality report|train DATA   (the folder of gptcache_pairs.jsonl.gz and qqp_pairs.jsonl.gz)")?;
    let models = std::env::var_os("PENSTOCK_LOCAL_MODELS")
        .context("PENSTOCK_LOCAL_MODELS is not set: run `deploy/setup model`")?;
    let mut vectors = Vectors::open(&PathBuf::from(models).join("all-MiniLM-L6-v2"))?;
    match command.as_deref() {
        Some("report") => report::print(&folder, &mut vectors),
        Some("train") => train::write(&folder, &mut vectors),
        _ => bail!("usage: quality report|train DATA"),
    }
}

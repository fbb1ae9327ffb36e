//! Measures the semantic cache on public benchmarks, and trains its verifier on a part of one. `quality report DATA` prints
//! GPTCache's curve, Quora's pairs and near-misses; `quality train DATA` writes the verifier's weights. The same of the heads that
//! routing begins with: `quality heads train|report|hold-out DATA`.
//! Knows the data's form; knows nothing of the gateway.

mod data;
mod heads;
mod near_miss;
mod report;
mod train;

use anyhow::{Context, bail};
use data::Vectors;
use std::path::PathBuf;

const USAGE: &str = "usage: quality report|train DATA   (the folder of gptcache_pairs.jsonl.gz and qqp_pairs.jsonl.gz)
       quality heads report|train|hold-out DATA   (the folder of routing_outcomes.jsonl.gz)";

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.pop().context(USAGE)?);
    let models = std::env::var_os("PENSTOCK_LOCAL_MODELS")
        .context("PENSTOCK_LOCAL_MODELS is not set: run `deploy/setup model`")?;
    let mut vectors = Vectors::open(&PathBuf::from(models).join("all-MiniLM-L6-v2"))?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["report"] => report::print(&folder, &mut vectors),
        ["train"] => train::write(&folder, &mut vectors),
        ["heads", "report"] => heads::report(&folder, &mut vectors),
        ["heads", "train"] => heads::write(&folder, &mut vectors),
        ["heads", "hold-out"] => heads::hold_out(&folder, &mut vectors),
        _ => bail!(USAGE),
    }
}

//! What is printed. Knows what the shipped cache would do with each pair; trains nothing.

use crate::data::{Vectors, gptcache, quora};
use crate::near_miss;
use penstock_semantic::{Comparison, SAFE, VectorIndex, Wording, compare};
use std::collections::BTreeMap;
use std::path::Path;

/// The least cosine at which the verifier is asked.
const LEAST: f32 = 0.6;

pub fn print(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    print_gptcache(folder, vectors)?;
    print_quora(folder, vectors)?;
    print_near_misses(folder, vectors)?;
    vectors.keep()
}

/// The probability, or less than any where a guard forbids.
fn score(comparison: Comparison) -> f32 {
    if comparison.veto.is_some() { comparison.probability - 1.0 } else { comparison.probability }
}

fn judge(a: &str, b: &str, cosine: f32) -> f32 {
    score(compare(&Wording::read(a), &Wording::read(b), cosine))
}

fn print_gptcache(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let pairs = gptcache(folder)?;
    let mut index = VectorIndex::new(384, pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        index.insert(at, &vectors.of(&pair.a));
    }
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for (at, pair) in pairs.iter().enumerate() {
        let near = index.nearest(&vectors.of(&pair.b), LEAST);
        plain.extend(near.first().map(|one| (one.cosine, one.id == at)));
        // The nearest alone, as in the gateway.
        let judged = near.first().map(|one| (judge(&pair.b, &pairs[one.id].a, one.cosine), one.id == at));
        ours.extend(judged.filter(|(score, _)| *score >= 0.0));
    }
    let mut guarded = BTreeMap::<&str, usize>::new();
    for pair in &pairs {
        let comparison = compare(&Wording::read(&pair.b), &Wording::read(&pair.a), 0.9);
        if let Some(guard) = comparison.veto {
            *guarded.entry(guard.as_str()).or_default() += 1;
        }
    }
    println!("guards on pairs that are the same: {guarded:?}");
    println!("# GPTCache: {} pairs; positive / negative / miss", pairs.len());
    println!("threshold | ours | cosine");
    for step in [0.5, 0.6, 0.7, 0.71, 0.75, 0.8, 0.84, SAFE, 0.9, 0.94, 0.95, 0.97] {
        let mark = if step == SAFE { "  <- shipped" } else { "" };
        println!("{step:.2} | {} | {}{mark}", curve(&ours, step, pairs.len()), curve(&plain, step, pairs.len()));
    }
    for most in [13, 25, 43] {
        println!("at most {most} negatives: ours {}, cosine {}", best(&mut ours, most), best(&mut plain, most));
    }
    Ok(())
}

fn curve(judged: &[(f32, bool)], step: f32, all: usize) -> String {
    let (positive, negative) = counts(judged.iter().filter(|(score, _)| *score >= step));
    format!("{positive} / {negative} / {}", all - positive - negative)
}

fn counts<'a>(judged: impl Iterator<Item = &'a (f32, bool)>) -> (usize, usize) {
    judged.fold((0, 0), |(yes, no), (_, is_right)| (yes + usize::from(*is_right), no + usize::from(!*is_right)))
}

/// The most positives with so many negatives, and the threshold for it.
fn best(judged: &mut [(f32, bool)], most: usize) -> String {
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut positive, mut negative, mut found) = (0, 0, (0, 1.0));
    for (score, is_right) in judged.iter().filter(|(score, _)| *score >= 0.0) {
        positive += usize::from(*is_right);
        negative += usize::from(!*is_right);
        if negative <= most {
            found = (positive, *score);
        }
    }
    format!("{} positives (from {:.3} on)", found.0, found.1)
}

fn print_quora(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let (_, test) = quora(folder)?;
    let mut with_guards = Vec::new();
    let (mut ours, mut plain, mut guarded) = (Vec::new(), Vec::new(), BTreeMap::<&str, (usize, usize)>::new());
    for pair in &test {
        let cosine = vectors.cosine(&pair.a, &pair.b);
        let comparison = compare(&Wording::read(&pair.a), &Wording::read(&pair.b), cosine);
        if let Some(guard) = comparison.veto.filter(|_| cosine > 0.8) {
            let count = guarded.entry(guard.as_str()).or_default();
            count.0 += usize::from(pair.is_same);
            count.1 += usize::from(!pair.is_same);
        }
        ours.push((score(comparison), pair.is_same));
        if comparison.veto.is_none() {
            with_guards.push((cosine, pair.is_same));
        }
        plain.push((cosine, pair.is_same));
    }
    let same = test.iter().filter(|pair| pair.is_same).count();
    println!("\n# Quora, test half: {} pairs, {same} the same", test.len());
    println!("precision | recall of ours, of cosine, of cosine with guards");
    for least in [0.8, 0.85, 0.88, 0.9, 0.92] {
        let [ours, plain, guarded] =
            [&mut ours, &mut plain, &mut with_guards].map(|judged| recall(judged, least, same));
        println!("{least:.2} | {ours} | {plain} | {guarded}");
    }
    let (served, falsely) = counts(ours.iter().filter(|(score, _)| *score >= SAFE));
    println!("at {SAFE}: {served} of {same} served, and {falsely} of {} others", test.len() - same);
    println!("guards at cosine > 0.8 (same, others): {guarded:?}");
    Ok(())
}

fn recall(judged: &mut [(f32, bool)], least: f64, all: usize) -> String {
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut right, mut best, mut threshold) = (0, 0, 1.0);
    for (at, (score, is_right)) in judged.iter().enumerate() {
        right += usize::from(*is_right);
        if right as f64 >= least * (at + 1) as f64 && *score >= 0.0 {
            (best, threshold) = (right, *score);
        }
    }
    format!("{:.3} (from {threshold:.3} on)", best as f64 / all as f64)
}

fn print_near_misses(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let (_, test) = quora(folder)?;
    let mut questions: Vec<&str> = test.iter().map(|pair| pair.a.as_str()).collect();
    questions.sort_unstable();
    questions.dedup();
    let all = near_miss::make(questions.into_iter());
    let mut kinds: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut shown = 0;
    for one in &all {
        let cosine = vectors.cosine(&one.asked, &one.kept);
        let score = judge(&one.asked, &one.kept, cosine);
        let count = kinds.entry(one.kind).or_default();
        let is_served = [true, cosine >= 0.9, score >= 0.5, score >= SAFE];
        count.iter_mut().zip(is_served).for_each(|(count, is_so)| *count += usize::from(is_so));
        if score >= SAFE && shown < 40 {
            shown += 1;
            println!("  {score:.2} {}: {} | {}", one.kind, one.asked, one.kept);
        }
    }
    println!("\n# Near-misses: {} | all, cosine >= 0.90, ours >= 0.5, ours >= {SAFE}", all.len());
    let mut sums = [0; 4];
    for (kind, counts) in &kinds {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        println!("{kind} | {counts:?}");
    }
    println!("together | {sums:?}: {:.2} % served", 100.0 * sums[3] as f64 / sums[0] as f64);
    Ok(())
}

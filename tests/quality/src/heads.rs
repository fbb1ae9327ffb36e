//! Trains the heads that are shipped with routing, and measures them. Reads `routing_outcomes.jsonl.gz`: questions, and whether a
//! weaker and a stronger model answered right. Knows nothing of the gateway.

mod basis;
mod figures;

use crate::data::{Vectors, hash};
use anyhow::Context;
use basis::make_basis;
use figures::{apgr, mean};
use flate2::read::GzDecoder;
use penstock_semantic::heads::{Basis, Fitted, Label, RequestShape, ShippedHeads, WHOLE, WORDS, fit, quality, shipped};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

/// Labels of a deployment's own, as the figures are told of so many.
const LABELS: usize = 1500;

/// Splits that figures with labels are the mean of: single ones are some hundredths apart.
const SPLITS: u64 = 20;

/// What differing from nothing costs the heads that are shipped, in questions.
const STRENGTH: f64 = 60.0;

/// A question, and whether a weaker and a stronger model answered it right.
#[derive(Clone)]
pub(crate) struct RoutedQuestion {
    set: String,
    subject: String,
    text: String,
    weak: f32,
    strong: f32,
    vector: Vec<f32>,
}

fn read(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<Vec<RoutedQuestion>> {
    let path = folder.join("routing_outcomes.jsonl.gz");
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let mut all = Vec::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let row: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| row[key].as_str().map(ToOwned::to_owned).with_context(|| format!("a row without {key}"));
        let right =
            |key: &str| row[key].as_bool().map(|right| f32::from(u8::from(right))).context("a row without outcomes");
        let prompt = text("prompt")?;
        let vector = vectors.of(&prompt);
        all.push(RoutedQuestion {
            set: text("set")?,
            subject: text("subject")?,
            text: prompt,
            weak: right("weak")?,
            strong: right("strong")?,
            vector,
        });
    }
    vectors.keep()?;
    Ok(all)
}

fn features(basis: &Basis, outcome: &RoutedQuestion, with_vector: bool) -> Vec<f32> {
    let shape = RequestShape { tokens: outcome.text.len() as u64 / 4 + 1, ..RequestShape::default() };
    basis.look_at(&outcome.text, &shape, with_vector.then_some(&outcome.vector[..]))
}

/// What a row counts: the sets are of very different sizes.
fn weight(outcome: &RoutedQuestion) -> f32 {
    if outcome.set == "gsm8k" { 3.0 } else { 1.0 }
}

/// Heads of these questions.
fn train(all: &[&RoutedQuestion]) -> ShippedHeads {
    let basis = make_basis(all);
    let head = |with_vector: bool, score: fn(&RoutedQuestion) -> f32| {
        let labels = |outcome: &&RoutedQuestion| Label {
            features: features(&basis, outcome, with_vector),
            score: score(outcome),
            weight: weight(outcome),
        };
        let labels: Vec<Label> = all.iter().map(labels).collect();
        basis::ridge(&labels, STRENGTH)
    };
    // The mean of both is better on questions of one kind than either.
    let both = |score: fn(&RoutedQuestion) -> f32| {
        let (words, mut whole) = (head(false, score), head(true, score));
        whole.iter_mut().enumerate().for_each(|(at, weight)| *weight = (*weight + words.get(at).unwrap_or(&0.0)) / 2.0);
        [words, whole]
    };
    let [weak, strong] = [both(|one| one.weak), both(|one| one.strong)];
    let usual_gain = mean(all.iter().map(|one| one.strong - one.weak));
    ShippedHeads { basis, weak, strong, usual_gain }
}

/// Writes the heads that are shipped.
pub(crate) fn write(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let all = read(folder, vectors)?;
    let heads = train(&all.iter().collect::<Vec<_>>());
    let bytes = heads.to_bytes();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ingress/semantic/src/heads/heads.bin");
    std::fs::write(&path, &bytes)?;
    println!(
        "{} bytes, of {} questions; the stronger is better by {:.3} in the mean",
        bytes.len(),
        all.len(),
        heads.usual_gain
    );
    Ok(())
}

/// How much better the stronger model is expected to answer, with the qualities that two prices in order have.
fn gains(heads: &ShippedHeads, all: &[&RoutedQuestion], with_vector: bool) -> Vec<f32> {
    let starts = [0.5, 0.9].map(|quality| heads.without_scores(quality, &[0.5, 0.9]));
    let gain = |outcome: &&RoutedQuestion| {
        let features = features(&heads.basis, outcome, with_vector);
        let [weak, strong] = [0, 1].map(|at| quality(&starts[at][usize::from(with_vector)], &features).unwrap_or(0.0));
        strong - weak
    };
    all.iter().map(gain).collect()
}

/// The gains when heads have learnt from so many questions, of each of which both models' answers were scored; or one's.
fn learnt(heads: &ShippedHeads, labels: &[&RoutedQuestion], tested: &[&RoutedQuestion], is_bandit: bool) -> Vec<f32> {
    let drawn = |one: &RoutedQuestion| hash(&format!("which {}", one.text)) % 2;
    let head = |which: u64, score: fn(&RoutedQuestion) -> f32, level: f64| -> Option<Fitted> {
        let own = labels.iter().filter(|one| !is_bandit || drawn(one) == which);
        let labels: Vec<Label> = own
            .map(|one| Label { features: features(&heads.basis, one, true), score: score(one), weight: 1.0 })
            .collect();
        fit(&heads.to_learn_from(level, &[0.5, 0.9])[1], &heads.basis.covariance, &labels)
    };
    let (weak, strong) = (head(0, |one| one.weak, 0.5), head(1, |one| one.strong, 0.9));
    let gain = |one: &&RoutedQuestion| {
        let features = features(&heads.basis, one, true);
        let said =
            |fitted: &Option<Fitted>| fitted.as_ref().and_then(|one| quality(&one.weights, &features)).unwrap_or(0.0);
        said(&strong) - said(&weak)
    };
    tested.iter().map(gain).collect()
}

fn of_set<'a>(all: &[&'a RoutedQuestion], set: &str) -> Vec<&'a RoutedQuestion> {
    all.iter().copied().filter(|one| one.set == set).collect()
}

/// The gains of questions each by heads that were trained without its part.
fn across(all: &[&RoutedQuestion], part: impl Fn(&RoutedQuestion) -> u64, with_vector: bool) -> Vec<f32> {
    let mut parts: Vec<u64> = all.iter().map(|one| part(one)).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut found = vec![0.0; all.len()];
    for left_out in parts {
        let others: Vec<&RoutedQuestion> = all.iter().copied().filter(|one| part(one) != left_out).collect();
        let heads = train(&others);
        let own: Vec<usize> = (0..all.len()).filter(|at| part(all[*at]) == left_out).collect();
        let questions: Vec<&RoutedQuestion> = own.iter().map(|at| all[*at]).collect();
        for (at, gain) in own.into_iter().zip(gains(&heads, &questions, with_vector)) {
            found[at] = gain;
        }
    }
    found
}

fn told(name: &str, all: &[&RoutedQuestion], gains: &[f32]) {
    let of = |set: &str| {
        let own = all.iter().zip(gains).filter(|(one, _)| one.set == set);
        let (own, gains): (Vec<&RoutedQuestion>, Vec<f32>) = own.map(|(one, gain)| (*one, *gain)).unzip();
        if own.is_empty() { "      ".to_owned() } else { format!("{:.3}", apgr(&own, &gains)) }
    };
    println!("| {name} | {} | {} |", of("mmlu"), of("gsm8k"));
}

/// Figures of the heads that are in the program, which are held back only where the data is another half than they were trained on.
pub(crate) fn report(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let all = read(folder, vectors)?;
    let all: Vec<&RoutedQuestion> = all.iter().collect();
    println!("{} questions\n\n| APGR | MMLU | GSM8K |\n|---|---|---|", all.len());
    let lengths: Vec<f32> = all.iter().map(|one| one.text.len() as f32).collect();
    told("by length", &all, &lengths);
    told("shipped heads (held back if DATA is another half)", &all, &gains(shipped(), &all, true));
    told("the same by words alone", &all, &gains(shipped(), &all, false));
    for is_bandit in [false, true] {
        let kind = if is_bandit { "scores of one answer each" } else { "questions scored for both" };
        let figures = (0..SPLITS).map(|draw| with_labels(shipped(), &all, is_bandit, draw));
        let (mmlu, gsm8k): (Vec<f64>, Vec<f64>) = figures.unzip();
        println!("| shipped heads and {LABELS} {kind} | {} | {} |", figures::spread(&mmlu), figures::spread(&gsm8k));
    }
    time(&all);
    Ok(())
}

/// The figures of what is trained as the shipped heads are, on other questions of the same data each time.
pub(crate) fn hold_out(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let all = read(folder, vectors)?;
    let all: Vec<&RoutedQuestion> = all.iter().collect();
    println!("{} questions\n\n| APGR | MMLU | GSM8K |\n|---|---|---|", all.len());
    let by_question = |one: &RoutedQuestion| hash(&one.text) % 5;
    let by_subject = |one: &RoutedQuestion| hash(&one.subject) % 8;
    told("questions held back (5 parts)", &all, &across(&all, by_question, true));
    told("the same by words alone", &all, &across(&all, by_question, false));
    told("subjects held back (8 parts; GSM8K is one subject)", &all, &across(&all, by_subject, true));
    told("the same by words alone", &all, &across(&all, by_subject, false));
    let mut found = vec![(Vec::new(), Vec::new()); 5];
    for turn in 0..SPLITS {
        // The first five are fifths of one draw.
        let of = |one: &RoutedQuestion| match turn {
            0..5 => by_question(one) + turn,
            _ => hash(&format!("split {turn} {}", one.text)),
        };
        let (ours, others): (Vec<&RoutedQuestion>, Vec<&RoutedQuestion>) = all.iter().partition(|one| of(one) % 5 < 2);
        let heads = train(&ours);
        // Without anything that was learnt elsewhere: the basis alone, of these questions, whose outcomes are not looked at.
        let mut bare = heads.clone();
        bare.weak.iter_mut().chain(&mut bare.strong).for_each(|weights| weights.fill(0.0));
        bare.basis.covariance.clear();
        let alone = gains(&heads, &others, true);
        let of = |set: &str| {
            let own = others.iter().zip(&alone).filter(|(one, _)| one.set == set).map(|(one, gain)| (*one, *gain));
            let (own, gains): (Vec<&RoutedQuestion>, Vec<f32>) = own.unzip();
            apgr(&own, &gains)
        };
        let figures = [
            (of("mmlu"), of("gsm8k")),
            with_labels(&heads, &others, false, turn),
            with_labels(&heads, &others, true, turn),
            with_labels(&bare, &others, false, turn),
            with_labels(&bare, &others, true, turn),
        ];
        for ((mmlu, gsm8k), figures) in found.iter_mut().zip(figures) {
            mmlu.push(figures.0);
            gsm8k.push(figures.1);
        }
    }
    let names = [
        "heads of 2/5, on the rest (20 splits)",
        "and 1500 questions of the rest, scored for both",
        "and 1500 scores of the rest, of one answer each",
        "no heads, and 1500 questions of the rest, scored for both",
        "no heads, and 1500 scores of the rest, of one answer each",
    ];
    for (name, (mmlu, gsm8k)) in names.iter().zip(&found) {
        println!("| {name} | {} | {} |", figures::spread(mmlu), figures::spread(gsm8k));
    }
    let (alone, taught): (Vec<_>, Vec<_>) = (0..SPLITS).map(|draw| in_turn(&all, draw)).unzip();
    for (name, figures) in
        [("heads of 3/5, on 1/5 (20 draws)", alone), ("and 1500 questions of 1/5, scored for both", taught)]
    {
        let (mmlu, gsm8k): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
        println!("| {name} | {} | {} |", figures::spread(&mmlu), figures::spread(&gsm8k));
    }
    Ok(())
}

/// Each fifth by heads of three others, alone and with labels of the fourth: what is nearest to a deployment's, whose heads are of
/// all questions. The figures of MMLU and GSM8K, over all fifths.
fn in_turn(all: &[&RoutedQuestion], draw: u64) -> ((f64, f64), (f64, f64)) {
    let fifth = |one: &RoutedQuestion| hash(&format!("fifth {draw} {}", one.text)) % 5;
    let (mut tested, mut alone, mut taught) = (Vec::new(), Vec::new(), Vec::new());
    for part in 0..5 {
        let of = |wanted: &[u64]| -> Vec<&RoutedQuestion> {
            all.iter().copied().filter(|one| wanted.contains(&((fifth(one) + part) % 5))).collect()
        };
        let (heads, mut labels, own) = (train(&of(&[0, 1, 2])), of(&[3]), of(&[4]));
        labels.sort_by_key(|one| hash(&format!("label {draw} {}", one.text)));
        labels.truncate(LABELS);
        alone.extend(gains(&heads, &own, true));
        taught.extend(learnt(&heads, &labels, &own, false));
        tested.extend(own);
    }
    let figure = |gains: &[f32], set: &str| {
        let own = tested.iter().zip(gains).filter(|(one, _)| one.set == set).map(|(one, gain)| (*one, *gain));
        let (own, gains): (Vec<&RoutedQuestion>, Vec<f32>) = own.unzip();
        apgr(&own, &gains)
    };
    let figures = |gains: &[f32]| (figure(gains, "mmlu"), figure(gains, "gsm8k"));
    (figures(&alone), figures(&taught))
}

/// The figures of heads that have learnt from [`LABELS`] of these questions, on others of them.
fn with_labels(heads: &ShippedHeads, all: &[&RoutedQuestion], is_bandit: bool, draw: u64) -> (f64, f64) {
    let mut drawn = all.to_vec();
    drawn.sort_by_key(|one| hash(&format!("{draw} {}", one.text)));
    let (own, maths) = (of_set(&drawn, "mmlu"), of_set(&drawn, "gsm8k"));
    let (labels, tested) = own.split_at(LABELS.min(own.len() / 2));
    let mmlu = apgr(tested, &learnt(heads, labels, tested, is_bandit));
    // There are so few of these: each fifth by the labels of the others, and as many of the other set as may be.
    let mut gains = vec![0.0; maths.len()];
    for part in 0..5 {
        let (places, rest): (Vec<usize>, Vec<usize>) = (0..maths.len()).partition(|at| at % 5 == part);
        let mut labels: Vec<&RoutedQuestion> = rest.iter().map(|at| maths[*at]).collect();
        labels.extend(own.iter().take(LABELS.saturating_sub(labels.len())));
        let tested: Vec<&RoutedQuestion> = places.iter().map(|at| maths[*at]).collect();
        for (at, gain) in places.into_iter().zip(learnt(heads, &labels, &tested, is_bandit)) {
            gains[at] = gain;
        }
    }
    (mmlu, apgr(&maths, &gains))
}

/// What a decision takes without making the vector.
fn time(all: &[&RoutedQuestion]) {
    let heads = shipped();
    let starts = [0.5, 0.9].map(|quality| heads.without_scores(quality, &[0.5, 0.9]));
    let mut times: Vec<u128> = Vec::new();
    let mut sum = 0.0;
    for one in all {
        let began = Instant::now();
        let features = features(&heads.basis, one, true);
        sum += starts.iter().filter_map(|start| quality(&start[1], &features)).sum::<f32>();
        times.push(began.elapsed().as_nanos());
    }
    times.sort_unstable();
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "\n{WORDS} features of words, {WHOLE} with the vector; features and two heads take {:.1} us, 99 of 100 under {:.1} us ({sum:.0})",
        median as f64 / 1000.0,
        late as f64 / 1000.0
    );
}

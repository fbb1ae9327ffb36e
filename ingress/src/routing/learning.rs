//! Heads learn from the scores of a deployment's own answers: the latest labels of each virtual model that `auto` routes are asked of
//! the ledger, and its heads are made anew of them. Nothing is added up: so no label counts twice, a score that was changed counts
//! as it is now, and all ingresses come to the same heads. Knows nothing of how heads judge.

use super::expect;
use super::heads::Heads;
use crate::config::{ModelLink, Strategy, VirtualModel};
use crate::models::Models;
use penstock_runtime::bus::{Bucket, Bus, BusError};
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::head::{MOST_HEADS, ModelHeads, TargetHead};
use penstock_schemas::name::Target;
use penstock_schemas::rows::{LabelPage, MOST_LISTED, RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use penstock_semantic::heads::{Label, WHOLE, WORDS, fit, shipped};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, info};

/// Between two looks at how many labels there are.
const AGAIN: Duration = Duration::from_secs(10);

/// The most labels that the heads of a virtual model are made of, the latest: 1,500 were enough in measurements.
const LABELS: usize = 4000;

/// What the labels of one user count together at the most, in labels: scores come from callers.
const OF_ONE: f64 = 1500.0;

/// The same of one project, whose callers may name any number of users.
const OF_PROJECT: f64 = 2000.0;

/// What a label counts at the most, of a target that was chosen with a small probability.
const MOST_WEIGHT: f64 = 4.0;

/// How much work a label is, as `heavy` measures it: about so many bytes of input.
const WORK: usize = 1024;

/// An answer and its score.
struct Scored {
    target: Target,
    unit: String,
    label: Label,
}

/// What learning needs.
pub(crate) struct HeadSchool {
    bus: Bus,
    heads: Heads,
    bucket: Bucket<ModelHeads>,
    models: Models,
}

impl HeadSchool {
    pub(crate) fn new(bus: &Bus, (heads, bucket): (&Heads, Bucket<ModelHeads>), models: &Models) -> Self {
        Self { bus: bus.clone(), heads: heads.clone(), bucket, models: models.clone() }
    }

    /// Learns as long as the role lives.
    pub(crate) fn follow<'a>(self, life: &Life, all: impl Iterator<Item = (&'a String, &'a VirtualModel)>) {
        let all = all.filter(|(_, model)| model.uses(Strategy::Auto));
        let all: Vec<(String, VirtualModel)> = all.map(|(name, model)| (name.clone(), model.clone())).collect();
        if all.is_empty() {
            return;
        }
        life.service("heads that learn", async move {
            loop {
                sleep(AGAIN).await;
                for (name, model) in &all {
                    if let Err(why) = self.learn(name, model).await {
                        debug!(model = name, why, "nothing is learnt of it now");
                    }
                }
            }
        });
    }

    /// Makes the heads anew, where labels have come or gone.
    async fn learn(&self, name: &str, model: &VirtualModel) -> Result<(), String> {
        let told = |error: BusError| error.to_string();
        let known = self.heads.of(name).map_or_else(|| ModelHeads::new(name), |known| (*known).clone());
        if known.is_frozen {
            return Ok(());
        }
        let (model_name, score) = (name.to_owned(), model.routing.score.clone());
        let mut page = LabelPage { model: model_name, score, since: known.since, before: None };
        let counted = self.ask(RowQuestion::LabelCount(page.clone())).await?;
        let number = |field: &str| counted.first().and_then(|row| row[field].as_u64()).unwrap_or(0);
        let (labels, newest) = (number("labels"), UnixMicros(number("newest")));
        if (labels, newest) == (known.labels, known.newest) {
            return Ok(());
        }
        let mut scored: Vec<Scored> = Vec::new();
        while scored.len() < LABELS {
            let rows = self.ask(RowQuestion::Labels(page.clone())).await?;
            page.before = rows.last().and_then(|row| row["at"].as_u64()).map(UnixMicros);
            scored.extend(rows.iter().filter_map(read));
            if rows.len() < MOST_LISTED as usize || page.before.is_none() {
                break;
            }
        }
        scored.truncate(LABELS);
        limit(&mut scored, OF_ONE, |unit| unit);
        limit(&mut scored, OF_PROJECT, project);
        let qualities = expect::usual_qualities(model, &self.models);
        let heads = penstock_runtime::heavy(scored.len() * WORK, || make(&model.links, &qualities, &scored)).await;
        // Another may have learnt, frozen or reset it meanwhile: then the next look sees that.
        let found = self.bucket.get_with_revision(&ModelHeads::key(name)).await.map_err(told)?;
        let version = known.version + 1;
        let made = ModelHeads { version, at: clock::now(), labels, newest, heads, ..known.clone() };
        let written = match found {
            None => self.bucket.create(&ModelHeads::key(name), &made).await.map_err(told)?,
            Some((now, revision)) if now.version == known.version => {
                self.bucket.update(&ModelHeads::key(name), &made, revision).await.map_err(told)?
            }
            Some(_) => None,
        };
        if written.is_some() {
            info!(model = name, labels, version, "heads were learnt");
        }
        Ok(())
    }

    async fn ask(&self, what: RowQuestion) -> Result<Vec<Value>, String> {
        match self.bus.ask_rows(&RowQuery { what, projects: None }).await {
            Ok(ReportReply::Report(report)) => Ok(report.data),
            Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn read(row: &Value) -> Option<Scored> {
    let target = Target::parse(row["target"].as_str()?).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "features need no more digits")]
    let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
    let features: Vec<f32> = row["features"].as_array()?.iter().map(number).collect::<Option<_>>()?;
    if features.len() != WORDS && features.len() != WHOLE {
        return None;
    }
    let propensity = row["propensity"].as_f64().filter(|chance| *chance > 0.0).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "at most four")]
    let weight = (1.0 / propensity).clamp(1.0, MOST_WEIGHT) as f32;
    let score = number(&row["score"])?.clamp(0.0, 1.0);
    Some(Scored { target, unit: row["unit"].as_str()?.to_owned(), label: Label { features, score, weight } })
}

/// The project of a unit, which is `project user`.
fn project(unit: &str) -> &str {
    unit.split(' ').next().unwrap_or_default()
}

/// Lets the labels of each `whose` count no more than `most` together.
fn limit(scored: &mut [Scored], most: f64, whose: impl Fn(&str) -> &str) {
    let mut sums: HashMap<String, f64> = HashMap::new();
    for one in scored.iter() {
        *sums.entry(whose(&one.unit).to_owned()).or_default() += f64::from(one.label.weight);
    }
    for one in scored {
        let sum = sums.get(whose(&one.unit)).copied().unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "a share")]
        let share = (most / sum.max(1.0)).min(1.0) as f32;
        one.label.weight *= share;
    }
}

/// The heads of the targets that have labels.
fn make(links: &[ModelLink], qualities: &[f64], scored: &[Scored]) -> Vec<TargetHead> {
    let mut heads: Vec<TargetHead> = Vec::new();
    for (link, quality) in links.iter().zip(qualities) {
        let target = &link.link.target;
        if heads.len() >= MOST_HEADS || heads.iter().any(|head| head.target == *target) {
            continue;
        }
        let own = || scored.iter().filter(|one| one.target == *target).map(|one| &one.label);
        let whole: Vec<Label> = own().filter(|label| label.features.len() == WHOLE).cloned().collect();
        // The features of the words stand first, and so every label has them.
        let cut = |label: &Label| Label { features: label.features[..WORDS].to_vec(), ..label.clone() };
        let words: Vec<Label> = own().map(cut).collect();
        let [start_words, start_whole] = shipped().to_learn_from(*quality, qualities);
        let covariance = &shipped().basis.covariance;
        let Some(by_words) = fit(&start_words, covariance, &words) else { continue };
        let by_whole = fit(&start_whole, covariance, &whole);
        let judged = by_whole.as_ref().unwrap_or(&by_words);
        #[expect(clippy::cast_possible_truncation, reason = "figures for the eye")]
        heads.push(TargetHead {
            target: target.clone(),
            labels: words.len() as u64,
            level: judged.weights[0],
            error_before: judged.before.sqrt() as f32,
            error: judged.after.sqrt() as f32,
            whole: by_whole.as_ref().map_or(start_whole, |fitted| fitted.weights.clone()),
            words: by_words.weights,
        });
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::links;
    use super::*;
    use penstock_semantic::heads::RequestShape;
    use serde_json::json;

    fn rows(count: usize, unit: &str) -> Vec<Value> {
        let row = |number: usize| {
            let is_sum = number.is_multiple_of(2);
            let text = if is_sum {
                format!("What is {number} plus 17?")
            } else {
                format!("Who wrote book {number}, and why?")
            };
            let features = shipped().basis.look_at(&text, &RequestShape::default(), None);
            json!({ "target": "a/m", "unit": unit, "score": f64::from(u8::from(is_sum)), "propensity": 0.9, "features": features })
        };
        (0..count).map(row).collect()
    }

    fn quality(heads: &[TargetHead], text: &str) -> f32 {
        let features = shipped().basis.look_at(text, &RequestShape::default(), None);
        penstock_semantic::heads::quality(&heads[0].words, &features).unwrap()
    }

    fn sum(scored: &[Scored], units: &str) -> f64 {
        scored.iter().filter(|one| one.unit.starts_with(units)).map(|one| f64::from(one.label.weight)).sum()
    }

    #[test]
    fn heads_learn_which_questions_a_target_answers_well() {
        let scored: Vec<Scored> = rows(600, "p ann").iter().filter_map(read).collect();
        let heads = make(&links(), &[0.5, 0.9], &scored);
        assert_eq!((heads.len(), heads[0].labels), (1, 600), "of the other target nothing is known");
        let (sum, book) = (quality(&heads, "What is 12 plus 17?"), quality(&heads, "Who wrote book 13, and why?"));
        assert!(sum > book + 0.2, "{sum} {book}");
        assert!(heads[0].error < heads[0].error_before, "{:?}", (heads[0].error, heads[0].error_before));
    }

    #[test]
    fn one_user_counts_for_so_much_and_no_more() {
        let mut scored: Vec<Scored> = rows(3000, "p eve").iter().filter_map(read).collect();
        scored.extend(rows(100, "p ann").iter().filter_map(read));
        limit(&mut scored, OF_ONE, |unit| unit);
        assert!((sum(&scored, "p eve") - OF_ONE).abs() < 1.0 && (sum(&scored, "p ann") - 111.1).abs() < 1.0);
    }

    #[test]
    fn one_project_counts_for_so_much_and_no_more_however_many_users_it_names() {
        let named = |number: usize| rows(10, &format!("p user {number}"));
        let mut scored: Vec<Scored> = (0..300).flat_map(named).collect::<Vec<_>>().iter().filter_map(read).collect();
        scored.extend(rows(100, "other ann").iter().filter_map(read));
        limit(&mut scored, OF_PROJECT, project);
        assert!((sum(&scored, "p ") - OF_PROJECT).abs() < 1.0 && (sum(&scored, "other ") - 111.1).abs() < 1.0);
    }

    #[test]
    fn rows_that_are_no_labels_are_passed_over_and_small_chances_count_so_much() {
        let good = rows(1, "u").remove(0);
        let with = |field: &str, value: Value| {
            let mut row = good.clone();
            row[field] = value;
            read(&row)
        };
        for (field, value) in
            [("target", json!(null)), ("features", json!([1, 2])), ("score", json!("x")), ("unit", json!(7))]
        {
            assert!(with(field, value).is_none(), "{field}");
        }
        let weight = |chance: f64| with("propensity", json!(chance)).unwrap().label.weight;
        assert_eq!([0.5, 0.01, 0.0].map(weight), [2.0, 4.0, 1.0]);
        assert_eq!(with("score", json!(7.5)).unwrap().label.score.to_bits(), 1.0_f32.to_bits());
    }
}

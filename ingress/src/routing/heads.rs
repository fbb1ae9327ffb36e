//! How good an answer each target is expected to give to this question: by the heads that were learnt of the virtual model's targets,
//! else by those that are shipped. Knows nothing of how they are learnt, and decides nothing.

use super::expect::Prospect;
use super::traits::{RouteQuery, Traits};
use crate::config::ModelLink;
use penstock_runtime::bus::{Bucket, Change};
use penstock_schemas::head::ModelHeads;
use penstock_semantic::heads::{RequestShape, WHOLE, WORDS, quality, shipped};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Virtual models whose heads are known, at the most: the operator's own.
const MODELS: usize = 4096;

/// Digits of a feature that are kept.
const DIGITS: f32 = 1000.0;

/// All that were learnt. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<RwLock<HashMap<String, Arc<ModelHeads>>>>);

/// What a request is judged by: [`WHOLE`] features where there is a vector, else [`WORDS`].
pub(super) fn features(query: &RouteQuery, traits: &Traits) -> Vec<f32> {
    let shape = RequestShape {
        tokens: traits.tokens,
        turns: traits.turns,
        images: traits.images,
        tools: u8::from(traits.has_tools),
        schema: u8::from(traits.wants_schema),
    };
    let vector = query.vector.as_ref().ok().map(|vector| &vector[..]);
    let mut features = shipped().basis.look_at(&traits.question, &shape, vector);
    // What is judged and what stands in the ledger are the same numbers.
    features.iter_mut().for_each(|feature| *feature = (*feature * DIGITS).round() / DIGITS);
    features
}

/// The reason with what the judgement rests on.
pub(super) fn reason(reason: &str, features: &[f32], query: &RouteQuery) -> String {
    match (features.len(), &query.vector) {
        (WORDS, Err(why)) => format!("{reason}; judged by its words alone: {why}"),
        (WORDS, Ok(_)) => format!("{reason}; judged by its words alone: its vector is not the built-in model's"),
        (WHOLE, _) => format!("{reason}; judged by its words and meaning"),
        _ => reason.to_owned(),
    }
}

impl Heads {
    /// Follows what every ingress learns.
    pub(super) fn follow(bucket: &Bucket<ModelHeads>) -> Self {
        let heads = Self::default();
        let known = heads.clone();
        bucket.follow(move |change| known.change(change));
        heads
    }

    /// Takes what another process learnt.
    pub(super) fn change(&self, change: Change<ModelHeads>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Put(_, heads) if known.len() < MODELS || known.contains_key(&heads.model) => {
                known.insert(heads.model.clone(), Arc::new(heads));
            }
            // Nothing removes a single one: see `ModelHeads::since`.
            Change::Put(..) | Change::Deleted(_) | Change::Current => {}
        }
    }

    /// What was learnt of a virtual model.
    pub(crate) fn of(&self, model: &str) -> Option<Arc<ModelHeads>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    /// Says how good an answer each is expected to give. Those of which nothing was learnt stand at their usual quality, which is not
    /// that of scores: what was learnt of these can be thrown away.
    pub(super) fn judge(
        &self,
        (model, links): (&str, &[ModelLink]),
        usual: &[f64],
        all: &mut [Prospect],
        features: &[f32],
    ) {
        let learnt = self.of(model);
        let of = |one: &Prospect| usual.get(one.place).copied().unwrap_or(one.quality);
        let qualities: Vec<f64> = all.iter().map(of).collect();
        for one in all {
            let own = learnt.as_ref().and_then(|learnt| learnt.head(&links[one.place].link.target));
            let own = own.and_then(|head| {
                let weights = if features.len() == WHOLE { &head.whole } else { &head.words };
                Some((quality(weights, features)?, *weights.first()?))
            });
            // Heads of another version's features are no heads.
            let start = || {
                let weights = &shipped().without_scores(of(one), &qualities)[usize::from(features.len() == WHOLE)];
                Some((quality(weights, features)?, *weights.first()?))
            };
            if let Some((quality, level)) = own.or_else(start) {
                one.quality = rounded(quality);
                one.level = Some(rounded(level));
            }
        }
    }
}

/// From 0 to 1, in four digits.
fn rounded(quality: f32) -> f64 {
    (f64::from(quality).clamp(0.0, 1.0) * 1e4).round() / 1e4
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::learnt::tests::target;
    use super::*;
    use penstock_schemas::UnixMicros;
    use penstock_schemas::head::TargetHead;
    use penstock_schemas::plan::Link;

    pub(in crate::routing) fn links() -> Vec<ModelLink> {
        let link = |name: &str| ModelLink { link: Link::to(target(name)), weight: 1, quality: None, region: None };
        ["a/m", "b/m"].map(link).to_vec()
    }

    fn prospects() -> Vec<Prospect> {
        let one = |(place, quality): (usize, f64)| Prospect {
            place,
            card: None,
            usd: None,
            ms: None,
            quality,
            level: None,
            busy: 0,
            is_known: true,
        };
        [0.5, 0.9].into_iter().enumerate().map(one).collect()
    }

    fn look(text: &str, vector: Option<&[f32]>) -> Vec<f32> {
        shipped().basis.look_at(text, &RequestShape::default(), vector)
    }

    #[test]
    fn without_scores_the_shipped_heads_judge_and_what_is_learnt_takes_their_place() {
        let heads = Heads::default();
        let judged = |features: &[f32]| -> Vec<(f64, f64)> {
            let mut all = prospects();
            heads.judge(("chat", &links()), &[0.5, 0.9], &mut all, features);
            all.iter().map(|one| (one.quality, one.level.unwrap_or(f64::NAN))).collect()
        };
        let hard = look("Prove that 2x + 3y = 17 has no more than 3 solutions if x and y must both be positive.", None);
        let shipped = judged(&hard);
        assert_eq!((shipped[0].1, shipped[1].1), (0.5, 0.9), "levels stay");
        assert_ne!((shipped[0].0, shipped[1].0), (0.5, 0.9), "this question is no usual one");
        let mut words = vec![0.0; WORDS];
        words[0] = 0.8;
        let head = TargetHead {
            target: target("a/m"),
            labels: 9,
            level: 0.8,
            error_before: 0.0,
            error: 0.0,
            words,
            whole: vec![0.0; 3],
        };
        let learnt = ModelHeads { heads: vec![head], at: UnixMicros(1), ..ModelHeads::new("chat") };
        heads.change(Change::Put("k".to_owned(), learnt));
        assert_eq!(judged(&hard)[0], (0.8, 0.8));
        assert_eq!(judged(&hard)[1].1, 0.9, "of the other nothing was learnt");
        let vector = vec![0.05; 384];
        assert_eq!(judged(&look("Hello", Some(&vector)))[0].1, 0.5, "a head of other features is none");
    }

    #[test]
    fn qualities_are_shares() {
        assert_eq!((rounded(1.7), rounded(-0.3), rounded(0.123_456)), (1.0, 0.0, 0.1235));
    }
}

//! Draws that are the same for the same words, in every ingress, in every version, after every crash: nothing is stored of
//! them. Knows nothing of what is drawn.

/// A number that stands for these words.
pub(crate) fn number(words: &[&str]) -> u64 {
    // FNV-1a over the words, each with an end of its own, and the finalizer of SplitMix64 so that all bits depend on all
    // words. Sources: <http://www.isthe.com/chongo/tech/comp/fnv/>, <https://prng.di.unimi.it/splitmix64.c>.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number from 0 to 1, without both.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub(crate) fn share(words: &[&str]) -> f64 {
    ((number(words) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// The place that is drawn, by weight: the same for the same key, and of all places only the keys of one that is taken away
/// move. `None` when nothing has a weight. Source: rendezvous hashing with weights, <https://en.wikipedia.org/wiki/Rendezvous_hashing>.
pub(crate) fn draw<'a>(key: &[&str], places: impl Iterator<Item = (&'a str, f64)>) -> Option<usize> {
    let mut best = None;
    for (at, (name, weight)) in places.enumerate().filter(|(_, (_, weight))| *weight > 0.0) {
        let words: Vec<&str> = key.iter().copied().chain([name]).collect();
        let score = -weight / share(&words).ln();
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((at, score));
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_drawn_by_weight_and_only_those_of_a_missing_one_move() {
        let all = [("a", 90.0), ("b", 0.0), ("c", 10.0), ("d", 20.0)];
        let mut counts = [0; 4];
        for key in 0..12_000 {
            let key = format!("user-{key}");
            let arm = draw(&["chat", &key], all.into_iter()).unwrap();
            counts[arm] += 1;
            let without =
                draw(&["chat", &key], all.into_iter().map(|(name, w)| (name, if name == "d" { 0.0 } else { w })));
            assert!(arm == 3 || without == Some(arm), "only keys of `d` move");
        }
        assert!((8_700..9_300).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
        assert!((850..1_150).contains(&counts[2]) && (1_800..2_200).contains(&counts[3]), "{counts:?}");
        assert_eq!(draw(&["k"], [("a", 0.0)].into_iter()), None);
    }

    #[test]
    fn a_number_stays_the_same_from_version_to_version() {
        // Whoever changes this moves every user of every experiment.
        assert_eq!(number(&["chat", "ann"]), 0x8186_4a1a_ac69_0c7a);
        assert_ne!(number(&["a", "bc"]), number(&["ab", "c"]));
    }
}

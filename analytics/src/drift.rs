//! Drift: whether the answers of a day are other than those of the weeks before, by figures of each day. Pure: knows neither
//! where the figures come from nor how alerts are sent.
//!
//! Each signal of each scope is tested once for each day. The day is compared with the four weeks that ended a week before it, so that what varies from
//! day to day anyway is no drift, and with what its number of answers lets expect; the larger of the probabilities counts.
//! By Holm's method over all tests of a day, the probability of any false alarm on that day is at most the rate that is set,
//! however the tests depend on each other.

mod chance;

use chance::{share_beyond, t_beyond};
use std::collections::BTreeMap;

/// Days that a day is compared with, how many lie between, so that a change that goes on for some days is not compared with
/// itself, and how many days to compare with must have enough answers.
pub(crate) const BASELINE: u32 = 28;
pub(crate) const GAP: u32 = 7;
pub(crate) const LEAST_DAYS: usize = 7;

/// Answers, and scores, that a day must have to be tested or compared with.
pub(crate) const LEAST_ANSWERS: u64 = 100;
const LEAST_SCORES: u64 = 30;

/// Changes that matter: points of a share; a part of a length or time; of a score, in standard deviations.
const LEAST_POINTS: f64 = 0.01;
const LEAST_PART: f64 = 0.10;
const LEAST_DEVIATIONS: f64 = 0.1;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DriftSignal {
    /// The share of answers that the provider or its filter declined.
    Refusals,
    /// The share that ended because it was as long as it may be.
    Cut,
    /// The share without a token of output.
    Empty,
    /// The share that ended by asking for a tool.
    Tools,
    /// Tokens of output.
    Length,
    /// Microseconds to the first content, and in all.
    FirstToken,
    /// The same to the end.
    Latency,
    /// A score by its name.
    Score(String),
}

impl DriftSignal {
    /// Its name in reports and alerts.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Refusals => "refusals".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Empty => "empty".to_owned(),
            Self::Tools => "tools".to_owned(),
            Self::Length => "length".to_owned(),
            Self::FirstToken => "first_token".to_owned(),
            Self::Latency => "latency".to_owned(),
            Self::Score(name) => format!("score {name}"),
        }
    }

    fn is_share(&self) -> bool {
        matches!(self, Self::Refusals | Self::Cut | Self::Empty | Self::Tools)
    }

    fn least(&self) -> u64 {
        if matches!(self, Self::Score(_)) { LEAST_SCORES } else { LEAST_ANSWERS }
    }
}

/// Whose answers, and what of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    /// `target`, `virtual_model`, `project`.
    pub(crate) scope: String,
    /// Which.
    pub(crate) name: String,
    pub(crate) signal: DriftSignal,
}

/// The figures of one day: of a share 1 for each that has it, of a length or time the logarithm of one more, of a score itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DayFigures {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl DayFigures {
    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// The days of one signal, by their number since 1970.
pub(crate) type Series = BTreeMap<u32, DayFigures>;

/// What a test came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DriftTest {
    pub(crate) key: SeriesKey,
    pub(crate) answers: u64,
    pub(crate) days: usize,
    /// As people read them: a share, tokens, microseconds, a score.
    pub(crate) before: f64,
    pub(crate) now: f64,
    /// The probability of such a difference by chance.
    pub(crate) p: f64,
    /// Whether the difference matters, if it is one.
    pub(crate) is_large: bool,
    /// Whether it raises an alert.
    pub(crate) is_drift: bool,
}

/// Tests one day, at a rate of false alarms for all tests together. The least probable first.
pub(crate) fn compare(all: &BTreeMap<SeriesKey, Series>, day: u32, rate: f64) -> Vec<DriftTest> {
    let mut found: Vec<DriftTest> = all.iter().filter_map(|(key, series)| test(key, series, day)).collect();
    found.sort_by(|one, other| one.p.total_cmp(&other.p).then_with(|| one.key.cmp(&other.key)));
    // Holm: the i-th smallest is judged at the rate divided by those that are left; after the first that fails, none holds.
    let count = found.len();
    for (at, one) in found.iter_mut().enumerate() {
        if one.p > rate / (count - at) as f64 {
            break;
        }
        one.is_drift = one.is_large;
    }
    found
}

fn test(key: &SeriesKey, series: &Series, day: u32) -> Option<DriftTest> {
    let least = key.signal.least();
    let today = *series.get(&day).filter(|today| today.count >= least)?;
    let before: Vec<DayFigures> = series
        .range(day.saturating_sub(GAP + BASELINE)..day.saturating_sub(GAP))
        .map(|(_, figures)| *figures)
        .filter(|figures| figures.count >= least)
        .collect();
    if before.len() < LEAST_DAYS {
        return None;
    }
    let days = before.len() as f64;
    let mean = before.iter().map(DayFigures::mean).sum::<f64>() / days;
    let between = before.iter().map(|figures| (figures.mean() - mean).powi(2)).sum::<f64>() / (days - 1.0);
    let sums = before.iter().fold(DayFigures::default(), |sum, one| DayFigures {
        count: sum.count + one.count,
        sum: sum.sum + one.sum,
        squares: sum.squares + one.squares,
    });
    let within = spread(&key.signal, &sums, &before);
    // What the numbers of answers alone let the means of days vary by, and what they vary by besides.
    let of_numbers = within * before.iter().map(|figures| 1.0 / figures.count as f64).sum::<f64>() / days;
    let besides = (between - of_numbers).max(0.0);
    let of_today = besides + within / today.count as f64;
    let difference = today.mean() - mean;
    let error = (of_today + (besides + of_numbers) / days).sqrt();
    let by_days = if difference == 0.0 { 1.0 } else { t_beyond(difference / error, days - 1.0) };
    let p = if key.signal.is_share() {
        let (marked, of_before) = (whole(today.sum), whole(sums.sum));
        by_days.max(share_beyond(marked, today.count, marked + of_before, sums.count))
    } else {
        by_days
    };
    let [before_shown, now] = [mean, today.mean()].map(|mean| shown(&key.signal, mean));
    let is_large = match &key.signal {
        DriftSignal::Score(_) => difference.abs() >= LEAST_DEVIATIONS * within.sqrt(),
        signal if signal.is_share() => difference.abs() >= LEAST_POINTS,
        _ => (now / before_shown.max(1.0) - 1.0).abs() >= LEAST_PART,
    };
    let (key, answers) = (key.clone(), today.count);
    Some(DriftTest { key, answers, days: before.len(), before: before_shown, now, p, is_large, is_drift: false })
}

/// The count that a sum of ones is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and not below nothing")]
fn whole(sum: f64) -> u64 {
    sum as u64
}

/// How much single answers vary within a day; of a share never nothing, however rare it was.
fn spread(signal: &DriftSignal, sums: &DayFigures, before: &[DayFigures]) -> f64 {
    if signal.is_share() {
        let share = (sums.sum + 1.0) / (sums.count as f64 + 2.0);
        return share * (1.0 - share);
    }
    let explained: f64 = before.iter().map(|one| one.count as f64 * one.mean().powi(2)).sum();
    ((sums.squares - explained) / sums.count as f64).max(0.0)
}

/// A mean as people read it: of logarithms, the typical value.
fn shown(signal: &DriftSignal, mean: f64) -> f64 {
    match signal {
        DriftSignal::Length | DriftSignal::FirstToken | DriftSignal::Latency => mean.exp() - 1.0,
        _ => mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: the same numbers on every machine.
    struct Seeded(u64);

    impl Seeded {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * (1.0 - self.next()).ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
        }
    }

    const FIRST: u32 = 20_000;

    fn key(name: &str, signal: DriftSignal) -> SeriesKey {
        SeriesKey { scope: "target".to_owned(), name: name.to_owned(), signal }
    }

    /// How a model answers: refusals, and the mean of the logarithm of its length; both vary from day to day besides.
    #[derive(Clone, Copy)]
    struct Manner {
        refusals: f64,
        length: f64,
        wobble: f64,
    }

    /// The figures of a day with so many answers.
    fn answers(seeded: &mut Seeded, manner: Manner, count: u64) -> [(DriftSignal, DayFigures); 4] {
        let wobble = 1.0 + manner.wobble * seeded.normal();
        let longer = manner.wobble * seeded.normal();
        let mut share = |chance: f64| {
            let sum = (0..count).filter(|_| seeded.next() < chance).count() as f64;
            DayFigures { count, sum, squares: sum }
        };
        let (refusals, cut, tools) = (share(manner.refusals * wobble), share(0.0005), share(0.3 * wobble));
        let mut length = DayFigures { count, ..DayFigures::default() };
        for _ in 0..count {
            let one = manner.length + longer + 0.8 * seeded.normal();
            length.sum += one;
            length.squares += one * one;
        }
        [
            (DriftSignal::Refusals, refusals),
            (DriftSignal::Cut, cut),
            (DriftSignal::Tools, tools),
            (DriftSignal::Length, length),
        ]
    }

    /// So many days of models that answer in this manner; `change` says how one answers on a day.
    fn traffic(
        seed: u64,
        days: u32,
        models: usize,
        change: impl Fn(usize, u32) -> Manner,
    ) -> BTreeMap<SeriesKey, Series> {
        let mut seeded = Seeded(seed);
        let mut all: BTreeMap<SeriesKey, Series> = BTreeMap::new();
        for day in 0..days {
            for model in 0..models {
                // Models differ in their traffic, and weekends have half of it.
                let count = [1_000, 400, 2_000][model % 3] / if day % 7 > 4 { 2 } else { 1 };
                for (signal, figures) in answers(&mut seeded, change(model, day), count) {
                    all.entry(key(&format!("m{model}"), signal)).or_default().insert(FIRST + day, figures);
                }
            }
        }
        all
    }

    const STABLE: Manner = Manner { refusals: 0.02, length: 5.0, wobble: 0.03 };

    fn drifts(all: &BTreeMap<SeriesKey, Series>, day: u32, rate: f64) -> Vec<String> {
        let told = compare(all, day, rate).into_iter().filter(|one| one.is_drift);
        told.map(|one| format!("{} {}", one.key.name, one.key.signal.name())).collect()
    }

    /// What is stated: on at most 1 % of days any false alarm. In 20 months of stable traffic, 600 days, 6 are to be
    /// expected at the most.
    #[test]
    fn stable_traffic_raises_no_more_false_alarms_than_stated() {
        let mut days_with_alarms = 0;
        for seed in 0..20 {
            let all = traffic(seed, 65, 12, |_, _| STABLE);
            let month = (35..65).filter(|day| !drifts(&all, FIRST + day, 0.01).is_empty()).count();
            assert!(month <= 1, "a month of seed {seed} has {month} days with false alarms");
            days_with_alarms += month;
        }
        assert!(days_with_alarms <= 6, "{days_with_alarms} of 600 days");
    }

    #[test]
    fn five_points_more_refusals_are_told_on_the_first_day_and_a_fifth_longer_answers_within_a_week() {
        for seed in 100..110 {
            let all = traffic(seed, 42, 12, |model, day| match (model, day) {
                (0, 35..) => Manner { refusals: STABLE.refusals + 0.05, ..STABLE },
                (3, 35..) => Manner { length: STABLE.length + 1.2_f64.ln(), ..STABLE },
                _ => STABLE,
            });
            let told: Vec<Vec<String>> = (35..42).map(|day| drifts(&all, FIRST + day, 0.01)).collect();
            assert!(told[0].contains(&"m0 refusals".to_owned()), "{seed}: {told:?}");
            assert!(told.iter().flatten().any(|one| one == "m3 length"), "{seed}: {told:?}");
            assert!(told.iter().flatten().all(|one| one == "m0 refusals" || one == "m3 length"), "{seed}: {told:?}");
        }
    }

    #[test]
    fn what_is_too_little_or_too_new_is_not_tested_and_what_is_too_small_is_not_told() {
        let day = |count, sum: f64| DayFigures { count, sum, squares: sum };
        let series = |days: u32, baseline: DayFigures, today: DayFigures| -> Series {
            (0..days).map(|at| (FIRST - 1 - GAP - at, baseline)).chain([(FIRST, today)]).collect()
        };
        let refusals = || key("m", DriftSignal::Refusals);
        let tested = |series: Series| compare(&[(refusals(), series)].into(), FIRST, 0.01);
        assert!(tested(series(28, day(1_000, 20.0), day(99, 50.0))).is_empty(), "too few answers");
        assert!(tested(series(6, day(1_000, 20.0), day(1_000, 500.0))).is_empty(), "too few days");
        assert!(tested(series(7, day(1_000, 20.0), day(1_000, 500.0)))[0].is_drift);
        // A tenth of a point, of a million answers: certain, and of no matter.
        let small = &tested(series(28, day(1_000_000, 20_000.0), day(1_000_000, 21_000.0)))[0];
        assert!(small.p < 1e-5 && !small.is_drift, "{small:?}");
        // The first two refusals ever are little news: one of ten tests alone would already hide them.
        let rare = &tested(series(28, day(150, 0.0), day(150, 2.0)))[0];
        assert!(rare.is_large && rare.p > 0.001, "{rare:?}");
        // A share that is the same every day, and still.
        assert!(!tested(series(28, day(1_000, 0.0), day(1_000, 0.0)))[0].is_drift);
    }

    #[test]
    fn a_day_is_compared_with_how_days_vary_and_not_with_its_number_of_answers_alone() {
        // A model whose refusals swing between 1 % and 9 %: 9.5 % is no news, though 95 of 1,000 were impossible at 5 %.
        let swinging: Series = (0..28)
            .map(|at| (FIRST - 1 - GAP - at, if at % 2 == 0 { 10.0 } else { 90.0 }))
            .chain([(FIRST, 95.0)])
            .map(|(day, sum)| (day, DayFigures { count: 1_000, sum, squares: sum }))
            .collect();
        let found = &compare(&[(key("m", DriftSignal::Refusals), swinging)].into(), FIRST, 0.01)[0];
        assert!(!found.is_drift && found.p > 0.01, "{found:?}");
    }
}

//! What a model's name asks the simulator for: a tempo, and faults. Knows nothing of requests.

use std::time::Duration;

/// The models, each with how long it takes.
const TEMPI: [(&str, Tempo); 10] = [
    ("fast", Tempo { first_token_ms: (120, 400), tokens_per_second: 60, reasoning_words: 0 }),
    ("slow", Tempo { first_token_ms: (800, 1_600), tokens_per_second: 15, reasoning_words: 0 }),
    ("reasoner", Tempo { first_token_ms: (300, 700), tokens_per_second: 80, reasoning_words: 90 }),
    ("echo", Tempo { first_token_ms: (20, 60), tokens_per_second: 200, reasoning_words: 0 }),
    ("embed", Tempo { first_token_ms: (20, 60), tokens_per_second: 2_000, reasoning_words: 0 }),
    ("rank", Tempo { first_token_ms: (30, 90), tokens_per_second: 2_000, reasoning_words: 0 }),
    ("moderate", Tempo { first_token_ms: (30, 90), tokens_per_second: 2_000, reasoning_words: 0 }),
    ("paint", Tempo { first_token_ms: (800, 1_600), tokens_per_second: 200, reasoning_words: 0 }),
    ("listen", Tempo { first_token_ms: (200, 600), tokens_per_second: 100, reasoning_words: 0 }),
    ("voice", Tempo { first_token_ms: (100, 300), tokens_per_second: 100, reasoning_words: 0 }),
];

/// The most chunks that a name may ask for.
const MOST_CHUNKS: u64 = 10_000;

/// How long a model takes, and how much it thinks first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempo {
    pub(super) first_token_ms: (u64, u64),
    pub(super) tokens_per_second: u64,
    pub(super) reasoning_words: usize,
}

/// What should go wrong, or otherwise than usual.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<u64>,
    pub(super) chunks: Option<usize>,
    pub(super) delay: Option<Duration>,
    pub(super) latency: Option<Duration>,
    pub(super) abort_after: Option<usize>,
    pub(super) error_first: bool,
    pub(super) malformed: bool,
}

/// A model with what its name adds.
#[derive(Debug)]
pub(super) struct Model {
    /// The name without its faults.
    pub(super) name: &'static str,
    pub(super) tempo: Tempo,
    pub(super) faults: Faults,
}

impl Model {
    /// Reads `fast~c50~a3`.
    ///
    /// # Errors
    /// In words, when there is no such model or fault.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split('~');
        let asked = words.next().unwrap_or_default();
        let Some((name, tempo)) = TEMPI.into_iter().find(|(name, _)| *name == asked) else {
            let known: Vec<&str> = names().collect();
            return Err(format!("The model `{asked}` does not exist; there are: {}", known.join(", ")));
        };
        let mut faults = Faults::default();
        for word in words {
            faults.add(word).ok_or_else(|| {
                format!(
                    "`~{word}` is no fault that can be asked for; there are: ~s429 ~r1 ~c50 ~d1000 ~l20000 ~a3 ~e ~m"
                )
            })?;
        }
        Ok(Self { name, tempo, faults })
    }
}

/// The models.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TEMPI.into_iter().map(|(name, _)| name)
}

impl Faults {
    fn add(&mut self, word: &str) -> Option<()> {
        let letter = word.chars().next()?;
        let digits = &word[letter.len_utf8()..];
        if digits.is_empty() {
            match letter {
                'e' => self.error_first = true,
                'm' => self.malformed = true,
                _ => return None,
            }
            return Some(());
        }
        let number: u64 = digits.parse().ok()?;
        match letter {
            's' => self.status = Some(u16::try_from(number).ok().filter(|status| (300..600).contains(status))?),
            'r' => self.retry_after = Some(number),
            'c' => self.chunks = Some(usize::try_from(number.min(MOST_CHUNKS)).ok()?),
            'd' => self.delay = Some(Duration::from_micros(number)),
            'l' => self.latency = Some(Duration::from_micros(number)),
            'a' => self.abort_after = Some(usize::try_from(number).ok()?),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_asks_for_a_tempo_and_faults() {
        let model = Model::parse("slow~s429~r2~c50~d1000~l20000~a3~e~m").unwrap();
        assert_eq!(model.name, "slow");
        let asked = Faults {
            status: Some(429),
            retry_after: Some(2),
            chunks: Some(50),
            delay: Some(Duration::from_millis(1)),
            latency: Some(Duration::from_millis(20)),
            abort_after: Some(3),
            error_first: true,
            malformed: true,
        };
        assert_eq!(model.faults, asked);
        assert_eq!(Model::parse("fast").unwrap().faults, Faults::default());
    }

    #[test]
    fn what_it_cannot_do_is_refused_with_what_it_can() {
        for (name, told) in [
            ("gpt-4o", "there are: fast, slow, reasoner, echo, embed"),
            ("fast~x1", "`~x1` is no fault"),
            ("fast~c", "`~c` is no fault"),
            ("fast~s99", "`~s99` is no fault"),
            ("fast~ü", "`~ü` is no fault"),
            ("fast~", "`~` is no fault"),
        ] {
            assert!(Model::parse(name).unwrap_err().contains(told), "{name}");
        }
    }
}

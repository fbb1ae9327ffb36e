//! The strategies of virtual models, by their names. Knows nothing of how they decide.

/// How a plan is made of a virtual model's targets: in which order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The given order.
    Fallback,
    /// The first is drawn by weight, the same one for the same user; the others stand behind it in the given order.
    Weighted,
    /// The least expected cost of this request first.
    Cost,
    /// The least expected wait of this request first.
    Latency,
    /// The best expected answer first.
    Quality,
    /// The best expected answer to this question for its expected cost first.
    Auto,
    /// Each in its turn.
    RoundRobin,
    /// The one with the fewest calls under way first.
    LeastBusy,
}

impl Strategy {
    /// All of them.
    const ALL: [Self; 8] = [
        Self::Fallback,
        Self::Weighted,
        Self::Cost,
        Self::Latency,
        Self::Quality,
        Self::Auto,
        Self::RoundRobin,
        Self::LeastBusy,
    ];

    /// The word that stands for it in the configuration and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Weighted => "weighted",
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Quality => "quality",
            Self::Auto => "auto",
            Self::RoundRobin => "round_robin",
            Self::LeastBusy => "least_busy",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
            let all: Vec<String> = Self::ALL.iter().map(|one| format!("\"{}\"", one.as_str())).collect();
            format!("`{text}` is not known: use {}", all.join(", "))
        })
    }
}

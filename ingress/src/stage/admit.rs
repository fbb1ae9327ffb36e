//! Stage 3: may this project send this request now? The seam for rate limits, guardrails and budgets: none of them exists
//! yet, so every known caller is admitted, and nothing is reserved. Knows nothing of models or providers.

use super::authenticate::Known;
use crate::refusal::Refusal;

/// A request that may be sent. Only this stage makes one, and only it can be looked up, routed and sent.
pub(crate) struct Admitted {
    pub(crate) known: Known,
}

/// Admits a request.
#[expect(clippy::unnecessary_wraps, reason = "the seam's type: limits and budgets refuse here")]
pub(crate) fn admit(known: Known) -> Result<Admitted, Refusal> {
    Ok(Admitted { known })
}

//! Who is logged in to the dashboard, as it is kept for all ingresses. Knows no cookie.

use crate::UnixMicros;
use serde::{Deserialize, Serialize};

/// A login. It is kept under the SHA-256 of what the browser shows, so that what is kept opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DashboardSession {
    /// The SHA-256 of the admin key or token that it was begun with, in hexadecimal: when that one is revoked, this ends.
    pub token_sha256: String,
    /// Until when it holds.
    pub until: UnixMicros,
}

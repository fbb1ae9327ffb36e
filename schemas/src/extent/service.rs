//! The service that a request asks for: providers charge more for some than their prices per token say. Knows their words for
//! them, and no price.

use super::cursor::{Cursor, Kind};
use super::number::whole;
use super::{BadRequest, Extent};

/// Services that cost what the prices say, or less: each provider's words for them, and those that are paid in advance.
const USUAL_TIERS: [&str; 12] = [
    "",
    "auto",
    "default",
    "standard",
    "standard_only",
    "on_demand",
    "unspecified",
    "flex",
    "batch",
    "economy",
    "scale",
    "reserved",
];

/// Reads the service that is asked for. A list, and a number that stands for a word in protobuf's JSON, are not known.
pub(super) fn read(cursor: &mut Cursor<'_>, option: &str, found: &mut Extent) -> Result<(), BadRequest> {
    match cursor.kind()? {
        Kind::Text => found.is_priority |= is_dearer(option, &cursor.text()?),
        Kind::Number if option == "servicetier" => {
            found.is_priority |= whole(cursor.scalar()?) != Some(0);
        }
        Kind::List => {
            found.is_priority = true;
            cursor.skip()?;
        }
        Kind::Object | Kind::Null | Kind::Bool | Kind::Number => cursor.skip()?,
    }
    Ok(())
}

/// Whether providers charge more than their prices per token for this service. Sources:
/// <https://platform.openai.com/docs/guides/priority-processing>, <https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html>,
/// <https://platform.claude.com/docs/en/build-with-claude/fast-mode>, <https://platform.claude.com/docs/en/build-with-claude/data-residency>.
fn is_dearer(option: &str, value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    match option {
        // What has no known word is not known to cost what the prices say.
        "servicetier" => !USUAL_TIERS.contains(&value.strip_prefix("service_tier_").unwrap_or(&value)),
        "latency" => value == "optimized",
        "speed" => value == "fast",
        "inferencegeo" => value != "global",
        _ => false,
    }
}

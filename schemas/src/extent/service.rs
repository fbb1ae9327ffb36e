//! The service that a request asks for: providers charge more for some than their prices per token say. Knows their words for
//! them, and no price.

use super::cursor::{Cursor, Kind};
use super::number::whole;
use super::{AskedService, BadRequest, Extent};

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
        Kind::Text => {
            let is_dearer = is_dearer(option, &cursor.text()?);
            note(option, is_dearer, found);
        }
        Kind::Number if option == "servicetier" => {
            let is_dearer = whole(cursor.scalar()?) != Some(0);
            note(option, is_dearer, found);
        }
        Kind::List => {
            cursor.skip()?;
            note(option, true, found);
        }
        Kind::Object | Kind::Null | Kind::Bool | Kind::Number => cursor.skip()?,
    }
    Ok(())
}

fn note(option: &str, is_dearer: bool, found: &mut Extent) {
    if is_dearer {
        found.is_priority = true;
        let service = if option == "servicetier" { AskedService::Tier } else { AskedService::Surcharged };
        found.service = found.service.max(service);
    }
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

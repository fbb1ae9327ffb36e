//! Fields that multiply cost: limits, choices, budgets of thinking, searches, sizes of images. Each is read under every
//! name that a provider has for it, because what the dialect does not know passes through.

use super::cursor::{Cursor, Kind, Names, folded};
use super::kind::RequestKind;
use super::number::whole;
use super::other_model::{OTHER_MODEL, names_model};
use super::{BadRequest, Extent, IMAGE_TOKENS, service, tools};
use crate::dialect::{Dialect, Operation};

/// Names of limits of the output, without underscores and case.
const LIMITS: [&str; 10] = [
    "maxtokens",
    "maxcompletiontokens",
    "maxoutputtokens",
    "maxnewtokens",
    "maxtokenstosample",
    "maxgentoken",
    "maxgenlen",
    "maxtokencount",
    "numpredict",
    "mintokens",
];

/// Names of how many answers or images are made.
const CHOICES: [&str; 15] = [
    "n",
    "bestof",
    "candidatecount",
    "numcompletions",
    "numgenerations",
    "numresults",
    "numreturnsequences",
    "numcandidates",
    "numimages",
    "numberofimages",
    "numoutputs",
    "numsamples",
    "samplecount",
    "imagecount",
    "batchsize",
];

/// Names of budgets of thinking.
const BUDGETS: [&str; 6] =
    ["budgettokens", "thinkingbudget", "thinkingtokens", "reasoningbudget", "maxthinkingtokens", "maxreasoningtokens"];

/// Objects in which such fields may stand.
const STRICT_OBJECTS: [&str; 5] = ["generationconfig", "thinking", "thinkingconfig", "reasoning", "inferenceconfig"];

/// Fields of any shape that hold schemas, ids, labels or the caller's own data, and no options.
const OPAQUE: [&str; 18] = [
    // Its model judges, and costs nothing: <https://platform.openai.com/docs/guides/moderation>.
    "moderation",
    "documents",
    "chathistory",
    "toolresults",
    "searchresults",
    "examples",
    "metadata",
    "labels",
    "logitbias",
    "responseformat",
    "responseschema",
    "responsejsonschema",
    "outputformat",
    "outputconfig",
    "text",
    "format",
    "safetysettings",
    "streamoptions",
];

/// What is known of an image's size where its name says nothing.
const LARGEST_SIDE: u64 = 4_096;

/// Pixels of an image for each of its tokens, at the least: a high quality image of 1024 by 1024 has 4,160.
const PIXELS_A_TOKEN: u64 = 128;

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// In the request itself, or in an object that only holds such fields: a wrong type is refused.
    Strict,
    /// In an object that passes through unread: what has another type is something else.
    Lenient,
}

/// Reads a field of the request itself.
pub(super) fn field(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    name: &str,
    found: &mut Extent,
) -> Result<(), BadRequest> {
    let is_own = match of.operation {
        Operation::Chat | Operation::CountTokens => match of.dialect.form() {
            Dialect::Responses => name == "max_output_tokens",
            Dialect::Google => false,
            Dialect::Anthropic => name == "max_tokens",
            _ => matches!(name, "max_tokens" | "max_completion_tokens"),
        },
        _ => name == "max_tokens",
    };
    // The one that is checked stands in its place, however its name is written.
    if name.eq_ignore_ascii_case("model") {
        return cursor.skip();
    }
    option(cursor, of, (name, is_own, Level::Strict), found)
}

fn option(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    (name, is_own_limit, level): (&str, bool, Level),
    found: &mut Extent,
) -> Result<(), BadRequest> {
    let kind = cursor.kind()?;
    let plain = folded(name);
    let plain = plain.as_ref();
    if kind == Kind::Null || OPAQUE.contains(&plain) {
        return cursor.skip();
    }
    let is_chat = matches!(of.operation, Operation::Chat | Operation::Completions);
    let is_kept_model = matches!(plain, "preset" | "agentid") && is_chat && level == Level::Strict;
    if is_kept_model || names_model(plain, kind) {
        return Err(cursor.wrong(OTHER_MODEL));
    }
    if LIMITS.contains(&plain) {
        return limit(cursor, of, (is_own_limit, level), found);
    }
    if CHOICES.contains(&plain) {
        let count = count(cursor, of, level)?;
        found.choices = found.choices.max(count.unwrap_or(0));
        return Ok(());
    }
    if BUDGETS.contains(&plain) {
        let budget = budget(cursor, of, level)?;
        found.thinking = found.thinking.max(budget);
        return Ok(());
    }
    if STRICT_OBJECTS.contains(&plain) && level == Level::Strict {
        return strict_object(cursor, of, plain, found);
    }
    switch(cursor, of, (plain, kind), found)
}

/// 0 stands for no limit at some providers: protobuf's JSON cannot tell it from absence.
fn limit(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    (is_own, level): (bool, Level),
    found: &mut Extent,
) -> Result<(), BadRequest> {
    // Copies of OpenAI write -1 where there is no limit.
    if cursor.kind()? == Kind::Number && cursor.is_next("-1") {
        return cursor.skip();
    }
    let Some(tokens) = count(cursor, of, level)?.filter(|tokens| *tokens > 0) else { return Ok(()) };
    if is_own {
        // Where several are given, providers differ in which they read.
        found.output = Some(found.output.unwrap_or(0).max(tokens));
    } else {
        found.other_output = found.other_output.max(tokens);
    }
    Ok(())
}

/// `generationConfig` and the like.
fn strict_object(cursor: &mut Cursor<'_>, of: RequestKind, plain: &str, found: &mut Extent) -> Result<(), BadRequest> {
    if cursor.kind()? != Kind::Object {
        // `"reasoning": true` and `"thinking": "on"` are switches of copies; a configuration is always an object.
        return if plain == "generationconfig" { Err(cursor.wrong("it must be an object")) } else { cursor.skip() };
    }
    let is_google = of.dialect.form() == Dialect::Google && plain == "generationconfig";
    let thinks = matches!(plain, "thinking" | "thinkingconfig" | "reasoning");
    cursor.object(of.names(), |cursor, name| {
        if thinks && LIMITS.contains(&folded(name).as_ref()) {
            let tokens = budget(cursor, of, Level::Strict)?;
            found.thinking = found.thinking.max(tokens);
            return Ok(());
        }
        let is_own = is_google && matches!(name, "maxOutputTokens" | "max_output_tokens");
        option(cursor, of, (name, is_own, Level::Strict), found)
    })
}

/// What is no number: switches of searches, references, sizes; and objects that pass through.
fn switch(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    (plain, kind): (&str, Kind),
    found: &mut Extent,
) -> Result<(), BadRequest> {
    match (plain, kind) {
        ("websearchoptions", _) | ("websearch", Kind::Object) => {
            tools::own(found, 0);
            cursor.skip()
        }
        ("searchparameters", Kind::Object) => search_parameters(cursor, found),
        ("plugins" | "mcpservers" | "connectors" | "datasources", Kind::List) => {
            if each_passing(cursor, of, found)? > 0 {
                tools::own(found, 0);
            }
            Ok(())
        }
        ("enablesearch" | "enablewebsearch" | "websearch", Kind::Bool | Kind::Number | Kind::Text) => {
            let word = if kind == Kind::Text { cursor.text()? } else { cursor.scalar()?.into() };
            if !matches!(word.to_ascii_lowercase().as_str(), "" | "0" | "false" | "off" | "no" | "none" | "disabled") {
                tools::own(found, 0);
            }
            Ok(())
        }
        // Elsewhere than in the request itself: in what some servers put beside it.
        ("tools", Kind::List) => tools::list(cursor, of.dialect, found),
        ("maxtoolcalls", _) => {
            found.tool_calls = count(cursor, of, Level::Strict)?.unwrap_or(0);
            Ok(())
        }
        ("previousresponseid" | "conversation" | "cachedcontent" | "container" | "itemreference", _) => {
            found.is_open = true;
            cursor.skip()
        }
        ("prediction", _) => {
            found.predicted = cursor.length_of(Cursor::skip)?;
            Ok(())
        }
        ("contextmanagement" | "edits", Kind::List) => compaction(cursor, found),
        ("toolchoice" | "toolconfig", _) => cursor.skip_short(tools::MOST_TOOLS),
        ("servicetier" | "latency" | "speed" | "inferencegeo", Kind::Text | Kind::Number | Kind::List)
            if of.operation != Operation::Speech =>
        {
            service::read(cursor, plain, found)
        }
        // Bedrock's form of it.
        ("servicetier", Kind::Object) => cursor.object(Names::Exact, |cursor, name| match name {
            "type" => service::read(cursor, plain, found),
            _ => option(cursor, of, (name, false, Level::Lenient), found),
        }),
        _ if matches!(of.operation, Operation::Images | Operation::Speech) => size(cursor, of, (plain, kind), found),
        _ => passing(cursor, of, kind, found),
    }
}

/// Where a provider may sum a conversation up before it answers, it reads and writes all of it once more.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/compaction>.
fn compaction(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
    let each = |cursor: &mut Cursor<'_>| match cursor.kind()? {
        Kind::Object => cursor.object(Names::Exact, |cursor, name| {
            if name != "type" || cursor.kind()? != Kind::Text {
                return cursor.skip();
            }
            if cursor.text()?.starts_with("compact") {
                found.is_open = true;
                found.texts = found.texts.max(2);
            }
            Ok(())
        }),
        _ => cursor.skip(),
    };
    cursor.list(each).map(drop)
}

/// Sizes of images, and the speed of speech.
fn size(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    (plain, kind): (&str, Kind),
    found: &mut Extent,
) -> Result<(), BadRequest> {
    let tokens = match (plain, kind) {
        ("speed", Kind::Text) => {
            found.slowness = slowness(cursor.text()?.trim().parse().unwrap_or(0.0));
            0
        }
        ("speed", Kind::Number) => {
            found.slowness = slowness(cursor.scalar()?.parse().unwrap_or(0.0));
            0
        }
        ("partialimages", Kind::Number) => {
            let parts = count(cursor, of, Level::Strict)?.unwrap_or(0);
            IMAGE_TOKENS.saturating_mul(parts.saturating_add(1))
        }
        ("size" | "resolution" | "imagesize", Kind::Text) => tokens_of_size(&cursor.text()?),
        ("width" | "height", _) => {
            let side = count(cursor, of, Level::Strict)?.unwrap_or(0);
            side.saturating_mul(side.max(LARGEST_SIDE)) / PIXELS_A_TOKEN
        }
        _ => return passing(cursor, of, kind, found),
    };
    found.image_tokens = found.image_tokens.max(tokens);
    Ok(())
}

/// What passes through unread; objects may hold options at any depth, in lists too.
fn passing(cursor: &mut Cursor<'_>, of: RequestKind, kind: Kind, found: &mut Extent) -> Result<(), BadRequest> {
    match kind {
        Kind::Object => {
            cursor.object(Names::Exact, |cursor, name| option(cursor, of, (name, false, Level::Lenient), found))
        }
        Kind::List => each_passing(cursor, of, found).map(drop),
        _ => cursor.skip(),
    }
}

/// The same for each item of a list; how many there are.
fn each_passing(cursor: &mut Cursor<'_>, of: RequestKind, found: &mut Extent) -> Result<usize, BadRequest> {
    cursor.list(|cursor| {
        let kind = cursor.kind()?;
        passing(cursor, of, kind, found)
    })
}

/// xAI's switch of its search. Source: <https://docs.x.ai/docs/guides/live-search>.
fn search_parameters(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
    let mut is_off = false;
    cursor.object(Names::Exact, |cursor, name| {
        if name == "mode" && cursor.kind()? == Kind::Text {
            is_off = cursor.text()? == "off";
            return Ok(());
        }
        cursor.skip()
    })?;
    if !is_off {
        tools::own(found, 0);
    }
    Ok(())
}

/// How many times longer a text is at this speed, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 100")]
fn slowness(speed: f64) -> u64 {
    (1.0 / speed.clamp(0.01, 1.0)).ceil() as u64
}

/// `1024x1536`, `2K`; ratios and `auto` say nothing of a size beyond the usual.
pub(super) fn tokens_of_size(size: &str) -> u64 {
    let sides = size.split_once(['x', 'X', '*']).map(|(a, b)| (a.trim().parse::<u64>(), b.trim().parse::<u64>()));
    match sides {
        Some((Ok(wide), Ok(high))) => wide.saturating_mul(high) / PIXELS_A_TOKEN,
        _ if size.contains(':') || matches!(size, "auto" | "square" | "landscape" | "portrait") => 0,
        _ => LARGEST_SIDE * LARGEST_SIDE / PIXELS_A_TOKEN,
    }
}

/// A count that is not negative. In numbers of protobuf's JSON, texts of digits are numbers too.
fn count(cursor: &mut Cursor<'_>, of: RequestKind, level: Level) -> Result<Option<u64>, BadRequest> {
    let wrong = |cursor: &Cursor<'_>| cursor.wrong("it must be a whole number that is not negative");
    let takes_text = of.dialect.form() == Dialect::Google || level == Level::Lenient;
    let number = match cursor.kind()? {
        Kind::Null => return cursor.skip().map(|()| None),
        Kind::Number => whole(cursor.scalar()?),
        Kind::Text if takes_text => whole(&cursor.text()?),
        _ if level == Level::Lenient => return cursor.skip().map(|()| None),
        _ => return Err(wrong(cursor)),
    };
    match number {
        None if level == Level::Strict => Err(wrong(cursor)),
        number => Ok(number),
    }
}

/// A budget, of which negative ones leave it to the model.
fn budget(cursor: &mut Cursor<'_>, of: RequestKind, level: Level) -> Result<u64, BadRequest> {
    if cursor.kind()? == Kind::Number {
        let number = cursor.scalar()?;
        return match whole(number) {
            Some(number) => Ok(number),
            None if number.starts_with('-') || level == Level::Lenient => Ok(0),
            None => Err(cursor.wrong("it must be a whole number")),
        };
    }
    Ok(count(cursor, of, level)?.unwrap_or(0))
}

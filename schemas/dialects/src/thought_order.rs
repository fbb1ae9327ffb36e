//! Where thoughts stand among the texts of one answer. A model that thinks between its tools writes some behind a text, and
//! its maker takes them back in that order alone; the agnostic form has thoughts and text apart. So a piece of reasoning that
//! stands behind a text says how much of it. Knows no dialect.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks>.

use penstock_schemas::chat::{Content, Issuer, Part, ReasoningDetail};

/// The member of a piece that says it: characters of the answer's text before it.
const AFTER: &str = "after";

/// Notes that so many characters of the answer's text stand before the piece. Gemini's say themselves what they belong to.
pub(crate) fn mark(detail: &mut ReasoningDetail, characters: usize) {
    detail.extra.shift_remove(AFTER);
    if characters > 0 && detail.format != Some(Issuer::Google) {
        detail.extra.insert(AFTER.to_owned(), characters.into());
    }
}

/// How many characters of the answer's text stand before the piece.
pub(crate) fn after(detail: &ReasoningDetail) -> usize {
    let characters = detail.extra.get(AFTER).and_then(serde_json::Value::as_u64).unwrap_or(0);
    usize::try_from(characters).unwrap_or(usize::MAX)
}

/// How long a content's text is, in characters.
pub(crate) fn length(content: Option<&Content>) -> usize {
    match content {
        None => 0,
        Some(Content::Text(text)) => text.chars().count(),
        Some(Content::Parts(parts)) => parts.iter().map(part_length).sum(),
    }
}

fn part_length(part: &Part) -> usize {
    part.text.as_deref().map_or(0, |text| text.chars().count())
}

/// A run of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum ThoughtOrText<T> {
    Said(Content),
    Thought(T),
}

/// Thoughts, each with the number of characters before it, and what was said, in their order.
pub(crate) fn weave<T>(content: Option<Content>, thoughts: Vec<(usize, T)>) -> Vec<ThoughtOrText<T>> {
    if thoughts.iter().all(|(after, _)| *after == 0) {
        let thoughts = thoughts.into_iter().map(|(_, thought)| ThoughtOrText::Thought(thought));
        return thoughts.chain(content.map(ThoughtOrText::Said)).collect();
    }
    let mut waiting = thoughts.into_iter().peekable();
    let (mut runs, mut said, mut length) = (Vec::new(), Vec::new(), 0);
    for mut part in content.map(Content::into_parts).unwrap_or_default() {
        let end = length + part_length(&part);
        while let Some((after, thought)) = waiting.next_if(|(after, _)| *after <= length || *after < end) {
            if after > length {
                said.push(cut(&mut part, after - length));
                length = after;
            }
            runs.extend(run(&mut said));
            runs.push(ThoughtOrText::Thought(thought));
        }
        said.push(part);
        length = end;
    }
    runs.extend(run(&mut said));
    runs.extend(waiting.map(|(_, thought)| ThoughtOrText::Thought(thought)));
    runs
}

/// What was said up to here.
fn run<T>(said: &mut Vec<Part>) -> Option<ThoughtOrText<T>> {
    let said = std::mem::take(said);
    (!said.is_empty()).then_some(ThoughtOrText::Said(Content::Parts(said)))
}

/// The first so many characters of a text as a part of its own. The mark for a cache stays behind what is left.
fn cut(part: &mut Part, characters: usize) -> Part {
    let text = part.text.take().unwrap_or_default();
    let at = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    part.text = Some(text[at..].to_owned());
    Part::text(&text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woven(content: Option<Content>, thoughts: &[(usize, char)]) -> String {
        let runs = weave(content, thoughts.to_vec()).into_iter().map(|run| match run {
            ThoughtOrText::Said(content) => format!("[{}]", content.text()),
            ThoughtOrText::Thought(thought) => thought.to_string(),
        });
        runs.collect()
    }

    #[test]
    fn thoughts_stand_where_they_stood() {
        let text = |text: &str| Some(Content::Text(text.to_owned()));
        for (content, thoughts, found) in [
            (text("xy"), &[(0, 'a')][..], "a[xy]"),
            (text("xy"), &[(0, 'a'), (1, 'b')], "a[x]b[y]"),
            (text("üxy"), &[(2, 'a'), (2, 'b'), (3, 'c')], "[üx]ab[y]c"),
            (text("x"), &[(9, 'a')], "[x]a"),
            (None, &[(0, 'a'), (3, 'b')], "ab"),
            (Some(Content::Parts(vec![Part::text("xy"), Part::image("u"), Part::text("z")])), &[(2, 'a')], "[xy]a[z]"),
        ] {
            assert_eq!(woven(content, thoughts), found);
        }
    }

    #[test]
    fn a_piece_that_stands_first_says_nothing() {
        let mut detail = ReasoningDetail::default();
        mark(&mut detail, 3);
        assert_eq!(after(&detail), 3);
        mark(&mut detail, 0);
        assert_eq!(detail, ReasoningDetail::default());
    }
}

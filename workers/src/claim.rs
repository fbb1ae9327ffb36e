//! What a provider claims to have used, against what can be: beyond the request, the model's limits and the length of the
//! answer by more than a margin, a figure is not believed. Pure: knows nothing of who claims it.

use penstock_schemas::bound;
use penstock_schemas::envelope::Operation;
use penstock_schemas::extent::Extent;
use penstock_schemas::model::ModelCard;
use penstock_schemas::usage::Usage;

/// How many times the most that can be is still believed: catalogues and tokenizers differ.
const TIMES: u64 = 2;

/// Tokens of input beyond that: what a provider puts in front of a request unasked.
const UNASKED_INPUT: u64 = 32_768;

/// Tokens of output beyond that, and beyond one for each byte of an answer whose model shows all that it writes.
const UNSEEN_OUTPUT: u64 = 16_384;

/// Images, searches and runs beyond that.
const FEW: u64 = 64;

/// Bytes of words for which a claim has a token at the least, and bytes beyond that: no language comes to so many.
const BYTES_A_TOKEN: u64 = 16;
const FEW_BYTES: u64 = 1_024;

/// A claim is far below what was counted when it is less than such a part of it, and tokens beyond that: tokenizers differ.
const PART: u64 = 3;
const FEW_TOKENS: u64 = 64;

/// What a model of embeddings reads of a text at the least: some cut off what is longer, and claim what is left.
const LEAST_READ: u64 = 256;

/// Characters beyond that; and seconds, of which a file that is mostly silence has more than its length says.
const CHARACTERS: u64 = 1_024;
const SECONDS: u64 = 3_600;

/// The most that can be used of one answer.
pub(crate) struct Possible {
    most: Usage,
    bytes: u64,
    /// What is read of all its texts at the least, in tokens, where they are that long.
    least_read: u64,
    /// Whether an answer may hold words that are no output: those of the request, or what the provider's tools found.
    has_other_words: bool,
    /// Whether the model may write what is not in its answer.
    thinks: bool,
    /// Whether it reads and writes tokens.
    is_text: bool,
    /// Searches at the least: so many documents are more than fewer can rank.
    least_searches: u64,
    operation: Operation,
}

impl Possible {
    /// For a request to a model.
    pub(crate) fn of(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Self {
        let can_reason = |card: &ModelCard| card.capabilities.iter().any(|capability| capability == "reasoning");
        let is_text = matches!(operation, Operation::Chat | Operation::Completions);
        let thinks = !is_text || extent.thinking > 0 || extent.predicted > 0 || card.is_none_or(can_reason);
        let context = card.and_then(|card| card.context).unwrap_or(LEAST_READ);
        Self {
            most: bound::most(card, operation, extent),
            bytes: extent.bytes,
            least_read: context.saturating_mul(extent.texts.max(1)),
            has_other_words: extent.own_turns > 0 || operation == Operation::Completions,
            thinks,
            is_text,
            least_searches: extent.documents.div_ceil(bound::DOCUMENTS_A_SEARCH),
            operation,
        }
    }

    /// Whether an answer of so many bytes can have used this.
    pub(crate) fn holds(&self, usage: &Usage, answer: u64) -> bool {
        let beyond = |most: u64, margin: u64| most.saturating_mul(TIMES).saturating_add(margin);
        let within = |count: Option<u64>, most: Option<u64>, margin: u64| {
            count.is_none_or(|count| count <= beyond(most.unwrap_or(0), margin))
        };
        let Usage { input, output, images, seconds, searches, .. } = self.most;
        // Nothing read and nothing said is no answer.
        let is_nothing = usage.input.is_some() && usage.input_total() == 0 && usage.output_total() == 0;
        if self.is_text && is_nothing && answer > 0 {
            return false;
        }
        let shown = self.thinks || usage.output_total() <= answer.saturating_add(UNSEEN_OUTPUT);
        usage.input_total() <= beyond(input.unwrap_or(0), UNASKED_INPUT)
            && usage.output_total() <= beyond(output.unwrap_or(0), UNSEEN_OUTPUT)
            && shown
            && within(usage.images, images, FEW)
            && within(usage.searches, searches, FEW)
            && within(usage.code_executions, searches, FEW)
            && within(usage.file_searches, searches, FEW)
            && within(usage.characters, Some(self.bytes), CHARACTERS)
            && within(usage.seconds, seconds, SECONDS)
    }

    /// Whether an answer that is complete cannot have used so little: nothing that was read, or no tokens for its words.
    /// Where nothing can be counted, only a claim of nothing at all is no claim.
    pub(crate) fn is_short(&self, usage: &Usage, has_words: bool) -> bool {
        match self.operation {
            Operation::Chat | Operation::Completions => {
                usage.input_total() == 0 || (has_words && usage.output_total() == 0)
            }
            Operation::Embeddings => usage.input_total() == 0,
            Operation::CountTokens | Operation::Moderations | Operation::Realtime => false,
            Operation::Rerank if usage.searches.is_some_and(|searches| searches < self.least_searches) => true,
            _ => usage.used().next().is_none(),
        }
    }

    /// Whether a claim has so few tokens for so many bytes of words that they are to be counted; of embeddings it is the
    /// request that has the words.
    pub(crate) fn is_low(&self, usage: &Usage, words: u64) -> bool {
        let (tokens, words) = match self.operation {
            Operation::Chat | Operation::Completions => (self.said(usage), words),
            Operation::Embeddings => (usage.input_total(), self.bytes),
            _ => return false,
        };
        words > tokens.saturating_mul(BYTES_A_TOKEN).saturating_add(FEW_BYTES)
    }

    fn said(&self, usage: &Usage) -> u64 {
        let others = if self.has_other_words { usage.input_total() } else { 0 };
        usage.output_total().saturating_add(others)
    }

    /// The claim with what was counted, where it is far below that; never more than it can be.
    pub(crate) fn put_right(&self, usage: &Usage, counted: &Usage) -> Option<Usage> {
        let is_far_below = |claim: u64, count: u64| claim.saturating_mul(PART).saturating_add(FEW_TOKENS) < count;
        if self.operation == Operation::Embeddings {
            let read = counted.input_total().min(self.most.input.unwrap_or(0));
            let right = Usage { input: Some(read), ..Usage::default() };
            return is_far_below(usage.input_total(), read.min(self.least_read)).then_some(right);
        }
        let output = counted.output_total().min(self.most.output.unwrap_or(0));
        let right = Usage { output: Some(output), reasoning: None, output_audio: None, ..*usage };
        is_far_below(self.said(usage), output).then_some(right)
    }

    /// The claim where nothing can be counted: no class is more than it can be. `None` for a claim of nothing.
    pub(crate) fn cut(&self, claim: &Usage) -> Option<Usage> {
        claim.used().next()?;
        let most = |count: Option<u64>, most: Option<u64>| count.map(|count| count.min(most.unwrap_or(0)));
        let input = |count| most(count, self.most.input);
        let output = |count| most(count, self.most.output);
        let units = |count: Option<u64>, limit: Option<u64>| count.map(|count| count.min(limit.unwrap_or(FEW)));
        Some(Usage {
            input: input(claim.input),
            cache_read: input(claim.cache_read),
            cache_write: input(claim.cache_write),
            cache_write_1h: input(claim.cache_write_1h),
            input_audio: input(claim.input_audio),
            input_image: input(claim.input_image),
            output: output(claim.output),
            reasoning: output(claim.reasoning),
            output_audio: output(claim.output_audio),
            output_image: output(claim.output_image),
            images: units(claim.images, self.most.images),
            seconds: units(claim.seconds, self.most.seconds),
            characters: units(claim.characters, Some(self.bytes)),
            searches: units(claim.searches, self.most.searches).map(|searches| searches.max(self.least_searches)),
            code_executions: units(claim.code_executions, self.most.searches),
            file_searches: units(claim.file_searches, self.most.searches),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Dialect;

    fn possible(operation: Operation, request: &str, more: &str) -> Possible {
        let card = format!(r#"{{"model":"m","mode":"chat","context":100000,"max_output":1000{more}}}"#);
        let extent = Extent::read(Dialect::Openai, operation, request.as_bytes()).unwrap();
        Possible::of(Some(&serde_json::from_str(&card).unwrap()), operation, &extent)
    }

    fn usage(json: &str) -> Usage {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_claim_is_believed_up_to_the_margin_and_not_beyond() {
        let thinks = r#","capabilities":["reasoning"]"#;
        let request = r#"{"max_tokens":5,"messages":[]}"#; // 30 bytes
        for (claim, answer, more, holds) in [
            (r#"{"input":32828,"output":2}"#, 10, "", true),
            (r#"{"input":32829,"output":2}"#, 10, "", false),
            (r#"{"input":20000,"cache_read":12829}"#, 10, "", false),
            (r#"{"input":9000000000000000,"output":2}"#, 10, "", false),
            (r#"{"input":18446744073709551615,"cache_read":18446744073709551615}"#, 10, "", false),
            (r#"{"output":16394}"#, 10, "", true),
            (r#"{"output":16395}"#, 11, "", false),
            (r#"{"output":16394}"#, 10, thinks, true),
            (r#"{"output":16395}"#, 0, thinks, false),
            (r#"{"output":10,"reasoning":16380}"#, 0, "", false),
            (r#"{"searches":65}"#, 10, "", false),
            (r#"{"searches":3}"#, 10, "", true),
            (r#"{"input":0,"output":0}"#, 10, "", false),
            (r#"{"input":0,"output":0}"#, 0, "", true),
            (r#"{"input":0,"cache_read":5,"output":0}"#, 10, "", true),
        ] {
            assert_eq!(
                possible(Operation::Chat, request, more).holds(&usage(claim), answer),
                holds,
                "{claim} {answer}"
            );
        }
        let open = r#"{"messages":[{"content":[{"type":"file"}]}]}"#;
        assert!(possible(Operation::Chat, open, "").holds(&usage(r#"{"input":100000}"#), 0));
        assert!(!possible(Operation::Chat, open, "").holds(&usage(r#"{"input":232769}"#), 0));
    }

    #[test]
    fn an_answer_with_words_has_used_tokens_and_none_is_for_nothing() {
        use Operation::{Chat, Embeddings, Rerank, Transcriptions};
        for (operation, claim, has_words, is_short) in [
            (Chat, r#"{"input":10,"output":5}"#, true, false),
            (Chat, r#"{"cache_read":10,"reasoning":5}"#, true, false),
            (Chat, r#"{"input":10,"output":0}"#, true, true),
            (Chat, r#"{"input":10}"#, true, true),
            (Chat, r#"{"input":10,"output":0}"#, false, false),
            (Chat, r#"{"input":0,"output":5}"#, true, true),
            (Embeddings, r#"{"input":5}"#, false, false),
            (Embeddings, r#"{"input":0}"#, false, true),
            (Rerank, r#"{"searches":1}"#, false, false),
            (Rerank, r#"{"searches":0}"#, false, true),
            (Transcriptions, r#"{"input":0,"output":0}"#, true, true),
            (Transcriptions, r#"{"seconds":0}"#, true, true),
            (Operation::Moderations, r#"{"input":0}"#, true, false),
        ] {
            let possible = possible(operation, r#"{"messages":[]}"#, "");
            assert_eq!(possible.is_short(&usage(claim), has_words), is_short, "{operation} {claim}");
        }
        assert_eq!(possible(Rerank, "{}", "").cut(&usage(r#"{"searches":0}"#)), None);
    }

    #[test]
    fn a_claim_far_below_what_was_counted_is_put_right_and_one_that_other_tokenizers_make_is_believed() {
        use Operation::{Chat, Completions, Embeddings};
        let searches = r#"{"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#;
        let (plain, two) = (r#"{"messages":[]}"#, r#"{"input":["a","b"]}"#);
        let long = format!(r#"{{"input":"{}"}}"#, "word ".repeat(400));
        for (operation, request, claim, words, counted, right) in [
            (Chat, plain, r#"{"input":10,"output":1}"#, 2250, 500, Some(r#"{"input":10,"output":500}"#)),
            (Chat, plain, r#"{"input":10,"output":1}"#, 1040, 500, None),
            (Chat, plain, r#"{"input":10,"output":70}"#, 2250, 500, Some(r#"{"input":10,"output":500}"#)),
            (Chat, plain, r#"{"input":10,"output":77}"#, 2250, 500, None),
            (Chat, plain, r#"{"input":10,"output":200}"#, 9000, 660, None),
            (Chat, plain, r#"{"input":10,"reasoning":70,"output":1}"#, 2250, 500, Some(r#"{"input":10,"output":500}"#)),
            (Chat, plain, r#"{"input":10,"output":1}"#, 90_000, 20_000, Some(r#"{"input":10,"output":1000}"#)),
            (
                Chat,
                plain,
                r#"{"input":9,"output":1,"searches":2}"#,
                2250,
                500,
                Some(r#"{"input":9,"output":500,"searches":2}"#),
            ),
            (Chat, searches, r#"{"input":700,"output":10}"#, 9000, 2000, None),
            (Chat, searches, r#"{"input":10,"output":10}"#, 9000, 2000, Some(r#"{"input":10,"output":1000}"#)),
            (Completions, plain, r#"{"input":700,"output":1}"#, 9000, 2000, None),
            (Embeddings, &long, r#"{"input":1}"#, 0, 400, Some(r#"{"input":400}"#)),
            (Embeddings, &long, r#"{"input":120}"#, 0, 400, None),
            (Embeddings, two, r#"{"input":1}"#, 0, 2, None),
        ] {
            let possible = possible(operation, request, "");
            let count = Usage { input: Some(counted), output: Some(counted), ..Usage::default() };
            let claim = usage(claim);
            let found = possible.is_low(&claim, words).then(|| possible.put_right(&claim, &count)).flatten();
            assert_eq!(found, right.map(usage), "{operation} {claim:?} {words}");
        }
        // A model of which nothing is known may have read no more than this of each of its texts.
        let extent = Extent::read(Dialect::Openai, Embeddings, long.as_bytes()).unwrap();
        let possible = Possible::of(None, Embeddings, &extent);
        let count = Usage { input: Some(400), ..Usage::default() };
        assert_eq!(possible.put_right(&usage(r#"{"input":64}"#), &count), None);
        assert!(possible.put_right(&usage(r#"{"input":63}"#), &count).is_some());
    }

    #[test]
    fn documents_are_ranked_by_as_many_searches_as_they_need_whatever_is_claimed() {
        let request = format!(r#"{{"query":"q","documents":[{}"d"]}}"#, r#""d","#.repeat(249));
        let possible = possible(Operation::Rerank, &request, "");
        for (claim, is_short) in [
            (r#"{"searches":2}"#, true),
            (r#"{"searches":3}"#, false),
            (r#"{"input":40}"#, false), // by tokens
        ] {
            assert_eq!(possible.is_short(&usage(claim), false), is_short, "{claim}");
        }
        assert_eq!(possible.cut(&usage(r#"{"searches":1}"#)), Some(usage(r#"{"searches":3}"#)));
    }

    #[test]
    fn where_nothing_is_counted_a_claim_is_cut_to_what_can_be() {
        let possible = possible(Operation::Images, r#"{"n":2,"prompt":"abc"}"#, "");
        let claim = usage(r#"{"input":9000000000000000,"output_image":9000000000000000,"images":9000}"#);
        assert!(!possible.holds(&claim, 100));
        let cut = possible.cut(&claim).unwrap();
        assert_eq!(cut, usage(r#"{"input":22,"output_image":16384,"images":2}"#));
        assert!(possible.holds(&cut, 100));
    }
}

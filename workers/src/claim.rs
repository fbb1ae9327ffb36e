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

/// Characters beyond that; and seconds, of which a file that is mostly silence has more than its length says.
const CHARACTERS: u64 = 1_024;
const SECONDS: u64 = 3_600;

/// The most that can be used of one answer.
pub struct Possible {
    most: Usage,
    bytes: u64,
    /// Whether the model may write what is not in its answer.
    thinks: bool,
    /// Whether it reads and writes tokens.
    is_text: bool,
    operation: Operation,
}

impl Possible {
    /// For a request to a model.
    pub fn of(card: Option<&ModelCard>, operation: Operation, extent: &Extent) -> Self {
        let can_reason = |card: &ModelCard| card.capabilities.iter().any(|capability| capability == "reasoning");
        let is_text = matches!(operation, Operation::Chat | Operation::Completions);
        let thinks = !is_text || extent.thinking > 0 || extent.predicted > 0 || card.is_none_or(can_reason);
        Self { most: bound::most(card, operation, extent), bytes: extent.bytes, thinks, is_text, operation }
    }

    /// Whether an answer of so many bytes can have used this.
    pub fn holds(&self, usage: &Usage, answer: u64) -> bool {
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
    pub fn is_short(&self, usage: &Usage, has_words: bool) -> bool {
        match self.operation {
            Operation::Chat | Operation::Completions => {
                usage.input_total() == 0 || (has_words && usage.output_total() == 0)
            }
            Operation::Embeddings => usage.input_total() == 0,
            Operation::CountTokens | Operation::Moderations | Operation::Realtime => false,
            _ => usage.used().next().is_none(),
        }
    }

    /// The claim where nothing can be counted: no class is more than it can be. `None` for a claim of nothing.
    pub fn cut(&self, claim: &Usage) -> Option<Usage> {
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
            searches: units(claim.searches, self.most.searches),
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
    fn where_nothing_is_counted_a_claim_is_cut_to_what_can_be() {
        let possible = possible(Operation::Images, r#"{"n":2,"prompt":"abc"}"#, "");
        let claim = usage(r#"{"input":9000000000000000,"output_image":9000000000000000,"images":9000}"#);
        assert!(!possible.holds(&claim, 100));
        let cut = possible.cut(&claim).unwrap();
        assert_eq!(cut, usage(r#"{"input":22,"output_image":16384,"images":2}"#));
        assert!(possible.holds(&cut, 100));
    }
}

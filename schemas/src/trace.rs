//! Where a request stands in a distributed trace (W3C Trace Context, level 1): read from what a caller sends, or begun here,
//! and carried in envelopes and in the ledger. Knows no exporter.
//! Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.

use crate::name::{AttemptId, RequestId};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::ops::Range;
use uuid::Uuid;

/// The bits of a trace id that a share of traces is drawn by: the last 56, which W3C asks to be random.
/// Source: <https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>.
const RANDOM: u128 = (1 << 56) - 1;

/// The span of a trace that a request or an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub NonZeroU64);

/// The trace that a request belongs to. In JSON it is a text like a `traceparent`, whose parent is all zeros where the trace
/// began here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    /// The caller's span; `None`: the trace began here.
    parent: Option<SpanId>,
    /// Whether it is exported whatever becomes of the request.
    is_sampled: bool,
}

/// A `traceparent` of version 00: the version, the trace's id, a span's id and flags, with a dash between.
type Traceparent = [u8; 55];

/// Where the fields of a [`Traceparent`] stand.
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..35;
const PARENT: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;

impl SpanId {
    /// The span of a request.
    pub fn of_request(id: RequestId) -> Self {
        Self::of(id.0)
    }

    /// The span of an attempt.
    pub fn of_attempt(id: AttemptId) -> Self {
        Self::of(id.0)
    }

    /// The span of a part of this one, such as a stage of a request, by its number.
    #[must_use]
    pub fn part(self, number: u64) -> Self {
        // The odd factor of the golden ratio spreads neighbouring numbers over all bits.
        let mixed = self.0.get() ^ (number.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(NonZeroU64::new(mixed).unwrap_or(NonZeroU64::MIN))
    }

    fn of(id: Uuid) -> Self {
        // The last 62 bits of a version 7 UUID are random; the variant above them is never zero.
        Self(NonZeroU64::new(id.as_u64_pair().1).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceContext {
    /// Reads a caller's `traceparent`; `None` when it is not one, as W3C asks: then a trace begins.
    pub fn parse(header: &str) -> Option<Self> {
        let context = Self::read(header)?;
        context.parent.is_some().then_some(context)
    }

    /// A trace that begins with a request: its id is the request's.
    pub fn begin(request: RequestId) -> Self {
        let trace_id = NonZeroU128::new(request.0.as_u128()).unwrap_or(NonZeroU128::MIN);
        Self { trace_id, parent: None, is_sampled: false }
    }

    /// The trace's id.
    pub fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The caller's span.
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// Whether it is exported whatever becomes of the request.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The `traceparent` that names a span of this trace.
    pub fn traceparent(&self, span: SpanId) -> String {
        String::from_utf8(self.write(Some(span)).to_vec()).unwrap_or_default()
    }

    fn write(&self, span: Option<SpanId>) -> Traceparent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        HEXLOWER.encode_mut(&self.trace_id.get().to_be_bytes(), &mut text[TRACE_ID]);
        if let Some(SpanId(span)) = span {
            HEXLOWER.encode_mut(&span.get().to_be_bytes(), &mut text[PARENT]);
        }
        HEXLOWER.encode_mut(&[u8::from(self.is_sampled)], &mut text[FLAGS]);
        text
    }

    fn read(text: &str) -> Option<Self> {
        let (text, more) = text.trim().as_bytes().split_first_chunk::<55>()?;
        let [version] = from_hex(&text[VERSION])?;
        let is_version = version != 0xff && (more.is_empty() || (version != 0 && more[0] == b'-'));
        let has_dashes = [VERSION.end, TRACE_ID.end, PARENT.end].iter().all(|at| text[*at] == b'-');
        if !is_version || !has_dashes {
            return None;
        }
        let [flags] = from_hex(&text[FLAGS])?;
        Some(Self {
            trace_id: NonZeroU128::new(u128::from_be_bytes(from_hex(&text[TRACE_ID])?))?,
            parent: NonZeroU64::new(u64::from_be_bytes(from_hex(&text[PARENT])?)).map(SpanId),
            is_sampled: flags & 1 == 1,
        })
    }
}

/// Bytes that are written in hexadecimal digits, in lower case as W3C wants them.
fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    HEXLOWER.decode_mut(digits, &mut bytes).ok()?;
    Some(bytes)
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(str::from_utf8(&self.write(self.parent)).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextOfTrace)
    }
}

/// Reads a trace context from a text without a copy of it.
struct TextOfTrace;

impl de::Visitor<'_> for TextOfTrace {
    type Value = TraceContext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace context, as in a traceparent")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TraceContext, E> {
        TraceContext::read(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Which traces are exported whatever becomes of their requests, decided when a request comes.
/// Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration>.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadSampling {
    /// Whether a caller's own decision holds.
    is_parent_based: bool,
    /// Of the others: trace ids whose random part is at least this.
    from: u128,
}

impl Default for HeadSampling {
    fn default() -> Self {
        Self { is_parent_based: true, from: 0 }
    }
}

impl HeadSampling {
    /// What `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let from = match root {
            "always_on" => 0,
            "always_off" => RANDOM + 1,
            "traceidratio" => {
                let text = argument.unwrap_or("1.0");
                let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                rejected(share.ok_or_else(|| format!("OTEL_TRACES_SAMPLER_ARG: `{text}` is no share of 0 to 1"))?)
            }
            _ => return Err(format!("OTEL_TRACES_SAMPLER: `{name}` is not known")),
        };
        Ok(Self { is_parent_based, from })
    }

    /// The trace of a request, by the caller's `traceparent` where there is one.
    pub fn trace(&self, request: RequestId, header: Option<&str>) -> TraceContext {
        let caller = header.and_then(TraceContext::parse);
        let context = caller.unwrap_or_else(|| TraceContext::begin(request));
        let is_drawn = context.trace_id.get() & RANDOM >= self.from;
        let is_sampled = if self.is_parent_based && caller.is_some() { context.is_sampled } else { is_drawn };
        TraceContext { is_sampled, ..context }
    }
}

/// How many of all random parts are below those that a share keeps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is between 0 and 1")]
fn rejected(share: f64) -> u128 {
    ((1.0 - share) * 2_f64.powi(56)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn request(number: u128) -> RequestId {
        RequestId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let context = TraceContext::parse(HEADER).unwrap();
        assert_eq!(context.parent().unwrap().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled());
        let attempt = SpanId::of_attempt(AttemptId(request(1).0));
        assert_eq!(context.traceparent(attempt), "00-0af7651916cd43dd8448eb211c80319c-8000000000000001-01");
        let of_later = HEADER.replace("00-0a", "01-0a") + "-more";
        assert_eq!(TraceContext::parse(&of_later), Some(context), "a later version is read as far as it is known");
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319\u{e9}-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for context in [TraceContext::parse(HEADER).unwrap(), TraceContext::begin(request(7))] {
            let text = serde_json::to_string(&context).unwrap();
            assert_eq!(serde_json::from_str::<TraceContext>(&text).unwrap(), context, "{text}");
        }
        assert_eq!(TraceContext::begin(request(7)).trace_id(), request(7).0.as_u128());
    }

    #[test]
    fn parts_of_a_span_are_spans_of_their_own() {
        let span = SpanId::of_request(request(1));
        let mut parts: Vec<u64> = (0..32).map(|number| span.part(number).0.get()).collect();
        parts.push(span.0.get());
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), 33);
    }

    #[test]
    fn a_share_of_the_traces_is_drawn_and_a_caller_decides_where_that_holds() {
        let sampled = |name: &str, argument, header| {
            let sampling = HeadSampling::parse(name, argument).unwrap();
            let of = |number: u128| sampling.trace(request(number * 0x00c9_f2a1_77e3_5b21 % RANDOM), header);
            (0..10_000_u128).filter(|number| of(*number).is_sampled()).count()
        };
        assert_eq!(sampled("always_on", None, None), 10_000);
        assert_eq!(sampled("parentbased_always_off", None, None), 0);
        assert!((900..1100).contains(&sampled("traceidratio", Some("0.1"), None)));
        assert!((900..1100).contains(&sampled("parentbased_traceidratio", Some("0.1"), None)));
        assert_eq!(sampled("parentbased_traceidratio", Some("0"), None), 0);
        assert_eq!(sampled("parentbased_traceidratio", Some("1"), None), 10_000);
        assert_eq!(sampled("parentbased_always_off", None, Some(HEADER)), 10_000);
        assert_eq!(sampled("always_off", None, Some(HEADER)), 0);
        assert_eq!(sampled("parentbased_always_on", None, Some(&HEADER.replace("-01", "-00"))), 0);
        for (name, argument) in [("sometimes", None), ("traceidratio", Some("2")), ("traceidratio", Some("x"))] {
            HeadSampling::parse(name, argument).unwrap_err();
        }
    }
}

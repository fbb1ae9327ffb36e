//! What Gemini's speaking models say aloud: OpenAI's `audio/speech`, and chats that want `audio`. They give samples of 16 bits
//! without a head; a file is WAV, which is these samples behind one.
//! Sources: <https://ai.google.dev/gemini-api/docs/speech-generation>,
//! <https://platform.openai.com/docs/api-reference/audio/createSpeech>.

use super::answer::{Answer, Candidate};
use super::resource::path;
use super::{Service, errors};
use crate::fit::{Fit, wrong};
use crate::provider::{FormatRequest, Observed, Spelled, Whole, json_headers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// OpenAI's voices, each as the one of Google's that is closest; others go on as they are named.
/// Source: <https://github.com/envoyproxy/ai-gateway/pull/1574>.
const VOICES: [(&str, &str); 6] = [
    ("alloy", "Zephyr"),
    ("echo", "Puck"),
    ("fable", "Aoede"),
    ("onyx", "Fenrir"),
    ("nova", "Kore"),
    ("shimmer", "Leda"),
];

/// Samples in a second, where Google does not say.
const RATE: u32 = 24_000;

/// The length of a WAV file's head, in bytes.
const HEAD: usize = 44;

/// The request for `audio/speech`.
pub(super) fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_slice(ask.body)
        .map_err(|error| Failure::gateway(FailureKind::BadRequest, format!("the request cannot be read: {error}")))?;
    let mut fit = Fit::new(ask.unsupported);
    let mut take = |name: &str| fields.shift_remove(name).filter(|value| !value.is_null());
    let (input, instructions) = (take("input"), take("instructions"));
    let (voice, format, speed) = (take("voice"), take("response_format"), take("speed"));
    let stream_format = take("stream_format");
    let text = input.as_ref().and_then(Value::as_str).ok_or_else(|| wrong("input", "it must be a text"))?;
    let text = match instructions.as_ref().and_then(Value::as_str).filter(|how| !how.is_empty()) {
        Some(how) => format!("{how}\n\n{text}"),
        None => text.to_owned(),
    };
    if format.is_some_and(|format| format != "wav" && format != "pcm") {
        fit.cannot("response_format", "the provider speaks in `wav` and `pcm`")?;
    }
    if speed.is_some_and(|speed| speed.as_f64() != Some(1.0)) {
        fit.cannot("speed", "the provider has one speed; say it in `instructions`")?;
    }
    if stream_format.is_some_and(|format| format != "audio") {
        fit.cannot("stream_format", "the provider speaks in one piece")?;
    }
    for (name, _) in fields.iter().filter(|(name, value)| *name != "model" && !value.is_null()) {
        fit.cannot(name, "the provider has no such field")?;
    }
    let voice = voice.ok_or_else(|| wrong("voice", "it is required"))?;
    let config = json!({ "responseModalities": ["AUDIO"], "speechConfig": speech_config(&voice)? });
    let contents = json!([{ "role": "user", "parts": [{ "text": text }] }]);
    let body = json!({ "contents": contents, "generationConfig": config });
    Ok(Spelled {
        path: path(ask, service, ":generateContent")?,
        headers: json_headers(Delivery::Whole),
        body: body.to_string().into(),
        dropped: fit.dropped(),
    })
}

/// Whose voice it is, as OpenAI names it or Google.
pub(super) fn speech_config(voice: &Value) -> Result<Value, Failure> {
    let name = voice.as_str().filter(|name| !name.is_empty()).ok_or_else(|| wrong("voice", "it must be a name"))?;
    let theirs = VOICES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| theirs);
    Ok(json!({ "voiceConfig": { "prebuiltVoiceConfig": { "voiceName": theirs } } }))
}

/// What was said, as a WAV file.
pub(super) fn read(body: &Bytes) -> Result<Whole, Failure> {
    let broken = |why: &str| Failure::provider(FailureKind::Broken, why);
    let answer = Answer::read(body)?;
    if let Some(error) = &answer.error {
        return Err(errors::within(error));
    }
    let mut observed = Observed { media_type: Some("audio/wav"), ..Observed::default() };
    answer.observe(&mut observed);
    if let Some(failure) = answer.candidates().iter().find_map(Candidate::failure) {
        return Err(failure);
    }
    let refusal = answer.refusal();
    let blobs = answer.into_candidates().into_iter().take(1).flat_map(Candidate::into_blobs);
    let (mut samples, mut rate) = (Vec::new(), None);
    for blob in blobs.filter(|blob| blob.mime_type.starts_with("audio/")) {
        let piece = STANDARD.decode(blob.data.as_bytes());
        samples.extend(piece.map_err(|_| broken("the provider's sound is not base64"))?);
        rate = rate.or_else(|| rate_of(&blob.mime_type));
    }
    if samples.is_empty() {
        return Err(refusal.unwrap_or_else(|| broken("the provider's answer holds no sound")));
    }
    let is_file = samples.starts_with(b"RIFF");
    let bytes = if is_file { samples } else { wav(&samples, rate.unwrap_or(RATE)) };
    Ok(Whole { bytes: bytes.into(), observed })
}

/// What was said, in the form that the request asks for, and its media type.
pub fn as_asked(request: &[u8], wav: Bytes) -> (Bytes, &'static str) {
    let wants_samples =
        serde_json::from_slice::<Value>(request).is_ok_and(|request| request["response_format"] == "pcm");
    if wants_samples && wav.len() > HEAD { (wav.slice(HEAD..), "audio/pcm") } else { (wav, "audio/wav") }
}

/// `audio/L16;codec=pcm;rate=24000`.
fn rate_of(media_type: &str) -> Option<u32> {
    media_type.split(';').find_map(|word| word.trim().strip_prefix("rate=")?.parse().ok())
}

/// One channel of samples behind the head of a file.
/// Source: <http://soundfile.sapp.org/doc/WaveFormat/>.
fn wav(samples: &[u8], rate: u32) -> Vec<u8> {
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(HEAD + samples.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&length.saturating_add(36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&rate.saturating_mul(2).to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(samples);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Operation, Unsupported};
    use penstock_schemas::name::ModelId;
    use std::collections::BTreeMap;

    fn spelt(request: &Value) -> Result<Value, Failure> {
        let ask = FormatRequest {
            wanted: Wanted { operation: Operation::Speech, form: Form::Agnostic, delivery: Delivery::Stream },
            body: &request.to_string().into(),
            content_type: None,
            headers: &BTreeMap::new(),
            model: &ModelId::parse("gemini-2.5-flash-preview-tts").unwrap(),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        };
        spell(&ask, Service::Gemini).map(|spelled| serde_json::from_slice(&spelled.body).unwrap())
    }

    #[test]
    fn speech_is_asked_for_in_googles_words_and_other_containers_are_refused() {
        let sent = spelt(&json!({"model": "m", "input": "Hi", "voice": "alloy", "instructions": "Whisper."})).unwrap();
        assert_eq!(sent["contents"][0]["parts"][0]["text"], "Whisper.\n\nHi");
        let voice = &sent["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"];
        assert_eq!((voice, &sent["generationConfig"]["responseModalities"]), (&json!("Zephyr"), &json!(["AUDIO"])));
        for (field, value) in [("response_format", json!("mp3")), ("speed", json!(1.5)), ("voice", json!(7))] {
            let mut request = json!({"model": "m", "input": "Hi", "voice": "Kore"});
            request[field] = value;
            assert_eq!(spelt(&request).unwrap_err().param.as_deref(), Some(field));
        }
    }

    #[test]
    fn what_was_said_is_a_file_or_its_samples() {
        let samples = [1_u8, 0, 2, 0];
        let blob =
            json!({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=16000", "data": STANDARD.encode(samples)}});
        let usage = json!({"promptTokenCount": 5, "candidatesTokenCount": 25, "totalTokenCount": 30,
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}]});
        let answer =
            json!({"candidates": [{"content": {"parts": [blob]}, "finishReason": "STOP"}], "usageMetadata": usage});
        let whole = read(&answer.to_string().into()).unwrap();
        assert_eq!(whole.observed.usage.as_ref().unwrap().output_audio, Some(25));
        assert_eq!((&whole.bytes[..4], &whole.bytes[HEAD..]), (&b"RIFF"[..], &samples[..]));
        assert_eq!(whole.bytes[24..28], 16_000_u32.to_le_bytes());
        assert_eq!(as_asked(b"{}", whole.bytes.clone()).1, "audio/wav");
        assert_eq!(as_asked(br#"{"response_format":"pcm"}"#, whole.bytes), (samples.to_vec().into(), "audio/pcm"));
        let silent = json!({"candidates": [{"content": {"parts": [{"text": "no"}]}, "finishReason": "STOP"}]});
        assert_eq!(read(&silent.to_string().into()).unwrap_err().kind, FailureKind::Broken);
    }
}

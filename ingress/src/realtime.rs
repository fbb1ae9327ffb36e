//! `/v1/realtime`, as far as it is HTTP: what a client asks for in its handshake, and the answer that makes a WebSocket of the
//! connection. What is said on it stands in `realtime/talk`. Source: <https://www.rfc-editor.org/rfc/rfc6455#section-4.2>.

mod client;
mod talk;

pub(crate) use talk::Talk;

use crate::http::body::header;
use crate::http::reply::{finish, set};
use crate::http::upgrade::Handover;
use crate::refusal::Refusal;
use crate::status;
use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::websocket::accept_key;
use penstock_schemas::name::RequestId;

/// The protocol that browsers name, which have no headers, and what they write their key and their preview into. Source:
/// <https://platform.openai.com/docs/guides/realtime-websocket>.
const PROTOCOL: &str = "realtime";
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
const BETA_PROTOCOL: &str = "openai-beta.";

/// What a client asks for.
pub(crate) struct Handshake {
    pub(crate) model: String,
    accept: String,
    has_protocol: bool,
    handover: Handover,
}

impl Handshake {
    /// Reads it. What stands in the names of protocols is put where other clients have it.
    ///
    /// # Errors
    /// When it is none, or for what cannot be had here.
    pub(crate) fn read(parts: &mut Parts) -> Result<Self, Refusal> {
        let only = || Refusal::OnlyWebSocket(parts.uri.path().to_owned());
        let names = |name: &str, wanted: &str| {
            let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
        };
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).ok_or_else(only)?;
        let is_one = names(UPGRADE.as_str(), "websocket")
            && names(CONNECTION.as_str(), "upgrade")
            && names(SEC_WEBSOCKET_VERSION.as_str(), "13")
            && parts.version == Version::HTTP_11;
        let handover = parts.extensions.get::<Handover>().cloned();
        let (Some(handover), true) = (handover, is_one) else { return Err(only()) };
        let accept = accept_key(key.as_bytes());
        let model = read_model(parts.uri.query().unwrap_or_default())?;
        let has_protocol = read_protocols(&mut parts.headers);
        Ok(Self { model, accept, has_protocol, handover })
    }

    /// The answer, after which the connection is a WebSocket, on which `talk` goes on.
    pub(crate) fn switch(self, talk: Talk, id: RequestId) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        set(&mut headers, "sec-websocket-accept", &self.accept);
        debug_assert!(headers.contains_key(SEC_WEBSOCKET_ACCEPT));
        if self.has_protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        set(&mut headers, "x-penstock-target", &talk.target());
        self.handover.leave(Box::new(move |wire| Box::pin(talk.run(wire))));
        finish(status::SWITCHING, headers, Body::empty(), id)
    }
}

/// The model, by OpenAI's parameter or Azure's.
fn read_model(query: &str) -> Result<String, Refusal> {
    let value = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let wrong = |field, why: &str| Refusal::Wrong(WrongRequest::WrongField { field, why: why.to_owned() });
    if value("intent").is_some_and(|intent| intent != "conversation") {
        return Err(wrong("intent", "only conversations are to be had here: leave it out"));
    }
    if value("call_id").is_some() {
        return Err(wrong("call_id", "calls by WebRTC or SIP are not to be had here: name a `model`"));
    }
    let model = value("model").or_else(|| value("deployment")).filter(|model| !model.is_empty());
    model.ok_or_else(|| wrong("model", "it is missing: write it into the address, as `?model=gpt-realtime`"))
}

/// Whether OpenAI's protocol is among those that the client names; its key and its preview become headers.
fn read_protocols(headers: &mut HeaderMap) -> bool {
    let named = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> = named.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let find = |prefix: &str| named.iter().find_map(|name| name.strip_prefix(prefix));
    if let Some(key) = find(KEY_PROTOCOL).filter(|_| header(headers, AUTHORIZATION.as_str()).is_none())
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {key}"))
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if find(BETA_PROTOCOL) == Some("realtime-v1") {
        headers.entry("openai-beta").or_insert(HeaderValue::from_static("realtime=v1"));
    }
    named.iter().any(|name| name == PROTOCOL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_writes_into_protocols_what_others_have_in_headers() {
        let mut headers = HeaderMap::new();
        let named = "realtime, openai-insecure-api-key.psk_1, openai-beta.realtime-v1";
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(named));
        assert!(read_protocols(&mut headers));
        let all: Vec<_> = ["authorization", "openai-beta"].iter().map(|name| header(&headers, name)).collect();
        assert_eq!(all, [Some("Bearer psk_1"), Some("realtime=v1")]);
        assert!(!headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_model_stands_in_the_address() {
        assert_eq!(read_model("model=alpha%2Fm").unwrap(), "alpha/m");
        assert_eq!(read_model("api-version=x&deployment=d").unwrap(), "d");
        for wrong in ["", "model=", "model=m&intent=transcription", "call_id=c"] {
            assert!(read_model(wrong).is_err(), "{wrong}");
        }
    }
}

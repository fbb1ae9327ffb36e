//! Reasoning of other issuers, in the one opaque field that Google's parts have: bytes in base64, which its SDKs decode
//! and write again in the other alphabet.

use super::base64;
use memchr::memmem;
use penstock_schemas::chat::{Issuer, ReasoningDetail};

/// What [`penstock_schemas::chat::SEAL`] begins with in base64, whichever alphabet it is.
const SEALED: &[u8] = b"cHNyMS5";

/// Whether a request holds what another issuer gave: the provider of this dialect would refuse it.
pub(crate) fn holds_seal(body: &[u8]) -> bool {
    memmem::find(body, SEALED).is_some()
}

/// The signature that stands for a piece of reasoning; its text stands beside it.
pub(super) fn seal(detail: &ReasoningDetail) -> Option<String> {
    let issuer = detail.format.unwrap_or(Issuer::Unknown);
    if issuer == Issuer::Google {
        return detail.signature.clone().or_else(|| detail.data.clone());
    }
    if detail.signature.is_none() && detail.data.is_none() {
        return None;
    }
    let opaque = ReasoningDetail { text: None, summary: None, index: None, format: None, ..detail.clone() };
    let opaque = serde_json::to_string(&opaque).expect("a detail has a JSON form");
    Some(base64::encode(issuer.seal(&opaque).as_bytes()))
}

/// The piece of reasoning that a signature on a thought stands for.
pub(super) fn unseal(signature: &str, text: String) -> ReasoningDetail {
    let opened = base64::decode(signature).and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|sealed| {
        let (issuer, opaque) = Issuer::unseal(&sealed)?;
        let detail: ReasoningDetail = serde_json::from_str(opaque).ok()?;
        Some(ReasoningDetail { format: Some(issuer), ..detail })
    });
    let mut detail = opened.unwrap_or_else(|| ReasoningDetail {
        kind: "reasoning.text".to_owned(),
        signature: Some(signature.to_owned()),
        format: Some(Issuer::Google),
        ..ReasoningDetail::default()
    });
    match detail.kind.as_str() {
        "reasoning.text" => detail.text = Some(text),
        "reasoning.summary" => detail.summary = Some(text),
        _ => {}
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_signed_survives_a_client_that_knows_only_bytes() {
        let detail = ReasoningDetail {
            kind: "reasoning.text".to_owned(),
            text: Some("Hm.".to_owned()),
            signature: Some("EqQB+/==".to_owned()),
            format: Some(Issuer::Anthropic),
            ..ReasoningDetail::default()
        };
        let sealed = seal(&detail).unwrap();
        assert!(holds_seal(sealed.as_bytes()));
        let written_again = sealed.replace('+', "-").replace('/', "_");
        assert_eq!(unseal(&written_again, "Hm.".to_owned()), detail);
        let own = unseal("c2ln", "Hm.".to_owned());
        assert_eq!((own.format, own.signature.as_deref()), (Some(Issuer::Google), Some("c2ln")));
        assert!(!holds_seal(b"c2ln"));
    }
}

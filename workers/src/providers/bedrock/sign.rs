//! Opens a request with the operator's key: a Bedrock API key as a bearer token, or AWS credentials as a signature, version
//! 4, by Amazon's own crate. Knows nothing of what is signed.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

use crate::providers::Outgoing;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Uri};
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};
use std::time::{Duration, SystemTime};

/// The name that signatures for Bedrock are made for.
const SERVICE: &str = "bedrock";

/// Puts the key in: `ACCESS_KEY_ID:SECRET` or `ACCESS_KEY_ID:SECRET:SESSION_TOKEN` signs, any other text is a token.
pub(super) fn authorize(
    request: &mut Outgoing,
    key: &str,
    region: Option<&str>,
    now: UnixMicros,
) -> Result<(), Failure> {
    let Some((id, rest)) = key.split_once(':') else {
        return request.bearer(key);
    };
    let region = region.ok_or_else(|| wrong("its section must say the `region` that requests are signed for"))?;
    sign_for(request, (id, rest), (region, SERVICE), now)
}

/// Signs for a region and a service.
fn sign_for(
    request: &mut Outgoing,
    (id, rest): (&str, &str),
    (region, service): (&str, &str),
    now: UnixMicros,
) -> Result<(), Failure> {
    let (secret, session) = match rest.split_once(':') {
        Some((secret, session)) => (secret, Some(session.to_owned())),
        None => (rest, None),
    };
    let identity = Credentials::new(id, secret, session, None, "penstock").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::UNIX_EPOCH + Duration::from_micros(now.0))
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| wrong("its credentials cannot sign"))?
        .into();
    let uri: Uri = request.url.parse().map_err(|_| wrong("its URL cannot be signed"))?;
    let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    // Nothing else: a proxy may change other headers on the way.
    let kind = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers = std::iter::once(("host", host)).chain(kind.map(|kind| ("content-type", kind)));
    let signable = SignableRequest::new("POST", &request.url, headers, SignableBody::Bytes(&request.body))
        .map_err(|_| wrong("the request cannot be signed"))?;
    let signed = sign(signable, &params).map_err(|_| wrong("the request cannot be signed"))?;
    let (instructions, _) = signed.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::try_from(name).map_err(|_| wrong("the request cannot be signed"))?;
        request.secret(name, value)?;
    }
    Ok(())
}

fn wrong(why: &str) -> Failure {
    Failure::gateway(FailureKind::ProviderAuth, format!("the provider cannot be called: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    /// 2015-08-30T12:36:00Z, the moment of Amazon's examples.
    const THEN: UnixMicros = UnixMicros(1_440_938_160_000_000);

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn outgoing(url: &str, kind: &'static str, body: &'static str) -> Outgoing {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Outgoing { url: url.to_owned(), headers, body: Bytes::from(body) }
    }

    fn text<'a>(request: &'a Outgoing, name: &str) -> &'a str {
        let value = &request.headers[name];
        assert!(value.is_sensitive());
        value.to_str().unwrap()
    }

    /// The case `post-x-www-form-urlencoded` of the test suite that Amazon published with Signature Version 4.
    #[test]
    fn amazons_own_example_is_signed_as_amazon_signs_it() {
        let mut request =
            outgoing("https://example.amazonaws.com/", "application/x-www-form-urlencoded", "Param1=value1");
        sign_for(&mut request, ("AKIDEXAMPLE", SECRET), ("us-east-1", "service"), THEN).unwrap();
        assert_eq!(text(&request, "x-amz-date"), "20150830T123600Z");
        assert_eq!(
            text(&request, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    /// The signature was computed by the text of the specification, apart from this code.
    #[test]
    fn an_encoded_path_a_port_and_a_session_are_signed() {
        let url = "http://127.0.0.1:8000/model/us.amazon.nova-lite-v1%3A0/converse";
        let mut request = outgoing(url, "application/json", "{}");
        let key = format!("ASIAEXAMPLE:{SECRET}:IQoJb3JpZ2lu==");
        authorize(&mut request, &key, Some("eu-central-1"), THEN).unwrap();
        assert_eq!(text(&request, "x-amz-security-token"), "IQoJb3JpZ2lu==");
        assert_eq!(
            text(&request, "authorization"),
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20150830/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=829e01232abf2c5d1978b531f9774e388ad1ae1500327d081ce58c34dc79264c"
        );
    }

    #[test]
    fn an_api_key_is_a_bearer_token() {
        let mut request = outgoing("https://a.example/", "application/json", "{}");
        authorize(&mut request, "ABSKQmVkcm9jaw==", None, THEN).unwrap();
        assert_eq!(text(&request, "authorization"), "Bearer ABSKQmVkcm9jaw==");
        assert!(!request.headers.contains_key("x-amz-date"));
    }

    #[test]
    fn what_cannot_be_signed_is_the_operators_fault_and_says_so() {
        let mut request = outgoing("https://a.example/", "application/json", "{}");
        let failure = authorize(&mut request, "AKIA:secret", None, THEN).unwrap_err();
        assert_eq!((failure.kind, failure.message.contains("`region`")), (FailureKind::ProviderAuth, true));
        assert!(authorize(&mut request, "AKIA\n:secret", Some("us-east-1"), THEN).is_err());
    }
}

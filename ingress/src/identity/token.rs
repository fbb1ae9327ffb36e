//! A JWT, read and checked: which algorithm, which key, whose signature, for whom and how long. Pure: takes the keys and the
//! time. Sources: RFC 7515, 7517, 7518, 7519, 8037; what to beware of: RFC 8725.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_schemas::UnixMicros;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest token, in bytes: larger ones do not fit into a header.
const LONGEST: usize = 16 * 1024;

/// How a token may be signed. There is no `none`, and nothing whose key would be the issuer's public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    RS256,
    RS384,
    RS512,
    ES256,
    #[serde(alias = "Ed25519")]
    EdDSA,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    /// What must be understood, and is not: RFC 7515, 4.1.11.
    crit: Option<Value>,
}

/// A public key of an issuer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A token that nobody has vouched for yet.
#[derive(Debug)]
pub(super) struct Unchecked<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// What a token says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims(Map<String, Value>);

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("it cannot be read, or is signed in a way that is not taken")]
    Unreadable,
    #[error("no issuer that is trusted here has made it")]
    Issuer,
    #[error("its issuer has no such key")]
    NoKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has expired")]
    Expired,
    #[error("it does not hold yet")]
    Early,
    #[error("it was made for somebody else")]
    Audience,
    #[error("its claim `{0}` is missing, or not as it must be")]
    Claim(String),
}

/// Whether a text is to be read as a token at all: three parts, the first of which is JSON.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Unchecked<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, BadToken> {
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Unreadable);
        if text.len() > LONGEST {
            return Err(BadToken::Unreadable);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::Unreadable)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Unreadable)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| BadToken::Unreadable)?;
        if header.crit.is_some() {
            return Err(BadToken::Unreadable);
        }
        let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| BadToken::Unreadable)?;
        let signature = decode(signature)?;
        Ok(Self { algorithm: header.alg, kid: header.kid, claims, signed, signature })
    }

    /// Who says to have made it.
    pub(super) fn issuer(&self) -> &str {
        self.claims.text("iss").unwrap_or_default()
    }

    /// The claims, once the signature is right, and the token is for this audience and holds now.
    pub(super) fn check(self, keys: &[Jwk], audience: &str, now: UnixMicros) -> Result<Claims, BadToken> {
        let key = self.key(keys).ok_or(BadToken::NoKey)?;
        if !key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature) {
            return Err(BadToken::Signature);
        }
        let claims = self.claims;
        if claims.expires_at().ok_or_else(|| BadToken::Claim("exp".to_owned()))? <= now {
            return Err(BadToken::Expired);
        }
        match claims.0.get("nbf") {
            Some(_) if claims.time("nbf").is_none() => return Err(BadToken::Claim("nbf".to_owned())),
            Some(_) if claims.time("nbf").is_some_and(|from| from > now.after(LEEWAY)) => return Err(BadToken::Early),
            _ => {}
        }
        if claims.texts("aud").any(|aud| aud == audience) { Ok(claims) } else { Err(BadToken::Audience) }
    }

    /// The key that it names; without a name, the only one of its kind.
    pub(super) fn key<'k>(&self, keys: &'k [Jwk]) -> Option<&'k Jwk> {
        let mut fitting = keys.iter().filter(|key| key.fits(self.algorithm));
        match &self.kid {
            Some(kid) => fitting.find(|key| key.kid.as_ref() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Jwk {
    /// Whether a token may be signed so with this key: its kind decides, never the token alone.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let is_kind = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => self.kty == "RSA",
            Algorithm::ES256 => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
            Algorithm::EdDSA => self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519"),
        };
        let is_own = self.alg.as_ref().is_none_or(|own| {
            serde_json::from_value::<Algorithm>(Value::String(own.clone())).is_ok_and(|own| own == algorithm)
        });
        is_kind && is_own && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
    }

    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let part = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?.trim_end_matches('=')).ok();
        let rsa = |with| {
            let (Some(n), Some(e)) = (part(&self.n), part(&self.e)) else { return false };
            let trim = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
            RsaPublicKeyComponents { n: trim(&n), e: trim(&e) }.verify(with, signed, signature).is_ok()
        };
        match algorithm {
            Algorithm::RS256 => rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&RSA_PKCS1_2048_8192_SHA512),
            Algorithm::ES256 => {
                let (Some(x), Some(y)) = (part(&self.x), part(&self.y)) else { return false };
                let point = [&[4], &x[..], &y[..]].concat(); // uncompressed: SEC 1, 2.3.3
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            Algorithm::EdDSA => {
                let Some(x) = part(&self.x) else { return false };
                UnparsedPublicKey::new(&ED25519, x).verify(signed, signature).is_ok()
            }
        }
    }
}

impl Claims {
    /// When it is refused from; the difference between clocks is in it.
    pub(super) fn expires_at(&self) -> Option<UnixMicros> {
        self.time("exp").map(|at| at.after(LEEWAY))
    }

    fn time(&self, name: &str) -> Option<UnixMicros> {
        let seconds = self.0.get(name)?.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
        Some(UnixMicros(0).after(Duration::from_secs_f64(seconds)))
    }

    /// A claim that is a text, or a number.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A claim that is a list of texts, or one text with spaces between, as `scope` is.
    pub(super) fn texts<'c>(&'c self, name: &str) -> Box<dyn Iterator<Item = &'c str> + 'c> {
        match self.0.get(name) {
            Some(Value::Array(values)) => Box::new(values.iter().filter_map(Value::as_str)),
            Some(Value::String(text)) => Box::new(text.split_whitespace()),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Whether there is such a claim.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use serde_json::json;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.test", "aud": ["other", "penstock"], "sub": "ann", "exp": 1_600 })
    }

    /// The part of a token that is signed.
    fn unsigned(header: &Value, claims: &Value) -> String {
        format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
    }

    struct Ed(Ed25519KeyPair);

    impl Ed {
        fn new() -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
        }

        fn jwk(&self) -> Jwk {
            let x = encode(self.0.public_key());
            serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x })).unwrap()
        }

        fn token(&self, claims: &Value) -> String {
            let unsigned = unsigned(&json!({ "alg": "EdDSA", "kid": "ed" }), claims);
            let signature = encode(self.0.sign(unsigned.as_bytes()));
            format!("{unsigned}.{signature}")
        }
    }

    fn check(token: &str, keys: &[Jwk], now: UnixMicros) -> Result<String, BadToken> {
        let claims = Unchecked::read(token)?.check(keys, "penstock", now)?;
        Ok(claims.text("sub").unwrap_or_default().to_owned())
    }

    #[test]
    fn each_kind_of_signature_is_checked() {
        let random = SystemRandom::new();
        let ed = Ed::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point = ec.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        let rsa = rsa();
        let public = rsa.public();
        let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(public);
        let (n, e) = (encode(n), encode(e));
        let keys = [
            ed.jwk(),
            serde_json::from_value(json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y, "use": "sig" }))
                .unwrap(),
            serde_json::from_value(json!({ "kty": "RSA", "kid": "rsa", "n": n, "e": e, "alg": "RS256" })).unwrap(),
        ];
        let ec_part = unsigned(&json!({ "alg": "ES256", "kid": "ec" }), &claims());
        let ec_token = format!("{ec_part}.{}", encode(ec.sign(&random, ec_part.as_bytes()).unwrap()));
        let rsa_part = unsigned(&json!({ "alg": "RS256" }), &claims());
        let mut signature = vec![0; public.modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, rsa_part.as_bytes(), &mut signature).unwrap();
        let rsa_token = format!("{rsa_part}.{}", encode(&signature));
        for token in [ed.token(&claims()), ec_token.clone(), rsa_token] {
            assert_eq!(check(&token, &keys, NOW), Ok("ann".to_owned()));
            let (part, _) = token.rsplit_once('.').unwrap();
            let (header, _) = part.split_once('.').unwrap();
            let mut other = claims();
            other["sub"] = json!("eve");
            let signature = token.rsplit_once('.').unwrap().1;
            let forged = format!("{header}.{}.{signature}", encode(other.to_string()));
            assert_eq!(check(&forged, &keys, NOW), Err(BadToken::Signature));
        }
        assert_eq!(check(&ec_token, &keys[..1], NOW), Err(BadToken::NoKey));
    }

    fn rsa() -> RsaKeyPair {
        let account: Value = serde_json::from_str(include_str!("../../../workers/tests/service_account.json")).unwrap();
        let pem = account["private_key"].as_str().unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        RsaKeyPair::from_pkcs8(&base64::engine::general_purpose::STANDARD.decode(der).unwrap()).unwrap()
    }

    #[test]
    fn what_is_unsigned_or_signed_with_a_public_key_as_if_it_were_secret_is_refused() {
        let ed = Ed::new();
        let public = encode(ed.0.public_key());
        for alg in ["none", "None", "HS256", "HS512", "", "EdDSA2"] {
            let part = unsigned(&json!({ "alg": alg, "kid": "ed" }), &claims());
            let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes());
            let signed = encode(ring::hmac::sign(&mac, part.as_bytes()));
            for token in [format!("{part}."), format!("{part}.{signed}")] {
                assert_eq!(check(&token, &[ed.jwk()], NOW), Err(BadToken::Unreadable), "{alg}");
            }
        }
        // The token says RS256, the key of that name is another kind.
        let part = unsigned(&json!({ "alg": "RS256", "kid": "ed" }), &claims());
        let token = format!("{part}.{}", encode(ed.0.sign(part.as_bytes())));
        assert_eq!(check(&token, &[ed.jwk()], NOW), Err(BadToken::NoKey));
        let part = unsigned(&json!({ "alg": "EdDSA", "kid": "ed", "crit": ["x"] }), &claims());
        let token = format!("{part}.{}", encode(ed.0.sign(part.as_bytes())));
        assert_eq!(check(&token, &[ed.jwk()], NOW), Err(BadToken::Unreadable));
        let mut for_secrecy = ed.jwk();
        for_secrecy.purpose = Some("enc".to_owned());
        assert_eq!(check(&ed.token(&claims()), &[for_secrecy], NOW), Err(BadToken::NoKey));
    }

    #[test]
    fn times_and_audience_are_checked_with_a_minute_of_leeway() {
        let ed = Ed::new();
        let at = |second: u64| UnixMicros(second * 1_000_000);
        for (name, value, now, expected) in [
            ("exp", json!(1_000), at(1_059), None),
            ("exp", json!(1_000), at(1_060), Some(BadToken::Expired)),
            ("exp", Value::Null, at(1_000), Some(BadToken::Claim("exp".to_owned()))),
            ("exp", json!("2000"), at(1_000), Some(BadToken::Claim("exp".to_owned()))),
            ("exp", json!(-5), at(1_000), Some(BadToken::Claim("exp".to_owned()))),
            ("nbf", json!(1_060), at(1_000), None),
            ("nbf", json!(1_061), at(1_000), Some(BadToken::Early)),
            ("nbf", json!("soon"), at(1_000), Some(BadToken::Claim("nbf".to_owned()))),
            ("aud", json!("penstock"), at(1_000), None),
            ("aud", json!("penstock2"), at(1_000), Some(BadToken::Audience)),
            ("aud", Value::Null, at(1_000), Some(BadToken::Audience)),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            let found = check(&ed.token(&claims), &[ed.jwk()], now).err();
            assert_eq!(found, expected, "{name} {value}");
        }
    }

    #[test]
    fn texts_that_are_no_tokens_are_unreadable() {
        for text in ["", "a", "a.b", "a.b.c", "eyJ.eyJ.x", "eyJhbGciOiJFZERTQSJ9.bm8.", &"e".repeat(LONGEST + 1)] {
            assert_eq!(Unchecked::read(text).err(), Some(BadToken::Unreadable), "{text:.20}");
        }
        assert!(looks_like_one("eyJh.eyJp.c2ln") && !looks_like_one("psk_0123") && !looks_like_one("eyJh"));
    }
}

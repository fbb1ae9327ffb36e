//! Tokens of a trusted issuer instead of keys: who made them, for whom, how long, and what becomes of them when the issuer
//! changes its keys or cannot be reached.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_tests::{Issuer, Part, Reply, World, in_short, until, words};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::time::SystemTime;

/// A key that the issuer signs with.
struct Signer(&'static str, Ed25519KeyPair);

impl Signer {
    fn new(kid: &'static str, seed: u8) -> Self {
        Self(kid, Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed"))
    }

    fn public(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.0, "x": encode(self.1.public_key()) })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.0 });
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = encode(self.1.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Claims that hold for so many seconds more, without the minute of leeway.
fn claims(issuer: &Issuer, seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970").as_secs();
    let exp = i64::try_from(now).expect("seconds fit") + seconds;
    json!({ "iss": issuer.url(), "aud": "penstock", "sub": "ann", "team": "search", "exp": exp })
}

async fn world(issuer: &Issuer) -> World {
    let section = format!(
        "[[oidc]]\nissuer = \"{}\"\naudience = \"penstock\"\nproject_claim = \"team\"\nrole_claim = \"role\"\n\
         models = [\"alpha/*\", \"fast\"]\ntags = {{ floor = \"floor\" }}\n",
        issuer.url()
    );
    World::setup().config(&section).start().await
}

/// Waits until the process has the issuer's keys.
async fn known(world: &World, token: &str) {
    until("the issuer's keys to be known", async || {
        (world.get("/v1/models").key(token).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_works_as_a_key() {
    let signer = Signer::new("one", 1);
    let issuer = Issuer::start(&[signer.public()]).await;
    let world = world(&issuer).await;
    let mut good = claims(&issuer, 300);
    good["floor"] = json!("third");
    let token = signer.sign(&good);
    known(&world, &token).await;
    let other = world.ask("fast").key(&token).field("user", json!("eve")).header("x-penstock-tags", "floor=first");
    assert_eq!(other.header("x-penstock-user", "eve").await.text(), "hello", "the token says who asks");
    let with_header = world.ask("fast").header("authorization", "").header("x-api-key", &token);
    assert_eq!(with_header.await.text(), "hello", "as any SDK sends one");
    let answer = world.ask("beta/m").key(&token).await;
    assert_eq!(answer.error(), "403 permission_error model_forbidden (model)");
    let rows = world.sql_until("SELECT project, user, tags FROM attempts", |rows| rows.len() == 2).await;
    assert!(
        rows.iter().all(|row| row["project"] == "search" && row["user"] == "ann" && row["tags"]["floor"] == "third"),
        "{rows:?}"
    );

    let other = Signer::new("one", 2);
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.sign(&claims)
    };
    for (what, token) in [
        ("signature is wrong", other.sign(&good)),
        ("has expired", signer.sign(&claims(&issuer, -61))),
        ("no issuer that is trusted", changed("iss", json!("https://elsewhere.test"))),
        ("made for somebody else", changed("aud", json!("another"))),
        ("does not hold yet", changed("nbf", json!(99_999_999_999_u64))),
        ("its claim `team`", changed("team", Value::Null)),
    ] {
        let answer = world.ask("fast").key(&token).await;
        assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key", "{what}");
        assert!(answer.message().contains(what), "{what}: {}", answer.message());
    }
    assert_eq!(world.upstream("alpha").calls().len(), 2);
}

#[tokio::test]
async fn a_token_gives_a_role_in_the_admin_api() {
    let signer = Signer::new("one", 1);
    let issuer = Issuer::start(&[signer.public()]).await;
    let world = world(&issuer).await;
    let mut good = claims(&issuer, 300);
    known(&world, &signer.sign(&good)).await;
    assert_eq!(world.get("/admin/v1/targets").key(&signer.sign(&good)).await.status, 403);
    good["role"] = json!("admin");
    assert_eq!(world.get("/admin/v1/targets").key(&signer.sign(&good)).await.status, 200);
    let forged = Signer::new("one", 2).sign(&good);
    assert_eq!(world.get("/admin/v1/targets").key(&forged).await.status, 401);
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let signer = Signer::new("one", 1);
    let issuer = Issuer::start(&[signer.public()]).await;
    let world = world(&issuer).await;
    let parts = [words::role().into(), words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    known(&world, &signer.sign(&claims(&issuer, 300))).await;
    // Of the minute of leeway, three seconds are left.
    let mut open = world.ask("fast").key(&signer.sign(&claims(&issuer, -57))).stream().open().await;
    open.until("one ").await;
    let rest = open.rest().await;
    assert_eq!(in_short(&rest.events().last().expect("an event")["error"]), "authentication_error revoked");
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_fetched_once_and_unknown_ones_do_not_make_us_ask_all_the_time() {
    let (first, second, third) = (Signer::new("one", 1), Signer::new("two", 2), Signer::new("three", 3));
    let issuer = Issuer::start(&[first.public()]).await;
    let world = world(&issuer).await;
    let good = claims(&issuer, 300);
    known(&world, &first.sign(&good)).await;
    let before = issuer.fetches();
    issuer.has(&[second.public()]);
    assert_eq!(world.ask("fast").key(&second.sign(&good)).await.status, 200, "the request waited for the new key");
    assert_eq!(issuer.fetches(), before + 1);
    for token in [first.sign(&good), third.sign(&good), third.sign(&good)] {
        let answer = world.ask("fast").key(&token).await;
        assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
        assert!(answer.message().contains("has no such key"), "{}", answer.message());
    }
    assert_eq!(issuer.fetches(), before + 1);
}

#[tokio::test]
async fn when_the_issuer_cannot_be_reached_nobody_is_told_that_a_token_is_wrong() {
    let signer = Signer::new("one", 1);
    let issuer = Issuer::start(&[signer.public()]).await;
    issuer.is_down(true);
    let world = world(&issuer).await;
    let token = signer.sign(&claims(&issuer, 300));
    let answer = world.ask("fast").key(&token).await;
    assert_eq!(answer.error(), "503 service_unavailable_error not_ready");
    assert_eq!(world.ask("fast").await.status, 200, "a key needs no issuer");
    issuer.is_down(false);
    known(&world, &token).await;
    issuer.is_down(true);
    assert_eq!(world.ask("fast").key(&token).await.status, 200, "known keys go on without it");
}

//! What an operator manages over HTTP: made, changed, removed, with the rules, the roles and the record of every change.

use http::Method;
use penstock_tests::{Answer, Ask, World, until};
use serde_json::{Value, json};

/// A request to the admin API, with the root key.
fn admin(world: &World, method: Method, path: &str, body: Option<Value>) -> Ask {
    let ask = world.get(&format!("/admin/v1/{path}")).method(method).key(world.admin_key());
    match body {
        Some(body) => ask.header("content-type", "application/json").body(body.to_string()),
        None => ask,
    }
}

async fn get(world: &World, path: &str) -> Answer {
    admin(world, Method::GET, path, None).await
}

async fn post(world: &World, path: &str, body: Value) -> Answer {
    admin(world, Method::POST, path, Some(body)).await
}

async fn patch(world: &World, path: &str, body: Value) -> Answer {
    admin(world, Method::PATCH, path, Some(body)).await
}

async fn delete(world: &World, path: &str) -> Answer {
    admin(world, Method::DELETE, path, None).await
}

/// The fields that an error names, in order.
fn wrong(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["error"]["errors"].clone();
    let errors = errors.as_array().unwrap_or_else(|| panic!("{}", answer.json())).clone();
    errors.iter().map(|error| error["field"].as_str().expect("an error names its field").to_owned()).collect()
}

#[tokio::test]
async fn objects_of_every_sort_are_made_listed_changed_and_removed() {
    let world = World::start().await;
    for (sort, name, object, change) in [
        ("projects", "search", json!({"name": "search", "models": ["fast"]}), json!({"description": "all"})),
        ("users", "ann@example.org", json!({"name": "ann@example.org"}), json!({"enabled": false})),
        ("limits", "slow", json!({"name": "slow", "rates": {"requests_per_minute": 5}}), json!({"per": ["user"]})),
        (
            "budgets",
            "b",
            json!({"name": "b", "limit_usd": "5", "match": {"project": "search"}}),
            json!({"mode": "expected"}),
        ),
        (
            "webhooks",
            "ops",
            json!({"name": "ops", "url": "https://example.org/x", "secret": "env:S"}),
            json!({"events": []}),
        ),
        ("keys", "k1", json!({"id": "k1", "project": "search"}), json!({"tags": {"team": "red"}})),
        ("admins", "eve", json!({"name": "eve", "role": "admin"}), json!({"enabled": false})),
    ] {
        let one = format!("{sort}/{name}");
        assert_eq!(get(&world, &one).await.error(), "404 invalid_request_error not_found", "{sort}");
        let made = post(&world, sort, object.clone()).await;
        assert_eq!(made.status, 201, "{sort}: {}", made.json());
        assert_eq!(made.json()["warnings"], json!([]), "{sort}");
        let again = post(&world, sort, object.clone()).await;
        assert_eq!(again.error(), "409 invalid_request_error already_exists", "{sort}");
        let changed = patch(&world, &one, change.clone()).await;
        assert_eq!(changed.status, 200, "{sort}: {}", changed.json());
        let shown = get(&world, &one).await.json();
        for (field, value) in change.as_object().unwrap().iter().filter(|(_, value)| **value != json!([])) {
            assert_eq!(&shown[field], value, "{sort}");
        }
        let list = get(&world, sort).await.json();
        assert!(list["data"].as_array().unwrap().contains(&shown), "{sort}: {list}");
        let replaced = admin(&world, Method::PUT, &one, Some(object)).await;
        assert_eq!(replaced.status, 200, "{sort}: {}", replaced.json());
        if sort != "projects" {
            assert_eq!(delete(&world, &one).await.status, 200, "{sort}");
            assert_eq!(delete(&world, &one).await.error(), "404 invalid_request_error not_found", "{sort}");
        }
    }
}

#[tokio::test]
async fn a_wrong_object_is_refused_with_everything_that_is_wrong() {
    let world = World::start().await;
    for (sort, object, status, fields) in [
        ("budgets", json!({"name": "b", "limit_usd": "-5"}), 422, &["limit_usd"][..]),
        ("budgets", json!({"name": "b", "limit_usd": "99999999"}), 422, &["limit_usd"]),
        ("budgets", json!({"name": "b", "limit_tokens": -1}), 400, &["limit_tokens"]),
        ("budgets", json!({"name": "b"}), 422, &["limit_usd"]),
        (
            "budgets",
            json!({"name": "B b", "limit_usd": 5, "time_zone": "Berlin", "alert_at": [0], "colour": "red"}),
            400,
            &["limit_usd", "colour", "name", "time_zone", "alert_at"],
        ),
        ("budgets", json!({"name": "b", "limit_usd": "1", "on_exceed": {"downgrade": "cheap"}}), 422, &["on_exceed"]),
        ("limits", json!({"name": "l", "rates": {"requests_per_minute": 0}}), 422, &["requests_per_minute"]),
        ("limits", json!({"name": "l"}), 422, &["rates"]),
        ("projects", json!({"name": ""}), 422, &["name"]),
        ("keys", json!({"project": "No Such"}), 422, &["project"]),
        ("admins", json!({"name": "a", "role": "owner"}), 422, &["projects"]),
        ("users", json!([]), 400, &[""]),
    ] {
        let answer = post(&world, sort, object.clone()).await;
        assert_eq!(answer.status, status, "{object}: {}", answer.json());
        assert_eq!(wrong(&answer), fields, "{object}");
    }
    let answer = post(&world, "budgets", json!({"name": "b", "limit_usd": "-5"})).await;
    assert_eq!(answer.error(), "422 invalid_request_error invalid_value (limit_usd)");
    let answer = admin(&world, Method::POST, "budgets", None).body("{").await;
    assert_eq!(answer.error(), "400 invalid_request_error invalid_json");
    assert_eq!(get(&world, "budgets").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_can_match_nothing_is_made_with_a_warning_that_says_so() {
    let world = World::start().await;
    post(&world, "keys", json!({"id": "mine", "project": "search"})).await;
    for (sort, object, part) in [
        ("budgets", json!({"name": "a", "limit_usd": "1", "match": {"project": "serch"}}), "no project `serch`"),
        ("budgets", json!({"name": "b", "limit_usd": "1", "match": {"key": "key_0"}}), "no key `key_0`"),
        ("budgets", json!({"name": "c", "limit_usd": "1", "match": {"provider": "gamma"}}), "no provider `gamma`"),
        (
            "limits",
            json!({"name": "d", "rates": {"tokens_per_day": 1}, "match": {"model": "gpt-9*"}}),
            "no model `gpt-9*`",
        ),
        ("keys", json!({"id": "k", "models": ["claude*", "fast"]}), "`claude*` matches no model"),
        ("projects", json!({"name": "p", "models": ["nothing"]}), "`nothing` matches no model"),
    ] {
        let made = post(&world, sort, object.clone()).await;
        assert_eq!(made.status, 201, "{}", made.json());
        let warnings = made.json()["warnings"].clone();
        assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{object}: {warnings}");
        assert!(warnings[0].as_str().unwrap().contains(part), "{object}: {warnings}");
    }
    for object in [
        json!({"name": "e", "limit_usd": "1", "match": {"project": "sea*", "key": "mine", "provider": "alpha"}}),
        json!({"name": "f", "limit_usd": "1", "match": {"model": "fast"}, "on_exceed": {"downgrade": "fast"}}),
    ] {
        let made = post(&world, "budgets", object).await;
        assert_eq!(made.json()["warnings"], json!([]), "{}", made.json());
    }
}

#[tokio::test]
async fn a_change_against_an_older_revision_is_refused() {
    let world = World::start().await;
    for (sort, one, object) in
        [("projects", "projects/p", json!({"name": "p"})), ("keys", "keys/k", json!({"id": "k"}))]
    {
        post(&world, sort, object.clone()).await;
        let tag = get(&world, one).await.headers["etag"].to_str().unwrap().to_owned();
        let change = |tag: &str, body| admin(&world, Method::PATCH, one, Some(body)).header("if-match", tag);
        let field = if sort == "keys" { "name" } else { "description" };
        let changed = change(&tag, json!({ field: "first" })).await;
        assert_eq!(changed.status, 200, "{}", changed.json());
        let late = change(&tag, json!({ field: "second" })).await;
        assert_eq!(late.error(), "412 invalid_request_error precondition_failed");
        let newer = changed.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(change(&newer, json!({ field: "third" })).await.status, 200);
        assert_eq!(change("now", json!({})).await.error(), "400 invalid_request_error invalid_header");
    }
}

#[tokio::test]
async fn a_key_works_as_it_was_made_shows_its_secret_once_and_is_rotated_disabled_and_revoked() {
    let world = World::start().await;
    let made = post(&world, "keys", json!({"project": "search", "models": ["beta/*"], "user": "ann"})).await.json();
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(id.starts_with("key_") && secret.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    let status = async |secret: &str, wanted: u16| {
        until(&format!("the key to be answered with {wanted}"), async || {
            (world.ask("beta/m").key(secret).await.status == wanted).then_some(())
        })
        .await;
    };
    status(secret, 200).await;
    assert_eq!(world.ask("alpha/m").key(secret).await.status, 403);
    let shown = get(&world, &format!("keys/{id}")).await.json();
    let text = shown.to_string() + &get(&world, "keys").await.json().to_string();
    assert!(!text.contains(secret) && !text.contains("sha256") && !text.contains("hmac"), "{text}");
    assert_eq!((&shown["project"], &shown["user"]), (&json!("search"), &json!("ann")));

    let rotated = admin(&world, Method::POST, &format!("keys/{id}/rotate?overlap=0s"), None).await.json();
    status(rotated["key"].as_str().unwrap(), 200).await;
    status(secret, 401).await;
    let secret = rotated["key"].as_str().unwrap();
    assert_eq!(admin(&world, Method::POST, &format!("keys/{id}/disable"), None).await.status, 200);
    status(secret, 401).await;
    assert_eq!(admin(&world, Method::POST, &format!("keys/{id}/enable"), None).await.status, 200);
    status(secret, 200).await;

    let held = post(&world, "projects", json!({"name": "search"})).await;
    assert_eq!(held.status, 201);
    let refused = delete(&world, "projects/search").await;
    assert_eq!(refused.error(), "409 invalid_request_error in_use");
    assert!(refused.message().contains("1 key"), "{}", refused.message());
    assert_eq!(delete(&world, "projects/search?force=true").await.status, 200);
    assert_eq!(admin(&world, Method::POST, &format!("keys/{id}/revoke"), None).await.status, 200);
    status(secret, 401).await;
}

/// Somebody who manages: the token.
async fn manager(world: &World, name: &str, role: &str, projects: Value) -> String {
    let made = post(world, "admins", json!({"name": name, "role": role, "projects": projects})).await.json();
    let token = made["key"].as_str().expect("a new admin has a token").to_owned();
    assert!(token.starts_with("pak_"), "{made}");
    until("the token to be known", async || {
        let answer = admin(world, Method::GET, "projects", None).key(&token).await;
        (answer.status == 200).then_some(())
    })
    .await;
    token
}

/// The names of the objects that somebody sees.
async fn names(world: &World, token: &str, path: &str) -> Vec<String> {
    let list = admin(world, Method::GET, path, None).key(token).await.json();
    let name = |object: &Value| object["name"].as_str().or(object["id"].as_str()).unwrap_or("none").to_owned();
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).iter().map(name).collect()
}

#[tokio::test]
async fn every_role_sees_and_changes_what_is_its_own() {
    let world = World::start().await;
    for project in ["a", "b"] {
        post(&world, "projects", json!({"name": project})).await;
        post(&world, "keys", json!({"id": format!("key-{project}"), "project": project})).await;
        let scope = json!({"project": project});
        post(&world, "budgets", json!({"name": format!("of-{project}"), "limit_usd": "1", "match": scope})).await;
    }
    let own = &manager(&world, "own", "owner", json!(["a"])).await;
    let see = &manager(&world, "see", "viewer", json!([])).await;
    let one = &manager(&world, "one", "viewer", json!(["a"])).await;
    let ask = |token: &str, method: Method, path: &str, body| admin(&world, method, path, body).key(token);
    for token in [own, one] {
        assert_eq!(names(&world, token, "projects").await, ["a"]);
        assert_eq!(names(&world, token, "budgets").await, ["of-a"]);
        assert_eq!(names(&world, token, "admins").await, Vec::<String>::new());
        assert_eq!(ask(token, Method::GET, "budgets/of-b", None).await.error(), "403 permission_error role_needed");
        assert_eq!(ask(token, Method::GET, "audit", None).await.error(), "403 permission_error role_needed");
        assert_eq!(ask(token, Method::GET, "targets", None).await.status, 200);
    }
    assert_eq!(names(&world, see, "budgets").await, ["of-a", "of-b"]);
    let change = json!({"limit_usd": "2"});
    for (token, path, status) in
        [(own, "budgets/of-a", 200), (own, "budgets/of-b", 403), (see, "budgets/of-a", 403), (one, "budgets/of-a", 403)]
    {
        let answer = ask(token, Method::PATCH, path, Some(change.clone())).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json());
    }
    // Neither out of its projects, nor into others, nor wider.
    for (method, path, body) in [
        (Method::PATCH, "budgets/of-a", json!({"match": {"project": "b"}})),
        (Method::PATCH, "budgets/of-a", json!({"match": {"project": null}})),
        (Method::POST, "keys", json!({"project": "b"})),
        (Method::POST, "projects", json!({"name": "c"})),
        (Method::POST, "admins", json!({"name": "x", "role": "admin"})),
    ] {
        let answer = ask(own, method, path, Some(body.clone())).await;
        assert_eq!(answer.error(), "403 permission_error role_needed", "{path} {body}");
        assert!(answer.message().contains("admin"), "{}", answer.message());
    }
    assert_eq!(ask(own, Method::POST, "keys", Some(json!({"project": "a"}))).await.status, 201);

    let rotated = post(&world, "admins/own/rotate", json!({})).await.json();
    until("the older token to be refused", async || {
        (ask(own, Method::GET, "projects", None).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(ask(rotated["key"].as_str().unwrap(), Method::GET, "projects", None).await.status, 200);
}

#[tokio::test]
async fn spend_is_told_of_the_actors_projects_alone() {
    let world = World::start().await;
    let mut asked = 0;
    for project in ["a", "b"] {
        let made = post(&world, "keys", json!({"project": project})).await.json();
        let secret = made["key"].as_str().unwrap().to_owned();
        until("the key to be known", async || {
            let answer = world.ask("alpha/m").key(&secret).await;
            (answer.status == 200).then_some(())
        })
        .await;
        asked += 1;
    }
    let token = manager(&world, "own", "owner", json!(["a"])).await;
    world.attempts(asked).await;
    let report = admin(&world, Method::GET, "spend?by=project", None).key(&token).await.json();
    assert_eq!(report["rows"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!((&report["rows"][0]["project"], &report["total"]["attempts"]), (&json!("a"), &json!(1)));
}

#[tokio::test]
async fn every_change_is_recorded_with_who_what_before_and_after() {
    let world = World::start().await;
    post(&world, "budgets", json!({"name": "b", "limit_usd": "5"})).await;
    let changed = patch(&world, "budgets/b", json!({"limit_usd": "6"})).await;
    let request = changed.headers["x-penstock-request-id"].to_str().unwrap().to_owned();
    patch(&world, "budgets/b", json!({"limit_usd": "6"})).await;
    delete(&world, "budgets/b").await;
    let key = post(&world, "keys", json!({"id": "k"})).await.json();
    let rows = world
        .sql_until("SELECT *, toString(request_id) AS request FROM audit ORDER BY at", |rows| rows.len() >= 4)
        .await;
    let line = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        ["actor", "role", "action", "kind", "name", "source"].map(text).join(" ")
    };
    let expected = ["create budget b", "update budget b", "delete budget b", "create key k"];
    let expected = expected.map(|what| format!("root admin {what} api"));
    assert_eq!(rows.iter().map(line).collect::<Vec<_>>(), expected);
    assert!(rows[1]["before"].as_str().unwrap().contains(r#""limit_usd":"5""#), "{}", rows[1]);
    assert!(rows[1]["after"].as_str().unwrap().contains(r#""limit_usd":"6""#), "{}", rows[1]);
    assert_eq!(rows[1]["request"], json!(request));
    assert!(!rows[3].to_string().contains(key["key"].as_str().unwrap()), "{}", rows[3]);

    let told = get(&world, "audit?object=budget&since=1d").await.json();
    let actions: Vec<_> = told["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    assert_eq!(told["data"][1]["before"]["limit_usd"], json!("5"));
    assert_eq!(get(&world, "audit?object=key/k").await.json()["data"][0]["object"], json!("key/k"));
    assert_eq!(get(&world, "audit?actor=nobody").await.json()["data"], json!([]));
    assert_eq!(get(&world, "audit?since=x").await.error(), "400 invalid_request_error invalid_value");
}

#[tokio::test]
async fn a_budget_shows_its_counters() {
    let world = World::start().await;
    post(&world, "budgets", json!({"name": "b", "limit_usd": "5", "cycle": "total"})).await;
    let windows = get(&world, "budgets/b").await.json()["windows"].clone();
    let book = windows[0]["book"].as_str().unwrap_or_default();
    assert!(book.starts_with("B=b=") && book.ends_with(".all"), "{book}");
    assert_eq!((&windows[0]["limit"], &windows[0]["until"]), (&json!("5"), &Value::Null));
    assert_eq!((&windows[0]["settled"], &windows[0]["left"]), (&json!("0"), &json!("5")));
}

#[tokio::test]
async fn every_route_is_described_and_takes_no_other_method() {
    let world = World::start().await;
    let document = world.get("/openapi.json").key(world.key()).await.json();
    assert_eq!(document["openapi"], json!("3.1.0"));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 40, "{}", paths.len());
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for (path, item) in paths {
        let filled = path.replace("{name}", "x").replace("{id}", "x").replace("{model}", "x");
        for method in &methods {
            let is_described = item.get(method.as_str().to_lowercase()).is_some();
            let ask = world.get(&filled).method(method.clone()).key(world.key());
            let is_taken = ask.await.status != 405;
            assert_eq!(is_taken, is_described, "{method} {path}");
        }
    }
}

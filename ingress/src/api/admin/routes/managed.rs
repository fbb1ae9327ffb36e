//! The routes of what is managed: the same for every sort of object, what is done to secrets, and the keys for providers.

use super::super::{objects, provider_keys};
use super::parameters::{FORCE, IF_MATCH, OVERLAP};
use super::{AdminRoute, BodyContent, ContentForm, content, handler};
use axum::http::Method;
use penstock_schemas::kind::{AdminShown, KeyShown, Kind};
use penstock_schemas::managed::ObjectType;
use penstock_schemas::provider_key::{NewProviderKey, ProviderKeyChange, ProviderKeyShown};

/// All of them.
pub(super) fn routes() -> Vec<AdminRoute> {
    let mut routes: Vec<_> = ObjectType::all().iter().flat_map(of_objects).collect();
    routes.extend(of_secrets());
    routes.extend(of_provider_keys());
    routes
}

/// List, show, create, replace, change, delete.
fn of_objects(object_type: &ObjectType) -> Vec<AdminRoute> {
    let ObjectType { description, written, shown, .. } = *object_type;
    let kind = description.kind;
    let (word, all) = (kind.as_str(), kind.plural());
    let changed = if description.has_secret { ContentForm::Secret } else { ContentForm::Changed };
    let (written, shown) = (|form| BodyContent { schema: written, form }, |form| BodyContent { schema: shown, form });
    let route = |method: Method, verb: &str, summary: String| AdminRoute {
        path: match verb {
            "list" | "create" => format!("/admin/v1/{all}"),
            _ => format!("/admin/v1/{all}/{{{}}}", kind.name_field()),
        },
        id: if verb == "list" { format!("list_{all}") } else { format!("{verb}_{word}") },
        summary,
        tag: all,
        is_change: method != Method::GET,
        parameters: if method == Method::GET { Vec::new() } else { vec![IF_MATCH] },
        method,
        body: None,
        answer: written(changed),
        handler: handler(move |asked| objects::one(kind, asked)),
    };
    vec![
        AdminRoute {
            answer: shown(ContentForm::List),
            handler: handler(move |asked| objects::list(kind, asked)),
            ..route(Method::GET, "list", format!("All {all} that you may see"))
        },
        AdminRoute {
            body: Some(written(if kind == Kind::Key {
                ContentForm::Plain
            } else {
                ContentForm::Named(kind.name_field())
            })),
            handler: handler(move |asked| objects::create(kind, asked)),
            ..route(Method::POST, "create", format!("A new {word}"))
        },
        AdminRoute { answer: shown(ContentForm::Plain), ..route(Method::GET, "show", format!("One {word}")) },
        AdminRoute {
            body: Some(written(ContentForm::Plain)),
            handler: handler(move |asked| objects::replace(kind, asked)),
            ..route(Method::PUT, "set", format!("The {word} is to be this, whether it is there or not"))
        },
        AdminRoute {
            body: Some(written(ContentForm::Patch)),
            handler: handler(move |asked| objects::change(kind, asked)),
            ..route(Method::PATCH, "change", format!("Some fields of the {word} are to be so; null takes one away"))
        },
        AdminRoute {
            parameters: if kind == Kind::Project { vec![IF_MATCH, FORCE] } else { vec![IF_MATCH] },
            handler: handler(move |asked| objects::delete(kind, asked)),
            ..route(Method::DELETE, "delete", format!("The {word} is to be gone"))
        },
    ]
}

/// The keys that workers call providers with.
fn of_provider_keys() -> Vec<AdminRoute> {
    let route = |method: Method, id: &str, summary: &str| AdminRoute {
        path: match method {
            Method::GET | Method::POST => "/admin/v1/providers/{provider}/keys".to_owned(),
            _ => "/admin/v1/providers/{provider}/keys/{id}".to_owned(),
        },
        summary: summary.to_owned(),
        id: id.to_owned(),
        tag: "providers",
        parameters: Vec::new(),
        body: None,
        answer: content::<ProviderKeyShown>(ContentForm::Plain),
        is_change: method != Method::GET,
        method,
        handler: handler(provider_keys::remove),
    };
    vec![
        AdminRoute {
            answer: content::<ProviderKeyShown>(ContentForm::List),
            handler: handler(provider_keys::list),
            ..route(Method::GET, "list_provider_keys", "The keys of a provider that are managed here")
        },
        AdminRoute {
            body: Some(content::<NewProviderKey>(ContentForm::Plain)),
            handler: handler(provider_keys::add),
            ..route(Method::POST, "add_provider_key", "A new key: sealed at once, used in under a second")
        },
        AdminRoute {
            body: Some(content::<ProviderKeyChange>(ContentForm::Plain)),
            handler: handler(provider_keys::change),
            ..route(Method::PATCH, "change_provider_key", "Whether the key is used, and its share of the calls")
        },
        route(Method::DELETE, "remove_provider_key", "No more calls with the key; those under way finish"),
    ]
}

/// What is done to secrets, and to keys by a word.
fn of_secrets() -> Vec<AdminRoute> {
    let route = |kind: Kind, verb: &str, summary: &str| AdminRoute {
        method: Method::POST,
        path: format!("/admin/v1/{}/{{{}}}/{verb}", kind.plural(), kind.name_field()),
        summary: summary.to_owned(),
        id: format!("{verb}_{}", kind.as_str()),
        tag: kind.plural(),
        parameters: vec![IF_MATCH],
        body: None,
        answer: if kind == Kind::Key {
            content::<KeyShown>(ContentForm::Secret)
        } else {
            content::<AdminShown>(ContentForm::Secret)
        },
        is_change: true,
        handler: handler(move |asked| objects::rotate(kind, asked)),
    };
    vec![
        AdminRoute {
            parameters: vec![IF_MATCH, OVERLAP],
            ..route(Kind::Key, "rotate", "A new secret, shown once; the older one holds for a while")
        },
        AdminRoute {
            handler: handler(|asked| objects::delete(Kind::Key, asked)),
            ..route(Kind::Key, "revoke", "Every ingress refuses the key in under a second")
        },
        AdminRoute {
            handler: handler(objects::disable),
            ..route(Kind::Key, "disable", "The key is refused until it is enabled again")
        },
        AdminRoute { handler: handler(objects::enable), ..route(Kind::Key, "enable", "The key is taken again") },
        route(Kind::Admin, "rotate", "A new token, shown once; the older one is refused"),
    ]
}

//! `/openapi.json`: what this API is, made of the tables that the router is made of and of the types that are read and
//! written. Knows no handler.

use super::Client;
use super::admin::routes::{Content, Form, Parameter, Route};
use crate::status;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where the schemas of types stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document.
pub(crate) fn document(clients: &[Client], routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        SCHEMAS.clone_into(settings.definitions_path.to_mut());
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut generator);
        put(&mut paths, &route.path, &route.method.as_str().to_lowercase(), operation);
    }
    for client in clients {
        put(&mut paths, &client.path.replace("{*", "{"), client.method, of_client(client));
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One API in front of every language-model provider. The admin API is described in full; the \
                            client APIs are those of OpenAI, Anthropic, Google and Cohere, and described by them.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "PENSTOCK_ADMIN_KEY, or a token pak_…" },
                "key": { "type": "http", "scheme": "bearer", "description": "A virtual key psk_…" },
            },
        },
    })
}

fn put(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let item = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
    item[method] = operation;
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let answer = media(&content(&route.answer, generator));
    let (good, made) = (status::ANSWERED.as_u16().to_string(), status::CREATED.as_u16().to_string());
    responses.insert(good, with_tag(json!({ "description": "Done", "content": answer })));
    if route.body.is_some() && route.is_change {
        responses.insert(made, with_tag(json!({ "description": "Made", "content": answer })));
    }
    for (status, about) in status::documented() {
        let body = media(&json!({ "$ref": "#/components/schemas/Error" }));
        responses.insert(status.as_u16().to_string(), json!({ "description": about, "content": body }));
    }
    let path = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 256 });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let parameters: Vec<Value> = path.chain(route.parameters.iter().map(parameter)).collect();
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [route.tag],
        "security": [{ "admin": [] }],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": media(&content(body, generator)) });
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let schema: Value = serde_json::from_str(parameter.pattern).expect("the table holds JSON");
    let place = if parameter.is_in_query { "query" } else { "header" };
    json!({ "name": parameter.name, "in": place, "description": parameter.about, "schema": schema })
}

fn with_tag(mut response: Value) -> Value {
    let about = "The revision of what was answered, for If-Match";
    response["headers"] = json!({ "ETag": { "description": about, "schema": { "type": "string" } } });
    response
}

fn media(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn content(content: &Content, generator: &mut SchemaGenerator) -> Value {
    let schema = (content.schema)(generator).to_value();
    match content.form {
        Form::Plain => schema,
        Form::Named(field) => json!({ "allOf": [schema, { "required": [field] }] }),
        Form::List => json!({
            "type": "object",
            "required": ["data"],
            "properties": { "data": { "type": "array", "items": schema } },
        }),
        Form::Patch => patch(resolved(&schema, generator)),
        Form::Changed | Form::Secret => changed(resolved(&schema, generator), content.form),
    }
}

/// The schema itself, where it is only named.
fn resolved(schema: &Value, generator: &SchemaGenerator) -> Value {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    name.and_then(|name| generator.definitions().get(name)).unwrap_or(schema).clone()
}

/// Every field may be absent, or null.
fn patch(mut schema: Value) -> Value {
    if let Some(properties) = schema["properties"].as_object_mut() {
        for property in properties.values_mut() {
            *property = json!({ "anyOf": [property, { "type": "null" }] });
        }
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
    }
    schema
}

/// The object with what is said about the change.
fn changed(mut schema: Value, form: Form) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("additionalProperties");
    }
    let warnings = "What is probably not what was meant";
    schema["properties"]["warnings"] =
        json!({ "type": "array", "items": { "type": "string" }, "description": warnings });
    if form == Form::Secret {
        schema["properties"]["key"] = json!({ "type": "string", "description": "The secret; shown only here" });
    }
    schema
}

fn of_client(client: &Client) -> Value {
    let names = client.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let parameters: Vec<Value> = names
        .map(|name| name.trim_start_matches('*'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let security = if client.is_open { json!([]) } else { json!([{ "key": [] }]) };
    json!({
        "summary": client.summary,
        "tags": [if client.is_open { "operations" } else { "clients" }],
        "security": security,
        "parameters": parameters,
        "responses": { "default": { "description": "As the API that this path belongs to has it" } },
    })
}

/// An error as OpenAI spells it.
fn error() -> Value {
    let text = json!({ "type": "string" });
    let perhaps = json!({ "type": ["string", "null"] });
    let one = json!({
        "type": "object",
        "required": ["field", "message"],
        "properties": { "field": text, "message": text },
    });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "request_id"],
            "properties": {
                "message": text,
                "type": text,
                "param": perhaps,
                "code": perhaps,
                "request_id": text,
                "errors": { "type": "array", "items": one, "description": "Everything that is wrong, with its field" },
            },
        }},
    })
}

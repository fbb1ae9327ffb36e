//! `/openapi.json`: what this API is, made of the tables that the router is made of and of the types that are read and
//! written. Knows no handler.

use super::Client;
use super::admin::routes::{AdminRoute, BodyContent, ContentForm, Parameter};
use crate::status;
use axum::http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where the schemas of types stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// What is being written: the schemas of types, and those that are made of them.
struct Writer {
    generator: SchemaGenerator,
    made: Map<String, Value>,
}

/// The document.
pub(crate) fn document(clients: &[Client], routes: &[AdminRoute]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        SCHEMAS.clone_into(settings.definitions_path.to_mut());
        settings.meta_schema = None;
    });
    let mut writer = Writer { generator: settings.into_generator(), made: Map::new() };
    let mut paths = Map::new();
    for route in routes {
        let operation = writer.operation(route);
        put(&mut paths, &route.path, &route.method.as_str().to_lowercase(), operation);
    }
    for client in clients {
        put(&mut paths, &client.path.replace("{*", "{"), client.method, of_client(client));
    }
    let mut schemas = writer.generator.take_definitions(true);
    schemas.append(&mut writer.made);
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
            "responses": refusals(),
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "PENSTOCK_ADMIN_KEY, or a token pak_…" },
                "key": { "type": "http", "scheme": "bearer", "description": "A virtual key psk_…" },
            },
        },
    })
}

fn refusals() -> Value {
    let body = media(&json!({ "$ref": "#/components/schemas/Error" }));
    let one = |(status, about): (StatusCode, &str)| {
        (status.as_u16().to_string(), json!({ "description": about, "content": body }))
    };
    Value::Object(status::documented().into_iter().map(one).collect())
}

fn put(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let item = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
    item[method] = operation;
}

impl Writer {
    fn operation(&mut self, route: &AdminRoute) -> Value {
        let mut responses = Map::new();
        let answer = media(&self.content(&route.answer));
        let (good, made) = (status::ANSWERED.as_u16().to_string(), status::CREATED.as_u16().to_string());
        responses.insert(good, with_tag(json!({ "description": "Done", "content": answer })));
        if route.body.is_some() && route.is_change {
            let mut response = with_tag(json!({ "description": "Made", "content": answer }));
            if let Some(word) = route.id.strip_prefix("create_") {
                response["links"] = links(word);
            }
            responses.insert(made, response);
        }
        for (status, _) in status::documented() {
            let status = status.as_u16().to_string();
            let named = json!({ "$ref": format!("#/components/responses/{status}") });
            responses.insert(status, named);
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
            operation["requestBody"] = json!({ "required": true, "content": media(&self.content(body)) });
        }
        operation
    }

    fn content(&mut self, content: &BodyContent) -> Value {
        let schema = (content.schema)(&mut self.generator).to_value();
        match content.form {
            ContentForm::Plain => schema,
            ContentForm::Named(field) => self.made(&schema, "New", |schema| schema["required"] = json!([field])),
            ContentForm::List => json!({
                "type": "object",
                "required": ["data"],
                "properties": { "data": { "type": "array", "items": schema } },
            }),
            ContentForm::Patch => {
                let types = self.generator.definitions().clone();
                self.made(&schema, "Patch", |schema| patch(schema, &types))
            }
            ContentForm::Changed => self.made(&schema, "Changed", changed),
            ContentForm::Secret => self.made(&schema, "Changed", |schema| {
                changed(schema);
                schema["properties"]["key"] = json!({ "type": "string", "description": "The secret; shown only here" });
            }),
        }
    }

    /// The schema, made anew by `change`, under its name and `suffix`.
    fn made(&mut self, schema: &Value, suffix: &str, change: impl Fn(&mut Value)) -> Value {
        let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let mut made = self.generator.definitions().get(name).unwrap_or(schema).clone();
        change(&mut made);
        let name = format!("{name}{suffix}");
        let path = format!("#{SCHEMAS}/{name}");
        self.made.insert(name, made);
        json!({ "$ref": path })
    }
}

/// What can be done with an object that was made.
fn links(word: &str) -> Value {
    let field = if word == "key" { "id" } else { "name" };
    let parameters = json!({ field: format!("$response.body#/{field}") });
    let one =
        |verb: &str| (verb.to_owned(), json!({ "operationId": format!("{verb}_{word}"), "parameters": parameters }));
    Value::Object(["show", "set", "change", "delete"].map(one).into_iter().collect())
}

fn parameter(parameter: &Parameter) -> Value {
    let schema: Value = serde_json::from_str(parameter.pattern).expect("the table holds JSON");
    let place = if parameter.is_in_query { "query" } else { "header" };
    let is_list = schema["type"] == "array";
    let mut one = json!({ "name": parameter.name, "in": place, "description": parameter.about, "schema": schema });
    if is_list {
        one["style"] = "form".into();
        one["explode"] = false.into();
    }
    one
}

fn with_tag(mut response: Value) -> Value {
    let about = "The revision of what was answered, for If-Match";
    response["headers"] = json!({ "ETag": { "description": about, "schema": { "type": "string" } } });
    response
}

fn media(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// Every field may be absent, or null, at every depth (RFC 7396).
fn patch(schema: &mut Value, types: &Map<String, Value>) {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    if let Some(named) = name.and_then(|name| types.get(name)).filter(|named| named["properties"].is_object()) {
        *schema = named.clone();
    }
    let or_null = |value: &mut Value| *value = json!({ "anyOf": [value, { "type": "null" }] });
    for property in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        patch(property, types);
        or_null(property);
    }
    if schema["additionalProperties"].is_object() {
        or_null(&mut schema["additionalProperties"]);
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
        // Indexing leaves a null where nothing is.
        fields.retain(|_, value| !value.is_null());
    }
}

/// The object with what is said about the change.
fn changed(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("additionalProperties");
    }
    let about = "What is probably not what was meant";
    let warnings = json!({ "type": "array", "items": { "type": "string" }, "description": about });
    schema["properties"]["warnings"] = warnings;
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

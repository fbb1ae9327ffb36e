//! One request's wishes, read from its URL, headers and form: who asks, which settings, which session, how to answer.
//! Pure; knows no engine. The names are those of ClickHouse's HTTP interface.

use crate::Token;
use crate::exception::{Exception, Kind};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use std::time::Duration;

/// The one user that there is.
const USER: &str = "default";
const SESSION: Duration = Duration::from_secs(60);
const LONGEST_SESSION: u64 = 3600;

/// Names and values, in their order.
pub(crate) type Pairs = Vec<(String, String)>;

/// What a request asks for, apart from its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) query: String,
    pub(crate) database: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) settings: Pairs,
    pub(crate) parameters: Pairs,
    pub(crate) session: Option<String>,
    pub(crate) session_timeout: Duration,
    /// GET may only read.
    pub(crate) only_reading: bool,
}

/// The parameters that stand in a URL.
pub(crate) fn url_parameters(query: Option<&str>) -> Pairs {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

pub(crate) fn find<'a>(parameters: &'a Pairs, name: &str) -> Option<&'a str> {
    parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// ClickHouse's flags are numbers.
pub(crate) fn flag(parameters: &Pairs, name: &str) -> bool {
    find(parameters, name).is_some_and(|value| !matches!(value, "" | "0" | "false"))
}

/// Is it our user, with our token? As with a server, only one way of saying so may be used at a time.
pub(crate) fn authenticate(headers: &HeaderMap, parameters: &Pairs, token: &Token) -> Result<(), Exception> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let refused = |why: &str| {
        Err(Exception::new(Kind::AuthenticationFailed, format_args!("{USER}: Authentication failed: {why}")))
    };
    let mut claims: Vec<(Option<String>, Option<String>)> = Vec::new();
    if let Some(value) = headers.get(AUTHORIZATION) {
        match basic(value.as_bytes()) {
            Some((user, password)) => claims.push((Some(user), Some(password))),
            None => return refused("only Basic authorization is supported"),
        }
    }
    claims.push((header("X-ClickHouse-User"), header("X-ClickHouse-Key")));
    claims.push((find(parameters, "user").map(str::to_owned), find(parameters, "password").map(str::to_owned)));
    claims.retain(|claim| *claim != (None, None));
    match claims.as_slice() {
        [] => refused("a token is required: send it as the password, by X-ClickHouse-Key or Basic authorization"),
        [(user, password)] => {
            let known = user.as_deref().is_none_or(|user| user.is_empty() || user == USER);
            if token.is(password.as_deref().unwrap_or_default()) && known {
                Ok(())
            } else {
                refused("password is incorrect, or there is no user with such name")
            }
        }
        _ => refused("use either headers, or Basic authorization, or URL parameters"),
    }
}

fn basic(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let plain = String::from_utf8(BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl Ask {
    /// Sorts the parameters. What has no meaning of its own is a setting, which the engine knows or refuses.
    pub(crate) fn read(method: &Method, headers: &HeaderMap, parameters: Pairs) -> Result<Ask, Exception> {
        let mut ask = Ask { only_reading: method != Method::POST, session_timeout: SESSION, ..Ask::default() };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        ask.database = header("X-ClickHouse-Database");
        ask.format = header("X-ClickHouse-Format");
        for (name, value) in parameters {
            match name.as_str() {
                "query" => ask.query.push_str(&value),
                "database" => ask.database = Some(value),
                "default_format" => ask.format = Some(value),
                "session_id" => ask.session = Some(value),
                "session_timeout" => ask.session_timeout = session_timeout(&value)?,
                "session_check" if value != "0" => return Err(unsupported(&name)),
                "user" | "password" | "quota_key" | "query_id" | "compress" | "decompress" | "wait_end_of_query"
                | "buffer_size" | "stacktrace" | "session_check" => {}
                _ => match name.strip_prefix("param_") {
                    Some(parameter) => ask.parameters.push((parameter.to_owned(), value)),
                    None if is_name(&name) => ask.settings.push((name, value)),
                    None => return Err(unsupported(&name)),
                },
            }
        }
        ask.database.take_if(|name| name.is_empty());
        ask.format.take_if(|name| name.is_empty());
        ask.session.take_if(|name| name.is_empty());
        Ok(ask)
    }
}

fn session_timeout(value: &str) -> Result<Duration, Exception> {
    match value.parse() {
        Ok(seconds @ 0..=LONGEST_SESSION) => Ok(Duration::from_secs(seconds)),
        _ => Err(Exception::new(
            Kind::BadRequestParameter,
            format_args!("session_timeout {value:?} is not a number of seconds up to {LONGEST_SESSION}"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

fn unsupported(name: &str) -> Exception {
    Exception::new(Kind::BadRequestParameter, format_args!("The parameter {name:?} is not supported here"))
}

/// The fields of a `multipart/form-data` body, which clients send their query and its parameters in.
pub(crate) fn form(content_type: &str, body: &[u8]) -> Result<Pairs, Exception> {
    let broken = |what: &str| Exception::new(Kind::BadRequestParameter, format_args!("multipart/form-data: {what}"));
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary.map(|text| text.trim_matches('"')).filter(|text| !text.is_empty());
    let delimiter = format!("\r\n--{}", boundary.ok_or_else(|| broken("no boundary"))?);
    let body = [b"\r\n", body].concat();
    let mut starts: Vec<usize> = memchr::memmem::find_iter(&body, delimiter.as_bytes()).collect();
    let end = starts.pop().ok_or_else(|| broken("no part"))?;
    if !body[end + delimiter.len()..].starts_with(b"--") {
        return Err(broken("it is cut off"));
    }
    let ends = starts.iter().copied().skip(1).chain([end]);
    starts.iter().zip(ends).map(|(start, end)| field(&body[start + delimiter.len()..end]).map_err(broken)).collect()
}

fn field(part: &[u8]) -> Result<(String, String), &'static str> {
    let split = memchr::memmem::find(part, b"\r\n\r\n").ok_or("a part without an empty line")?;
    let head = std::str::from_utf8(&part[..split]).map_err(|_| "a part's head is not UTF-8")?;
    let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"));
    let disposition = disposition.ok_or("a part without Content-Disposition")?;
    let mut attributes = disposition.split(';').map(str::trim);
    if attributes.clone().any(|attribute| attribute.starts_with("filename")) {
        return Err("external tables are not supported here");
    }
    let name = attributes.find_map(|attribute| attribute.strip_prefix("name=")).ok_or("a part without a name")?;
    let value = std::str::from_utf8(&part[split + 4..]).map_err(|_| "a part is not UTF-8")?;
    Ok((name.trim_matches('"').to_owned(), value.to_owned()))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

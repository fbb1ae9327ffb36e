//! Tables for `request.rs`.

use super::*;

const TOKEN: &str = "a token of the tests";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_token_is_asked_for_in_any_one_way() {
    let token = Token::parse(TOKEN).expect("long enough");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("default:{TOKEN}")));
    let wrong = format!("Basic {}", BASE64_STANDARD.encode("default:a token of the tesst"));
    let other = format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{TOKEN}")));
    type Given<'a> = &'a [(&'static str, &'a str)];
    let cases: [(Given<'_>, Given<'_>, bool); 9] = [
        (&[("authorization", &basic)], &[], true),
        (&[("x-clickhouse-user", "default"), ("x-clickhouse-key", TOKEN)], &[], true),
        (&[("x-clickhouse-key", TOKEN)], &[], true),
        (&[], &[("user", "default"), ("password", TOKEN)], true),
        (&[], &[], false),
        (&[("authorization", &wrong)], &[], false),
        (&[("authorization", &other)], &[], false),
        (&[("authorization", "Bearer x")], &[], false),
        (&[("authorization", &basic)], &[("password", TOKEN)], false),
    ];
    for (given, parameters, accepted) in cases {
        let verdict = authenticate(&headers(given), &pairs(parameters), &token);
        assert_eq!(verdict.is_ok(), accepted, "{given:?} {parameters:?}");
    }
}

#[test]
fn parameters_are_sorted_into_settings_and_wishes() {
    let given =
        url_parameters(Some("query=SELECT+%7Bx:Int8%7D&param_x=1&max_threads=2&database=d&compress=1&session_id="));
    let ask = Ask::read(&Method::GET, &HeaderMap::new(), given).expect("valid");
    assert_eq!(ask.query, "SELECT {x:Int8}");
    assert_eq!(ask.parameters, pairs(&[("x", "1")]));
    assert_eq!(ask.settings, pairs(&[("max_threads", "2")]));
    assert_eq!((ask.database.as_deref(), ask.session, ask.only_reading), (Some("d"), None, true));
    for refused in ["a'b=1", "session_check=1", "session_timeout=forever"] {
        assert!(Ask::read(&Method::POST, &HeaderMap::new(), url_parameters(Some(refused))).is_err(), "{refused}");
    }
}

#[test]
fn a_form_holds_the_query_and_its_parameters() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n--b\r\n\
                content-disposition: form-data; name=param_x\r\n\r\nline\r\n\r\nline --b \r\n--b--\r\n";
    let fields = form("multipart/form-data; boundary=b", body.as_bytes()).expect("a form");
    assert_eq!(fields, pairs(&[("query", "SELECT {x:String}"), ("param_x", "line\r\n\r\nline --b ")]));
    for (content_type, body) in [
        ("multipart/form-data", body),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=q\r\n\r\ncut off"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=t; filename=f\r\n\r\nx\r\n--b--",
        ),
        ("multipart/form-data; boundary=b", "nothing"),
    ] {
        assert!(form(content_type, body.as_bytes()).is_err(), "{content_type} {body}");
    }
}

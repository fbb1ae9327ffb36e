//! Tables for `statement.rs`.

use super::*;

fn data_of(text: &str) -> Option<(String, String)> {
    match parse(text.as_bytes(), &[]).expect("permitted") {
        Statement::Insert { format, data, .. } => Some((format, text[data..].to_owned())),
        Statement::Other => None,
    }
}

#[test]
fn an_insert_is_split_from_its_data() {
    let cases = [
        ("INSERT INTO t FORMAT RowBinary\nabc", "RowBinary", "abc"),
        ("INSERT INTO t FORMAT RowBinary\n\n\nabc", "RowBinary", "\n\nabc"),
        ("INSERT INTO t FORMAT CSV 1,2", "CSV", "1,2"),
        ("INSERT INTO t FORMAT CSV \t\r\n1,2", "CSV", "1,2"),
        ("INSERT INTO t FORMAT CSV;\n", "CSV", ""),
        ("insert into d.`format` (a, `b`) settings x = 'values' format TSV\n1\n", "TSV", "1\n"),
        ("INSERT INTO format VALUES (1)", "Values", " (1)"),
        ("INSERT INTO TABLE values (a) VALUES (1)", "Values", " (1)"),
        ("INSERT INTO t (a) /* FORMAT CSV */ FORMAT JSONEachRow {}", "JSONEachRow", "{}"),
    ];
    for (text, format, data) in cases {
        assert_eq!(data_of(text), Some((format.to_owned(), data.to_owned())), "{text}");
    }
    for text in [
        "INSERT INTO t SELECT 1 FORMAT CSV",
        "INSERT INTO t (a) WITH 1 AS x SELECT x",
        "INSERT INTO t (SELECT 1)",
        "INSERT INTO t",
        "SELECT 1 FORMAT CSV",
    ] {
        assert_eq!(data_of(text), None, "{text}");
    }
}

#[test]
fn whatever_touches_files_or_is_no_sql_is_refused() {
    for text in [
        "",
        " -- nothing",
        "exit",
        "quit;",
        "\\i /etc/hostname",
        "?? anything",
        ":q",
        "BACKUP TABLE t TO File('x')",
        "ATTACH TABLE t FROM '/x' (a Int8) ENGINE = Log",
        "SELECT 1 INTO OUTFILE 'x'",
        "SELECT 1 INTO -- x\n OUTFILE 'x'",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "INSERT INTO t SELECT 1 FROM infile 'x'",
        "SELECT file('/etc/hostname')",
        "SELECT `file`('/etc/hostname')",
        "SELECT \"FILE\"('/etc/hostname')",
        "SELECT `fi\\x6ce`('/etc/hostname')",
        "SELECT “file”('/etc/hostname')",
        "SELECT arrayMap(file, ['/etc/hostname'])",
        "SELECT * APPLY(file) FROM t",
        "SELECT /* /* ' */ ' */ file('/etc/hostname') -- '",
        "SELECT $$'$$, file('/etc/hostname') -- '",
        "INSERT INTO t VALUES (file('/etc/hostname'))",
        "INSERT INTO t FORMAT Values (file('/etc/hostname'))",
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '/x/')",
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = `disk` (type = 'local', path = '/x/')",
        "SELECT 'unfinished",
    ] {
        assert!(parse(text.as_bytes(), &[]).is_err(), "{text}");
    }
}

#[test]
fn ordinary_statements_pass() {
    for text in [
        "SELECT tags['file'] FROM t -- file",
        "(SELECT 1) UNION ALL SELECT 2",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT 'it''s' AS a, \"b\" FROM `c`",
        "INSERT INTO t FORMAT JSONEachRow {\"file\": \"outfile\"}",
        "KILL QUERY WHERE 1",
    ] {
        assert!(parse(text.as_bytes(), &[]).is_ok(), "{text}");
    }
}

#[test]
fn one_statement_and_on_get_only_a_reading_one() {
    let analysis = |statements, effect| Analysis { statements, effect };
    assert!(permit(b"SELECT 1", analysis(1, Effect::Reads), true).is_ok());
    assert!(permit(b"SELECT 1; SELECT 2", analysis(2, Effect::Reads), false).is_err());
    assert!(permit(b"DROP TABLE t", analysis(1, Effect::Writes), false).is_ok());
    assert!(permit(b"DROP TABLE t", analysis(1, Effect::Writes), true).is_err());
    assert!(permit(b"SET a = 1", analysis(1, Effect::Controls), true).is_ok());
    assert!(permit(b"EXPLAIN x", analysis(1, Effect::Controls), false).is_err());
}

#[test]
fn a_result_format_is_found() {
    let named = |name: &str| OutputFormat::Named(name.to_owned());
    for (text, format) in [
        ("SELECT 1 FORMAT JSON", named("JSON")),
        ("SELECT 1 AS format FORMAT CSV SETTINGS a = 1", named("CSV")),
        ("SELECT 1 FORMAT CSV;", named("CSV")),
        ("SELECT format, a FROM t", OutputFormat::Unclear),
        ("SELECT 1 FORMAT `JSON`", OutputFormat::Unclear),
        ("SELECT 'FORMAT CSV'", OutputFormat::Default),
    ] {
        assert_eq!(output_format(text.as_bytes()), format, "{text}");
    }
}

#[test]
fn an_identifier_parameter_cannot_name_the_function() {
    let value = |value: &str| vec![("f".to_owned(), value.to_owned())];
    let text = b"SELECT arrayMap({f:Identifier}, ['x'])";
    for hidden in ["file", "`file`", "fi\\x6ce"] {
        assert!(refuse_hidden_names(text, &value(hidden)).is_err(), "{hidden}");
    }
    assert!(refuse_hidden_names(text, &value("upper")).is_ok());
    assert!(refuse_hidden_names(b"SELECT {f:String}", &value("file")).is_ok());
}

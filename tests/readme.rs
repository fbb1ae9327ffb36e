//! The README keeps its word: the SQL that it shows is what `analytics/sql` holds and the tests of analytics run, and the
//! files that it names exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_questions_in_sql_are_those_that_are_tested() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown: Vec<&str> = readme
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a split has a first part").trim())
        .collect();
    let mut tested: Vec<String> = fs::read_dir(root().join("analytics/sql"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| {
            text.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n").trim().to_owned()
        })
        .collect();
    assert_eq!((shown.len(), tested.len()), (5, 5));
    tested.retain(|statement| !shown.contains(&statement.as_str()));
    assert_eq!(tested, Vec::<String>::new(), "statements that the README does not show as they are");
}

#[test]
fn the_files_that_it_links_to_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let missing: Vec<&str> = links.filter(|link| !link.starts_with("http") && !root().join(link).exists()).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

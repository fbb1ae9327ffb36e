//! The README and the pages of `deploy/docs` keep their word: the SQL that they show is what `analytics/sql` holds and the tests
//! of analytics run, the files that they link to exist, and the README leads to every page.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_questions_in_sql_are_those_that_are_tested() {
    let page = fs::read_to_string(root().join("deploy/docs/ledger.md")).unwrap();
    let shown: Vec<&str> = page
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
    assert_eq!(tested, Vec::<String>::new(), "statements that the page does not show as they are");
}

/// What a page links to, from its own folder.
fn links(page: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(page).expect("the page is there");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let folder = page.parent().expect("a file has a folder");
    links.filter(|link| !link.is_empty() && !link.starts_with("http")).map(|link| folder.join(link)).collect()
}

fn pages() -> Vec<PathBuf> {
    let all = fs::read_dir(root().join("deploy/docs"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path());
    let pages: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

#[test]
fn the_files_that_the_readme_and_the_pages_link_to_exist() {
    let all = pages().into_iter().chain([root().join("README.md")]);
    let missing: Vec<PathBuf> = all.flat_map(|page| links(&page)).filter(|link| !link.exists()).collect();
    assert_eq!(missing, Vec::<PathBuf>::new());
}

#[test]
fn the_readme_leads_to_every_page() {
    let linked = links(&root().join("README.md"));
    let unlinked: Vec<PathBuf> = pages().into_iter().filter(|page| !linked.contains(page)).collect();
    assert_eq!(unlinked, Vec::<PathBuf>::new());
}

#[test]
fn the_page_on_nats_says_what_each_stream_and_bucket_holds() {
    let names = fs::read_to_string(root().join("schemas/src/subject.rs")).unwrap();
    let page = fs::read_to_string(root().join("deploy/docs/nats.md")).unwrap();
    let named =
        |name: &str| page.lines().any(|line| line.starts_with("| `ps_") && line.contains(&format!("`ps_{name}`")));
    let made: Vec<&str> = names.split("format!(\"{}_").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(made.len() > 20, "{made:?}");
    assert_eq!(made.into_iter().filter(|name| !named(name)).collect::<Vec<_>>(), Vec::<&str>::new());
}

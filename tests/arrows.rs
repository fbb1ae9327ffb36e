//! The modules of a package and the arrows between them, read from `use` lines and from paths in code. Knows no package.

use crate::sources::sources;
use std::collections::{BTreeMap, BTreeSet};

/// A module by its path from the root of its package: `["stage", "admit"]`.
type Module = Vec<String>;

/// What stands between a module and one that it takes names from: the files and the paths in them.
type Arrows = BTreeMap<(Module, Module), BTreeSet<String>>;

/// The circles of a package: of the files and folders that stand in one folder, those that take names from each other, with
/// every arrow between them, the one in the fewest places first. What a file takes from the folder that it stands in, and
/// that from it, is no arrow.
pub(crate) fn circles(package: &str) -> Vec<String> {
    let modules = modules(package);
    let arrows = arrows(&modules);
    let folders: BTreeSet<Module> = modules.keys().filter_map(|module| Some(module.split_last()?.1.to_vec())).collect();
    folders.iter().flat_map(|folder| circles_in(folder, &arrows)).map(|circle| format!("{package}: {circle}")).collect()
}

/// The code of every module, without comments, texts and tests.
fn modules(package: &str) -> BTreeMap<Module, (String, String)> {
    let folder = format!("{package}/src");
    let module = |path: &str| -> Module {
        let path = path.trim_start_matches(&format!("{folder}/")).trim_end_matches(".rs");
        let names: Module = path.split('/').map(ToOwned::to_owned).collect();
        match names.split_last() {
            Some((last, parents)) if last == "mod" || (last == "lib" && parents.is_empty()) => parents.to_vec(),
            Some((last, [])) if last == "main" => Vec::new(),
            _ => names,
        }
    };
    sources(&folder).into_iter().map(|source| (module(&source.path), (source.path, code(&source.text)))).collect()
}

fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n").replace("\\\"", "'").replace("'\"'", "");
    code.split('"').step_by(2).collect()
}

fn arrows(modules: &BTreeMap<Module, (String, String)>) -> Arrows {
    let mut arrows = Arrows::new();
    for (from, (file, code)) in modules {
        for path in paths(code) {
            let Some(to) = target(from, &path, modules).filter(|to| to != from) else { continue };
            arrows.entry((from.clone(), to)).or_default().insert(format!("{file}: {}", path.join("::")));
        }
    }
    arrows
}

/// Every path that a file names: those of `use`, and those that begin with `crate` or `super` anywhere else.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for (at, statement) in code.split_inclusive(';').enumerate() {
        match statement.rfind("use ").filter(|start| is_start(statement, *start)) {
            Some(start) => {
                expand(&[], statement[start + 4..].trim_end_matches(';'), &mut paths);
                rest.push_str(&statement[..start]);
            }
            None => rest.push_str(statement),
        }
        rest.push_str(if at == 0 { "\n" } else { ";" });
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for path in
        rest.split(|c: char| !is_name(c)).filter(|word| word.starts_with("crate::") || word.starts_with("super::"))
    {
        paths.push(path.split("::").map(ToOwned::to_owned).collect());
    }
    paths
}

fn is_start(statement: &str, at: usize) -> bool {
    let before = statement[..at].trim_end_matches(' ');
    before.is_empty() || before.ends_with(['\n', ';', '{', '}']) || before.ends_with("pub") || before.ends_with(')')
}

/// The paths of a `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.split(" as ").next().unwrap_or_default().trim();
    let (head, branches) = match tree.split_once('{') {
        Some((head, branches)) => (head, Some(branches.trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let names = head.split("::").map(str::trim).filter(|name| !name.is_empty());
    let path: Vec<String> = prefix.iter().cloned().chain(names.map(ToOwned::to_owned)).collect();
    let Some(branches) = branches else { return paths.push(path) };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in branches.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&path, &branches[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !branches[start..].trim().is_empty() {
        expand(&path, &branches[start..], paths);
    }
}

/// The module that a path of `from` leads to; `None` when it leads out of the package.
fn target(from: &Module, path: &[String], modules: &BTreeMap<Module, (String, String)>) -> Option<Module> {
    let (mut at, mut names) = (from.clone(), path);
    match names.first()?.as_str() {
        "crate" => (at, names) = (Vec::new(), &names[1..]),
        "super" | "self" => {
            while let Some((first, others)) =
                names.split_first().filter(|(first, _)| *first == "super" || *first == "self")
            {
                if first == "super" {
                    at.pop();
                }
                names = others;
            }
        }
        first => {
            at.push(first.to_owned());
            modules.contains_key(&at).then_some(())?;
            names = &names[1..];
        }
    }
    for name in names {
        at.push(name.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// The circles among what stands in one folder, each file and folder as one.
fn circles_in(folder: &[String], arrows: &Arrows) -> Vec<String> {
    let child = |module: &Module| Some(module.strip_prefix(folder)?.first()?.clone());
    let mut between: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for ((from, to), places) in arrows {
        if let (Some(from), Some(to)) = (child(from), child(to))
            && from != to
        {
            between.entry(from).or_default().entry(to).or_default().extend(places.clone());
        }
    }
    let reached = |start: &String| {
        let (mut found, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(next) = open.pop() {
            for to in between.get(&next).into_iter().flat_map(BTreeMap::keys) {
                if found.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        found
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = between.keys().map(|child| (child, reached(child))).collect();
    let mut circles = BTreeMap::new();
    for (from, to, places) in
        between.iter().flat_map(|(from, to)| to.iter().map(move |(to, places)| (from, to, places)))
    {
        if reached.get(to).is_some_and(|back| back.contains(from)) {
            let leads_back = |child: &&String| reached.get(child).is_some_and(|back| back.contains(from));
            let members: Vec<&str> = reached[from].iter().filter(leads_back).map(String::as_str).collect();
            let arrow =
                format!("    {from} -> {to}, by {}", places.iter().map(String::as_str).collect::<Vec<_>>().join("; "));
            circles.entry(members.join(", ")).or_insert_with(Vec::new).push((places.len(), arrow));
        }
    }
    let written = circles.into_iter().map(|(members, mut arrows)| {
        arrows.sort();
        let arrows: Vec<String> = arrows.into_iter().map(|(_, arrow)| arrow).collect();
        format!("a circle in {}/: {members}\n{}", folder.join("/"), arrows.join("\n"))
    });
    written.collect()
}

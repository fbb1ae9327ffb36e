//! Lists the files of the catalogue for `src/catalogue`, so that adding a provider is adding a file.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("catalogue");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // Not by its absolute path: target folders that move, or that checkouts share, stay right.
            files.push(format!(
                "    ({id:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/catalogue/{id}.toml\"))),\n"
            ));
        }
    }
    files.sort();
    let list =
        format!("/// Each provider and its file, sorted.\nconst FILES: &[(&str, &str)] = &[\n{}];\n", files.concat());
    fs::write(Path::new(&env::var("OUT_DIR")?).join("catalogue.rs"), list)?;
    println!("cargo::rerun-if-changed=catalogue");
    Ok(())
}

//! `cargo xtask docs`: every relative link of the documents leads to a file, and every attack of the escape suite
//! is linked from the promise that it tests.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_none_or(|task| task != "docs") {
        return say(&["usage: cargo xtask docs".to_owned()], 2);
    }
    match faults(Path::new(".")) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => say(&faults, 1),
        Err(error) => say(&[format!("xtask: {error}")], 1),
    }
}

fn say(lines: &[String], status: u8) -> ExitCode {
    // There is nobody to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    ExitCode::from(status)
}

/// `root` is the workspace: cargo runs an alias where it was called, so call it there.
fn faults(root: &Path) -> io::Result<Vec<String>> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/design", "docs/security"] {
        pages.extend(files(&root.join(folder), "md")?);
    }
    let mut faults = Vec::new();
    for page in &pages {
        let text = std::fs::read_to_string(page)?;
        let folder = page.parent().unwrap_or(root);
        let broken = links(&text).filter(|link| !folder.join(link).exists());
        faults.extend(broken.map(|link| format!("{}: {link} does not exist", page.display())));
    }
    let promises = std::fs::read_to_string(root.join("docs/security/promises.md"))?;
    for attack in files(&root.join("tests/escape"), "rs")? {
        let name = attack.file_name().unwrap_or_default().to_string_lossy();
        if name != "main.rs" && !links(&promises).any(|link| link.ends_with(&format!("/{name}"))) {
            faults.push(format!("docs/security/promises.md: no promise links {}", attack.display()));
        }
    }
    Ok(faults)
}

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

/// The files that a page links to, without the place in them; not what is elsewhere or in the page itself.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_files_beside_the_page() {
        let text = "[a](b.md#c), [d](https://e.org/) and [f](#g) [h](i/j.rs)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "i/j.rs"]);
    }
}

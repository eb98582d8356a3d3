//! What a run may be called: a word that is a file's name, and that a terminal can show as it is.

use std::ffi::OsStr;
use std::path::Path;

use super::ControlError;

/// Takes a name that a person chose.
///
/// # Errors
///
/// [`ControlError::BadName`].
pub(crate) fn check(name: &str) -> Result<&str, ControlError> {
    let good =
        !name.is_empty() && name.len() <= LONGEST && !name.starts_with('.') && name.chars().all(is_good);
    if good { Ok(name) } else { Err(ControlError::BadName { name: name.to_owned() }) }
}

/// The names that a run of this command may have, best first.
pub(crate) fn of_command(command: Option<&OsStr>) -> impl Iterator<Item = String> {
    let file = command.and_then(|command| Path::new(command).file_name()).unwrap_or(OsStr::new("run"));
    let word: String = file.to_string_lossy().chars().map(|c| if is_good(c) { c } else { '_' }).collect();
    let word = word.trim_start_matches('.');
    // All of it is ASCII, and there is room for a number.
    let word = if word.is_empty() { "run" } else { &word[..word.len().min(LONGEST - 6)] }.to_owned();
    std::iter::once(word.clone()).chain((2..=MOST).map(move |number| format!("{word}-{number}")))
}

fn is_good(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

const LONGEST: usize = 64;
/// How many runs of one command have names.
const MOST: u32 = 9999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        for name in ["a", "npm-2", "a.b_c", &"x".repeat(64)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", ".lock", "a/b", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_command_gives_good_names() {
        for (command, name) in [
            ("/usr/bin/npm", "npm"),
            ("./a b\x1b", "a_b_"),
            ("..hidden", "hidden"),
            ("/", "run"),
            ("...", "run"),
            ("été", "_t_"),
            (&"x".repeat(300), &"x".repeat(58)),
        ] {
            let names: Vec<_> = of_command(Some(OsStr::new(command))).collect();
            assert_eq!(names[0], name);
            assert_eq!(names[1], format!("{name}-2"));
            assert!(names.iter().all(|name| check(name).is_ok()));
        }
    }
}

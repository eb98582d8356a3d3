//! An image as the root of a run: what it says of how it is run, where nobody says otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sandlock_image::{Config, Image, Unpacked};
use sandlock_policy::RootRules;

use crate::{Options, PlanError};

/// Unpacks the image, if there is one, and takes over what it says.
///
/// # Errors
///
/// [`PlanError::Image`], or a user that the image does not know.
pub(super) fn take_over(root: &mut RootRules, options: &mut Options) -> Result<(), PlanError> {
    let Some(written) = root.image.take() else {
        return Ok(());
    };
    if root.directory.is_some() {
        return Err(PlanError::TwoRoots);
    }
    let cache = options.image_cache.take().ok_or(PlanError::NoCache)?;
    let refused = |source| PlanError::Image { image: written.clone(), source };
    let image = Image::parse(written.as_os_str()).map_err(refused)?;
    let Unpacked { root: directory, config } = sandlock_image::unpack(&image, &cache).map_err(refused)?;
    let (user, group) = user_of(&config.user, &directory)?;
    // Of this machine only one user exists there, and an image is made for its own.
    root.user = root.user.or(Some(user));
    root.group = root.group.or(Some(group));
    root.directory = Some(directory);
    options.command = command(&config, std::mem::take(&mut options.command));
    if options.directory.is_none() && !config.working_dir.is_empty() {
        options.directory = Some(PathBuf::from(&config.working_dir));
    }
    options.environment.instead = Some(variables(&config, user));
    options.home = None;
    Ok(())
}

/// The entry point comes first, whoever says the rest.
fn command(config: &Config, given: Vec<OsString>) -> Vec<OsString> {
    let rest = if given.is_empty() { config.cmd.iter().map(OsString::from).collect() } else { given };
    config.entrypoint.iter().map(OsString::from).chain(rest).collect()
}

fn variables(config: &Config, user: u32) -> Vec<(OsString, OsString)> {
    let home = if user == 0 { "/root" } else { "/" };
    let usual = [("PATH", USUAL_PATH), ("HOME", home)].map(|(name, value)| (name.into(), value.into()));
    let split = config.env.iter().filter_map(|variable| variable.split_once('='));
    usual.into_iter().chain(split.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// User and group, by numbers or by names that the image's own files explain. Nobody said is root.
fn user_of(said: &str, root: &Path) -> Result<(u32, u32), PlanError> {
    let (user, group) = said.split_once(':').map_or((said, None), |(user, group)| (user, Some(group)));
    let unknown = || PlanError::ImageUser(said.to_owned());
    let line = find(root, "passwd", user);
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
    let field =
        |line: &Option<Vec<String>>, index: usize| line.as_ref().and_then(|line| number(line.get(index)?));
    let id = match user {
        "" => 0,
        user => number(user).or_else(|| field(&line, 2)).ok_or_else(unknown)?,
    };
    let of_group = match group {
        None | Some("") => field(&line, 3).unwrap_or(0),
        Some(group) => number(group).or_else(|| field(&find(root, "group", group), 2)).ok_or_else(unknown)?,
    };
    Ok((id, of_group))
}

/// The line of a name in one of the image's lists, which is no link that leads elsewhere.
fn find(root: &Path, list: &str, name: &str) -> Option<Vec<String>> {
    let path = root.join("etc").join(list);
    let is_own = path.canonicalize().is_ok_and(|real| real.starts_with(root));
    let text = std::fs::read_to_string(path).ok().filter(|_| is_own)?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let is_it = |fields: &Vec<String>| fields.first().is_some_and(|first| first == name);
    // By number too, for the group that goes with it.
    let is_number = |fields: &Vec<String>| fields.get(2).is_some_and(|number| number == name);
    text.lines().map(fields).find(|fields| is_it(fields) || is_number(fields))
}

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n")
            .unwrap();
        std::fs::write(root.join("etc/group"), "staff:x:50:\n").unwrap();
        for (said, user, group) in [
            ("", 0, 0),
            ("app", 1000, 1001),
            ("1000", 1000, 1001),
            ("7", 7, 0),
            ("7:8", 7, 8),
            ("app:staff", 1000, 50),
        ] {
            assert_eq!(user_of(said, &root).unwrap(), (user, group), "{said}");
        }
        for said in ["nobody", "7:nobody", "4294967295"] {
            assert!(user_of(said, &root).is_err(), "{said}");
        }
    }

    #[test]
    fn the_entry_point_stays_whoever_says_the_rest() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let config =
            Config { entrypoint: words(&["enter"]), cmd: words(&["serve", "-x"]), ..Config::default() };
        assert_eq!(command(&config, Vec::new()), ["enter", "serve", "-x"]);
        assert_eq!(command(&config, vec!["sh".into()]), ["enter", "sh"]);
    }
}

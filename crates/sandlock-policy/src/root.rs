//! A root of a run's own, and whom the command takes itself for: as it is asked for.

mod mount;

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use mount::{Mount, MountError, Tmpfs};

/// The root file system of a run, and who the command is there. The default is the machine's own, and the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RootRules {
    /// The directory that is the root; readable, unless the policy is bare.
    pub directory: Option<PathBuf>,
    /// The image that is the root, in place of a directory, as it is written: `oci:DIR`, or `oci:DIR:TAG`. What is written in
    /// it is gone after the run.
    pub image: Option<PathBuf>,
    /// Places of the machine, mounted in the root. Each grants what it says.
    pub mounts: Vec<Mount>,
    /// Empty places in memory, mounted in the root, which may be written.
    pub temporary: Vec<Tmpfs>,
    /// The user that the command takes itself for.
    #[serde(deserialize_with = "user_or_group")]
    pub user: Option<u32>,
    /// The group that the command takes itself to be of.
    #[serde(deserialize_with = "user_or_group")]
    pub group: Option<u32>,
    /// The host name that the command is told.
    pub host_name: Option<String>,
}

impl RootRules {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first_flag().is_none()
    }

    /// The first flag that asks for something of this, if one does.
    #[must_use]
    pub fn first_flag(&self) -> Option<&'static str> {
        let asked = [
            (self.directory.is_some(), "--chroot"),
            (self.image.is_some(), "--image"),
            (!self.mounts.is_empty(), "--mount"),
            (!self.temporary.is_empty(), "--tmpfs"),
            (self.user.is_some(), "--uid"),
            (self.group.is_some(), "--gid"),
            (self.host_name.is_some(), "--hostname"),
        ];
        asked.into_iter().find_map(|(asked, flag)| asked.then_some(flag))
    }

    /// Takes over what `other` asks for: its mounts are added, and of the rest its values count.
    pub fn extend(&mut self, other: RootRules) {
        let RootRules { directory, image, mounts, temporary, user, group, host_name } = other;
        // Either is the root.
        if directory.is_some() || image.is_some() {
            (self.directory, self.image) = (directory, image);
        }
        self.mounts.extend(mounts);
        self.temporary.extend(temporary);
        self.user = user.or(self.user);
        self.group = group.or(self.group);
        self.host_name = host_name.or(self.host_name.take());
    }
}

/// The last one of 32 bits is none: chown(2).
fn user_or_group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = Option::<u32>::deserialize(deserializer)?;
    match number {
        Some(u32::MAX) => Err(de::Error::custom("a user or group is a number up to 4294967294")),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_written_as_its_flags_are() {
        let text = r#"
            directory = "/srv/root"
            mounts = ["/data:/srv/data:ro", "/out:out"]
            temporary = ["/fast:64M", "/more"]
            user = 1000
            host_name = "box"
        "#;
        let root: RootRules = toml::from_str(text).unwrap();
        assert!(root.mounts[0].read_only && !root.mounts[1].read_only);
        assert_eq!(root.temporary[0].size.unwrap().bytes(), 64 << 20);
        assert_eq!(toml::from_str::<RootRules>(&toml::to_string(&root).unwrap()).unwrap(), root);
        assert!(toml::to_string(&root).unwrap().contains(r#"["/data:/srv/data:ro", "/out:out"]"#));
        for wrong in ["mounts = ['/data']", "temporary = ['/a:x']", "user = 4294967295", "chroot = '/a'"] {
            assert!(toml::from_str::<RootRules>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_root_said_later_takes_the_place_of_another() {
        let root = |text: &str| toml::from_str::<RootRules>(text).unwrap();
        let mut both = root("directory = '/a'\nuser = 1\nmounts = ['/x:/y']");
        both.extend(root("image = 'oci:/b'\ngroup = 2\nmounts = ['/z:/y']"));
        assert_eq!(both, root("image = 'oci:/b'\nuser = 1\ngroup = 2\nmounts = ['/x:/y', '/z:/y']"));
        let before = both.clone();
        both.extend(RootRules::default());
        assert_eq!(both, before);
        assert!(RootRules::default().is_empty() && !both.is_empty());
    }
}

//! Programs of the machine that tests need.

use std::path::PathBuf;

/// The path of a tool. Tests that need one fail without it: a skipped test looks like a passed one.
///
/// Places of the system first, so that an ordinary user can run it as well.
///
/// # Panics
///
/// When it is not installed; the message names the Debian package.
pub fn tool(name: &str, debian_package: &str) -> PathBuf {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|place| PathBuf::from(place).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("this test needs {name}: apt-get install {debian_package}"))
}

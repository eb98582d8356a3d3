//! Where stores are.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

/// The variables that name a bundle to programs that look at one: OpenSSL, Node, Python's requests, curl, git, the AWS
/// tools, Deno.
pub const VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
];

/// The first of those that exist is the one to name to programs.
const BUNDLES: [&str; 11] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, by its older name
    "/etc/pki/tls/cert.pem",              // Fedora, OpenSSL's default there
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/var/lib/ca-certificates/ca-bundle.pem", // SUSE
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem", // Arch
    "/etc/ssl/cert.pem",                  // Alpine, Arch; OpenSSL's default there
    "/etc/ssl/certs/ca-bundle.crt",       // NixOS
    "/usr/lib/ssl/cert.pem",              // OpenSSL's default on Debian
    "/usr/local/ssl/cert.pem",            // OpenSSL's own default
];

const JAVA_STORES: [&str; 4] = [
    "/etc/ssl/certs/java/cacerts",              // Debian, Arch
    "/etc/pki/ca-trust/extracted/java/cacerts", // Fedora
    "/etc/pki/java/cacerts",                    // Fedora, by its older name
    "/var/lib/ca-certificates/java-cacerts",    // SUSE
];

/// The directories that hold one JDK beside the other, below one that programs can read.
const JDKS: [&str; 7] = ["", "jvm", "lib/jvm", "usr/lib/jvm", "usr/java", ".jdks", ".sdkman/candidates/java"];

/// The stores of a JDK or JRE, below its home.
const OF_A_HOME: [&str; 4] = [
    "lib/security/cacerts",
    "lib/security/jssecacerts",
    "jre/lib/security/cacerts",
    "jre/lib/security/jssecacerts",
];

/// The bundles in PEM that systems have and libraries read, as far as they exist here, by the paths that programs use.
/// Several may be one file.
#[must_use]
pub fn system_bundles() -> Vec<PathBuf> {
    BUNDLES.map(PathBuf::from).into_iter().filter(|path| path.is_file()).collect()
}

/// The stores of Java that programs find who can read `readable`: the system's, and those of JDKs there, at the usual
/// places. Several may be one file.
#[must_use]
pub fn java_stores(readable: &[PathBuf]) -> Vec<PathBuf> {
    let mut stores = BTreeSet::new();
    let is_readable = |path: &PathBuf| readable.iter().any(|root| path.starts_with(root));
    stores.extend(JAVA_STORES.map(PathBuf::from).into_iter().filter(is_readable));
    for root in readable {
        stores.extend(stores_of(root));
        for holder in JDKS.map(|holder| root.join(holder)) {
            homes_in(&holder).iter().for_each(|home| stores.extend(stores_of(home)));
        }
    }
    stores.into_iter().filter(|path| path.is_file()).collect()
}

fn stores_of(home: &Path) -> [PathBuf; 4] {
    OF_A_HOME.map(|store| home.join(store))
}

/// What is in a directory; nothing when it cannot be read, and then no program can either.
fn homes_in(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten();
    let may_be_home =
        |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink());
    entries.flatten().filter(may_be_home).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_of_jdks_are_found_below_what_is_readable_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let mut stores = [
            make("home/.sdkman/candidates/java/21/lib/security/cacerts"),
            make("usr/lib/jvm/8/jre/lib/security/cacerts"),
            make("usr/lib/jvm/17/lib/security/jssecacerts"),
            make("opt/jdk/lib/security/cacerts"),
        ];
        stores.sort();
        make("hidden/jdk/lib/security/cacerts");
        make("opt/jdk/lib/security/cacerts.old");
        let readable = ["home", "usr", "opt/jdk", "opt", "missing"].map(|path| root.path().join(path));
        assert_eq!(java_stores(&readable), stores);
        assert_eq!(java_stores(&[]), Vec::<PathBuf>::new());
    }

    #[test]
    fn bundles_are_files_that_exist() {
        assert!(system_bundles().iter().all(|path| path.is_file()));
    }
}

//! What the standard base makes reachable without being named, as plain paths.
//!
//! The guide to these tables: readable here is what every user of the machine can read anyway and what programs
//! read to start, to run others and to trust TLS peers. Nothing of a home directory, nothing that holds keys or
//! passwords, nothing shared and writable. A path that does not exist is left out by whoever applies a table;
//! a symbolic link counts as what it leads to.

/// Readable and executable, with all below: where distributions put programs, and what run-times ask the
/// machine.
pub const READ: &[&str] = &[
    // Programs and libraries. The short names are links into /usr on most distributions, directories on others.
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    // NixOS and Guix keep all packages here; their /run/current-system is only links into it.
    "/nix/store",
    "/gnu/store",
    // Programs read themselves, their limits and their descriptors (/dev/fd and /dev/stdin are links to here).
    // The kernel protects other processes by its own checks and by the nested domain.
    "/proc",
    // Run-times size their thread pools and heaps by these.
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/hugepages",
    "/sys/kernel/mm/transparent_hugepage",
    // What /etc/resolv.conf links to: systemd-resolved, resolvconf, NetworkManager, ConnMan, WSL. Of
    // NetworkManager only the files, because its directory has connections with their secrets as well.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/connman/resolv.conf",
    "/mnt/wsl/resolv.conf",
    // SUSE: /etc/ssl/certs and /etc/ssl/ca-bundle.pem link to here.
    "/var/lib/ca-certificates",
];

/// Readable in addition to [`READ`] when an ordinary user runs sandlock: all of `/etc`, because the modes of its
/// files already hide from that user what is secret.
pub const READ_ETC: &[&str] = &["/etc"];

/// Readable instead of [`READ_ETC`] when root runs sandlock: root without capabilities still *owns*
/// `/etc/shadow`, host keys and the like, and so can read them. These entries are world-readable by nature.
///
/// A trailing `*` stands for the rest of a file name (`/etc/java*` is `/etc/java-17-openjdk`, never
/// `/etc/java/x`): whoever applies the table expands it. There is no `*` elsewhere.
pub const READ_ETC_AS_ROOT: &[&str] = &[
    // Users and groups, without their passwords.
    "/etc/passwd",
    "/etc/group",
    // Names and services of the network.
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    // TLS trust. Never /etc/ssl or /etc/pki as a whole: both have a directory of private keys.
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gnutls",
    "/etc/pki/ca-trust",
    "/etc/pki/java",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/openssl.d",
    "/etc/pki/trust", // SUSE
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/openssl.cnf.d",
    // The dynamic loader; musl's has its path in a file named for the architecture.
    "/etc/ld-musl-*",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    // Place, time and language.
    "/etc/default/locale",
    "/etc/locale.alias",
    "/etc/locale.conf",
    "/etc/localtime",
    "/etc/timezone",
    // Which system this is.
    "/etc/alpine-release",
    "/etc/arch-release",
    "/etc/debian_version",
    "/etc/fedora-release",
    "/etc/lsb-release",
    "/etc/machine-id",
    "/etc/os-release",
    "/etc/redhat-release",
    "/etc/system-release",
    // Shells and terminals.
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/csh.cshrc",
    "/etc/csh.login",
    "/etc/fish",
    "/etc/inputrc",
    "/etc/ksh.kshrc",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/terminfo",
    "/etc/zsh",
    "/etc/zlogin",
    "/etc/zprofile",
    "/etc/zshenv",
    "/etc/zshrc",
    // Languages and their tools. Versions are part of many names.
    "/etc/R",
    "/etc/gemrc",
    "/etc/java*",
    "/etc/julia",
    "/etc/jvm",
    "/etc/npmrc",
    "/etc/perl",
    "/etc/php.d",
    "/etc/php.ini",
    "/etc/pip.conf",
    "/etc/python3*",
    // Programs that other programs run.
    "/etc/curlrc",
    "/etc/emacs",
    "/etc/gitconfig",
    "/etc/gitattributes",
    "/etc/man_db.conf",
    "/etc/nanorc",
    "/etc/selinux/config",
    "/etc/ssh/ssh_config",
    "/etc/ssh/ssh_config.d",
    "/etc/ssh/ssh_known_hosts",
    "/etc/vimrc",
    // Kinds of files, fonts, documents, graphics.
    "/etc/OpenCL",
    "/etc/fonts",
    "/etc/mailcap",
    "/etc/mime.types",
    "/etc/vulkan",
    "/etc/xdg",
];

/// Readable and writable: devices that have no memory and no owner.
pub const WRITE_DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Readable, writable, and open to `ioctl`: the controlling terminal. Whoever applies the table adds the terminals
/// that the command's standard descriptors are; never /dev/pts as a whole, where the user's other terminals are,
/// with what is typed into them.
pub const TERMINAL_DEVICES: &[&str] = &["/dev/tty"];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn entries_are_absolute_unique_and_glob_only_at_the_end() {
        let all = [READ, READ_ETC, READ_ETC_AS_ROOT, WRITE_DEVICES, TERMINAL_DEVICES].concat();
        for entry in &all {
            assert!(entry.starts_with('/') && !entry.ends_with('/'), "{entry}");
            assert!(!entry.trim_end_matches('*').contains('*') && !entry.ends_with("**"), "{entry}");
            assert_eq!(all.iter().filter(|other| *other == entry).count(), 1, "{entry}");
        }
        assert!(READ_ETC_AS_ROOT.iter().all(|entry| entry.starts_with("/etc/")));
    }

    #[test]
    fn what_root_owns_and_must_stay_secret_is_not_below_an_entry() {
        let covers = |entry: &str, secret: &str| match entry.strip_suffix('*') {
            Some(start) => secret.starts_with(start),
            None => Path::new(secret).starts_with(entry),
        };
        for secret in [
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/gshadow",
            "/etc/sudoers",
            "/etc/sudoers.d",
            "/etc/krb5.keytab",
            "/etc/ssh/ssh_host_ed25519_key",
            "/etc/ssl/private/x.key",
            "/etc/pki/tls/private/localhost.key",
            "/etc/pki/nssdb/key4.db",
            "/etc/security/opasswd",
            "/etc/NetworkManager/system-connections",
            "/etc/wireguard",
            "/etc/apt/auth.conf",
            "/etc/kubernetes/admin.conf",
            "/etc/rancher/k3s/k3s.yaml",
            "/etc/phpmyadmin/config-db.php",
            "/etc/letsencrypt",
            "/etc/docker",
            "/etc/maven/settings.xml",
            "/run/NetworkManager/system-connections",
            "/run/secrets",
            "/var/lib/sss/secrets",
            "/dev/mem",
            "/root",
        ] {
            let entry = READ.iter().chain(READ_ETC_AS_ROOT).find(|entry| covers(entry, secret));
            assert_eq!(entry, None, "{secret}");
        }
    }
}

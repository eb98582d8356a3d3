//! The files of `/etc` that programs are served instead of the machine's, so that they find what the rules name.

use std::fmt::Write;
use std::net::IpAddr;

use crate::{NetworkPolicy, RESOLVER, names_to_resolve};

/// `/etc/hosts` as a run sees it: that of its root file system, if it has one of its own (`image`), with the
/// localhost family that it lacks; then every name that a rule grants, with what it stands for now.
///
/// The machine's own file is never part of it.
#[must_use]
pub fn hosts_file(image: Option<&str>, policy: &NetworkPolicy) -> String {
    let mut text = image.unwrap_or_default().to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let known = |text: &str, address: &str, name: &str| {
        let says = |line: &str| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            words.next() == Some(address) && words.any(|word| word == name)
        };
        text.lines().any(says)
    };
    for address in ["127.0.0.1", "::1"] {
        if !known(&text, address, "localhost") {
            let _ = writeln!(text, "{address} localhost");
        }
    }
    for (name, _) in names_to_resolve(&policy.all_rules().allow) {
        for address in policy.names().addresses(&name) {
            if name != "localhost" || !known(&text, &address.to_string(), &name) {
                let _ = writeln!(text, "{address} {name}");
            }
        }
    }
    text
}

/// `/etc/resolv.conf` as a run with a resolver of its own sees it. `use-vc` makes the C library, Go and c-ares ask
/// over TCP, so that no UDP socket need exist; nothing is searched, since only whole names are granted.
#[must_use]
pub fn resolver_file() -> String {
    format!("nameserver {RESOLVER}\nsearch .\noptions use-vc\n")
}

/// The addresses that a `hosts` file gives to `name`, in any case.
#[must_use]
pub fn addresses_in_hosts(file: &str, name: &str) -> Vec<IpAddr> {
    let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    lines
        .filter_map(|mut words| {
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_files_are_read_as_the_c_library_does() {
        let file = "127.0.0.1 localhost # api.test\n10.0.0.1\tAPI.test. other\n#10.0.0.2 api.test\n::1 x api.test\nbad api.test\n";
        let expected: [IpAddr; 2] = ["10.0.0.1", "::1"].map(|text| text.parse().unwrap());
        assert_eq!(addresses_in_hosts(file, "api.test"), expected);
        assert!(addresses_in_hosts(file, "nothing").is_empty());
    }
}

//! Stores that Java's `keytool` made, and that it reads again with the certificate of a run in them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use sandlock_trust::{TrustError, splice_java};

const STORES: [&str; 5] = ["jks", "jceks", "sha1.p12", "sha256.p12", "without-password.p12"];

#[test]
fn a_store_with_one_more_certificate_is_what_keytool_was_seen_to_read() {
    for name in STORES {
        let spliced = splice_java(&read(name), &read("ca.der"), "changeit").unwrap();
        assert!(spliced == read(&format!("spliced/{name}")), "{name}");
    }
}

/// Where there is a JDK, it has the last word.
#[test]
fn keytool_trusts_the_certificate_and_all_that_were_in_the_store() {
    let directory = tempfile::tempdir().unwrap();
    for name in STORES {
        let path = directory.path().join(name);
        std::fs::write(&path, splice_java(&read(name), &read("ca.der"), "changeit").unwrap()).unwrap();
        let Some(listed) = keytool_list(&path) else {
            return;
        };
        assert_eq!(listed.matches("trustedCertEntry").count(), 2, "{name}: {listed}");
        assert!(listed.contains("\nroot, ") && listed.contains("\nsandlock-"), "{name}: {listed}");
    }
}

#[test]
fn a_second_certificate_stands_beside_the_first() {
    for name in STORES {
        let once = splice_java(&read(name), &read("ca.der"), "changeit").unwrap();
        let twice = splice_java(&once, &read("root.der"), "changeit").unwrap();
        for certificate in [read("ca.der"), read("root.der")] {
            assert!(twice.windows(certificate.len()).any(|window| window == certificate), "{name}");
        }
    }
}

#[test]
fn a_store_with_another_password_is_not_touched() {
    for name in &STORES[..4] {
        assert_eq!(splice_java(&read(name), &read("ca.der"), "secret"), Err(TrustError::Password), "{name}");
    }
    assert!(splice_java(&read("without-password.p12"), &read("ca.der"), "secret").is_ok());
}

#[test]
fn what_is_no_store_is_named_so() {
    for bytes in [&b""[..], b"-----BEGIN CERTIFICATE-----", b"\xfe\xed", &[0; 64]] {
        assert_eq!(splice_java(bytes, &read("ca.der"), "changeit"), Err(TrustError::UnknownFormat));
    }
    let certificate = read("root.der");
    assert_eq!(splice_java(&certificate, &read("ca.der"), "changeit"), Err(TrustError::Damaged));
}

#[test]
fn a_store_that_ends_early_is_refused_at_every_length() {
    for name in STORES {
        let store = read(name);
        for end in 0..store.len() {
            assert!(splice_java(&store[..end], &read("ca.der"), "changeit").is_err(), "{name} {end}");
        }
    }
}

#[test]
fn a_store_that_asks_for_too_much_work_is_refused() {
    let store = read("sha256.p12");
    let at = store.windows(4).rposition(|window| window == [0x02, 0x02, 0x27, 0x10]).unwrap();
    let mut busy = store.clone();
    busy.splice(at..at + 4, [0x02, 0x04, 0x7f, 0xff, 0xff, 0xff]);
    // The lengths of the store and of its MAC, two bytes more.
    let grow = |store: &mut Vec<u8>, at: usize| store[at] += 2;
    grow(&mut busy, 3);
    let mac = busy.windows(2).rposition(|window| window == [0x30, 0x4d]).unwrap();
    grow(&mut busy, mac + 1);
    assert_eq!(
        splice_java(&busy, &read("ca.der"), "changeit"),
        Err(TrustError::Unsupported("too many iterations"))
    );
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(store: Vec<u8>, magic in 0..3_usize, at: prop::sample::Index, byte: u8) {
        let magic = [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2][..], &[0x30], &[]][magic];
        let _ = splice_java(&[magic, &store].concat(), b"ca", "changeit");
        let mut known = read("without-password.p12");
        let at = at.index(known.len());
        known[at] = byte;
        let _ = splice_java(&known, b"ca", "changeit");
    }
}

/// What `keytool` says is in a store; `None` without one.
fn keytool_list(store: &Path) -> Option<String> {
    let output = Command::new("keytool")
        .args(["-J-Duser.language=en", "-list", "-storepass", "changeit", "-keystore"])
        .arg(store)
        .output();
    let output = output.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/stores", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

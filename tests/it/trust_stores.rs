//! The trust stores that programs find in runs that look into TLS: those of the machine, with the certificate of the
//! run's authority in them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use lab::{Lab, Run};

lab::suite! {
    tests: [
        the_systems_bundles_are_served,
        a_bundle_that_is_named_is_served_by_every_path,
        variables_lead_there_unless_they_are_set,
        without_an_authority_the_machines_own_is_read,
        a_machine_without_bundles_gets_one,
    ],
}

const RULE: [&str; 2] = ["--http-allow", "GET 127.0.0.1:9"];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";

fn looking(lab: &Lab) -> Run {
    lab.sandbox().options(RULE).options(["--http-ca-inject", "--http-ca-out"]).option(lab.path("tmp/ca.pem"))
}

/// The certificate of the run that was the last.
fn certificate(lab: &Lab) -> String {
    let pem = std::fs::read_to_string(lab.path("tmp/ca.pem")).unwrap();
    assert!(pem.starts_with(BEGIN) && pem.matches(BEGIN).count() == 1, "{pem}");
    pem
}

fn bundles() -> Vec<PathBuf> {
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    usual.into_iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

fn the_systems_bundles_are_served(lab: &Lab) {
    for bundle in bundles() {
        let own = std::fs::read_to_string(&bundle).unwrap();
        let out = looking(lab).command("cat", [&bundle]).output();
        assert!(out.expect_code(0).stdout.contains(&certificate(lab)), "{out}");
        assert_eq!(out.stdout.matches(BEGIN).count(), own.matches(BEGIN).count() + 1);
        assert_eq!(std::fs::read_to_string(&bundle).unwrap(), own);
        // No names in the rules: what else is served stays the machine's.
        let out = looking(lab).sh("cat /etc/hosts");
        assert_eq!(out.stdout, std::fs::read_to_string("/etc/hosts").unwrap());
    }
}

fn a_bundle_that_is_named_is_served_by_every_path(lab: &Lab) {
    let theirs = format!("{BEGIN}MAA=\n-----END CERTIFICATE-----\n");
    let real = lab.file("place/real.pem", &theirs);
    symlink(&real, lab.path("work/named.pem")).unwrap();
    symlink("named.pem", lab.path("work/other.pem")).unwrap();
    let named = || looking(lab).options(["--http-ca-bundle", "named.pem"]);
    for path in
        ["named.pem", "./other.pem", lab.path("work/named.pem").to_str().unwrap(), real.to_str().unwrap()]
    {
        let out = named().command("cat", [path]).output();
        assert!(out.stdout.contains(&theirs) && out.stdout.contains(&certificate(lab)), "{path}\n{out}");
    }
    // Another file of that name is another file.
    lab.file("work/below/named.pem", "mine");
    assert_eq!(named().command("cat", ["below/named.pem"]).output().stdout, "mine");
    named().options(["--http-ca-bundle", "none.pem"]).sh("exit 0").expect_code(125).expect_said("none.pem");
    lab.file("work/text", "nothing of the kind");
    named()
        .options(["--http-ca-bundle", "text"])
        .sh("exit 0")
        .expect_code(125)
        .expect_said("--http-ca-bundle");
}

fn variables_lead_there_unless_they_are_set(lab: &Lab) {
    let variables = "SSL_CERT_FILE NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO AWS_CA_BUNDLE DENO_CERT";
    let script = format!("for name in {variables}; do eval cat \\$$name; done");
    let out = looking(lab).sh(&script);
    assert_eq!(out.expect_code(0).stdout.matches(&certificate(lab)).count(), 7, "{out}");
    let print = "echo curl=${CURL_CA_BUNDLE-unset}; echo git=${GIT_SSL_CAINFO-unset}";
    let out = looking(lab).env("CURL_CA_BUNDLE", "/mine").options(["--env", "GIT_SSL_CAINFO="]).sh(print);
    out.expect("curl", "/mine").expect("git", "");
    lab.sandbox().options(RULE).sh(print).expect("curl", "unset");
}

fn without_an_authority_the_machines_own_is_read(lab: &Lab) {
    for bundle in bundles() {
        let out = lab.sandbox().options(RULE).command("cat", [&bundle]).output();
        assert_eq!(out.stdout, std::fs::read_to_string(&bundle).unwrap());
    }
}

/// Only root can give a run another `/etc` to find.
fn a_machine_without_bundles_gets_one(lab: &Lab) {
    if !lab.user().is_root() || !bundles().iter().all(|path| path.starts_with("/etc/ssl")) {
        return;
    }
    let script = format!(
        "set -e; mount -t tmpfs none /etc/ssl; {} run {} '{}' --http-ca-inject -- sh -c 'cat $SSL_CERT_FILE'",
        env!("CARGO_BIN_EXE_sandlock-under-test"),
        RULE[0],
        RULE[1],
    );
    let unshare = lab::tool("unshare", "util-linux");
    let out = lab.bare().command(unshare, ["-m", "/bin/sh", "-c", &script]).output();
    assert_eq!(out.expect_code(0).stdout.matches(BEGIN).count(), 1, "{out}");
}

//! Bundles of certificates in PEM.

/// `bundle` with the certificates of `ca_pem` after its own. What is between certificates is a comment to all who read
/// bundles, so the bundle need not be understood.
#[must_use]
pub fn splice_pem(bundle: &[u8], ca_pem: &str) -> Vec<u8> {
    let mut spliced = bundle.to_vec();
    for part in [ca_pem.as_bytes(), b""] {
        if spliced.last().is_some_and(|byte| *byte != b'\n') {
            spliced.push(b'\n');
        }
        spliced.extend(part);
    }
    spliced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_begins_on_a_line_of_its_own_and_ends_one() {
        for (bundle, ca, spliced) in [
            ("", "CA\n", "CA\n"),
            ("A\n", "CA\n", "A\nCA\n"),
            ("A", "CA", "A\nCA\n"),
            ("# comment\r\nA\r\n", "CA\n", "# comment\r\nA\r\nCA\n"),
        ] {
            assert_eq!(splice_pem(bundle.as_bytes(), ca), spliced.as_bytes());
        }
    }
}

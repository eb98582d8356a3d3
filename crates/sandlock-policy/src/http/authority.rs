//! Where a request wants to go, by its own word: the `Host` header, `:authority`, or an absolute target.

use super::{HttpName, Malformed};

/// Reads `HOST[:PORT]`.
///
/// # Errors
/// [`Malformed`] for a user, for a host that is neither a name nor an address in its one plain spelling, and for a port
/// that is not a plain number, or empty.
pub fn authority(text: &str, default_port: u16) -> Result<(HttpName, u16), Malformed> {
    if text.contains('@') {
        return Err(Malformed::Userinfo);
    }
    let after_brackets = text.find(']').map_or(0, |end| end + 1);
    match text[after_brackets..].find(':').map(|at| at + after_brackets) {
        Some(colon) => Ok((text[..colon].parse()?, parse_port(&text[colon + 1..])?)),
        None => Ok((text.parse()?, default_port)),
    }
}

/// Without sign and leading zeros: what other programs read otherwise, or not at all.
fn parse_port(text: &str) -> Result<u16, Malformed> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().ok_or(Malformed::BadPort)
}

//! A target: it is a fixed point, and leaves nothing for a second parser to read otherwise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandlock_policy::RequestTarget;

fuzz_target!(|input: &[u8]| {
    let Ok(target) = RequestTarget::parse(input) else {
        return;
    };
    assert_eq!(RequestTarget::parse(target.as_str().as_bytes()), Ok(target.clone()));
    assert!(target.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    let sent = decode(target.forwarded_path().as_bytes());
    assert_eq!(sent, decode(target.path().as_bytes()), "what is judged is what is sent");
    assert!(std::str::from_utf8(&sent).is_ok());
    assert!(!sent.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
    let below_root = sent.strip_prefix(b"/").expect("an absolute path");
    // After a slash at the end there is no segment.
    let inner = below_root.strip_suffix(b"/").unwrap_or(below_root);
    for segment in inner.split(|byte| *byte == b'/').filter(|_| !below_root.is_empty()) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        assert!(!matches!(name, b"" | b"." | b".."), "{}", target.as_str());
    }
    assert_eq!(decode(&sent), sent, "decoding again changes nothing");
});

/// As a server does that takes what is no escape as it is.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

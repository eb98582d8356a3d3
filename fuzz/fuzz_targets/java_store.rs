//! A trust store: reading one never panics, and what was added to can be added to again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandlock_trust::splice_java;

fuzz_target!(|store: &[u8]| {
    if let Ok(once) = splice_java(store, b"one", "changeit") {
        assert!(splice_java(&once, b"two", "changeit").is_ok());
    }
});

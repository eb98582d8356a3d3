//! One word of a shell command line.

use std::fmt::Write;

use crate::escape_terminal;

/// Bytes as one word for bash or zsh, quoted only when they need it. Bytes that cannot be shown become
/// `$'\xNN'`, so the word can be printed to a terminal and pasted back from it.
pub(crate) fn shell_word(bytes: &[u8]) -> String {
    let Ok(text) = str::from_utf8(bytes) else {
        return ansi_c_quoted(bytes);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if escape_terminal(text) == text {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        ansi_c_quoted(bytes)
    }
}

fn ansi_c_quoted(bytes: &[u8]) -> String {
    let mut word = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => word.push(char::from(*byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(word, "\\x{byte:02x}");
            }
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_they_need_it() {
        for (bytes, word) in [
            (&b"/run/x.sock"[..], "/run/x.sock"),
            (b"/run/a b", "'/run/a b'"),
            (b"/run/it's", r"'/run/it'\''s'"),
            (b"$(rm)", "'$(rm)'"),
            (b"~", "'~'"),
            (b"", "''"),
            ("/run/é".as_bytes(), "'/run/é'"),
            (b"/run/\xff'", r"$'/run/\xff\''"),
            (b"/run/\x1b[2J", r"$'/run/\x1b[2J'"),
        ] {
            assert_eq!(shell_word(bytes), word);
        }
    }
}

//! Text that a sandboxed program chose, made harmless for a terminal and honest for a reader.

use std::fmt::Write;

/// Makes visible what would otherwise act on the terminal or deceive the eye: control characters (ESC and C1
/// among them), line breaks, bidirectional overrides, zero-width and other invisible characters. They become
/// `\n`, `\r`, `\t` or `\u{…}`; all else stays. It is for showing, not for reading back: a backslash stays one.
#[must_use]
pub fn escape_terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ if is_deceptive(character) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    shown
}

fn is_deceptive(character: char) -> bool {
    character.is_control() // C0, DEL, C1
        || matches!(character,
            '\u{ad}' // soft hyphen
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' // no width, or blank without being a space
            | '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' // deprecated formatting, annotations
            | '\u{e0000}'..='\u{e0fff}') // tags, variation selectors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_made_visible() {
        for (text, shown) in [
            ("\x1b[2J", r"\u{1b}[2J"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\0\x07\x7f", r"\u{0}\u{7}\u{7f}"),
            ("cod\u{202e}gpj", r"cod\u{202e}gpj"),
            ("a\u{200b}b\u{feff}", r"a\u{200b}b\u{feff}"),
            ("x\u{2028}y\u{e0041}", r"x\u{2028}y\u{e0041}"),
        ] {
            assert_eq!(escape_terminal(text), shown);
        }
    }

    #[test]
    fn ordinary_text_stays() {
        for text in ["", "/run/a b.sock", "ünïcode 漢字 عربي", r"back\slash", "🦀"] {
            assert_eq!(escape_terminal(text), text);
        }
    }
}

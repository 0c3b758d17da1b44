//! What commands write, without what would change the terminal for good: colours pass, cursor movements, modes, titles, the
//! clipboard and questions that a terminal answers do not. Commands have no terminal, so they have no use for these.

/// Reads on where it was: output comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Tame {
    state: State,
    /// A sequence that may still turn out to be a colour.
    sequence: Vec<u8>,
    /// Colours are on, maybe.
    coloured: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and something that names a character set, or the like: one more byte.
    Designation,
    /// After ESC and `[`.
    Control,
    /// In a text for the terminal (OSC, DCS, and others like these), up to BEL or ST.
    String,
    /// There, after ESC.
    StringEscape,
    /// After the first byte of U+0080 to U+00BF, of which the first half stand for sequences after ESC (ECMA-48, C1).
    Lead,
}

/// Ends colours and the like.
const RESET: &[u8] = b"\x1b[0m";
const ESC: u8 = 0x1b;
const LEAD: u8 = 0xc2;
/// The longest sequence that may be a colour.
const LONGEST: usize = 64;

/// A whole text as it may be shown.
pub(super) fn text(text: &str) -> String {
    let mut tame = Tame::default();
    let mut shown = tame.piece(text.as_bytes());
    shown.extend(tame.end());
    String::from_utf8_lossy(&shown).into_owned()
}

impl Tame {
    /// A piece of output as it may be shown.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.byte(byte, &mut shown);
        }
        shown
    }

    /// What to write after a command's last output, if that is needed.
    pub(super) fn end(&mut self) -> &'static [u8] {
        let coloured = self.coloured;
        *self = Self::default();
        if coloured { RESET } else { b"" }
    }

    fn byte(&mut self, byte: u8, shown: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            // Begins a new one wherever it is, but for the end of a string.
            (State::String, ESC) => State::StringEscape,
            (State::StringEscape, b'\\') | (State::String, 0x07) => State::Text,
            // Who leaves it open hides no more than a line.
            (State::String, b'\n') => {
                shown.push(byte);
                State::Text
            }
            (State::String, _) => State::String,
            (State::Lead, 0x80..=0x9f) => self.after_escape(byte - 0x40),
            (State::Lead, 0xa0..=0xbf) => {
                shown.extend([LEAD, byte]);
                State::Text
            }
            (_, ESC) => State::Escape,
            (State::Text | State::Lead, LEAD) => State::Lead,
            (State::Text | State::Lead, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..) => {
                shown.push(byte);
                State::Text
            }
            (State::Escape | State::StringEscape, _) => self.after_escape(byte),
            (State::Designation, 0x20..=0x2f) => State::Designation,
            (State::Control, 0x20..=0x3f) => {
                self.sequence.push(byte);
                if self.sequence.len() > LONGEST { State::Text } else { State::Control }
            }
            (State::Control, b'm') => {
                self.colour(shown);
                State::Text
            }
            // Bells, other character sets, movements.
            (State::Text | State::Lead | State::Designation | State::Control, _) => State::Text,
        };
    }

    fn after_escape(&mut self, byte: u8) -> State {
        match byte {
            b'[' => {
                self.sequence.clear();
                State::Control
            }
            b']' | b'P' | b'X' | b'^' | b'_' => State::String,
            0x20..=0x2f => State::Designation,
            _ => State::Text,
        }
    }

    fn colour(&mut self, shown: &mut Vec<u8>) {
        if self.sequence.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')) {
            shown.extend([b"\x1b[", self.sequence.as_slice(), b"m"].concat());
            self.coloured = !matches!(self.sequence.as_slice(), b"" | b"0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> String {
        let mut tame = Tame::default();
        let mut text: Vec<u8> = pieces.iter().flat_map(|piece| tame.piece(piece.as_bytes())).collect();
        text.extend(tame.end());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn colours_pass_and_end_with_the_command() {
        assert_eq!(shown(&["a \x1b[1;31mred\x1b[0m é\n"]), "a \x1b[1;31mred\x1b[0m é\n");
        assert_eq!(shown(&["\x1b[38;5;9mred"]), "\x1b[38;5;9mred\x1b[0m");
        assert_eq!(shown(&["\x1b", "[3", "1mred\x1b[m\n"]), "\x1b[31mred\x1b[m\n", "in pieces");
    }

    #[test]
    fn what_changes_the_terminal_does_not() {
        for (name, text) in [
            ("clear", "\x1b[2J\x1b[H"),
            ("alternate screen", "\x1b[?1049h"),
            ("hide the cursor", "\x1b[?25l"),
            ("mouse", "\x1b[?1000h\x1b[?1006h"),
            ("move", "\x1b[3A\x1b[2K\x08"),
            ("title", "\x1b]0;mine\x07"),
            ("clipboard", "\x1b]52;c;aGk=\x1b\\"),
            ("question", "\x1b[6n\x1b[c\x05"),
            ("character set", "\x1b(0\x0e"),
            ("reset", "\x1bc"),
            ("device", "\x1bPq#0no\x1b\\"),
            ("private colours", "\x1b[>4;2m"),
            ("bell", "\x07"),
        ] {
            assert_eq!(shown(&["a", text, "b\n"]), "ab\n", "{name}");
            let bytes: Vec<String> = text.chars().map(String::from).collect();
            let mut pieces = vec!["a"];
            pieces.extend(bytes.iter().map(String::as_str));
            pieces.push("b\n");
            assert_eq!(shown(&pieces), "ab\n", "{name}, byte by byte");
        }
        assert_eq!(text("a\x1b]0;t\x07b\x1b[31mc"), "ab\x1b[31mc\x1b[0m");
        assert_eq!(shown(&["a\x1b]0;without an end\nb"]), "a\nb");
        assert_eq!(shown(&["a\u{9b}2Jb \u{9d}0;title\u{1b}\\c \u{85}\u{a9}é"]), "ab c ©é", "as characters");
        assert_eq!(shown(&["\r\nprogress 1\rprogress 2\n"]), "\r\nprogress 1\rprogress 2\n");
    }
}

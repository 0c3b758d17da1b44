//! Numbers as yaml.v2 reads them.

/// Decimal, hexadecimal, octal or binary, with `_` anywhere but at the front.
pub(super) fn int(text: &str) -> Option<i64> {
    if text.starts_with('_') {
        return None;
    }
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text.as_str()),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &digits[2..]),
        "0b" => (2, &digits[2..]),
        "0o" => (8, &digits[2..]),
        // `08` is not octal; it falls through to the floats.
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A finite float in the forms of YAML 1.1, without its sexagesimal ones.
pub(super) fn float(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !text.bytes().all(plain) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The integer that a float is, if it is one.
pub(super) fn whole(value: f64) -> Option<i64> {
    // 2^53: beyond it not every integer is a float.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_peer_reads_them() {
        for (text, expected) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("0x10", Some(16)),
            ("-0x10", Some(-16)),
            ("0X_10", Some(16)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("0b11", Some(3)),
            ("1_000", Some(1000)),
            ("1__0_", Some(10)),
            ("0", Some(0)),
            ("08", None),
            ("_1", None),
            ("0x", None),
            ("+-5", None),
            ("0x-1", None),
            ("", None),
            ("1e3", None),
            ("9223372036854775808", None),
            ("2001-01-01", None),
            ("190:20", None),
        ] {
            assert_eq!(int(text), expected, "{text}");
        }
        for (text, expected) in [
            ("08", Some(8)),
            ("5.0", Some(5)),
            ("1e3", Some(1000)),
            ("1.e2", Some(100)),
            ("5.5", None),
            ("1e400", None),
            ("1e", None),
            ("1.2.3", None),
            ("2001-01-01", None),
        ] {
            assert_eq!(float(text).and_then(whole), expected, "{text}");
        }
    }
}

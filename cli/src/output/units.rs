//! Amounts and times as people read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `17 B`, `1.2 kB`, `59.9 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1000.0, 0);
    // 999.95 would be written as 1000.0.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS.get(unit).copied().unwrap_or("PB"))
}

/// `0.4s`, `75.2s`.
pub(crate) fn seconds(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// RFC 3339, whole seconds, in UTC.
pub(crate) fn time(value: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(value?.seconds).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_960, "1.0 MB"),
            (3 << 30, "3.2 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(seconds(61_260), "61.2s");
        assert_eq!(
            time(Some(&prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 })).unwrap(),
            "2023-11-14T22:13:20Z"
        );
    }
}

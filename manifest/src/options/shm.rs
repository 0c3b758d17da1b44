//! Sizes, as `docker build --shm-size` takes them.

use super::InvalidOption;

/// Bytes, or with a unit of powers of 1024: `b`, `k`, `m`, `g`, `t`, each also as `kb` and `kib`, in either case.
pub(super) fn parse(text: &str) -> Result<u64, InvalidOption> {
    let invalid = || InvalidOption(format!("`{}` is no size: write bytes, or a unit as in `64m`", text.escape_debug()));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = lower.split_at_checked(digits).ok_or_else(invalid)?;
    let power = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    // BuildKit counts in i64, and 0 means its default.
    let bytes = number.checked_mul(1 << (10 * power)).filter(|bytes| (1..=i64::MAX as u64).contains(bytes));
    bytes.ok_or_else(invalid)
}

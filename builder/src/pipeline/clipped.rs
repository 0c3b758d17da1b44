//! Engines that leave output out.

/// Whether the engine says at the end of some output that it leaves out what comes (`BuildKit`,
/// `util/progress/logs/logs.go`).
pub(super) fn says_clipped(bytes: &[u8]) -> bool {
    let Some(end) = bytes.strip_suffix(b" reached]\n") else { return false };
    let line = end.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"[output clipped, log limit ") && line.len() < 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_clips_says_so_alone() {
        assert!(says_clipped(b"359\n3598\n[output clipped, log limit 200KiB/s reached]\n"));
        assert!(says_clipped(b"[output clipped, log limit 2.0MiB reached]\n"));
        assert!(!says_clipped(b"x [output clipped, log limit 2.0MiB reached]\n"));
        assert!(!says_clipped(b"[output clipped, log limit 2.0MiB reached]\nand more\n"));
    }
}

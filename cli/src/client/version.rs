//! Whether this client is new enough for a service.

use tonic::Code;

use super::ServiceError;

/// An error that says what to do when `ours` is older than the service's `minimum`.
pub(super) fn check(minimum: &str, ours: &str) -> Result<(), ServiceError> {
    // A minimum that can't be read is a later scheme's; such a service will say no where it has to.
    let (Some(wanted), Some(have)) = (parse(minimum), parse(ours)) else { return Ok(()) };
    if have >= wanted {
        return Ok(());
    }
    let message = format!("this slipway is {ours}, and the service wants {minimum} or newer: install a newer slipway");
    Err(ServiceError::Refused { code: Code::FailedPrecondition, message })
}

/// `major.minor.patch`, whatever follows; missing parts are 0.
fn parse(version: &str) -> Option<[u64; 3]> {
    let core = version.trim().trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = [0; 3];
    for (index, part) in core.split('.').enumerate() {
        *parts.get_mut(index)? = part.parse().ok()?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        for (minimum, ours, fits) in [
            ("0.1.0", "0.1.0", true),
            ("0.10.0", "0.9.9", false),
            ("v0.1", "0.1.1", true),
            ("", "0.1.0", true),
            ("1", "0.9", false),
        ] {
            assert_eq!(check(minimum, ours).is_ok(), fits, "{minimum} {ours}");
        }
    }
}

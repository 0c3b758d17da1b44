//! Scalars of a certain form. The pattern is for the schema, the function for the parser; a test compares them.

use std::time::Duration;

/// A port in a pattern.
macro_rules! port {
    () => {
        "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

/// What such a scalar looks like.
pub(crate) struct Form {
    /// For messages: "must be …".
    pub(crate) what: &'static str,
    /// How to write it.
    pub(crate) hint: Option<&'static str>,
    /// As ECMA-262 has it.
    pub(crate) pattern: &'static str,
    /// Which numbers are of the form, too.
    pub(crate) numbers: Numbers,
    /// Whether a text is of the form.
    pub(crate) matches: fn(&str) -> bool,
    /// For the tests, and the docs.
    pub(crate) examples: &'static [&'static str],
}

/// Numbers that may stand for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    None,
    /// Integers from 0.
    Natural,
    All,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

pub(super) static DURATION: Form = Form {
    what: "a duration",
    hint: Some("write it as `90s`, `10m` or `1h30m`"),
    pattern: r"^([0-9]+|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
    numbers: Numbers::Natural,
    matches: |text| duration(text).is_some(),
    examples: &["90s", "1h30m", "1.5h", "300"],
};

pub(super) static FORWARD: Form = Form {
    what: "`localPort:remotePort` or `localPort:service:remotePort`",
    hint: Some("write `8080:80`, or `8080:api:80`"),
    pattern: concat!("^", port!(), ":([^:]+:)?", port!(), "$"),
    numbers: Numbers::None,
    matches: |text| match text.split(':').collect::<Vec<_>>().as_slice() {
        [local, remote] => is_port(local) && is_port(remote),
        [local, service, remote] => is_port(local) && !service.is_empty() && is_port(remote),
        _ => false,
    },
    examples: &["8080:80", "5432:postgres:5432"],
};

pub(super) static GLOBAL_FORWARD: Form = Form {
    what: "`localPort:service:remotePort`",
    hint: Some("write `8080:api:80`"),
    pattern: concat!("^", port!(), ":[^:]+:", port!(), "$"),
    numbers: Numbers::None,
    matches: |text| match text.split(':').collect::<Vec<_>>().as_slice() {
        [local, service, remote] => is_port(local) && !service.is_empty() && is_port(remote),
        _ => false,
    },
    examples: &["5432:postgres:5432"],
};

pub(super) static REVERSE: Form = Form {
    what: "`remotePort:localPort`",
    hint: Some("write `9000:9001`"),
    pattern: concat!("^", port!(), ":", port!(), "$"),
    numbers: Numbers::None,
    matches: |text| text.split_once(':').is_some_and(|(remote, local)| is_port(remote) && is_port(local)),
    examples: &["9000:9001"],
};

pub(super) static SYNC: Form = Form {
    what: "`localPath:remotePath`",
    hint: Some("write `.:/usr/src/app`"),
    pattern: r"^[^:]*:[^:]*(:[^:]*)?$",
    numbers: Numbers::None,
    // The third part is for the drive of a Windows path.
    matches: |text| matches!(text.split(':').count(), 2 | 3),
    examples: &[".:/usr/src/app", "C:\\code:/code"],
};

pub(super) static EXTERNAL_VOLUME: Form = Form {
    what: "`name:mountPath` or `name:subPath:mountPath`",
    hint: Some("write `data:/data`"),
    pattern: r"^[^:]*:",
    numbers: Numbers::None,
    matches: |text| text.contains(':'),
    examples: &["data:/data", "data:sub:/data"],
};

pub(super) static DEV_SECRET: Form = Form {
    what: "`localPath:remotePath`, or that with `:mode`",
    hint: Some("write `~/.ssh/config:/root/.ssh/config:600`"),
    pattern: r"^[^:]+:[^:]+(:[^:]+(:[0-7]{1,10})?)?$|\$",
    numbers: Numbers::None,
    matches: |text| {
        let parts: Vec<&str> = text.split(':').collect();
        let mode =
            |mode: &str| (1..=10).contains(&mode.len()) && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        // The part more is for the drive of a Windows path. What comes from a variable is not known yet.
        let good = matches!(parts.len(), 2..=4)
            && parts.iter().all(|part| !part.is_empty())
            && (parts.len() < 4 || parts.last().is_some_and(|last| mode(last)));
        good || text.contains('$')
    },
    examples: &["~/.netrc:/root/.netrc", "a:/b:600"],
};

pub(super) static QUANTITY: Form = Form {
    what: "a quantity",
    hint: Some("write it as `2`, `500m`, `1.5Gi` or `64M`"),
    pattern: r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$",
    numbers: Numbers::All,
    matches: is_quantity,
    examples: &["2", "500m", "1.5Gi", "1e3"],
};

pub(super) static HOST: Form = Form {
    what: "`name:address`",
    hint: Some("write `name:address`, or `hostname:` and `ip:`"),
    pattern: r"^[^:]*[^:\s][^:]*:[\s\S]*\S|\$",
    numbers: Numbers::None,
    // What comes from a variable is checked when it is expanded.
    matches: |text| text.contains('$') || is_host(text),
    examples: &["db:10.0.0.1", "six:::1", "${NAME}:${ADDRESS}"],
};

/// A duration as Go writes it; a number without a unit is seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())];
        let tail = &rest[number.len()..];
        let unit = &tail[..tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len())];
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse().is_ok_and(|port: u16| port > 0)
}

fn is_host(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, address)| !name.trim().is_empty() && !address.trim().is_empty())
}

fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = &text[..text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len())];
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || number.len() > digits + 1 {
        return false;
    }
    match &text[number.len()..] {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => true,
        exponent => exponent.strip_prefix(['e', 'E']).is_some_and(|exponent| {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        }),
    }
}

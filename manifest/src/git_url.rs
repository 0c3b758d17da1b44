//! URLs of git repositories, as `git clone` takes them (`git help clone`, "Git URLs").

use std::fmt;

/// The URL of a repository that is somewhere else: over http(s), ssh or git's own protocol, or as `user@host:path`.
#[derive(Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// With its `://`; empty for `user@host:path`.
    scheme: String,
    /// Before the host's `@`.
    user_info: Option<String>,
    /// `host[:port]`.
    host: String,
    /// What follows, its first character included.
    path: String,
}

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGitUrl {
    /// A path, a helper of git's, or something else.
    #[error("it is no URL of a git repository: write `https://…`, `ssh://…` or `git@HOST:PATH`")]
    Form,
    /// Git would take it for an option, or for two lines.
    #[error("it begins with `-`, or holds a space or a control character")]
    Character,
}

const SCHEMES: [&str; 4] = ["https://", "http://", "ssh://", "git://"];

impl GitUrl {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, InvalidGitUrl> {
        if text.contains(|character: char| character.is_control() || character == ' ') {
            return Err(InvalidGitUrl::Character);
        }
        let scheme =
            SCHEMES.iter().find(|scheme| text.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme)));
        let (scheme, authority, path) = match scheme {
            Some(scheme) => {
                let rest = &text[scheme.len()..];
                let (authority, path) = rest.split_at(rest.find('/').ok_or(InvalidGitUrl::Form)?);
                (*scheme, authority, path)
            }
            None if text.contains("://") || text.contains("::") => return Err(InvalidGitUrl::Form),
            None => {
                let colon = text.find(':').ok_or(InvalidGitUrl::Form)?;
                ("", &text[..colon], &text[colon..])
            }
        };
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        if [Some(host), user_info].iter().flatten().any(|part| part.starts_with('-')) {
            return Err(InvalidGitUrl::Character);
        }
        // Git reads hosts in its configuration, where other characters mean something.
        let good = |character: char| character.is_ascii_alphanumeric() || ".-_:[]".contains(character);
        if host.is_empty() || !host.chars().all(good) || path.len() < 2 {
            return Err(InvalidGitUrl::Form);
        }
        let (scheme, host, path) = (scheme.to_owned(), host.to_owned(), path.to_owned());
        Ok(Self { scheme, user_info: user_info.map(str::to_owned), host, path })
    }

    /// Over http or https, where a user and a password get in.
    pub fn is_http(&self) -> bool {
        self.scheme.starts_with("http")
    }

    /// `http` or `https`, where it is one.
    pub fn protocol(&self) -> &str {
        self.scheme.trim_end_matches("://")
    }

    /// Whether others on the way can read what is sent: neither encrypted nor of this machine.
    pub fn is_in_the_clear(&self) -> bool {
        let name = self.host.split(':').next().unwrap_or_default();
        matches!(self.protocol(), "http" | "git") && !["localhost", "127.0.0.1"].contains(&name)
    }

    /// `host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// User and password of a URL over http(s) that holds them.
    pub fn credentials(&self) -> Option<(String, String)> {
        let user_info = self.user_info.as_deref().filter(|_| self.is_http())?;
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        Some((decoded(user), decoded(password)))
    }

    /// The same with this user and password.
    pub fn with_credentials(&self, user: &str, password: &str) -> String {
        format!("{}{}:{}@{}{}", self.scheme, encoded(user), encoded(password), self.host, self.path)
    }

    /// Where it is over https, most likely: without users and ssh's port.
    pub fn to_https(&self) -> String {
        format!("https://{}/{}", self.https_host(), self.path.trim_start_matches([':', '/']))
    }

    /// Its host over https, most likely, which has another port than ssh.
    pub fn https_host(&self) -> &str {
        if self.is_http() { &self.host } else { self.host.split(':').next().unwrap_or_default() }
    }

    /// As it may be seen, and as git gets it: no password in it, and of ssh's users only.
    pub fn without_credentials(&self) -> String {
        let user = self.user_info.as_deref().filter(|_| !self.is_http());
        let user = user.map(|user| user.split(':').next().unwrap_or(user));
        let (at, user) = if user.is_some() { ("@", user.unwrap_or_default()) } else { ("", "") };
        format!("{}{user}{at}{}{}", self.scheme, self.host, self.path)
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_credentials())
    }
}

/// Percent-encoded, but for what is never anything else (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// Without percent-encoding; what is none stays.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_what_is_seen_of_them() {
        for (text, seen, host, credentials) in [
            ("https://git.example/a/b.git", "https://git.example/a/b.git", "git.example", None),
            ("HTTPS://git.example/a", "https://git.example/a", "git.example", None),
            (
                "https://me:p%40ss@git.example:8443/a",
                "https://git.example:8443/a",
                "git.example:8443",
                Some(("me", "p@ss")),
            ),
            ("https://a:b@c@git.example/a", "https://git.example/a", "git.example", Some(("a", "b@c"))),
            ("https://token@git.example/a", "https://git.example/a", "git.example", Some(("token", ""))),
            ("https://100%@git.example/a@b", "https://git.example/a@b", "git.example", Some(("100%", ""))),
            ("ssh://git:pw@git.example:22/a", "ssh://git@git.example:22/a", "git.example:22", None),
            ("git@git.example:a/b", "git@git.example:a/b", "git.example", None),
            ("git.example:a/b", "git.example:a/b", "git.example", None),
            ("git://git.example/a", "git://git.example/a", "git.example", None),
        ] {
            let url = GitUrl::parse(text).unwrap();
            let found = url.credentials();
            let found = found.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
            assert_eq!((url.without_credentials().as_str(), url.host(), found), (seen, host, credentials), "{text}");
            assert!(!format!("{url:?}").contains("p%40ss"));
            if url.is_http() {
                let (user, password) = ("mé@", "p:a/ss 1");
                let with = GitUrl::parse(&url.with_credentials(user, password)).unwrap();
                assert_eq!(with.credentials(), Some((user.to_owned(), password.to_owned())));
                assert_eq!(with.without_credentials(), seen);
            }
        }
        for (text, https) in [
            ("git@git.example:a/b.git", "https://git.example/a/b.git"),
            ("ssh://git@git.example:2222/a/b", "https://git.example/a/b"),
            ("http://me:pw@git.example:8080/a", "https://git.example:8080/a"),
            ("git://git.example/a", "https://git.example/a"),
        ] {
            assert_eq!(GitUrl::parse(text).unwrap().to_https(), https);
        }
        for text in [
            "",
            "a/b",
            "/a/b",
            "./a",
            "file:///a",
            "ext::sh -c x",
            "ext::sh",
            "https://git.example",
            "https:///a",
            "https://x.helper=!id;/a",
            "https://h\u{f6}/a",
            "git@host:",
        ] {
            assert!(GitUrl::parse(text).is_err(), "{text}");
        }
        for text in ["-oProxyCommand=x:a", "https://a b/c", "ssh://-x/a", "https://h/a\nb"] {
            assert_eq!(GitUrl::parse(text).unwrap_err(), InvalidGitUrl::Character, "{text}");
        }
    }
}

//! The caller's logins in a job: encrypted in its folder until it ends, and given to the engine over the session.

use std::io;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use time::OffsetDateTime;

use crate::buildkit::session::auth::{Access, Mint, Token};
use crate::names::JobId;
use crate::registry::{Login, Logins};
use crate::seal::Key;

/// The names that engines have for Docker Hub, whose calls another host answers (`BuildKit`, `util/resolver`).
const DOCKER_HUB: [&str; 2] = ["registry-1.docker.io", "docker.io"];
/// Seconds after which an engine asks again for a token of which nobody knows how long it holds.
const AGAIN: i64 = 60;

/// Encrypted for the job's folder.
pub fn seal(logins: &Logins, key: &Key, job: JobId) -> io::Result<Vec<u8>> {
    Ok(key.seal(&logins.to_bytes()?, &place(job))?)
}

/// What was sealed for the job.
pub fn unseal(sealed: &[u8], key: &Key, job: JobId) -> io::Result<Logins> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the job's logins are damaged, or not this job's");
    let plain = key.unseal(sealed, &place(job)).map_err(|_| damaged())?;
    // The parse error could quote them.
    Logins::from_bytes(plain.expose_secret()).map_err(|_| damaged())
}

/// They can't be taken for the job's secrets.
fn place(job: JobId) -> String {
    format!("{job} logins")
}

/// What the session of a build gives to the engine, by the hosts that engines ask for.
pub(super) fn access(logins: &Logins) -> impl Iterator<Item = (String, Access)> {
    logins.iter().flat_map(|(host, login)| {
        let names = if host.is_docker_hub() { DOCKER_HUB.to_vec() } else { vec![host.as_str()] };
        names.into_iter().map(|name| (name.to_owned(), access_of(login)))
    })
}

fn access_of(login: &Login) -> Access {
    let secret = |secret: &secrecy::SecretString| secret.expose_secret().to_owned();
    match login {
        Login::Password { username, password } => {
            Access::Credentials { username: username.clone(), secret: secret(password) }
        }
        Login::Identity(token) => Access::Credentials { username: String::new(), secret: secret(token) },
        Login::Token(token) => {
            let token = secret(token);
            let mint: Mint = Arc::new(move |_| {
                let issued_at = OffsetDateTime::now_utc().unix_timestamp();
                Ok(Token { token: token.clone(), expires_in: AGAIN, issued_at })
            });
            Access::Tokens(mint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins() -> Logins {
        let password = Login::Password { username: "me".to_owned(), password: "open sesame".to_owned().into() };
        let logins = [
            ("a.example:5000", password),
            ("b.example", Login::Identity("of identity".to_owned().into())),
            ("docker.io", Login::Token("of registry".to_owned().into())),
        ];
        Logins::new(logins.map(|(host, login)| (host.parse().unwrap(), login))).unwrap()
    }

    #[test]
    fn what_is_sealed_is_read_by_its_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let (key, job) = (Key::open(dir.path()).unwrap(), JobId::new());
        let sealed = seal(&logins(), &key, job).unwrap();
        for word in ["open sesame", "a.example", "me"] {
            assert!(!sealed.windows(word.len()).any(|found| found == word.as_bytes()), "{word}");
        }
        let read = unseal(&sealed, &key, job).unwrap();
        assert_eq!(*read.to_bytes().unwrap(), *logins().to_bytes().unwrap());
        assert!(unseal(&sealed, &key, JobId::new()).is_err());
        assert!(crate::pipeline::secrets::Secrets::unseal(&sealed, &key, job).is_err());
    }

    #[test]
    fn engines_get_each_in_its_form_under_the_name_that_they_ask_for() {
        let given: Vec<_> = access(&logins()).collect();
        let said = |access: &Access| match access {
            Access::Credentials { username, secret } => format!("{username}:{secret}"),
            Access::Tokens(mint) => mint(&[]).unwrap().token,
        };
        let given: Vec<_> = given.iter().map(|(host, access)| (host.as_str(), said(access))).collect();
        let expected = [
            ("a.example:5000", "me:open sesame"),
            ("b.example", ":of identity"),
            ("registry-1.docker.io", "of registry"),
            ("docker.io", "of registry"),
        ];
        assert_eq!(given, expected.map(|(host, said)| (host, said.to_owned())));
    }
}

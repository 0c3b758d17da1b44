//! The agent as a credential helper of Docker's tools: what they ask for the registry's password, instead of a file that holds it
//! (docker/docker-credential-helpers, "Development").
//!
//! The password is the job's token, which the environment of commands has anyway.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

/// What it is called by its name in `config.json`, `okteto`.
pub const HELPER: &str = "docker-credential-okteto";
/// The user that goes with a token; the registry takes any.
const USER: &str = "okteto";
/// What tools take as the answer that there are none.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The longest question.
pub const MAX_QUESTION: u64 = 4096;

/// Whether a program of this path is to be the helper.
pub fn is_helper(program: &str) -> bool {
    program.rsplit('/').next() == Some(HELPER)
}

/// Is the helper: `verb` is its argument, the question is on standard input.
pub fn main(verb: Option<&str>) -> ExitCode {
    let mut question = String::new();
    // What is no text is nobody's registry.
    let _ = std::io::stdin().take(MAX_QUESTION).read_to_string(&mut question);
    let variable = |name: &str| std::env::var(name).ok();
    let (answer, code) = match answer(verb, question.trim(), &variable) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(why) => (why, ExitCode::FAILURE),
    };
    match writeln!(std::io::stdout(), "{answer}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the helper says to a verb and a question.
///
/// # Errors
/// What tools are told instead of an answer.
pub fn answer(verb: Option<&str>, question: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    match verb {
        Some("get") => {
            let host =
                question.strip_prefix("https://").or_else(|| question.strip_prefix("http://")).unwrap_or(question);
            let host = host.split('/').next().unwrap_or_default();
            let registry = variable("OKTETO_REGISTRY_URL").filter(|registry| registry == host);
            let token = registry.and_then(|_| variable("OKTETO_TOKEN")).ok_or_else(|| NOT_FOUND.to_owned())?;
            let answer = serde_json::json!({ "ServerURL": question, "Username": USER, "Secret": token });
            Ok(answer.to_string())
        }
        Some("list") => Ok("{}".to_owned()),
        // A login of somebody's own would have to be kept.
        Some("store" | "erase") => Err("the service logs commands in by itself".to_owned()),
        _ => Err(format!("usage: {HELPER} get|list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_the_password_of_one_registry() {
        let variable = |name: &str| match name {
            "OKTETO_REGISTRY_URL" => Some("registry.example:5000".to_owned()),
            "OKTETO_TOKEN" => Some("slw_\"x".to_owned()),
            _ => None,
        };
        for question in ["registry.example:5000", "https://registry.example:5000", "https://registry.example:5000/v2/"]
        {
            let told: serde_json::Value =
                serde_json::from_str(&answer(Some("get"), question, &variable).unwrap()).unwrap();
            assert_eq!((&told["ServerURL"], &told["Secret"]), (&question.into(), &"slw_\"x".into()));
        }
        for question in ["registry.example", "other.example", "https://other.example/registry.example:5000", ""] {
            assert_eq!(answer(Some("get"), question, &variable), Err(NOT_FOUND.to_owned()), "{question}");
        }
        assert_eq!(answer(Some("get"), "", &|_| None), Err(NOT_FOUND.to_owned()));
        assert_eq!(answer(Some("list"), "", &variable).as_deref(), Ok("{}"));
        for verb in [Some("store"), Some("erase"), Some("other"), None] {
            assert!(answer(verb, "registry.example:5000", &variable).is_err());
        }
        assert!(is_helper("/a/docker-credential-okteto") && is_helper(HELPER) && !is_helper("/a/slipway-runner-agent"));
    }
}

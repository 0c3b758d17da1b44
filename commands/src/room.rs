//! What fits into the start of a program: Linux bounds its arguments and its environment.

use std::collections::BTreeMap;

/// The longest `NAME=value` or argument, with the NUL at its end (`execve(2)`: `MAX_ARG_STRLEN`).
pub(crate) const MAX_ENTRY: usize = 128 << 10;
/// All of them, with usual limits (a quarter of a stack of 8 MiB).
const MAX_ALL: usize = 2 << 20;
/// What is added to ours: the program's path, `$OKTETO_ENV`, and what the kernel tells a program.
const SPARE: usize = 16 << 10;
/// What of it a service's variables may have: the rest is for what the environment keeps and what the job itself sets.
const MAX_GIVEN: usize = 1 << 20;
/// The largest variables that are named.
const NAMED: usize = 3;

/// Those of a service's variables that commands can have, and why they can't have the others.
pub fn fitting<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut env, mut left_out, mut bytes) = (BTreeMap::new(), Vec::new(), 0);
    for (name, value) in variables {
        let entry = name.len() + value.len() + 2;
        let why = if value.contains('\0') {
            "it is no text"
        } else if entry > MAX_ENTRY || bytes + entry > MAX_GIVEN {
            "it is too large for an environment"
        } else {
            bytes += entry;
            env.insert(name.to_owned(), value.to_owned());
            continue;
        };
        left_out.push(format!("commands don't get the service's variable `{name}`: {why}"));
    }
    (env, left_out)
}

/// Why no program can be started like this, if that is so.
pub(crate) fn check(argv: &[String], env: &BTreeMap<String, String>) -> Result<(), String> {
    if let Some(long) = argv.iter().find(|argument| argument.len() >= MAX_ENTRY) {
        let begins: String = long.chars().take(40).collect();
        return Err(format!(
            "the command `{}…` has {} bytes, and one can have {}: put it into a script",
            begins.escape_debug(),
            long.len(),
            MAX_ENTRY - 1
        ));
    }
    let entry = |(name, value): (&String, &String)| name.len() + value.len() + 2;
    if let Some(pair) = env.iter().find(|pair| entry(*pair) > MAX_ENTRY) {
        return Err(format!(
            "the variable `{}` has {} bytes with its name, and no program can be started with more than {}",
            pair.0,
            entry(pair) - 2,
            MAX_ENTRY - 2
        ));
    }
    // Each has a pointer to it.
    let pointers = size_of::<usize>() * (argv.len() + env.len());
    let all = argv.iter().map(|argument| argument.len() + 1).sum::<usize>() + env.iter().map(entry).sum::<usize>();
    if all + pointers + SPARE <= MAX_ALL {
        return Ok(());
    }
    let mut largest: Vec<_> = env.iter().collect();
    largest.sort_by_key(|pair| std::cmp::Reverse(entry(*pair)));
    let largest: Vec<_> =
        largest.into_iter().take(NAMED).map(|(name, value)| format!("`{name}` {} KiB", value.len() >> 10)).collect();
    Err(format!(
        "the commands' environment has {} KiB, and no program can be started with more than {} KiB: shorten some of what is kept \
         (`slipway environment show`; `slipway environment delete` forgets it), of the service's variables (`slipway variable list`), of `.env` or of the image; the \
         largest are {}",
        (all + pointers) >> 10,
        (MAX_ALL - SPARE) >> 10,
        largest.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(count: usize, kib: usize) -> BTreeMap<String, String> {
        (0..count).map(|n| (format!("V{n:02}"), "v".repeat(kib << 10))).collect()
    }

    #[test]
    fn a_service_gives_what_leaves_room_for_others() {
        let large = "v".repeat(MAX_ENTRY - 3);
        let (some, left_out) = fitting([("A", "a"), ("B", "a\0b"), ("C", &large[1..]), ("LARGE", &large)]);
        assert_eq!(some.keys().collect::<Vec<_>>(), ["A", "C"]);
        insta::assert_snapshot!(left_out.join("\n"), @"
        commands don't get the service's variable `B`: it is no text
        commands don't get the service's variable `LARGE`: it is too large for an environment
        ");
        let many = env(20, 100);
        let (some, left_out) = fitting(many.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!((some.len(), left_out.len()), (10, 10));
    }

    #[test]
    fn what_no_program_starts_with_is_named() {
        let argv = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
        check(&argv("x"), &env(20, 100)).unwrap();
        let said = [("x", 21, 100), ("x", 1, 128), (&"y".repeat(MAX_ENTRY), 1, 1)];
        let said = said.map(|(text, count, kib)| check(&argv(text), &env(count, kib)).unwrap_err());
        insta::assert_snapshot!(said.join("\n"), @"
        the commands' environment has 2100 KiB, and no program can be started with more than 2032 KiB: shorten some of what is kept (`slipway environment show`; `slipway environment delete` forgets it), of the service's variables (`slipway variable list`), of `.env` or of the image; the largest are `V00` 100 KiB, `V01` 100 KiB, `V02` 100 KiB
        the variable `V00` has 131075 bytes with its name, and no program can be started with more than 131070
        the command `yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…` has 131072 bytes, and one can have 131071: put it into a script
        ");
    }

    /// The numbers are Linux's.
    #[test]
    fn a_program_does_start_with_the_most_that_is_let_through() {
        let mut all = env(20, 100);
        let mut rest = 0;
        while check(&["true".to_owned()], &all).is_ok() {
            rest += 1 << 10;
            all.insert("REST".to_owned(), "v".repeat(rest));
        }
        all.insert("REST".to_owned(), "v".repeat(rest - (1 << 10)));
        let long = ("LONG".to_owned(), "v".repeat(MAX_ENTRY - 6));
        for env in [all, BTreeMap::from([long])] {
            check(&["true".to_owned()], &env).unwrap();
            assert!(
                std::process::Command::new("true")
                    .env_clear()
                    .env("PATH", "/usr/bin:/bin")
                    .envs(env)
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
}

//! What commands leave in `$OKTETO_ENV`, all together and within limits.

use std::collections::BTreeMap;
use std::{fmt, io};

use slipway_manifest::dotenv;
use slipway_manifest::variables::RESERVED;

use crate::room::MAX_ENTRY;

/// Variables of one environment, and bytes of all their names and values.
const MAX_VARIABLES: usize = 1000;
const MAX_BYTES: usize = 1 << 20;
/// The longest name.
const MAX_NAME: usize = 256;

/// Keeps all that was left so far; called before a command is said to be done.
pub type Keep<'a> = Box<dyn FnMut(&BTreeMap<String, String>) -> io::Result<()> + Send + 'a>;

/// The variables that commands have left. Their values may be secret.
#[derive(Default)]
pub struct Left<'a> {
    variables: BTreeMap<String, String>,
    bytes: usize,
    keep: Option<Keep<'a>>,
}

impl<'a> Left<'a> {
    /// On top of those that earlier jobs have left; all of them are kept.
    pub fn keeping(before: BTreeMap<String, String>, keep: Keep<'a>) -> Self {
        let bytes = before.iter().map(|(name, value)| name.len() + value.len()).sum();
        Self { variables: before, bytes, keep: Some(keep) }
    }

    /// Takes what a command has left in its file, and gives what the commands after it get of that.
    pub fn take(&mut self, content: &[u8], warn: &mut dyn FnMut(String)) -> Vec<(String, String)> {
        let Ok(text) = std::str::from_utf8(content) else {
            warn("$OKTETO_ENV is not UTF-8: ignored".to_owned());
            return Vec::new();
        };
        let found = match dotenv::parse(text, &|name| self.variables.get(name).cloned()) {
            Ok(found) => found,
            Err(error) => {
                warn(format!("$OKTETO_ENV: {error}"));
                return Vec::new();
            }
        };
        let (mut taken, mut left_out) = (Vec::new(), BTreeMap::<&'static str, (String, usize)>::new());
        for (name, value) in found {
            match self.add(&name, &value) {
                Ok(()) => taken.push((name, value)),
                Err(why) => {
                    let (_, more) = left_out.entry(why).or_insert_with(|| (shown(&name), 0));
                    *more += 1;
                }
            }
        }
        for (why, (name, count)) in left_out {
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            warn(format!("$OKTETO_ENV: {name}{more} left out: {why}"));
        }
        if !taken.is_empty()
            && let Some(Err(error)) = self.keep.as_mut().map(|keep| keep(&self.variables))
        {
            warn(format!("what the commands left in $OKTETO_ENV is not kept with the environment: {error}"));
        }
        taken
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if RESERVED.contains(&name) {
            return Err("the service sets it");
        }
        if value.contains('\0') {
            return Err("its value holds a NUL character");
        }
        if name.len() > MAX_NAME {
            return Err("a name may have 256 bytes");
        }
        // The `=` between them, and the NUL at their end.
        if name.len() + value.len() + 2 > MAX_ENTRY {
            return Err("no program can be started with a variable of more than 128 KiB");
        }
        let before = self.variables.get(name).map(|before| name.len() + before.len());
        if before.is_none() && self.variables.len() >= MAX_VARIABLES {
            return Err("an environment keeps 1000 variables");
        }
        let bytes = self.bytes - before.unwrap_or(0) + name.len() + value.len();
        if bytes > MAX_BYTES {
            return Err("an environment keeps 1 MiB of variables");
        }
        self.bytes = bytes;
        self.variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

impl fmt::Debug for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left").field("names", &self.variables.keys()).finish_non_exhaustive()
    }
}

/// A name in a message, whatever it is.
fn shown(name: &str) -> String {
    let more = name.chars().nth(64).is_some();
    format!("`{}{}`", name.chars().take(64).collect::<String>(), if more { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_cannot_be_kept_is_named_without_its_value() {
        let (mut left, mut warnings) = (Left::default(), Vec::new());
        let mut take = |content: String| left.take(content.as_bytes(), &mut |message| warnings.push(message)).len();
        assert_eq!(take("OKTETO_TOKEN=x\nOKTETO_URL=x\nOK=1\nN=\"a\\0000b\"".to_owned()), 1);
        assert_eq!(take(format!("LONG={}\n", "v".repeat(128 << 10))), 0);
        assert_eq!(take(format!("FITS={}\n", "v".repeat((128 << 10) - 6))), 1);
        assert_eq!(take(format!("{}=v\n", "n".repeat(300))), 0);
        for name in ["B", "C", "D", "E", "F", "G", "H"] {
            take(format!("{name}={}\n", "v".repeat(127 << 10)));
        }
        assert_eq!(take(format!("I={}\n", "v".repeat(127 << 10))), 0);
        assert_eq!(take("FITS=1".to_owned()), 1, "a smaller value in its place");
        assert_eq!(take((0..1200).fold(String::new(), |file, n| file + &format!("V{n}=\n"))), 1000 - 9);
        insta::assert_snapshot!(warnings.join("\n"), @"
        $OKTETO_ENV: `N` left out: its value holds a NUL character
        $OKTETO_ENV: `OKTETO_TOKEN` and 1 more left out: the service sets it
        $OKTETO_ENV: `LONG` left out: no program can be started with a variable of more than 128 KiB
        $OKTETO_ENV: `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` left out: a name may have 256 bytes
        $OKTETO_ENV: `I` left out: an environment keeps 1 MiB of variables
        $OKTETO_ENV: `V991` and 208 more left out: an environment keeps 1000 variables
        ");
    }

    #[test]
    fn all_that_is_left_is_kept_and_what_is_no_file_of_variables_only_warns() {
        let kept = Mutex::new(Vec::new());
        let before = BTreeMap::from([("OLD".to_owned(), "1".to_owned())]);
        let mut warnings = Vec::new();
        let keep = |variables: &BTreeMap<String, String>| {
            kept.lock().unwrap().push(variables.len());
            Ok(())
        };
        let mut left = Left::keeping(before, Box::new(keep));
        let mut take = |content: &[u8]| left.take(content, &mut |message| warnings.push(message));
        assert_eq!(take(b"NEW='a b'"), [("NEW".to_owned(), "a b".to_owned())]);
        assert_eq!(take(b"MORE=${NEW}c"), [("MORE".to_owned(), "a bc".to_owned())], "of a command before");
        assert_eq!(take(b"bad line"), []);
        assert_eq!(take(b"\xff"), []);
        assert_eq!(take(b""), []);
        assert_eq!((kept.lock().unwrap().as_slice(), warnings.len()), ([2, 3].as_slice(), 2), "{warnings:?}");
    }
}

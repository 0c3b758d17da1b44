//! Our user's home, as the container's `/etc/passwd` has it.

use std::fs;

use rustix::process::getuid;

/// What a user without a home has, as everywhere.
const NOWHERE: &str = "/";

/// Where commands are at home that are not told.
pub(crate) fn home() -> String {
    // Bytes, since a field may hold anything.
    let users = fs::read("/etc/passwd").unwrap_or_default();
    find(&String::from_utf8_lossy(&users), getuid().as_raw()).unwrap_or(NOWHERE).to_owned()
}

/// `NAME:PASSWORD:UID:GID:TEXT:HOME:SHELL` (`passwd(5)`).
fn find(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(uid);
        fields.nth(2).filter(|home| found && !home.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_line_of_the_user_counts() {
        let users =
            "# comment\nroot:x:0:0:root:/root:/bin/sh\nbad:x\napp:x:1000:1000:App\napp:x:1000:1000::/home/app:\n";
        assert_eq!((find(users, 0), find(users, 1000), find(users, 1)), (Some("/root"), Some("/home/app"), None));
        assert_eq!(find("app:x:7:7:::/bin/sh", 7), None);
    }
}

//! Whom files belong to: the user of an image, as its configuration names it.

use bollard_buildkit_proto::pb::{ChownOpt, NamedUserOpt, UserOpt, user_opt};

/// `user`, `uid`, `user:group` or `uid:gid`. Names are those of the image's `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    user: Id,
    group: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    Number(u32),
    Name(String),
}

impl Owner {
    /// The user of an image; none: root, whose everything is anyway.
    pub fn of(user: &str) -> Option<Self> {
        let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        if matches!(user, "" | "root") || user.parse() == Ok(0) {
            return None;
        }
        Some(Self { user: Id::of(user), group: group.filter(|group| !group.is_empty()).map(Id::of) })
    }

    /// Whether it takes the image to know who that is.
    pub(super) fn has_names(&self) -> bool {
        [Some(&self.user), self.group.as_ref()].into_iter().flatten().any(|id| matches!(id, Id::Name(_)))
    }

    /// As an operation has it of which this input is the image.
    pub(super) fn to_proto(&self, image: i64) -> ChownOpt {
        let user = |id: &Id| UserOpt {
            user: Some(match id {
                Id::Number(number) => user_opt::User::ById(*number),
                Id::Name(name) => user_opt::User::ByName(NamedUserOpt { name: name.clone(), input: image }),
            }),
        };
        ChownOpt { user: Some(user(&self.user)), group: self.group.as_ref().map(user) }
    }
}

impl Id {
    fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_user_is_read() {
        for root in ["", "root", "0", "0:0", "root:staff", "00"] {
            assert_eq!(Owner::of(root), None, "{root}");
        }
        let found = |text: &str| {
            let owner = Owner::of(text).unwrap();
            (owner.has_names(), owner.group.is_some())
        };
        assert_eq!(found("1000"), (false, false));
        assert_eq!(found("1000:1000"), (false, true));
        assert_eq!(found("nobody"), (true, false));
        assert_eq!(found("1000:staff"), (true, true));
        assert_eq!(found("nobody:"), (true, false));
        let ChownOpt { user, group } = Owner::of("nobody:65534").unwrap().to_proto(1);
        let named = NamedUserOpt { name: "nobody".to_owned(), input: 1 };
        assert_eq!(user.unwrap().user, Some(user_opt::User::ByName(named)));
        assert_eq!(group.unwrap().user, Some(user_opt::User::ById(65534)));
    }
}

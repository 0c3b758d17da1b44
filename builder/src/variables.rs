//! Variables that the service keeps for its users, encrypted on the disk: of the admins for everybody, of a namespace, of a
//! user.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretSlice};

use crate::names::Namespace;
use crate::seal::{Key, SealError};
use crate::store::Db;
use crate::store::db::DbError;
use crate::store::db::variables::{Limits, SetVariable, VariableRow};

/// Variables of one owner, and bytes of their values: what a job gets of all scopes can never be too much for it, so that nobody's
/// variables keep others from working.
const LIMITS: Limits = Limits { count: 1000, bytes: 2 << 20 };
/// The longest name and the largest value, in bytes.
const MAX_NAME: usize = 256;
/// As large as a build's secret.
const MAX_VALUE: usize = slipway_manifest::options::MAX_SECRET;
/// What only the service may say (Okteto, `pkg/env`).
const RESERVED: [&str; 4] = ["OKTETO_CONTEXT", "OKTETO_NAMESPACE", "OKTETO_URL", "OKTETO_TOKEN"];

/// What makes commands run here, in whichever scope it is true.
const FORCE_REMOTE: &str = "OKTETO_FORCE_REMOTE";

/// Whose a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The admins', for everybody.
    Admin,
    /// A namespace's.
    Namespace(Namespace),
    /// A user's.
    User(String),
}

/// Who gets to see a variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableKind {
    /// Nobody; but clients expand manifests with it.
    Masked,
    /// Whoever may use it.
    Plain,
    /// Nobody: only builds and commands get it.
    Secret,
}

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Who sees its value.
    pub kind: VariableKind,
    /// Its value, if it is plain.
    pub value: Option<String>,
    /// When it was set, in milliseconds since 1970.
    pub updated: i64,
}

/// Those of all scopes, as they count.
#[derive(Debug, Default)]
pub struct Resolved {
    /// By name.
    pub variables: BTreeMap<String, ResolvedVariable>,
    /// `OKTETO_FORCE_REMOTE` is true in a scope; one that says something else does not undo it.
    pub force_remote: bool,
}

/// The one of a name that counts.
#[derive(Debug)]
pub struct ResolvedVariable {
    /// Whose it is.
    pub scope: Scope,
    /// Who sees its value.
    pub kind: VariableKind,
    /// Its value.
    pub value: SecretSlice<u8>,
    /// When it was set, in milliseconds since 1970.
    pub updated: i64,
}

/// Why a variable can't be set or read.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// Its name is none.
    #[error("`{0}` can't be the name of a variable: expected letters, digits and _, and no digit first")]
    Name(String),
    /// Its name is the service's own.
    #[error("`{0}` is set by the service")]
    Reserved(String),
    /// Its value is too large.
    #[error("the value of `{0}` is larger than {MAX_VALUE} bytes")]
    TooLarge(String),
    /// A value that is shown has to be text.
    #[error("the value of `{0}` is not UTF-8, which only a secret one need not be")]
    NotText(String),
    /// There are too many.
    #[error("`{name}`: there are {most} variables of {scope} already", most = LIMITS.count)]
    TooMany {
        /// The one that is one too many.
        name: String,
        /// Whose they are.
        scope: Scope,
    },
    /// Together they are too large.
    #[error(
        "`{name}`: the values of all variables of {scope} together may have {mib} MiB: unset some (`slipway variable list --scope {word}`)",
        mib = LIMITS.bytes >> 20,
        word = scope.row().0
    )]
    AllTooLarge {
        /// The one that doesn't fit.
        name: String,
        /// Whose they are.
        scope: Scope,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// It can't be encrypted or read.
    #[error("variable `{name}`: {source}")]
    Seal {
        /// Which.
        name: String,
        /// Why.
        source: SealError,
    },
}

/// All of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Variables {
    db: Db,
    key: Arc<Key>,
}

// === impl Variables ===

impl Variables {
    /// In this database, encrypted with the key under this data directory.
    pub fn open(db: Db, data_dir: &Path) -> io::Result<Self> {
        Ok(Self { db, key: Arc::new(Key::open(data_dir)?) })
    }

    /// Sets one, in the place of another of its name.
    pub async fn set(&self, scope: &Scope, name: &str, value: &[u8], kind: VariableKind) -> Result<(), VariableError> {
        if name.len() > MAX_NAME || !slipway_manifest::is_variable_name(name) {
            return Err(VariableError::Name(name.chars().take(MAX_NAME).collect()));
        }
        if RESERVED.contains(&name) {
            return Err(VariableError::Reserved(name.to_owned()));
        }
        if value.len() > MAX_VALUE {
            return Err(VariableError::TooLarge(name.to_owned()));
        }
        if kind != VariableKind::Secret && std::str::from_utf8(value).is_err() {
            return Err(VariableError::NotText(name.to_owned()));
        }
        let sealed = self.key.seal(value, &belongs(scope, name));
        let sealed = sealed.map_err(|source| VariableError::Seal { name: name.to_owned(), source })?;
        let (name, scope) = (name.to_owned(), scope.clone());
        match self.db.set_variable(scope.row(), &name, &sealed, kind.as_str(), LIMITS).await? {
            SetVariable::Done => Ok(()),
            SetVariable::TooMany => Err(VariableError::TooMany { name, scope }),
            SetVariable::TooManyBytes => Err(VariableError::AllTooLarge { name, scope }),
        }
    }

    /// Removes one; whether it was there.
    pub async fn unset(&self, scope: &Scope, name: &str) -> Result<bool, VariableError> {
        Ok(self.db.unset_variable(scope.row(), name).await?)
    }

    /// Those of a scope, by name.
    pub async fn list(&self, scope: &Scope) -> Result<Vec<Variable>, VariableError> {
        let rows = self.db.variables(scope.row(), LIMITS).await?;
        rows.into_iter().map(|row| self.shown(scope, row)).collect()
    }

    /// The value that a job of this user in this namespace gets: the user's, else the namespace's, else the admins'.
    pub async fn value(
        &self,
        user: &str,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<SecretSlice<u8>>, VariableError> {
        for scope in [Scope::User(user.to_owned()), Scope::Namespace(namespace.clone()), Scope::Admin] {
            if let Some(row) = self.db.variable(scope.row(), name).await? {
                return self.value_of(&scope, &row).map(Some);
            }
        }
        Ok(None)
    }

    /// All that a job of this user in this namespace gets, and whether `OKTETO_FORCE_REMOTE` is true in any scope.
    pub async fn resolve(&self, user: &str, namespace: &Namespace) -> Result<Resolved, VariableError> {
        let mut resolved = Resolved::default();
        for scope in [Scope::Admin, Scope::Namespace(namespace.clone()), Scope::User(user.to_owned())] {
            for row in self.db.variables(scope.row(), LIMITS).await? {
                let (kind, value) = (VariableKind::of(&row)?, self.value_of(&scope, &row)?);
                resolved.force_remote |= row.name == FORCE_REMOTE && is_true(value.expose_secret());
                let variable = ResolvedVariable { scope: scope.clone(), kind, value, updated: row.updated };
                resolved.variables.insert(row.name, variable);
            }
        }
        Ok(resolved)
    }

    /// The same as [`value`](Self::value) for several names; those that are nowhere are left out.
    pub async fn values(
        &self,
        user: &str,
        namespace: &Namespace,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, SecretSlice<u8>>, VariableError> {
        let mut values = BTreeMap::new();
        for name in names {
            if let Some(value) = self.value(user, namespace, &name).await? {
                values.insert(name, value);
            }
        }
        Ok(values)
    }

    fn shown(&self, scope: &Scope, row: VariableRow) -> Result<Variable, VariableError> {
        let kind = VariableKind::of(&row)?;
        let value = match kind {
            VariableKind::Plain => {
                Some(String::from_utf8_lossy(self.value_of(scope, &row)?.expose_secret()).into_owned())
            }
            VariableKind::Masked | VariableKind::Secret => None,
        };
        Ok(Variable { kind, value, name: row.name, updated: row.updated })
    }

    fn value_of(&self, scope: &Scope, row: &VariableRow) -> Result<SecretSlice<u8>, VariableError> {
        let opened = self.key.unseal(&row.sealed, &belongs(scope, &row.name));
        opened.map_err(|source| VariableError::Seal { name: row.name.clone(), source })
    }
}

/// What a sealed value belongs to: it opens nowhere else.
fn belongs(scope: &Scope, name: &str) -> String {
    let (scope, owner) = scope.row();
    format!("variable\0{scope}\0{owner}\0{name}")
}

/// As the client reads it, in every scope.
fn is_true(value: &[u8]) -> bool {
    ["1", "t", "true"].iter().any(|truth| value.eq_ignore_ascii_case(truth.as_bytes()))
}

// === impl Scope ===

impl Scope {
    fn row(&self) -> (&str, &str) {
        match self {
            Self::Admin => ("admin", ""),
            Self::Namespace(namespace) => ("namespace", namespace.as_str()),
            Self::User(user) => ("user", user),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("the admins"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::User(user) => write!(f, "user {user}"),
        }
    }
}

// === impl VariableKind ===

impl VariableKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Plain => "plain",
            Self::Secret => "secret",
        }
    }

    fn of(row: &VariableRow) -> Result<Self, DbError> {
        match row.kind.as_str() {
            "masked" => Ok(Self::Masked),
            "plain" => Ok(Self::Plain),
            "secret" => Ok(Self::Secret),
            other => Err(DbError::Invalid(format!("a variable is `{other}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn variables(dir: &Path) -> Variables {
        Variables::open(Db::open(dir).await.unwrap(), dir).unwrap()
    }

    fn dev() -> Namespace {
        "dev".parse().unwrap()
    }

    #[tokio::test]
    async fn the_nearest_scope_counts_and_nobody_gets_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables(dir.path()).await;
        let get = async |user: &str, namespace: &str| {
            let value = variables.value(user, &namespace.parse().unwrap(), "A").await.unwrap();
            value.map(|value| String::from_utf8(value.expose_secret().to_vec()).unwrap())
        };
        let (user, namespace) = (Scope::User("ann".to_owned()), Scope::Namespace(dev()));
        assert_eq!(get("ann", "dev").await, None);
        for (scope, value) in [(&Scope::Admin, "everybody's"), (&namespace, "dev's"), (&user, "ann's")] {
            variables.set(scope, "A", value.as_bytes(), VariableKind::Secret).await.unwrap();
            assert_eq!(get("ann", "dev").await.as_deref(), Some(value));
        }
        assert_eq!(get("bob", "dev").await.as_deref(), Some("dev's"));
        assert_eq!(get("bob", "ops").await.as_deref(), Some("everybody's"));
        variables.set(&user, "A", b"another", VariableKind::Secret).await.unwrap();
        assert_eq!(get("ann", "ops").await.as_deref(), Some("another"));
        assert!(variables.unset(&user, "A").await.unwrap() && !variables.unset(&user, "A").await.unwrap());
        assert_eq!(get("ann", "dev").await.as_deref(), Some("dev's"));
    }

    #[tokio::test]
    async fn all_that_count_are_resolved_and_a_true_is_not_undone() {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables(dir.path()).await;
        let (user, namespace) = (Scope::User("ann".to_owned()), Scope::Namespace(dev()));
        let of = async |user: &str| {
            let Resolved { variables, force_remote } = variables.resolve(user, &dev()).await.unwrap();
            let text = |value: &SecretSlice<u8>| String::from_utf8(value.expose_secret().to_vec()).unwrap();
            let shown = |(name, found): (String, ResolvedVariable)| format!("{name}={}", text(&found.value));
            (variables.into_iter().map(shown).collect::<Vec<_>>().join(" "), force_remote)
        };
        assert_eq!(of("ann").await, (String::new(), false));
        for (scope, name, value) in [
            (&Scope::Admin, "A", "everybody's"),
            (&Scope::Admin, "B", "everybody's"),
            (&namespace, "B", "dev's"),
            (&namespace, "C", "dev's"),
            (&user, "C", "ann's"),
            (&user, FORCE_REMOTE, "false"),
            (&Scope::Admin, FORCE_REMOTE, "no"),
        ] {
            variables.set(scope, name, value.as_bytes(), VariableKind::Masked).await.unwrap();
        }
        let anns = "A=everybody's B=dev's C=ann's OKTETO_FORCE_REMOTE=false";
        assert_eq!(of("ann").await, (anns.to_owned(), false));
        variables.set(&Scope::Admin, FORCE_REMOTE, b"True", VariableKind::Secret).await.unwrap();
        assert_eq!(of("ann").await, (anns.to_owned(), true));
        assert_eq!(of("bob").await.0, "A=everybody's B=dev's C=dev's OKTETO_FORCE_REMOTE=True");
    }

    #[tokio::test]
    async fn only_plain_values_are_shown_and_none_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables(dir.path()).await;
        let scope = Scope::Namespace(dev());
        for (name, kind) in [("M", VariableKind::Masked), ("P", VariableKind::Plain), ("S", VariableKind::Secret)] {
            variables.set(&scope, name, b"open sesame", kind).await.unwrap();
        }
        let found = variables.list(&scope).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.kind, one.value.as_deref())).collect();
        let expected = [
            ("M", VariableKind::Masked, None),
            ("P", VariableKind::Plain, Some("open sesame")),
            ("S", VariableKind::Secret, None),
        ];
        assert_eq!(found, expected);
        assert!(variables.list(&Scope::Admin).await.unwrap().is_empty());
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!content.windows(6).any(|bytes| bytes == b"sesame"));
        }
        assert!(!format!("{variables:?}").contains("sesame"));
        // A value belongs to its name and owner: one that was moved in the database opens nowhere.
        let row = variables.db.variable(scope.row(), "S").await.unwrap().unwrap();
        variables.db.set_variable(scope.row(), "T", &row.sealed, "secret", LIMITS).await.unwrap();
        assert!(variables.value("ann", &dev(), "T").await.is_err());
    }

    #[tokio::test]
    async fn what_can_be_no_variable_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables(dir.path()).await;
        let set = async |name: &str, value: &[u8], kind| {
            variables.set(&Scope::Admin, name, value, kind).await.unwrap_err().to_string()
        };
        assert!(set("1A", b"", VariableKind::Plain).await.contains("can't be the name"));
        assert!(set("OKTETO_TOKEN", b"", VariableKind::Plain).await.contains("set by the service"));
        assert!(set("A", &vec![0; MAX_VALUE + 1], VariableKind::Secret).await.contains("is larger than"));
        assert!(set("A", &[0xff], VariableKind::Masked).await.contains("not UTF-8"));
        for n in 0..LIMITS.count {
            variables.db.set_variable(("admin", ""), &format!("V{n}"), b"", "secret", LIMITS).await.unwrap();
        }
        let said = set("A", b"", VariableKind::Secret).await;
        assert_eq!(said, "`A`: there are 1000 variables of the admins already");
        variables.set(&Scope::Admin, "V1", b"again", VariableKind::Secret).await.unwrap();
    }

    #[tokio::test]
    async fn what_all_may_have_together_is_never_too_much_for_a_job() {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables(dir.path()).await;
        let scopes = [Scope::Admin, Scope::Namespace(dev()), Scope::User("ann".to_owned())];
        let large = vec![b'x'; MAX_VALUE];
        for (scope, name) in scopes.iter().zip(["A", "N", "U"]) {
            for n in 0..4 {
                variables.set(scope, &format!("{name}{n}"), &large, VariableKind::Masked).await.unwrap();
            }
            let refused = variables.set(scope, "LAST", &large, VariableKind::Masked).await.unwrap_err();
            assert!(matches!(refused, VariableError::AllTooLarge { .. }), "{refused}");
            // One in the place of another has its room.
            variables.set(scope, &format!("{name}0"), &large, VariableKind::Masked).await.unwrap();
        }
        assert_eq!(variables.resolve("ann", &dev()).await.unwrap().variables.len(), 12);
        let [_, namespace, _] = &scopes;
        let refused = variables.set(namespace, "LAST", &large, VariableKind::Masked).await.unwrap_err().to_string();
        assert_eq!(
            refused,
            "`LAST`: the values of all variables of namespace dev together may have 2 MiB: unset some (`slipway variable list \
             --scope namespace`)"
        );
        // Of more than that, which nobody can set, no more is read.
        let none = Limits { count: u32::MAX, bytes: u32::MAX };
        variables.db.set_variable(namespace.row(), "N9", &large, "masked", none).await.unwrap();
        assert_eq!(variables.db.variables(namespace.row(), LIMITS).await.unwrap().len(), 4);
    }
}

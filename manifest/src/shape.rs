//! The shape of a manifest: the keys of every mapping, what each holds and what it is for.
//!
//! This is the only list of keys. The parser checks a file against it ([`check()`]) before it reads a value, the JSON schema is
//! made from it ([`mod@schema`]), and so are the tables of `docs/manifest.md`. What a shape can't say, such as cycles, is in
//! [`parse`](crate::parse).

mod affinity;
mod build;
mod check;
mod commands;
mod dependencies;
mod deploy;
mod dev;
#[cfg(test)]
mod docs;
mod external;
mod forms;
mod forward;
mod manifest;
mod schema;
mod test;
#[cfg(test)]
mod tests;

pub(crate) use build::{BUILD, SECRET, ULIMIT};
pub(crate) use check::check;
pub(crate) use commands::{COMMAND, DESTROY};
pub(crate) use dependencies::DEPENDENCY;
pub(crate) use deploy::{COMPOSE, DEPLOY, DIVERT, DIVERT_HOST, ENDPOINT, RULE, VIRTUAL_SERVICE};
pub(crate) use dev::{DEV, DEV_SERVICE, SYNC};
pub(crate) use external::{EXTERNAL, EXTERNAL_ENDPOINT};
pub(crate) use forms::{Form, duration};
pub(crate) use forward::GLOBAL_FORWARD;
pub(crate) use manifest::MANIFEST;
pub use schema::json_schema;
pub(crate) use test::{ARTIFACT, HOST, TEST};

use crate::problem::Concern;

/// A mapping with keys of its own.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its name in the schema.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) doc: &'static str,
    /// Its keys.
    pub(crate) fields: &'static [Field],
    /// Which of its keys go together.
    pub(crate) rule: Rule,
}

/// Which keys of a mapping go together. An empty text counts as absent.
#[derive(Debug)]
pub(crate) enum Rule {
    /// All.
    Any,
    /// Of these exactly one is there.
    One(&'static [&'static str]),
    /// Of these one is there at most.
    AtMostOne(&'static [&'static str]),
}

/// One key of a mapping.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// Has to be there, and not to be empty.
    pub(crate) required: bool,
    /// What it is for, in Markdown.
    pub(crate) doc: &'static str,
    /// How to write it, for messages about a value of the wrong kind.
    pub(crate) hint: Option<&'static str>,
    /// Whom a text or a number in it stops that is of the right kind and means nothing; `Everybody`: as around it.
    pub(crate) concern: Concern,
}

/// What a value may be. Null is as if nothing were there, unless said otherwise.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Any scalar, as it was written.
    Text,
    /// A scalar that is more than white space.
    Filled(&'static str),
    /// As yaml.v2 takes it.
    Bool,
    /// From the first to the second.
    Int(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A scalar of a certain form.
    Form(&'static Form),
    /// A list.
    List(&'static Kind),
    /// A mapping with any keys.
    Map(&'static Named),
    /// A mapping with keys of its own.
    Object(&'static Object),
    /// One of several; at most one of them scalar, one a list and one a mapping.
    OneOf(&'static Choice),
    /// The object, if the mapping has only keys of it, or else a mapping with any keys.
    Either(&'static Object, &'static Named),
}

/// A mapping with any keys.
#[derive(Debug)]
pub(crate) struct Named {
    /// What each value is.
    pub(crate) value: Kind,
    /// A value that is null is an error, and this is what to do about it.
    pub(crate) filled: Option<&'static str>,
}

/// Kinds of which a value has one.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What it must be, for messages.
    pub(crate) what: &'static str,
    /// The kinds.
    pub(crate) kinds: &'static [Kind],
    /// How to write it.
    pub(crate) hint: Option<&'static str>,
}

/// A list of texts, for which one text may stand.
pub(crate) static TEXTS: Choice =
    Choice { what: "a string or a list of strings", kinds: &[Kind::Text, Kind::List(&Kind::Text)], hint: None };

/// Values by name, or a list of `NAME=value`.
pub(crate) static PAIRS: Choice = Choice {
    what: "a mapping or a list of `NAME=value`",
    kinds: &[Kind::Map(&VALUES), Kind::List(&Kind::Text)],
    hint: None,
};

/// Texts by name.
pub(crate) static VALUES: Named = Named { value: Kind::Text, filled: None };

/// A port.
pub(crate) const PORT: Kind = Kind::Int(1, 65535);

/// A key that may be left out.
pub(crate) const fn field(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { key, kind, required: false, doc, hint: None, concern: Concern::Everybody }
}

impl Field {
    /// The same key, which has to be there.
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same key, whose texts and numbers only `okteto up` looks at.
    const fn for_up(mut self) -> Self {
        self.concern = Concern::Up;
        self
    }

    /// The same key, with a hint for what is often written instead.
    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl Object {
    /// Whether it has such a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|field| field.key == key)
    }

    /// Whether a mapping without keys is one.
    pub(crate) fn may_be_empty(&self) -> bool {
        !matches!(self.rule, Rule::One(_)) && self.fields.iter().all(|field| !field.required)
    }
}

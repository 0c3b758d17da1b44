//! The values of one mapping. Its shape has been checked: what is of the wrong kind is in the report, and is left out here.

use crate::{
    manifest::Text,
    shape::Object,
    yaml::{Kind, Node, Scalar, ScalarKind},
};

/// A mapping of a known shape.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    node: &'n Node,
    shape: &'static Object,
}

impl<'n> Fields<'n> {
    /// The fields of a node; `None` if it is no mapping.
    pub(super) fn of(node: &'n Node, shape: &'static Object) -> Option<Self> {
        matches!(node.kind, Kind::Mapping(_)).then_some(Self { node, shape })
    }

    /// Whether the shape has such a key.
    pub(super) fn may_have(self, key: &str) -> bool {
        self.shape.has(key)
    }

    /// The value of a key; `None` where it is absent or null, which means the same to Okteto's parser.
    pub(super) fn get(self, key: &str) -> Option<&'n Node> {
        debug_assert!(self.shape.has(key), "`{key}` is not in the shape of `{}`", self.shape.name);
        self.node.get(key)
    }

    /// A field that holds one text. An empty one counts as absent, as in Okteto.
    pub(super) fn text(self, key: &str) -> Option<Text> {
        text(self.get(key)?).filter(|text| !text.value.is_empty())
    }

    /// A field that holds a text or a list of them.
    pub(super) fn texts(self, key: &str) -> Vec<Text> {
        self.get(key).map(texts).unwrap_or_default()
    }

    /// A field that holds a boolean.
    pub(super) fn boolean(self, key: &str) -> Option<bool> {
        match self.get(key)?.kind {
            Kind::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// A field that holds a number that fits.
    pub(super) fn int<T: TryFrom<i64>>(self, key: &str) -> Option<T> {
        self.get(key)?.int()?.try_into().ok()
    }

    /// The items of a field that holds a list.
    pub(super) fn items(self, key: &str) -> &'n [Node] {
        self.get(key).map(Node::items).unwrap_or_default()
    }
}

/// One text: any scalar, as it was written; null is the empty text.
pub(super) fn text(node: &Node) -> Option<Text> {
    match &node.kind {
        Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }) => Some(Text { value: String::new(), place: node.place }),
        Kind::Scalar(scalar) => Some(Text { value: scalar.text.clone(), place: node.place }),
        _ => None,
    }
}

/// A text, or a list of them.
pub(super) fn texts(node: &Node) -> Vec<Text> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().filter_map(text).collect(),
        _ => text(node).into_iter().collect(),
    }
}

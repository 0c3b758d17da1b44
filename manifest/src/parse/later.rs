//! Sections that nothing runs yet: only which folders they read, for `slipway files`. The rest of them is not checked.

use crate::{
    manifest::{Manifest, Test, Text},
    yaml::{Kind, Node},
};

/// Takes the contexts of `destroy` and of each test.
pub(super) fn read(root: &Node, manifest: &mut Manifest) {
    manifest.destroy_context = child(root, "destroy").and_then(context);
    if let Some(Node { kind: Kind::Mapping(tests), .. }) = child(root, "test") {
        let test = tests.iter().map(|test| Test { name: test.key.clone(), context: context(&test.value) });
        manifest.tests = test.collect();
    }
}

fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Kind::Mapping(entries) = &node.kind else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn context(section: &Node) -> Option<Text> {
    let context = child(section, "context").filter(|context| !context.is_null())?;
    let Kind::Scalar(scalar) = &context.kind else { return None };
    (!scalar.text.is_empty()).then(|| Text { value: scalar.text.clone(), place: context.place })
}

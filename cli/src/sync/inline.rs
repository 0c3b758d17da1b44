//! Small roots that go with the request itself, so that they need no sync.

use std::io::Read as _;
use std::sync::Arc;

use slipway_proto::v1::InlineBlob;

use super::blobs::Blobs;
use crate::roots::Tree;

/// Bytes of one root.
const MOST: u64 = 64 << 10;
/// Bytes of all of them; the service takes no more.
const MOST_IN_ALL: u64 = 256 << 10;

/// Takes small roots as long as there is room.
#[derive(Debug, Default)]
pub(crate) struct Inline(u64);

impl Inline {
    /// All blobs of a tree, when they are few; none of one that is too large or can't be read any more.
    pub(crate) fn take(&mut self, tree: &Arc<Tree>) -> Vec<InlineBlob> {
        let mut blobs = Blobs::default();
        blobs.add(tree);
        let bytes: u64 = blobs.all().map(|item| item.size).sum();
        if bytes > MOST || self.0 + bytes > MOST_IN_ALL {
            return Vec::new();
        }
        let items = blobs.items(|_| true);
        let mut taken = Vec::with_capacity(items.len());
        for item in &items {
            let mut content = Vec::new();
            if item.node {
                content.extend_from_slice(blobs.node(item));
            } else {
                let Ok(file) = blobs.open(item) else { return Vec::new() };
                if file.take(item.size).read_to_end(&mut content).is_err() {
                    return Vec::new();
                }
            }
            taken.push(InlineBlob { content, seconds: item.seconds });
        }
        self.0 += bytes;
        taken
    }
}

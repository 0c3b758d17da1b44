//! A tree here beside one that the service keeps: only the folders that differ are fetched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_context::dockerfile::ContextPaths;
use slipway_context::tree::{Change, diff};
use slipway_context::{Digest, Directory, Scan};
use slipway_proto::v1::ReadDirectoriesRequest;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Response, Status};

use crate::client::{LONG_CALL, Patience, timed};
use crate::session::Session;

/// Changes that are told.
const MAX_CHANGES: usize = 10_000;
/// Folders that are fetched in all, and at a time.
const MAX_FOLDERS: usize = 20_000;
const AT_A_TIME: usize = 1000;

const TOO_MANY: &str = "too much differs to be told";
const FORGOTTEN: &str = "the service does not keep all of that build's context";

/// What differs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) changes: Vec<Change>,
    /// Why these may not be all.
    pub(super) lacks: Option<&'static str>,
}

/// Compares a scan with the tree that the service keeps under this digest. What that has forgotten can't be told.
pub(super) async fn compare(session: &Session, before: &[u8], now: &Scan) -> Result<Found> {
    let Ok(before) = before.try_into().map(Digest::from_bytes) else {
        return Err(session.client.malformed("a root's digest of another length").into());
    };
    let (tree, mut known) = (now.tree(), BTreeMap::new());
    loop {
        let found = diff(before, &known, &tree, MAX_CHANGES).context("compare folders")?;
        let wanted: Vec<Digest> = found.needs.iter().take(AT_A_TIME).copied().collect();
        if wanted.is_empty() || found.cut || known.len() > MAX_FOLDERS {
            let complete = found.needs.is_empty() && !found.cut;
            return Ok(Found { changes: found.changes, lacks: Some(TOO_MANY).filter(|_| !complete) });
        }
        let came = fetch(session, &wanted, &mut known).await?;
        if came < wanted.len() {
            let changes = diff(before, &known, &tree, MAX_CHANGES).context("compare folders")?.changes;
            return Ok(Found { changes, lacks: Some(FORGOTTEN) });
        }
    }
}

/// Leaves of what changed only what both contexts can hold, by the paths that they are narrowed to; and whether they are narrowed
/// otherwise.
pub(super) fn keep_common(changes: &mut Vec<Change>, before: &[String], now: &[String]) -> bool {
    if before == now {
        // Symbolic links may lead to anything else.
        return false;
    }
    changes.retain(|change| ContextPaths::hold(before, change) && ContextPaths::hold(now, change));
    true
}

/// How many of them the service still has.
async fn fetch(session: &Session, wanted: &[Digest], known: &mut BTreeMap<Digest, Arc<Directory>>) -> Result<usize> {
    let client = &session.client;
    let digests = wanted.iter().map(|digest| digest.as_bytes().to_vec()).collect();
    let request = ReadDirectoriesRequest { namespace: session.namespace.clone(), digests };
    let call = || {
        let (mut builds, request) = (client.builds(), timed(request.clone(), LONG_CALL));
        async move { all(builds.read_directories(request), wanted.len(), LONG_CALL).await }
    };
    let nodes = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    let came = nodes.len();
    for node in nodes {
        let digest = Digest::of(&node.content);
        if !wanted.contains(&digest) {
            return Err(client.malformed("a folder that was not asked for").into());
        }
        let directory = Directory::decode(&node.content).map_err(|error| client.malformed(error.to_string()))?;
        known.insert(digest, Arc::new(directory));
    }
    Ok(came)
}

/// All that comes of a call, which is done within the limit: its own deadline ends with the first answer.
async fn all<T, S: Stream<Item = Result<T, Status>> + Unpin>(
    call: impl Future<Output = Result<Response<S>, Status>>,
    most: usize,
    limit: Duration,
) -> Result<Response<Vec<T>>, Status> {
    let reading = async { call.await?.into_inner().take(most).collect::<Result<_, _>>().await };
    let late = |_| Status::deadline_exceeded("the service went silent");
    tokio::time::timeout(limit, reading).await.map_err(late)?.map(Response::new)
}

#[cfg(test)]
mod tests {
    use slipway_context::tree::ChangeKind;

    use super::*;
    use crate::client::is_transient;

    #[test]
    fn what_only_one_of_two_contexts_can_hold_is_neither_added_nor_removed() {
        let change = |path: &str| Change { path: path.to_owned(), kind: ChangeKind::Added, folder: false };
        let left = |before: &[&str], now: &[&str]| {
            let [before, now] =
                [before, now].map(|paths| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
            let mut changes = ["docs/a", "src/a", "src/b"].map(change).to_vec();
            let other = keep_common(&mut changes, &before, &now);
            (changes.into_iter().map(|change| change.path).collect::<Vec<_>>().join(" "), other)
        };
        assert_eq!(left(&["src"], &[]), ("src/a src/b".to_owned(), true));
        assert_eq!(left(&[], &["src/a"]), ("src/a".to_owned(), true));
        assert_eq!(left(&["src"], &["docs"]), (String::new(), true));
        assert_eq!(left(&["link"], &["link"]), ("docs/a src/a src/b".to_owned(), false));
    }

    #[tokio::test]
    async fn a_service_that_goes_silent_is_not_waited_for() {
        let limit = Duration::from_millis(50);
        let silent = Box::pin(tokio_stream::iter([Ok(1)]).chain(tokio_stream::pending()));
        let told = all(async { Ok(Response::new(silent)) }, 2, limit).await.unwrap_err();
        assert!(is_transient(&told), "{told}");
        let many = tokio_stream::iter(std::iter::repeat_with(|| Ok(1)));
        assert_eq!(all(async { Ok(Response::new(many)) }, 2, limit).await.unwrap().into_inner(), [1, 1]);
    }
}

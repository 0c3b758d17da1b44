//! Definitions that we write ourselves (BuildKit's LLB, `solver/pb/ops.proto`).
//!
//! Fields that an engine does not know it ignores silently, unless the operation declares the capability: so they are always
//! declared.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb::{
    Definition, FileAction, FileActionCopy, FileActionMkDir, FileOp, Input, Op, OpMetadata, Platform, SourceOp,
    WorkerConstraints, file_action, op,
};
use prost::Message as _;
use slipway_context::Digest;

mod owner;

pub use owner::Owner;

/// Where what [`Chain::copied_for`] copies is in its file system.
pub const OWNED: &str = "/owned";

/// A definition of a single chain of operations.
#[derive(Debug, Default)]
pub struct Chain {
    ops: Vec<Vec<u8>>,
    metadata: BTreeMap<String, OpMetadata>,
    last: Option<String>,
}

impl Chain {
    /// A local directory of the session.
    pub fn local(name: &str, session: &str) -> Self {
        let attrs = BTreeMap::from([
            ("local.session".to_owned(), session.to_owned()),
            ("local.sharedkeyhint".to_owned(), name.to_owned()),
        ]);
        Self::source(
            format!("local://{name}"),
            attrs,
            &["source.local", "source.local.sessionid", "source.local.sharedkeyhint"],
            &format!("load {name}"),
        )
    }

    /// An image's file system.
    pub fn image(reference: &str) -> Self {
        Self::source(
            format!("docker-image://{reference}"),
            BTreeMap::new(),
            &["source.image"],
            &format!("pull {reference}"),
        )
    }

    /// Nothing but an empty folder, which every user may write to.
    pub fn folder(path: &str) -> Self {
        let mut chain = Self::default();
        let make = FileActionMkDir { path: path.to_owned(), mode: 0o777, timestamp: -1, ..FileActionMkDir::default() };
        let action =
            FileAction { input: -1, secondary_input: -1, output: 0, action: Some(file_action::Action::Mkdir(make)) };
        chain.push(op::Op::File(FileOp { actions: vec![action] }), &["file.base"], "make a folder");
        // An engine makes it under a umask, as Docker Engine has one; what it copies gets the very mode.
        let copy = FileActionCopy {
            src: path.to_owned(),
            dest: path.to_owned(),
            mode: 0o777,
            timestamp: -1,
            ..FileActionCopy::default()
        };
        let action =
            FileAction { input: -1, secondary_input: 0, output: 0, action: Some(file_action::Action::Copy(copy)) };
        chain.push(op::Op::File(FileOp { actions: vec![action] }), &["file.base"], "open a folder to all");
        chain
    }

    /// A copy of everything so far in a file system of its own.
    #[must_use]
    pub fn copied(mut self) -> Self {
        let copy = copy_to("/");
        // From the operation's first input onto nothing.
        let action =
            FileAction { input: -1, secondary_input: 0, output: 0, action: Some(file_action::Action::Copy(copy)) };
        let operation = op::Op::File(FileOp { actions: vec![action] });
        self.push(operation, &["file.base"], "copy the working directory");
        self
    }

    /// The same, as the folder [`OWNED`] that belongs with everything in it to this user of an image. The root of a file system
    /// belongs to nobody else than root.
    #[must_use]
    pub fn copied_for(mut self, owner: &Owner, image: &str) -> Self {
        let mut inputs: Vec<String> = self.last.take().into_iter().collect();
        if owner.has_names() {
            let image = Self::image(image);
            self.ops.extend(image.ops);
            self.metadata.extend(image.metadata);
            inputs.extend(image.last);
        }
        let owner = Some(owner.to_proto(1));
        let make = FileActionMkDir {
            path: OWNED.to_owned(),
            mode: 0o755,
            owner: owner.clone(),
            timestamp: -1,
            ..FileActionMkDir::default()
        };
        let copy = FileActionCopy { owner, ..copy_to(OWNED) };
        let actions = vec![
            FileAction { input: -1, secondary_input: -1, output: -1, action: Some(file_action::Action::Mkdir(make)) },
            // Onto what the first action made: results of actions are counted after the inputs.
            FileAction {
                input: inputs.len() as i64,
                secondary_input: 0,
                output: 0,
                action: Some(file_action::Action::Copy(copy)),
            },
        ];
        self.push_on(&inputs, op::Op::File(FileOp { actions }), &["file.base"], "copy the working directory");
        self
    }

    /// The definition, ready to solve.
    pub fn finish(mut self) -> Definition {
        let inputs = self.last.iter().map(|digest| Input { digest: digest.clone(), index: 0 }).collect();
        self.ops.push(Op { inputs, ..Op::default() }.encode_to_vec());
        Definition { def: self.ops, metadata: self.metadata, source: None }
    }

    fn source(identifier: String, attrs: BTreeMap<String, String>, caps: &[&str], name: &str) -> Self {
        let mut chain = Self::default();
        chain.push(op::Op::Source(SourceOp { identifier, attrs }), caps, name);
        chain
    }

    fn push(&mut self, operation: op::Op, caps: &[&str], name: &str) {
        let inputs: Vec<String> = self.last.iter().cloned().collect();
        self.push_on(&inputs, operation, caps, name);
    }

    fn push_on(&mut self, inputs: &[String], operation: op::Op, caps: &[&str], name: &str) {
        let op = Op {
            inputs: inputs.iter().map(|digest| Input { digest: digest.clone(), index: 0 }).collect(),
            op: Some(operation),
            platform: Some(platform()),
            constraints: Some(WorkerConstraints::default()),
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        let caps = caps.iter().chain(&["constraints", "platform", "meta.description"]);
        let metadata = OpMetadata {
            caps: caps.map(|cap| ((*cap).to_owned(), true)).collect(),
            description: BTreeMap::from([("llb.customname".to_owned(), format!("[internal] {name}"))]),
            ..OpMetadata::default()
        };
        self.metadata.insert(digest.clone(), metadata);
        self.ops.push(bytes);
        self.last = Some(digest);
    }
}

/// A copy of everything into a folder.
fn copy_to(dest: &str) -> FileActionCopy {
    FileActionCopy {
        src: "/".to_owned(),
        dest: dest.to_owned(),
        mode: -1,
        dir_copy_contents: true,
        create_dest_path: true,
        timestamp: -1,
        ..FileActionCopy::default()
    }
}

/// The platform that engines on this machine run.
pub(super) fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), ..Platform::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_operation_points_to_the_last_one() {
        let definition = Chain::local("context", "s").copied().finish();
        assert_eq!(definition.def.len(), 3);
        let digest = |at: usize| Digest::of(&definition.def[at]).to_string();
        let op = |at: usize| Op::decode(definition.def[at].as_slice()).unwrap();
        assert_eq!(op(1).inputs, [Input { digest: digest(0), index: 0 }]);
        assert_eq!(op(2).inputs, [Input { digest: digest(1), index: 0 }]);
        assert!(op(2).op.is_none());
        assert!(definition.metadata[&digest(0)].caps.contains_key("source.local"));
    }

    #[test]
    fn a_named_owner_is_looked_up_in_its_image() {
        let inputs = |user: &str| {
            let owner = Owner::of(user).unwrap();
            let definition = Chain::local("src", "s").copied_for(&owner, "image").finish();
            let ops: Vec<Op> = definition.def.iter().map(|op| Op::decode(op.as_slice()).unwrap()).collect();
            let digest = |at: usize| Digest::of(&definition.def[at]).to_string();
            let [.., copy, last] = ops.as_slice() else { panic!("{ops:?}") };
            assert_eq!(last.inputs[0].digest, digest(ops.len() - 2));
            let Some(op::Op::File(file)) = &copy.op else { panic!("{copy:?}") };
            let found: Vec<_> = copy.inputs.iter().map(|input| input.digest.clone()).collect();
            assert_eq!(found, (0..ops.len() - 2).map(digest).collect::<Vec<_>>());
            (found.len(), file.actions[1].input)
        };
        assert_eq!(inputs("1000:1000"), (1, 1));
        assert_eq!(inputs("nobody"), (2, 2));
    }
}

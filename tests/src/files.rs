//! Trees on disk, in archives and in images, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// Paths without a slash in front, and what is there.
pub type Tree = BTreeMap<String, Entry>;

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Mode bits with setuid and its like; 0o777 for symlinks.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// What it is.
    pub node: Node,
}

/// Kinds of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A folder.
    Directory,
    /// A symlink to there.
    Symlink(String),
    /// Something else.
    Other,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o} {:?} ", self.mode, self.owner)?;
        match &self.node {
            Node::File(bytes) if bytes.len() > 60 => write!(f, "file of {} bytes", bytes.len()),
            Node::File(bytes) => write!(f, "file {:?}", String::from_utf8_lossy(bytes)),
            node => write!(f, "{node:?}"),
        }
    }
}

/// Adds an archive to a tree, as a layer of an image: with whiteouts.
pub fn add_layer(tree: &mut Tree, archive: impl Read) {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().expect("read an archive") {
        let mut entry = entry.expect("read an archive");
        let path = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
        let path = path.trim_start_matches("./").to_owned();
        let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
        if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = format!("{}{gone}", &path[..path.len() - name.len()]);
            tree.retain(|known, _| *known != gone && !known.starts_with(&format!("{gone}/")));
            continue;
        }
        let header = entry.header();
        let mode = header.mode().expect("a mode") & 0o7777;
        let owner = (header.uid().expect("an owner"), header.gid().expect("a group"));
        let link = || entry.link_name().expect("a link").expect("a link").to_string_lossy().into_owned();
        let node = match header.entry_type() {
            tar::EntryType::Directory => Node::Directory,
            tar::EntryType::Symlink => Node::Symlink(link()),
            tar::EntryType::Link => tree[link().trim_start_matches("./")].node.clone(),
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("read an archive");
                Node::File(bytes)
            }
            _ => Node::Other,
        };
        if !path.is_empty() && path != "." {
            tree.insert(path, Entry { mode, owner, node });
        }
    }
}

/// The tree in an archive.
pub fn of_archive(path: &Path) -> Tree {
    let mut tree = Tree::new();
    add_layer(&mut tree, fs::File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display())));
    tree
}

/// What is under a folder of the tree, by paths in there.
pub fn under(tree: &Tree, folder: &str) -> Tree {
    let prefix = format!("{folder}/");
    let inside = tree.iter().filter_map(|(path, entry)| Some((path.strip_prefix(&prefix)?.to_owned(), entry.clone())));
    inside.collect()
}

/// The paths of everything but folders.
pub fn paths(tree: &Tree) -> Vec<&str> {
    let rest = tree.iter().filter(|(_, entry)| entry.node != Node::Directory);
    rest.map(|(path, _)| path.as_str()).collect()
}

/// The bytes of a file.
///
/// # Panics
/// When it is not there.
pub fn bytes<'a>(tree: &'a Tree, path: &str) -> &'a [u8] {
    match tree.get(path) {
        Some(Entry { node: Node::File(bytes), .. }) => bytes,
        other => panic!("{path} is {other:?}; there are {:?}", tree.keys().take(50).collect::<Vec<_>>()),
    }
}

/// The text of a file.
pub fn text<'a>(tree: &'a Tree, path: &str) -> &'a str {
    std::str::from_utf8(bytes(tree, path)).expect("UTF-8")
}

/// Many small files in folders of a hundred, of bytes that can't be compressed; gives the sum of their sizes.
pub fn many(dir: &Path, files: usize, size: usize) -> u64 {
    // xorshift64*: quick, and different each time.
    let mut state = u64::from_be_bytes(crate::random(8).try_into().expect("eight bytes")) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()
    };
    for folder in 0..files.div_ceil(100) {
        let path = dir.join(format!("d{}/e{folder:04}", folder % 10));
        fs::create_dir_all(&path).expect("make a folder");
        for file in folder * 100..files.min((folder + 1) * 100) {
            let mut content: Vec<u8> = std::iter::repeat_with(&mut next).take(size / 8 + 1).flatten().collect();
            content.truncate(size);
            fs::write(path.join(format!("file{file:06}")), content).expect("write a file");
        }
    }
    (files * size) as u64
}

/// The sizes of all files under a folder, added up.
pub fn tree_size(dir: &Path) -> u64 {
    let size = |entry: fs::DirEntry| {
        let metadata = fs::symlink_metadata(entry.path()).expect("metadata");
        match (metadata.is_dir(), metadata.is_file()) {
            (true, _) => tree_size(&entry.path()),
            (_, true) => metadata.len(),
            _ => 0,
        }
    };
    fs::read_dir(dir).expect("read a folder").map(|entry| size(entry.expect("read a folder"))).sum()
}

/// Looks at each file below a folder, as long as it is there.
pub fn each(dir: &Path, look: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each(&entry.path(), look),
            Ok(kind) if kind.is_file() => look(&entry.path()),
            _ => {}
        }
    }
}

/// Ends the mounts below a folder: what a killed engine mounted for a step outlives it, and would be in the way of whoever
/// removes the folder.
pub fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in ours.filter(|mount| Path::new(mount).starts_with(dir)) {
        let _ = Command::new("umount").args(["--quiet", "--lazy", mount]).status();
    }
}

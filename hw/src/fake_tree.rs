//! For tests: files as they stand on some board, below a folder of their own.
#![allow(clippy::unwrap_used)]

use crate::root::Root;
use std::path::Path;

/// The folder, which goes when this is dropped, and the root that reads from it.
pub fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    for (path, content) in files {
        write(&root, path, content);
    }
    (dir, root)
}

/// Makes or changes a file below the root.
pub fn write(root: &Root, path: impl AsRef<Path>, content: &str) {
    let path = root.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

//! A made-up `/sys`, `/proc` and `/dev` below a temporary directory.

use hwmeter_hw::Root;
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::sensors::Context;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tree; it is removed when dropped.
pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    /// An empty one that every user can look into.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub fn root(&self) -> Root {
        Root::new(self.dir.path())
    }

    pub fn context(&self) -> Context {
        Context::new(self.root(), Arc::new(MonotonicClock))
    }

    /// The directory itself: what `--root` takes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The place of a system path.
    pub fn path(&self, system_path: &str) -> PathBuf {
        self.root().path(system_path)
    }

    /// Writes a file, its directories included.
    pub fn with(self, system_path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(system_path, content);
        self
    }

    /// Several files of one directory.
    pub fn with_all(self, dir: &str, files: &[(&str, &str)]) -> Self {
        for (name, content) in files {
            self.write(&format!("{dir}/{name}"), content);
        }
        self
    }

    /// A link; the target is taken as it is.
    pub fn with_link(self, system_path: &str, target: impl AsRef<Path>) -> Self {
        let path = self.path(system_path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    pub fn write(&self, system_path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(system_path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn remove(&self, system_path: &str) {
        fs::remove_file(self.path(system_path)).unwrap();
    }

    /// Takes every right to the file away.
    pub fn lock(&self, system_path: &str) {
        fs::set_permissions(self.path(system_path), fs::Permissions::from_mode(0o000)).unwrap();
    }
}

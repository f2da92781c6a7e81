//! A module as a file: what a task set names, a device runs and a client sends.

use super::check::MAX_MODULE_BYTES;
use super::engine::Engine;
use super::error::WasmError;
use super::id::ModuleId;
use super::module::Module;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A module's bytes, not compiled yet. Cheap to clone; two with the same bytes are equal.
#[derive(Clone)]
pub struct Binary {
    path: Arc<Path>,
    bytes: Arc<[u8]>,
    id: ModuleId,
}

impl Binary {
    /// Reads a file. Whether it is a module is found out when it is compiled.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, Unreadable> {
        let path = path.into();
        match read(&path) {
            Ok(bytes) => Ok(Self::new(path, bytes)),
            Err(cause) => Err(Unreadable {
                path,
                cause: Arc::new(cause),
            }),
        }
    }

    /// These bytes, which came from `path`.
    pub fn new(path: PathBuf, bytes: Vec<u8>) -> Self {
        Self {
            id: ModuleId::of(&bytes),
            bytes: bytes.into(),
            path: path.into(),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their SHA-256.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// Compiles it with this process's engine, unless that has been done before.
    pub fn compile(&self, stop: &dyn Fn() -> bool) -> Result<Arc<Module>, WasmError> {
        Engine::shared()?.load_as(self.id, &self.bytes, stop)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // One byte more is enough to be refused.
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_MODULE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Binary {}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.id)
    }
}

/// As a task set names it: `wasm:PATH`.
impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasm:{}", self.path.display())
    }
}

/// A module's file that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot read the module {}: {cause}", .path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// What the kernel answered.
    pub cause: Arc<io::Error>,
}

impl PartialEq for Unreadable {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.cause.kind() == other.cause.kind()
    }
}

impl Eq for Unreadable {}

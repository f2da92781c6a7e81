//! Files that only their owner may read: tokens and private keys.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Nobody has a longer key or more tokens than fit in here.
const LARGEST: u64 = 1 << 20;

/// Why a secret file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// Its secret is one no longer.
    #[error("refusing to use {path}: every user of this machine may read or change it; run: chmod 600 {path}", path = .0.display())]
    Readable(PathBuf),
    /// Something else was named by mistake.
    #[error("{} is larger than {LARGEST} bytes: that is no token or key file", .0.display())]
    TooLarge(PathBuf),
}

/// The whole file, if not everybody may read it. One that its group may read is used with a warning.
pub(crate) fn read(path: &Path) -> Result<String, SecretFileError> {
    let failed = |cause| SecretFileError::Read {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, so that it is the one that is read.
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o006 != 0 {
        return Err(SecretFileError::Readable(path.to_owned()));
    }
    if mode & 0o040 != 0 {
        tracing::warn!("the group of {} may read it", path.display());
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(SecretFileError::TooLarge(path.to_owned()));
    }
    Ok(text)
}

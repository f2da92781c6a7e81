//! Where a trainer keeps its learners: a folder of this machine, or a bucket.

use super::trainer::StateFolder;
use anyhow::Context;
use hwmeter::serve::sandbox::Rights;
use hwmeter::train::store::{Bucket, Store};
use std::path::Path;

/// What `--state` names, ready to be used in the sandbox.
pub enum State {
    /// With its lock.
    Folder(StateFolder),
    /// Without one.
    Bucket(Bucket),
}

impl State {
    /// Call it before the sandbox is entered. `is_shared`: by the trainers of a group.
    pub fn open(asked: Option<&Path>, is_shared: bool) -> anyhow::Result<Self> {
        match asked
            .and_then(Path::to_str)
            .filter(|text| text.starts_with("s3://"))
        {
            Some(url) => Ok(Self::Bucket(Bucket::open(&url.parse()?)?)),
            None => Ok(Self::Folder(StateFolder::open(asked, is_shared)?)),
        }
    }

    /// What the sandbox must leave for it.
    pub fn allow(&self, rights: &mut Rights) {
        match self {
            Self::Folder(folder) => rights.writable.push(folder.path.clone()),
            Self::Bucket(bucket) => {
                rights.connect.push(bucket.port());
                rights.names |= bucket.has_name();
            }
        }
    }

    /// Call it in the sandbox: it starts threads.
    pub fn store(&self) -> anyhow::Result<Store> {
        match self {
            Self::Folder(folder) => folder.store(),
            Self::Bucket(bucket) => bucket.store().context("cannot keep learners"),
        }
    }
}

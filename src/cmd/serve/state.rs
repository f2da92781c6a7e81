//! Where a trainer keeps its learners: a folder of this machine, or a bucket.

use crate::cli::TrainingArgs;
use anyhow::{Context, bail};
use hwmeter::serve::sandbox::Rights;
use hwmeter::train::store::{Bucket, Store};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// What `--state` names, ready to be used in the sandbox.
pub enum State {
    /// With its lock.
    Folder(StateFolder),
    /// Without one.
    Bucket(Bucket),
}

impl State {
    /// Call it before the sandbox is entered.
    pub fn open(args: &TrainingArgs) -> anyhow::Result<Self> {
        let mut place = args.state.clone().or_else(default_folder).context(
            "cannot tell where to keep learners: neither HOME nor XDG_STATE_HOME is set; add --state DIR",
        )?;
        if let Some(of_type) = &args.of_type {
            place.extend(["types", of_type.as_str()]);
        }
        match place.to_str().filter(|text| text.starts_with("s3://")) {
            Some(url) => Ok(Self::Bucket(Bucket::open(&url.parse()?)?)),
            None => Ok(Self::Folder(StateFolder::open(place, args.group.is_some())?)),
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

/// The trainer's folder, which it has for itself, or with others of its group, as long as this lives.
pub struct StateFolder {
    /// Where it is.
    pub path: PathBuf,
    is_shared: bool,
    _lock: File,
}

impl StateFolder {
    /// Makes it if need be.
    fn open(path: PathBuf, is_shared: bool) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            let lock = File::create(path.join("lock"))?;
            Ok((path.canonicalize()?, lock))
        };
        let (path, lock) = make().map_err(|e: std::io::Error| {
            anyhow::anyhow!("cannot keep learners in {shown}: {e}; add --state DIR")
        })?;
        let locked = match is_shared {
            true => lock.try_lock_shared(),
            false => lock.try_lock(),
        };
        match locked {
            Ok(()) => Ok(Self {
                path,
                is_shared,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another trainer keeps its learners in {shown}; stop it, or add --state DIR with another folder \
                     (only trainers of one --group share one)"
                )
            }
            Err(TryLockError::Error(e)) => bail!("cannot lock {shown}: {e}"),
        }
    }

    /// The learners in it.
    pub fn store(&self) -> anyhow::Result<Store> {
        let folder = self.path.join("learners");
        let store = match self.is_shared {
            true => Store::folder_of_group(&folder),
            false => Store::folder(&folder),
        };
        store.context("cannot keep learners")
    }
}

/// As systemd gives it to a service, or where the XDG base directory specification has it for a user.
fn default_folder() -> Option<PathBuf> {
    let of = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = of("STATE_DIRECTORY") {
        return Some(folder.join("trainer"));
    }
    let state = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")))?;
    Some(state.join("hwmeter/trainer"))
}

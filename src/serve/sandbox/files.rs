//! Landlock: which files may be read and written, and where connections may lead. <https://docs.kernel.org/userspace-api/landlock.html>

use super::Rights;
use hwmeter_hw::Root;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

/// Everything there is to forbid in the newest version known; an older kernel forbids what it knows.
const NEWEST: ABI = ABI::V7;

/// What a running server still opens: the load, its own memory, and how many CPUs it may use.
const READABLE: [&str; 7] = [
    "/proc/stat",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/proc/self",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// What looking up a name of another machine reads.
const NAMES: [&str; 5] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
];

/// Holds for the calling thread and those it starts from now on. Returns the version that the kernel has.
pub(super) fn lock(root: &Root, rights: &Rights) -> Result<u8, String> {
    match restrict(root, rights).map_err(|e| e.to_string())? {
        LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u8),
        LandlockStatus::NotEnabled => {
            Err("the kernel has Landlock switched off; add it to `lsm=` on its command line".to_owned())
        }
        LandlockStatus::NotImplemented => {
            Err("the kernel has no Landlock, which came with Linux 5.13".to_owned())
        }
    }
}

fn restrict(root: &Root, rights: &Rights) -> Result<LandlockStatus, RulesetError> {
    let readable = READABLE
        .into_iter()
        .flat_map(|path| [path.into(), root.path(path)])
        .chain(NAMES.into_iter().filter(|_| rights.names).map(Into::into));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        // Of a server no rule allows any: the listening socket is bound already, and it opens no connection.
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // Files that this machine does not have are skipped.
        .add_rules(path_beneath_rules(
            readable,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?
        .add_rules(path_beneath_rules(&rights.writable, of_writers()))?
        .add_rules(
            rights
                .connect
                .iter()
                .map(|&port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))),
        )?
        .restrict_self()?;
    Ok(status.landlock)
}

/// Ordinary files and folders: to read, write, make, rename and remove them.
fn of_writers() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

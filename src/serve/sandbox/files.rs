//! Landlock: which files may be read, and that none may be written. <https://docs.kernel.org/userspace-api/landlock.html>

use hwmeter_hw::Root;
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    Scope, path_beneath_rules,
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

/// Holds for the calling thread and those it starts from now on. Returns the version that the kernel has.
pub(super) fn lock(root: &Root) -> Result<u8, String> {
    match restrict(root).map_err(|e| e.to_string())? {
        LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u8),
        LandlockStatus::NotEnabled => {
            Err("the kernel has Landlock switched off; add it to `lsm=` on its command line".to_owned())
        }
        LandlockStatus::NotImplemented => {
            Err("the kernel has no Landlock, which came with Linux 5.13".to_owned())
        }
    }
}

fn restrict(root: &Root) -> Result<LandlockStatus, RulesetError> {
    let readable = READABLE
        .into_iter()
        .flat_map(|path| [path.into(), root.path(path)]);
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        // No rule allows any: the listening socket is bound already, and a server opens no connection.
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // Files that this machine does not have are skipped.
        .add_rules(path_beneath_rules(
            readable,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?
        .restrict_self()?;
    Ok(status.landlock)
}

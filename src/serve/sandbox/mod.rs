//! A server gives up, for good, what it does not need: whoever takes it over finds little to use.
//!
//! ```text
//! bind, read certificates and tokens -> enter -> threads, clients, tasks
//! ```
//!
//! Three locks of the kernel, each for itself, so that an older kernel has the others still:
//!
//! - `no_new_privs`: no program started later gains rights by set-user-ID or file capabilities;
//! - Landlock (Linux 5.13): no file is written, and only those below are read; from later versions on no TCP
//!   connection is opened, and no process outside is signalled;
//! - a seccomp filter: system calls a server has no use for fail with `EPERM`.
//!
//! A trainer is locked in likewise, but for its [`Rights`]: it writes below its state folder, and opens connections to
//! the port of its broker.

mod files;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod system_calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod system_calls {
    pub(super) fn filter(_: &super::Rights) -> Result<(), String> {
        Err(format!("no filter is written for {}", std::env::consts::ARCH))
    }
}

use hwmeter_hw::Root;
use std::fmt;
use std::path::PathBuf;

/// What a process keeps beyond what every server has; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Folders below which it may read, write, make, rename and remove files.
    pub writable: Vec<PathBuf>,
    /// TCP ports to which it may open connections. Which machines these are on, Landlock cannot tell apart.
    pub connect: Vec<u16>,
    /// It may look up the names of other machines.
    pub names: bool,
}

/// Which locks hold; the errors say why one does not.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "tell the user which locks do not hold"]
pub struct Sandbox {
    /// `no_new_privs` of all threads.
    pub no_new_privileges: Result<(), String>,
    /// Landlock's version in this kernel.
    pub files: Result<u8, String>,
    /// The filter of system calls.
    pub system_calls: Result<(), String>,
}

/// Locks this process in until it ends. Call it before threads are started (Landlock holds for the calling thread
/// and those it starts), and after everything was opened that must be opened. What stays readable below `root` is
/// what the load, the memory and the number of CPUs come from; `rights` are what it keeps besides.
pub fn enter(root: &Root, rights: &Rights) -> Sandbox {
    Sandbox {
        no_new_privileges: nix::sys::prctl::set_no_new_privs()
            .map_err(|e| format!("the kernel says: {}", e.desc())),
        files: files::lock(root, rights),
        // The last one: it refuses the calls that the others are made of.
        system_calls: system_calls::filter(rights),
    }
}

impl Sandbox {
    /// Do all locks hold?
    pub fn is_whole(&self) -> bool {
        self.no_new_privileges.is_ok() && self.files.is_ok() && self.system_calls.is_ok()
    }
}

/// One line: what holds, then what does not and why.
impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locks = [
            ("no new privileges", self.no_new_privileges.clone()),
            ("files (Landlock)", self.files.clone().map(|_| ())),
            ("system calls (seccomp)", self.system_calls.clone()),
        ];
        let held: Vec<_> = locks.iter().filter(|lock| lock.1.is_ok()).collect();
        write!(f, "sandbox: ")?;
        for (nth, (name, _)) in held.iter().enumerate() {
            write!(f, "{}{name}", if nth > 0 { ", " } else { "" })?;
        }
        if held.is_empty() {
            write!(f, "none")?;
        }
        if let Ok(version) = self.files {
            write!(f, "; Landlock version {version}")?;
        }
        for (name, state) in &locks {
            if let Err(why) = state {
                write!(f, "; NOT {name}: {why}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_told_with_its_reason() {
        let whole = Sandbox {
            no_new_privileges: Ok(()),
            files: Ok(7),
            system_calls: Ok(()),
        };
        assert!(whole.is_whole());
        assert_eq!(
            whole.to_string(),
            "sandbox: no new privileges, files (Landlock), system calls (seccomp); Landlock version 7"
        );
        let old = Sandbox {
            files: Err("too old".to_owned()),
            ..whole
        };
        assert!(!old.is_whole());
        assert_eq!(
            old.to_string(),
            "sandbox: no new privileges, system calls (seccomp); NOT files (Landlock): too old"
        );
    }
}

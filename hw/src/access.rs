//! Access without root: the rules that give a group what measuring needs, and only that.
//!
//! Three files, as systemd and udev expect them (`udev(7)`, `tmpfiles.d(5)`, `sysusers.d(5)`). They live in the
//! repository's `udev/`, where packagers look for them; `access/` holds links to them, which `cargo package` replaces
//! by their content. So there is one copy of each, and this crate builds alone.
//!
//! Nothing is run here: what has to run after the files are in place is returned, for the caller to show or to do.

use crate::error::{Error, Result};
use crate::root::Root;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The group that gets access.
pub const GROUP: &str = "hwmeter";

/// One file to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it goes, below the root.
    pub path: &'static str,
    /// What stands in it.
    pub content: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
}

/// All files, in the order in which they are installed.
pub const FILES: [ConfigFile; 3] = [
    ConfigFile {
        path: "/etc/sysusers.d/hwmeter.conf",
        content: include_str!("access/hwmeter.sysusers.conf"),
        purpose: "the group",
    },
    ConfigFile {
        path: "/etc/udev/rules.d/60-hwmeter.rules",
        content: include_str!("access/60-hwmeter.rules"),
        purpose: "its rights, whenever a device appears",
    },
    ConfigFile {
        path: "/etc/tmpfiles.d/hwmeter.conf",
        content: include_str!("access/hwmeter.tmpfiles.conf"),
        purpose: "its rights to what is there already",
    },
];

/// Stands in the first line of each file; a file without it is not ours to replace or to remove.
const MARK: &str = "Installed by `hwmeter setup`";

/// A command to run as root, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Program and arguments.
    pub command: Vec<String>,
    /// What it does.
    pub purpose: &'static str,
}

impl Step {
    fn new(command: &str, purpose: &'static str) -> Self {
        Self {
            command: command.split(' ').map(str::to_owned).collect(),
            purpose,
        }
    }
}

impl std::fmt::Display for Step {
    /// As it is typed into a shell.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.command.join(" "))
    }
}

/// What installing consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files to write.
    pub files: &'static [ConfigFile],
    /// Commands to run afterwards.
    pub steps: Vec<Step>,
}

/// What removing has done, and what is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Files that are gone now; empty if none was installed.
    pub files: Vec<PathBuf>,
    /// Commands to run afterwards.
    pub steps: Vec<Step>,
}

/// What [`install`] would do for `user` (`$USER` of the shell where none is given); touches nothing.
pub fn plan(user: Option<&str>) -> Plan {
    let mut steps = vec![
        Step::new("systemd-sysusers /etc/sysusers.d/hwmeter.conf", "makes the group"),
        Step::new("udevadm control --reload-rules", "makes udev read the rules"),
        Step::new(
            "udevadm trigger --subsystem-match=powercap --subsystem-match=iio --subsystem-match=hwmon \
             --subsystem-match=tty",
            "applies them to devices that are there",
        ),
        Step::new(
            "udevadm trigger --sysname-match=vcio --sysname-match=vcio_gencmd",
            "the same for the Raspberry Pi's mailbox",
        ),
        Step::new(
            "systemd-tmpfiles --create /etc/tmpfiles.d/hwmeter.conf",
            "applies the rights to files in /sys",
        ),
    ];
    let mut join = Step::new("usermod -aG hwmeter", "adds the user, from the next login on");
    join.command.push(user.unwrap_or("$USER").to_owned());
    steps.push(join);
    Plan { files: &FILES, steps }
}

/// Writes the files below `root`, and returns the commands to run then. After an error no new file is left behind.
pub fn install(root: &Root, user: Option<&str>) -> Result<Vec<Step>> {
    let mut written = Vec::new();
    for file in &FILES {
        let path = root.path(file.path);
        let is_new = !path.exists();
        match write(&path, file.content) {
            Ok(()) if is_new => written.push(path),
            Ok(()) => {}
            Err(error) => {
                for path in written {
                    // The first error is the one to tell.
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
        }
    }
    Ok(plan(user).steps)
}

/// Removes the files below `root`. Rights already given last until the next boot; the group stays, for files may
/// belong to it.
pub fn remove(root: &Root) -> Result<Removed> {
    let mut removed = Removed {
        files: Vec::new(),
        steps: Vec::new(),
    };
    let mut first_error = None;
    for file in &FILES {
        let path = root.path(file.path);
        match remove_ours(&path) {
            Ok(true) => removed.files.push(path),
            Ok(false) => {}
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    if !removed.files.is_empty() {
        removed.steps = vec![
            Step::new("udevadm control --reload-rules", "makes udev forget the rules"),
            Step::new("groupdel hwmeter", "removes the group, if nothing else uses it"),
            Step::new("reboot", "gives the files in /sys their own rights again"),
        ];
    }
    Ok(removed)
}

/// Which of the files are installed below `root` just as they are here.
pub fn installed(root: &Root) -> Vec<&'static ConfigFile> {
    let is_same = |file: &&ConfigFile| {
        root.read(file.path)
            .is_ok_and(|bytes| bytes == file.content.as_bytes())
    };
    FILES.iter().filter(is_same).collect()
}

/// Writes beside the goal and renames: nobody ever reads half a file.
fn write(path: &Path, content: &str) -> Result<()> {
    is_ours(path)?;
    let Some(dir) = path.parent() else {
        return Err(Error::unsupported(
            path.display().to_string(),
            "it has no directory",
        ));
    };
    fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
    let beside = path.with_extension("new");
    let result = fs::write(&beside, content)
        .and_then(|()| fs::set_permissions(&beside, Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&beside, path));
    result.map_err(|e| {
        let _ = fs::remove_file(&beside);
        Error::io("write", path, e)
    })
}

/// True if there was one.
fn remove_ours(path: &Path) -> Result<bool> {
    if !is_ours(path)? {
        return Ok(false);
    }
    fs::remove_file(path).map_err(|e| Error::io("remove", path, e))?;
    Ok(true)
}

/// Whether the file is there; an error if it is somebody else's.
fn is_ours(path: &Path) -> Result<bool> {
    match fs::read_to_string(path) {
        Ok(text) if text.lines().next().is_some_and(|line| line.contains(MARK)) => Ok(true),
        Ok(_) => Err(Error::unsupported(
            path.display().to_string(),
            "it was not written by `hwmeter setup`; look at it and move it away if it is not needed",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

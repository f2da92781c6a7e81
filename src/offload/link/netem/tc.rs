//! The program `tc` of iproute2.

use super::NetemError;
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where it is, besides `PATH`: that of ordinary users often lacks these.
const PLACES: [&str; 3] = ["tc", "/usr/sbin/tc", "/sbin/tc"];

/// The program.
#[derive(Debug)]
pub(super) struct Tc {
    program: PathBuf,
}

/// One queueing discipline, as `tc -json qdisc show` tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Qdisc {
    pub kind: String,
    pub handle: String,
    #[serde(default)]
    root: bool,
    parent: Option<String>,
    #[serde(default)]
    options: Value,
}

impl Qdisc {
    /// The kernel gives what it attaches by itself no handle.
    pub fn is_default(&self) -> bool {
        self.handle == "0:"
    }

    /// Those for what comes in stand beside the queue for what goes out.
    fn is_of_egress(&self) -> bool {
        !matches!(self.kind.as_str(), "ingress" | "clsact")
    }
}

impl Tc {
    pub fn find() -> Result<Self, NetemError> {
        for program in PLACES {
            match run(Path::new(program), &["-Version"]) {
                Ok(_) => {
                    return Ok(Self {
                        program: program.into(),
                    });
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => {
                    return Err(NetemError::Unusable {
                        program: program.into(),
                        cause,
                    });
                }
            }
        }
        Err(NetemError::NoTc)
    }

    /// The queues of an interface for what goes out.
    pub fn queues(&self, interface: &str) -> Result<Vec<Qdisc>, NetemError> {
        let output = self.run(interface, "", &["-json", "qdisc", "show", "dev", interface])?;
        let all: Vec<Qdisc> = serde_json::from_slice(&output).map_err(|cause| NetemError::Unusable {
            program: self.program.clone(),
            cause: cause.into(),
        })?;
        Ok(all.into_iter().filter(Qdisc::is_of_egress).collect())
    }

    /// Its stdout. `shape` is the jitter that it needs a table for.
    pub fn run(
        &self,
        interface: &str,
        shape: &'static str,
        arguments: &[&str],
    ) -> Result<Vec<u8>, NetemError> {
        let output = run(&self.program, arguments).map_err(|cause| NetemError::Unusable {
            program: self.program.clone(),
            cause,
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.trim();
        let says = |text: &str| complaint.contains(text);
        Err(if says("Cannot find device") || says("No such device") {
            NetemError::NoInterface(interface.to_owned())
        } else if says("Operation not permitted") {
            NetemError::Denied(interface.to_owned())
        } else if says("qdisc kind is unknown") || says("answers: No such file or directory") {
            NetemError::NoModule
        } else if says("istribution") && !shape.is_empty() {
            NetemError::NoTable(shape)
        } else {
            NetemError::Tc {
                arguments: arguments.join(" "),
                complaint: complaint.to_owned(),
            }
        })
    }
}

fn run(program: &Path, arguments: &[&str]) -> io::Result<Output> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // A group of its own: Ctrl-C must not end it half way.
        .process_group(0)
        .output()
}

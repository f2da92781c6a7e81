//! The measured command: started, waited for, its exit status.

use super::signals::Interrupts;
use crate::cli::MeasureArgs;
use anyhow::Context as _;
use hwmeter::marks;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The command could not be run: 127 if there is none of this name, 126 otherwise, as shells have it.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {source}; is it installed, spelled right and executable?")]
pub struct CannotRun {
    program: String,
    source: std::io::Error,
}

impl CannotRun {
    /// The exit status that says so.
    pub fn exit_status(&self) -> u8 {
        match self.source.kind() {
            ErrorKind::NotFound => 127,
            _ => 126,
        }
    }
}

/// A command on its way.
pub struct Running<'i> {
    child: Child,
    interrupts: &'i Interrupts,
}

impl<'i> Running<'i> {
    /// Starts the command of the arguments, with the path of the marks in its environment.
    pub fn start(
        args: &MeasureArgs,
        marks: Option<&Path>,
        interrupts: &'i Interrupts,
    ) -> anyhow::Result<Self> {
        let (program, arguments) = args.command.split_first().context("no command given")?;
        let mut command = Command::new(program);
        command.args(arguments);
        match marks {
            Some(path) => command.env(marks::VARIABLE, path),
            None => command.env_remove(marks::VARIABLE),
        };
        if args.json {
            // stdout holds the one document.
            command.stdout(Stdio::from(std::io::stderr()));
        }
        let child = command.spawn().map_err(|source| CannotRun {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
        interrupts.attach(child.id());
        Ok(Self { child, interrupts })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended. What it used can be read until [`Running::reap`] is called.
    pub fn wait(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let ended = loop {
            match waitid(Id::Pid(pid), flags) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        self.interrupts.detach();
        ended.map(drop).context("cannot wait for the command")
    }

    /// Its exit status: 128 + N if signal N ended it.
    pub fn reap(mut self) -> anyhow::Result<i32> {
        let status = self.child.wait().context("cannot wait for the command")?;
        Ok(exit_code(status))
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|n| 128 + n))
        .unwrap_or(1)
}

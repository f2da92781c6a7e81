//! Programs that a test has started.

use hwmeter::offload::parent_death::child_ends_with_us;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};

/// A program that is killed when this is dropped, as it is when an assertion fails, and that ends when the whole test
/// is killed.
pub struct Started(Option<Child>);

#[track_caller]
pub fn started(command: &mut Command) -> Started {
    Started(Some(child_ends_with_us(command).spawn().unwrap()))
}

impl Started {
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// As by `kill -9`; returns when it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        let child = &mut **self;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// How it ended, and all that it has said on the pipes it was given.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let child = self.0.take().unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

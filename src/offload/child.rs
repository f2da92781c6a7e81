//! A child process of ours: it ends when we do, its stdout is read, and it is asked to end before it is killed.

use super::parent_death::child_ends_with_us;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of its stdout that may wait to be asked for; further ones are dropped.
const LINES: usize = 64;

/// A running program, which ends when this is dropped.
#[derive(Debug)]
pub struct OurChild {
    name: String,
    child: Child,
    stop_time: Duration,
    /// The second signal would end it at once.
    is_asked: bool,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl OurChild {
    /// Starts it, from a thread that lives as long as it is needed. `name` is for the log; after `stop_time` one that
    /// does not end when asked is killed.
    pub fn start(name: &str, command: &mut Command, stop_time: Duration) -> io::Result<Self> {
        Self::spawn(name, command.stdin(Stdio::null()), stop_time)
    }

    /// The same; `input` is what it reads from its stdin, at most 4096 bytes.
    pub fn start_with_input(
        name: &str,
        command: &mut Command,
        stop_time: Duration,
        input: &[u8],
    ) -> io::Result<Self> {
        let (reader, mut writer) = io::pipe()?;
        // Any pipe takes so much before somebody reads it.
        writer.write_all(input)?;
        drop(writer);
        Self::spawn(name, command.stdin(reader), stop_time)
    }

    fn spawn(name: &str, command: &mut Command, stop_time: Duration) -> io::Result<Self> {
        command.stdout(Stdio::piped());
        let mut child = child_ends_with_us(command).spawn()?;
        let (lines, reader) = read(child.stdout.take());
        Ok(Self {
            name: name.to_owned(),
            child,
            stop_time,
            is_asked: false,
            lines,
            reader: Some(reader),
        })
    }

    /// The next line that it says on stdout. An error if it takes longer, or has ended without one.
    pub fn line_within(&self, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(limit)
    }

    /// The next line that it has said, if there is one already.
    pub fn next_line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Its stderr, if that was piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Tells it to end, once, without waiting for it.
    pub fn ask_to_end(&mut self) {
        if !std::mem::replace(&mut self.is_asked, true) {
            self.signal(Signal::SIGTERM);
        }
    }

    /// Asks it to end, makes it end if it does not, and reaps it.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.ask_to_end();
        let give_up = Instant::now() + self.stop_time;
        let mut status = self.child.try_wait().ok().flatten();
        while status.is_none() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait().ok().flatten();
        }
        if status.is_none() {
            tracing::warn!("the {} did not end when asked and was killed", self.name);
            self.signal(Signal::SIGKILL);
            status = self.child.wait().ok();
        }
        if let Some(reader) = self.reader.take() {
            // Its pipe has ended with the child. That it panicked would have been printed already.
            let _ = reader.join();
        }
        status
    }

    /// Signals the child unless it was reaped already: its pid could be another process by then.
    fn signal(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait() {
            // Between the check and here only we could have reaped it, so the pid is still its own.
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }
}

impl Drop for OurChild {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads stdout to its end, so that the child can never block on it, and passes on its lines.
fn read(stdout: Option<ChildStdout>) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = sync_channel(LINES);
    let reader = std::thread::spawn(move || {
        let lines = stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines());
        for line in lines.map_while(Result::ok) {
            // What nobody asks for is not kept.
            let _ = sender.try_send(line);
        }
    });
    (receiver, reader)
}

//! A child process of ours that writes lines: started, watched, started again, and never left behind.
//!
//! The child dies with us whatever happens: it is killed by its id and reaped when the [`LineChild`] is dropped, and
//! the kernel kills it (`PR_SET_PDEATHSIG`) if this process ends without dropping anything.

use super::program::{Reaped, spawn_with_us};
use crate::error::{Error, Result};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Waits before a child is started again: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// No line is longer; a child that sends more without a line end is writing something else.
const LONGEST_LINE: usize = 64 * 1024;

/// What is called with each complete line, on the reader's thread. True: the line was a good one.
pub(super) type OnLine = Box<dyn FnMut(&str) -> bool + Send>;

/// A running child and the thread that reads it.
pub(super) struct LineChild {
    state: Arc<Mutex<State>>,
    /// Its other end is watched by the reader: dropping it says stop.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<u32>,
    /// Why no child is running.
    ended: Option<String>,
}

impl LineChild {
    /// Starts `program` and reads its standard output. A program that cannot be started at all is an error.
    pub fn start(program: &Path, arguments: &[String], on_line: OnLine) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair().map_err(|e| Error::os("creating a socket pair", e))?;
        let state = Arc::new(Mutex::new(State::default()));
        let mut reader = Reader {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            stopped,
            state: Arc::clone(&state),
            on_line,
        };
        // A file that is not there or not executable is told now, and not as a missing line later.
        let metadata = program.metadata().map_err(|e| Error::io("start", program, e))?;
        if !metadata.is_file() {
            return Err(Error::io(
                "start",
                program,
                io::Error::from_raw_os_error(libc::EACCES),
            ));
        }
        let thread = std::thread::Builder::new()
            .name("child-lines".into())
            .spawn(move || reader.run())
            .map_err(|e| Error::os("starting the reader thread", e))?;
        Ok(Self {
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The process id of the child, while one is running.
    pub fn pid(&self) -> Option<u32> {
        lock(&self.state).pid
    }

    /// Why no child is running, while none is.
    pub fn why_ended(&self) -> Option<String> {
        lock(&self.state).ended.clone()
    }
}

impl Drop for LineChild {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread kills and reaps the child before it ends; a panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader {
    program: PathBuf,
    arguments: Vec<String>,
    stopped: UnixStream,
    state: Arc<Mutex<State>>,
    on_line: OnLine,
}

/// What the reader waited for.
#[derive(PartialEq)]
enum Event {
    Stop,
    Data,
    Timeout,
}

impl Reader {
    fn run(&mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let (ended, had_lines) = match self.spawn() {
                Ok(child) => match self.follow(child) {
                    Some(outcome) => outcome,
                    None => return,
                },
                Err(error) => (format!("it could not be started: {error}"), false),
            };
            if had_lines {
                wait = FIRST_WAIT;
            }
            let why = format!("{ended}; starting it again in {:.1} s", wait.as_secs_f64());
            tracing::warn!("{}: {why}", self.program.display());
            *lock(&self.state) = State {
                pid: None,
                ended: Some(why),
            };
            if self.wait(None, Some(wait)) == Event::Stop {
                return;
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// The child is started on the thread that follows it: the kernel's parent-death signal is about that thread.
    fn spawn(&self) -> io::Result<Reaped> {
        spawn_with_us(&self.program, &self.arguments)
    }

    /// Reads until the child ends: why it did, and whether it sent a good line. `None`: told to stop.
    fn follow(&mut self, mut child: Reaped) -> Option<(String, bool)> {
        *lock(&self.state) = State {
            pid: Some(child.0.id()),
            ended: None,
        };
        let mut stdout = child.0.stdout.take()?;
        let mut pending: Vec<u8> = Vec::new();
        let mut chunk = [0; 4096];
        let mut had_lines = false;
        loop {
            match self.wait(Some(stdout.as_raw_fd()), None) {
                Event::Stop => return None,
                Event::Timeout => continue,
                Event::Data => {}
            }
            match stdout.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => pending.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Some((format!("its output cannot be read: {e}"), had_lines)),
            }
            // What follows the last line end is a line still being written: it waits.
            while let Some(end) = pending.iter().position(|&b| b == b'\n') {
                let line = String::from_utf8_lossy(&pending[..end]).into_owned();
                had_lines |= (self.on_line)(&line);
                pending.drain(..=end);
            }
            if pending.len() > LONGEST_LINE {
                return Some(("it sends no line ends".to_owned(), had_lines));
            }
        }
        // End of its output: it has ended, or closed it and is of no more use.
        let _ = child.0.kill();
        let status = child
            .0
            .wait()
            .map_or_else(|e| e.to_string(), |status| status.to_string());
        Some((format!("it ended ({status})"), had_lines))
    }

    fn wait(&self, data: Option<RawFd>, timeout: Option<Duration>) -> Event {
        let watch = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // A negative descriptor is ignored by the kernel.
        let mut watched = [watch(self.stopped.as_raw_fd()), watch(data.unwrap_or(-1))];
        let milliseconds = timeout.map_or(-1, |t| t.as_millis() as libc::c_int);
        // SAFETY: `watched` is a valid array of two pollfd for the whole call.
        let ready = unsafe { libc::poll(watched.as_mut_ptr(), 2, milliseconds) };
        if ready > 0 && watched[0].revents != 0 {
            Event::Stop
        } else if ready > 0 {
            Event::Data
        } else {
            Event::Timeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn script(dir: &Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.join("program");
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn lines_of(program: &Path) -> (LineChild, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let on_line = Box::new(move |line: &str| {
            sink.lock().unwrap().push(line.to_owned());
            true
        });
        (LineChild::start(program, &[], on_line).unwrap(), seen)
    }

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what} never happened");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_line_without_its_end_waits() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(
            dir.path(),
            "printf 'one\\ntw'; sleep 0.2; printf 'o\\nthr'; exec sleep 60",
        );
        let (_child, seen) = lines_of(&program);
        wait_for("the second line", || seen.lock().unwrap().len() == 2);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_dropped_child_is_killed_and_reaped_even_if_its_own_child_holds_the_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "sleep 3 & echo started; wait");
        let (child, seen) = lines_of(&program);
        wait_for("the line", || !seen.lock().unwrap().is_empty());
        let pid = child.pid().unwrap();
        let begin = Instant::now();
        drop(child);
        assert!(begin.elapsed() < Duration::from_secs(2));
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "neither running nor a zombie"
        );
    }

    #[test]
    fn a_child_that_ends_is_started_again_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "echo hello; exit 3");
        let (child, seen) = lines_of(&program);
        wait_for("the end", || child.why_ended().is_some());
        let why = child.why_ended().unwrap();
        assert!(
            why.contains("exit status: 3") && why.contains("again in 0.5 s"),
            "{why}"
        );
        wait_for("the second start", || seen.lock().unwrap().len() >= 2);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_at_once() {
        assert!(LineChild::start(Path::new("/nowhere/x"), &[], Box::new(|_| true)).is_err());
    }
}

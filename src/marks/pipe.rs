//! The named pipe that marks come through.
//!
//! It lies in a directory that only this user can enter, and both are gone when the pipe is dropped. This process may
//! be killed without a chance to clean up, and a shell that opens a pipe nobody reads waits for ever: so a guard, a
//! shell asleep on a pipe of ours, holds the reading end too, and when we die it removes the directory and drains what
//! still comes.

use super::Mark;
use anyhow::Context;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use nix::sys::stat::Mode;
use nix::unistd::{mkdtemp, mkfifo};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The pipe of one measurement.
pub struct MarksPipe {
    dir: PrivateDir,
    path: PathBuf,
    /// Open for reading and writing: it never ends while we live, and no writer waits for us to open it.
    file: File,
    _guard: Option<Guard>,
}

/// Ends [`MarksPipe::read`]: no name holds a NUL. The first line end closes a mark that was cut short.
const END: &[u8] = b"\n\0\n";

/// Longest line looked at; of a longer one nothing is taken.
const LONGEST_LINE: usize = 4096;

impl MarksPipe {
    /// Makes the pipe.
    pub fn create() -> anyhow::Result<Self> {
        let dir = PrivateDir::create()?;
        let path = dir.0.join("marks");
        let failed = || format!("cannot make the pipe {}", path.display());
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(failed)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(failed)?;
        let guard = Guard::start(&dir.0, &path)
            .inspect_err(|error| tracing::debug!("no guard for {}: {error}", path.display()))
            .ok();
        Ok(Self {
            dir,
            path,
            file,
            _guard: guard,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `on_mark` with each mark and the moment it arrived, until [`MarksPipe::end`] is called; what was written
    /// before that has been read by then.
    pub fn read(&self, mut on_mark: impl FnMut(Moment, Result<Mark, String>)) -> std::io::Result<()> {
        let mut chunk = [0; 65_536];
        let mut line = Vec::new();
        loop {
            let n = match (&self.file).read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let arrived = MonotonicClock.now();
            for part in chunk[..n].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(&part[..part.len().min(LONGEST_LINE)]);
                line.truncate(LONGEST_LINE);
                if !part.ends_with(b"\n") {
                    continue;
                }
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                match text {
                    b"\0" => return Ok(()),
                    b"" => {}
                    text => on_mark(arrived, Mark::parse(text)),
                }
                line.clear();
            }
        }
    }

    /// Lets [`MarksPipe::read`] return once it has read everything that is in the pipe by now.
    pub fn end(&self) -> std::io::Result<()> {
        (&self.file).write_all(END)
    }
}

impl std::fmt::Debug for MarksPipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MarksPipe({})", self.dir.0.display())
    }
}

/// A directory of mode 0700, removed on drop.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn create() -> anyhow::Result<Self> {
        let template = std::env::temp_dir().join("hwmeter-XXXXXX");
        let made = mkdtemp(&template);
        Ok(Self(made.with_context(|| {
            format!(
                "cannot make a directory below {}; set TMPDIR to one that is writable",
                std::env::temp_dir().display()
            )
        })?))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that cleans up when we cannot. It costs nothing while it waits.
struct Guard(Child);

impl Guard {
    /// Its stdin ends when this process does, however that happens. It lives in a process group of its own, and
    /// ignores what a terminal sends.
    const SCRIPT: &str =
        "trap '' INT QUIT TERM HUP TSTP; read -r _; rm -rf -- \"$1\"; exec cat <&1 >/dev/null";

    fn start(dir: &Path, pipe: &Path) -> std::io::Result<Self> {
        let reading_end = File::open(pipe)?;
        Command::new("sh")
            .args(["-c", Self::SCRIPT, "hwmeter-marks-guard"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(reading_end)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What a pipe brings after `write` has been at it.
    fn marks_after(write: impl FnOnce(&Path) + Send) -> Vec<Result<String, String>> {
        let pipe = MarksPipe::create().unwrap();
        let mut marks = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                write(pipe.path());
                pipe.end().unwrap();
            });
            pipe.read(|_, mark| marks.push(mark.map(|mark| mark.name.as_str().to_owned())))
                .unwrap();
        });
        marks
    }

    fn append(pipe: &Path, bytes: &[u8]) {
        let mut file = File::options().append(true).open(pipe).unwrap();
        file.write_all(bytes).unwrap();
    }

    #[test]
    fn lines_become_marks_in_their_order_and_none_is_lost() {
        let marks = marks_after(|pipe| {
            for i in 0..20_000 {
                Mark::parse(format!("phase {i}").as_bytes())
                    .unwrap()
                    .send(pipe)
                    .or_else(|_| {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Mark::parse(format!("phase {i}").as_bytes()).unwrap().send(pipe)
                    })
                    .unwrap();
            }
        });
        assert_eq!(marks.len(), 20_000);
        assert_eq!(marks[19_999], Ok("phase 19999".to_owned()));
    }

    #[test]
    fn junk_is_told_and_takes_no_memory() {
        let marks = marks_after(|pipe| {
            append(pipe, &vec![b'x'; 10_000_000]);
            append(pipe, b"\n\n\xff\nlast");
        });
        let [Err(_), Err(_), Ok(last)] = &marks[..] else {
            panic!("{marks:?}")
        };
        assert_eq!(last, "last", "a line without its end counts");
    }

    #[test]
    fn only_this_user_can_get_in_and_nothing_stays() {
        let pipe = MarksPipe::create().unwrap();
        let dir = pipe.path().parent().unwrap().to_owned();
        let mode = dir.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(pipe);
        assert!(!dir.exists());
    }
}

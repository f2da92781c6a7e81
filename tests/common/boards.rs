//! The made-up boards of the hardware crate's tests, for tests of the program: `--root` takes their directory. One
//! helper builds them all (`hw/tests/common/boards/`).
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../hw/tests/common/boards/mod.rs"]
mod made_up;
#[path = "../../hw/tests/common/tree.rs"]
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tree::Tree;

/// A tree in a temporary directory.
pub struct Board(Tree);

impl Board {
    /// What `--root` takes.
    pub fn path(&self) -> &Path {
        self.0.dir()
    }

    /// The real place of a path of the made-up system.
    pub fn place(&self, system_path: &str) -> PathBuf {
        self.0.path(system_path)
    }

    /// Writes a file and the directories above it.
    pub fn file(&self, system_path: &str, content: &str) -> &Self {
        self.0.write(system_path, content);
        self
    }

    /// Takes every right to a file away.
    pub fn lock(&self, system_path: &str) -> &Self {
        self.0.lock(system_path);
        self
    }

    /// reComputer J1010: 2.247 W in, of which CPU 0.275 W and GPU 0.078 W.
    pub fn jetson_nano() -> Self {
        Self(made_up::nano())
    }

    /// AGX Orin: 4.0 + 1.0 + 5.0 W make the board; memory's 0.5 W are not added.
    pub fn agx_orin() -> Self {
        Self(made_up::agx_orin())
    }

    /// Raspberry Pi 4, revision 1.2, 64-bit.
    pub fn raspberry_pi_4() -> Self {
        Self(made_up::pi4())
    }

    /// Raspberry Pi 5, without its mailbox.
    pub fn raspberry_pi_5() -> Self {
        Self(made_up::pi5())
    }

    /// An x86 machine with RAPL: package, its cores, graphics, and memory.
    pub fn rapl() -> Self {
        Self(made_up::x86_rapl())
    }

    /// A virtual machine: a load and nothing that measures.
    pub fn plain_vm() -> Self {
        Self(made_up::plain_vm())
    }
}

/// A `/proc/stat` of two cores with these busy and idle ticks in all.
pub fn stat(busy: u64, idle: u64) -> String {
    format!(
        "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 0\n"
    )
}

/// Keeps files of a board up to date on a thread until dropped: files are replaced in one step, as the kernel
/// would show them.
pub struct Animation {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Animation {
    /// Calls `content` every millisecond with the seconds since the beginning and writes what it returns.
    pub fn start(files: Vec<PathBuf>, content: impl Fn(usize, f64) -> String + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            while !flag.load(Ordering::Relaxed) {
                for (i, file) in files.iter().enumerate() {
                    // In place, in one write of constant length: a reader with the file open sees old or new.
                    let text = content(i, begin.elapsed().as_secs_f64());
                    use std::os::unix::fs::FileExt;
                    let open = std::fs::OpenOptions::new().write(true).open(file).unwrap();
                    open.write_all_at(text.as_bytes(), 0).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Animation {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

//! The only code that opens files under `/sys`, `/proc` and `/dev`.
//!
//! A [`Root`] is a prefix. On a board it is `/`; in tests, and with `--root DIR`, it is a directory that holds
//! the same tree, so that exactly the shipped code runs on a made-up board.

use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the system's trees begin.
#[derive(Clone, Debug)]
pub struct Root {
    prefix: PathBuf,
    trail: Option<Trail>,
}

/// The system paths that were looked at through a [`Root`], whether they were there or not.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Trail {
    /// All paths so far, sorted, without prefix.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// A root at `prefix`; `/` is the running system.
    pub fn new(prefix: impl Into<PathBuf>) -> Self {
        Self {
            prefix: prefix.into(),
            trail: None,
        }
    }

    /// The same root, and a trail of every path looked at through it or its clones.
    pub fn recorded(&self) -> (Self, Trail) {
        let trail = Trail::default();
        let root = Self {
            prefix: self.prefix.clone(),
            trail: Some(trail.clone()),
        };
        (root, trail)
    }

    /// True for the running system, false below a prefix.
    pub fn is_real(&self) -> bool {
        self.prefix == Path::new("/")
    }

    /// The real place of an absolute system path such as `/proc/stat`.
    pub fn path(&self, system_path: impl AsRef<Path>) -> PathBuf {
        let path = system_path.as_ref();
        if let Some(trail) = &self.trail {
            trail.lock().insert(path.to_owned());
        }
        self.prefix.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Does the path exist (following links)?
    pub fn exists(&self, system_path: impl AsRef<Path>) -> bool {
        self.path(system_path).exists()
    }

    /// The whole file as bytes.
    pub fn read(&self, system_path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = self.path(system_path);
        std::fs::read(&path).map_err(|e| Error::io("read", &path, e))
    }

    /// The whole file as text without surrounding white space and NULs (device-tree strings end in one).
    pub fn read_text(&self, system_path: impl AsRef<Path>) -> Result<String> {
        let bytes = self.read(system_path)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text
            .trim_matches(|c: char| c.is_whitespace() || c == '\0')
            .to_owned())
    }

    /// One number from a file that holds just that.
    pub fn read_number<T: FromStr>(&self, system_path: impl AsRef<Path>) -> Result<T> {
        let system_path = system_path.as_ref();
        let bytes = self.read(system_path)?;
        parse_number(&bytes).ok_or_else(|| Error::malformed(&self.path(system_path), &bytes, "one number"))
    }

    /// The NUL-separated strings of a device-tree property.
    pub fn read_strings(&self, system_path: impl AsRef<Path>) -> Result<Vec<String>> {
        let bytes = self.read(system_path)?;
        Ok(bytes
            .split(|&b| b == 0)
            .filter(|s| !s.is_empty())
            .map(|s| String::from_utf8_lossy(s).trim().to_owned())
            .collect())
    }

    /// Writes a value to a control file.
    pub fn write(&self, system_path: impl AsRef<Path>, value: &str) -> Result<()> {
        let path = self.path(system_path);
        std::fs::write(&path, value).map_err(|e| Error::io("write", &path, e))
    }

    /// The names in a directory, in natural order (`iio:device2` before `iio:device10`).
    /// A directory that does not exist has none; one that cannot be read is an error.
    pub fn list(&self, system_path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = self.path(system_path);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &path, e)),
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_by_key(|name| natural_key(name));
        Ok(names)
    }

    /// Opens a node to be read again and again.
    pub fn open(&self, system_path: impl AsRef<Path>) -> Result<Node> {
        Node::open(self.path(system_path), !self.is_real())
    }
}

/// A file kept open and read again and again from its beginning, without allocating.
///
/// A node that vanished and came back (a driver reloaded, a device plugged in again) is opened anew at the
/// next read after a failure.
#[derive(Debug)]
pub struct Node {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
    filled: usize,
    /// When it was last made sure that the open file is still the one at its path; `None` for the kernel's own
    /// files, which are never replaced.
    checked: Option<Instant>,
}

/// Holds any number. Small, because a sampler wakes up with cold caches: what it need not touch costs it nothing.
const FIRST_BUFFER: usize = 64;

impl Node {
    fn open(path: PathBuf, may_be_replaced: bool) -> Result<Self> {
        let file = Some(open(&path)?);
        let checked = may_be_replaced.then(Instant::now);
        Ok(Self {
            path,
            file,
            buffer: vec![0; FIRST_BUFFER],
            filled: 0,
            checked,
        })
    }

    /// The file's place, root prefix included.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content just now, from one read. The buffer grows until the file fits; after that a read allocates nothing.
    pub fn read(&mut self) -> Result<&[u8]> {
        loop {
            self.filled = self.read_once()?;
            // A node tells all it has in one read; only a full buffer means that more may follow. Then it is read
            // anew as a whole, because a node may say something else by the second read.
            if self.filled < self.buffer.len() {
                return Ok(&self.buffer[..self.filled]);
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    /// In a made-up tree (below a prefix) a program may update a file by renaming a new one over it.
    fn follow_replacement(&mut self) {
        const CHECK_PERIOD: Duration = Duration::from_millis(2);
        let Some(checked) = &mut self.checked else { return };
        if checked.elapsed() < CHECK_PERIOD {
            return;
        }
        *checked = Instant::now();
        let is_unlinked = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if self.file.as_ref().is_some_and(is_unlinked) {
            self.file = None;
        }
    }

    fn read_once(&mut self) -> Result<usize> {
        self.follow_replacement();
        let open = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(open(&self.path)?),
        };
        loop {
            match open.read_at(&mut self.buffer, 0) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    self.file = None;
                    return Err(Error::io("read", &self.path, e));
                }
            }
        }
    }

    /// The content as one number.
    pub fn read_number<T: FromStr>(&mut self) -> Result<T> {
        match parse_number(self.read()?) {
            Some(value) => Ok(value),
            None => Err(self.malformed("one number")),
        }
    }

    /// The error that what was read last is not what it should be.
    ///
    /// An empty or cut file may be one that was replaced under us, so the next read looks at the path again.
    pub fn malformed(&mut self, expected: &'static str) -> Error {
        self.file = None;
        Error::malformed(&self.path, &self.buffer[..self.filled], expected)
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io("open", path, e))
}

/// A number alone in `bytes`, white space around it allowed.
pub fn parse_number<T: FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes.trim_ascii()).ok()?.parse().ok()
}

/// Sorts digit runs by value.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(text_end);
        let digits_end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, tail) = tail.split_at(digits_end);
        key.push((text.to_owned(), digits.parse().unwrap_or(0)));
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        std::fs::create_dir_all(root.path("/sys/x")).unwrap();
        (dir, root)
    }

    #[test]
    fn reads_below_the_prefix() {
        let (_dir, root) = tree();
        std::fs::write(root.path("/sys/x/power"), "1234\n").unwrap();
        assert_eq!(root.read_number::<i64>("/sys/x/power").unwrap(), 1234);
        assert_eq!(
            root.read_number::<i64>("/sys/x/none").unwrap_err().kind(),
            ErrorKind::Gone
        );
        assert!(!root.is_real());
    }

    #[test]
    fn a_node_follows_its_file_through_disappearance() {
        let (_dir, root) = tree();
        let path = root.path("/sys/x/power");
        std::fs::write(&path, "1\n").unwrap();
        let mut node = root.open("/sys/x/power").unwrap();
        assert_eq!(node.read_number::<i64>().unwrap(), 1);
        std::fs::write(&path, "").unwrap();
        assert_eq!(
            node.read_number::<i64>().unwrap_err().kind(),
            ErrorKind::Malformed
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(node.read_number::<i64>().unwrap_err().kind(), ErrorKind::Gone);
        std::fs::write(&path, "-7").unwrap();
        assert_eq!(node.read_number::<i64>().unwrap(), -7);
    }

    #[test]
    fn a_file_replaced_by_a_rename_is_followed() {
        let (_dir, root) = tree();
        std::fs::write(root.path("/sys/x/power"), "1\n").unwrap();
        let mut node = root.open("/sys/x/power").unwrap();
        assert_eq!(node.read_number::<i64>().unwrap(), 1);
        std::fs::write(root.path("/sys/x/new"), "2\n").unwrap();
        std::fs::rename(root.path("/sys/x/new"), root.path("/sys/x/power")).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(node.read_number::<i64>().unwrap(), 2);
    }

    #[test]
    fn text_where_a_number_is_due_is_malformed() {
        let (_dir, root) = tree();
        for bad in ["", "abc", "12 34", "1e999999999x", "99999999999999999999999"] {
            std::fs::write(root.path("/sys/x/power"), bad).unwrap();
            let error = root.read_number::<i64>("/sys/x/power").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let (_dir, root) = tree();
        let content = "x".repeat(3 * FIRST_BUFFER + 5);
        std::fs::write(root.path("/sys/x/big"), &content).unwrap();
        let mut node = root.open("/sys/x/big").unwrap();
        assert_eq!(node.read().unwrap().len(), content.len());
    }

    #[test]
    fn a_trail_holds_what_was_looked_at() {
        let (_dir, root) = tree();
        std::fs::write(root.path("/sys/x/power"), "1").unwrap();
        let (root, trail) = root.recorded();
        let _ = (
            root.read("/sys/x/power"),
            root.exists("/sys/none"),
            root.list("/sys/x"),
        );
        assert_eq!(
            trail.paths(),
            ["/sys/none", "/sys/x", "/sys/x/power"].map(PathBuf::from)
        );
    }

    #[test]
    fn names_come_in_natural_order() {
        let (_dir, root) = tree();
        for name in ["iio:device10", "iio:device2", "a"] {
            std::fs::write(root.path(format!("/sys/x/{name}")), "").unwrap();
        }
        assert_eq!(root.list("/sys/x").unwrap(), ["a", "iio:device2", "iio:device10"]);
        assert!(root.list("/sys/none").unwrap().is_empty());
    }
}

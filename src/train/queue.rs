//! A device's experiences on disk, until they are stored elsewhere.
//!
//! One file: a header, then records, oldest first.
//!
//! ```text
//! header  "hwmeterQ" version:u32 epoch:u64 base:u64 before:u64 last_task:u64 crc:u32     (little-endian)
//! record  length:u32 crc:u32 sequence:u64 task:u64 experience (prost)     length and crc of what follows crc
//! ```
//!
//! A record is handed to the system before anybody hears of its number, so a killed process loses nothing. What came after
//! the last sync ([`Queue::to_sync`], once a second) a power cut may take. A last record that was cut short
//! is dropped with a note. When much of the file is not needed any more it is written anew beside the old one, which it
//! then replaces in one step.
//!
//! With a full disk experiences stay in memory until there is room, [`Limits::unsaved`] of them. When the queue is
//! full the newest experience is not taken: it is counted as lost, it gets no number, and the sequence has no gap.

use super::wire::Experience;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"hwmeterQ";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 * 8 + 4;
/// Of a record, before its experience: length, CRC, sequence, task.
const BEFORE: usize = 4 + 4 + 8 + 8;
/// No experience is near this size; a length beyond it is damage.
const LARGEST: usize = 64 << 10;
/// The file is not written anew for less than this.
const WORTH_REWRITING: u64 = 64 << 10;

/// How much a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Experiences.
    pub entries: usize,
    /// Of them, those that the disk had no room for.
    pub unsaved: usize,
}

impl Default for Limits {
    /// About 5 MB.
    fn default() -> Self {
        Self {
            entries: 20_000,
            unsaved: 1_000,
        }
    }
}

/// One experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// The task it is of.
    pub task: u64,
    experience: Bytes,
}

impl Entry {
    /// What was experienced. Its bytes were ours or had the right CRC.
    pub fn experience(&self) -> Experience {
        Experience::decode(self.experience.clone()).unwrap_or_default()
    }
}

/// Why a queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The file cannot be made, read or written.
    #[error("cannot {action} the queue {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// It is no queue.
    #[error("{} is not a queue of this version of hwmeter, or its beginning is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    epoch: u64,
    /// The experience before the epoch's first.
    base: u64,
    /// The experience before the first one in the file.
    before: u64,
    /// The task of that one; meaningless while no experience has been.
    last_task: u64,
}

/// Numbered experiences, oldest first.
#[derive(Debug)]
pub struct Queue {
    path: PathBuf,
    file: File,
    limits: Limits,
    /// What the header would say if it were written now.
    head: Head,
    entries: VecDeque<Entry>,
    /// Of the entries, the newest that the file has not.
    unsaved: usize,
    /// What is here does not go on from what the file holds: it is not appended to before it has been written anew.
    must_rewrite: bool,
    /// Good bytes in the file, and those of entries that are gone.
    bytes: u64,
    garbage: u64,
    is_synced: bool,
    durable: u64,
    lost: u64,
}

impl Queue {
    /// An empty queue in a new file, for an epoch whose experiences are numbered from `base` + 1.
    pub fn create(path: &Path, epoch: u64, base: u64, limits: Limits) -> Result<Self, QueueError> {
        let head = Head {
            epoch,
            base,
            before: base,
            last_task: 0,
        };
        let (file, bytes) = write_anew(path, head, [].iter()).map_err(failed("create", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            limits,
            head,
            entries: VecDeque::new(),
            unsaved: 0,
            must_rewrite: false,
            bytes,
            garbage: 0,
            is_synced: true,
            durable: base,
            lost: 0,
        })
    }

    /// Takes up a queue that is there, however its process ended.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, QueueError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed("open", path))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed("read", path))?;
        let content = Bytes::from(content);
        let head = parse_head(&content).map_err(|what| QueueError::Damaged {
            path: path.to_owned(),
            what,
        })?;
        let (entries, good) = parse_entries(&content, head.before);
        if good < content.len() {
            let cut = content.len() - good;
            tracing::warn!(
                "{}: its last {cut} bytes are no whole experience and are dropped",
                path.display()
            );
            file.set_len(good as u64).map_err(failed("repair", path))?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed("read", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            limits,
            head,
            entries,
            unsaved: 0,
            must_rewrite: false,
            bytes: good as u64,
            garbage: 0,
            is_synced: false,
            durable: head.before,
            lost: 0,
        })
    }

    /// The epoch the experiences are of.
    pub fn epoch(&self) -> u64 {
        self.head.epoch
    }

    /// The experience before the epoch's first.
    pub fn base(&self) -> u64 {
        self.head.base
    }

    /// The experience before the oldest one that is here.
    pub fn before(&self) -> u64 {
        self.head.before
    }

    /// The newest experience there has been.
    pub fn last(&self) -> u64 {
        self.entries.back().map_or(self.head.before, |e| e.sequence)
    }

    /// The task of the newest experience of this epoch.
    pub fn last_task(&self) -> Option<u64> {
        let task = self.entries.back().map_or(self.head.last_task, |e| e.task);
        (self.last() > self.head.base).then_some(task)
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Experiences that were not taken.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether half of the room is taken.
    pub fn is_half_full(&self) -> bool {
        2 * self.entries.len() >= self.limits.entries
    }

    /// Takes an experience and numbers it; `None`: there is no room, it is lost.
    pub fn push(&mut self, task: u64, experience: &Experience) -> Option<u64> {
        self.make_room();
        if self.entries.len() >= self.limits.entries {
            return self.lose("the queue is full");
        }
        if self.unsaved >= self.limits.unsaved && !self.save() {
            return self.lose("its disk has no room");
        }
        let entry = Entry {
            sequence: self.last() + 1,
            task,
            experience: experience.encode_to_vec().into(),
        };
        let sequence = entry.sequence;
        self.entries.push_back(entry);
        self.unsaved += 1;
        self.save();
        Some(sequence)
    }

    /// Those after a number, oldest first.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &Entry> {
        let skipped = sequence.saturating_sub(self.head.before);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.entries.range(skipped.min(self.entries.len())..)
    }

    /// Nobody will ask for experiences up to this one again; they may go when there is no room for others.
    pub fn set_durable(&mut self, sequence: u64) {
        self.durable = self.durable.max(sequence.min(self.last()));
    }

    /// The newest experience that is stored durably elsewhere.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Forgets experiences up to this one.
    pub fn forget(&mut self, sequence: u64) {
        while let Some(oldest) = self.entries.front().filter(|e| e.sequence <= sequence) {
            self.head.before = oldest.sequence;
            self.head.last_task = oldest.task;
            self.garbage += (BEFORE + oldest.experience.len()) as u64;
            self.entries.pop_front();
        }
        if self.unsaved > self.entries.len() {
            // Some that are gone were never in the file: the next one does not follow its last one.
            self.unsaved = self.entries.len();
            self.must_rewrite = true;
        } else if self.garbage > WORTH_REWRITING && 2 * self.garbage > self.bytes {
            // Where this fails the file can be appended to as before, and it is tried again.
            self.rewrite().unwrap_or_else(|error| self.warn_not_anew(&error));
        }
    }

    /// Another epoch with the same experiences after `base`.
    pub fn rename_epoch(&mut self, epoch: u64, base: u64) {
        self.forget(base);
        (self.head.epoch, self.head.base) = (epoch, base);
        self.durable = self.head.before;
        self.replace();
    }

    /// Another epoch without any: it begins after `base`.
    pub fn begin_epoch(&mut self, epoch: u64, base: u64) {
        self.head = Head {
            epoch,
            base,
            before: base,
            last_task: 0,
        };
        self.entries.clear();
        (self.unsaved, self.durable) = (0, base);
        self.replace();
    }

    /// Goes on after `sequence`, up to which the trainer has experiences that a power cut took from here. What was
    /// numbered meanwhile is lost.
    pub fn skip_to(&mut self, sequence: u64) {
        self.lost += self.entries.len() as u64;
        self.entries.clear();
        (self.unsaved, self.head.before, self.durable) = (0, sequence, sequence);
        self.replace();
    }

    /// Hands what it has to the system, and gives the file if it should be synced: whoever does it may take as long as
    /// the disk wants without holding up the queue.
    pub fn to_sync(&mut self) -> Option<File> {
        self.save();
        if self.is_synced {
            return None;
        }
        self.is_synced = true;
        self.file.try_clone().ok()
    }

    /// When all places are taken, by experiences that are stored elsewhere, a tenth of them goes.
    fn make_room(&mut self) {
        if self.entries.len() >= self.limits.entries {
            let some = self.head.before + (self.limits.entries / 10).max(1) as u64;
            self.forget(some.min(self.durable));
        }
    }

    fn lose(&mut self, why: &str) -> Option<u64> {
        if self.lost == 0 {
            tracing::warn!("an experience is lost: {why}; {}", self.path.display());
        }
        self.lost += 1;
        None
    }

    /// Appends what the file has not; whether it has everything now.
    fn save(&mut self) -> bool {
        if self.must_rewrite
            && let Err(error) = self.rewrite()
        {
            tracing::debug!("cannot write {} anew: {error}", self.path.display());
            return false;
        }
        while self.unsaved > 0 {
            let entry = &self.entries[self.entries.len() - self.unsaved];
            let record = record(entry);
            if let Err(error) = self.file.write_all(&record) {
                tracing::debug!("cannot write {}: {error}", self.path.display());
                self.cut_to_good();
                return false;
            }
            self.bytes += record.len() as u64;
            self.unsaved -= 1;
            self.is_synced = false;
        }
        true
    }

    /// Half a record must not stand before the next whole one.
    fn cut_to_good(&mut self) {
        let cut = self.file.set_len(self.bytes);
        let back = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        if let Err(error) = back {
            tracing::warn!("cannot repair {}: {error}", self.path.display());
        }
    }

    /// The file is to hold something else from here on. Until that works it stays as it was, and [`save`](Self::save)
    /// tries again.
    fn replace(&mut self) {
        self.must_rewrite = true;
        self.rewrite().unwrap_or_else(|error| self.warn_not_anew(&error));
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let (file, bytes) = write_anew(&self.path, self.head, self.entries.iter())?;
        (self.file, self.bytes, self.garbage) = (file, bytes, 0);
        (self.unsaved, self.must_rewrite, self.is_synced) = (0, false, true);
        Ok(())
    }

    fn warn_not_anew(&self, error: &io::Error) {
        tracing::warn!("cannot write {} anew: {error}", self.path.display());
    }
}

/// Milliseconds since 1970: a number for an epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> QueueError + use<'a> {
    move |source| QueueError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Writes a whole queue beside `path`, brings it to the disk and puts it in its place; leaves it open at its end.
fn write_anew<'a>(
    path: &Path,
    head: Head,
    entries: impl Iterator<Item = &'a Entry>,
) -> io::Result<(File, u64)> {
    let mut content = BytesMut::new();
    content.put(header(head));
    entries.for_each(|entry| content.put(record(entry)));
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    let mut file = File::create(&draft)?;
    file.write_all(&content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path))
        .inspect_err(|_| {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&draft);
        })?;
    // The new file is the one at `path` from here on, whatever else fails.
    if let Err(error) = folder.sync_all() {
        tracing::warn!("cannot sync the folder of {}: {error}", path.display());
    }
    Ok((file, content.len() as u64))
}

fn header(head: Head) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(VERSION);
    for number in [head.epoch, head.base, head.before, head.last_task] {
        bytes.put_u64_le(number);
    }
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes.freeze()
}

fn parse_head(content: &Bytes) -> Result<Head, &'static str> {
    let mut header = content.get(..HEADER).ok_or("it is too short")?;
    let crc = crc32fast::hash(&header[..HEADER - 4]);
    if !header.starts_with(MAGIC) {
        return Err("it begins with something else");
    }
    header.advance(MAGIC.len());
    if header.get_u32_le() != VERSION {
        return Err("it is of another version");
    }
    let head = Head {
        epoch: header.get_u64_le(),
        base: header.get_u64_le(),
        before: header.get_u64_le(),
        last_task: header.get_u64_le(),
    };
    match header.get_u32_le() == crc {
        true => Ok(head),
        false => Err("its checksum is wrong"),
    }
}

fn record(entry: &Entry) -> Bytes {
    let mut body = BytesMut::with_capacity(16 + entry.experience.len());
    body.put_u64_le(entry.sequence);
    body.put_u64_le(entry.task);
    body.put_slice(&entry.experience);
    let mut bytes = BytesMut::with_capacity(8 + body.len());
    bytes.put_u32_le(body.len() as u32);
    bytes.put_u32_le(crc32fast::hash(&body));
    bytes.put(body);
    bytes.freeze()
}

/// The whole records, and where the last of them ends.
fn parse_entries(content: &Bytes, before: u64) -> (VecDeque<Entry>, usize) {
    let (mut entries, mut at) = (VecDeque::new(), HEADER);
    while let Some((entry, end)) = parse_entry(content, at) {
        if entry.sequence != before + 1 + entries.len() as u64 {
            break;
        }
        entries.push_back(entry);
        at = end;
    }
    (entries, at)
}

fn parse_entry(content: &Bytes, at: usize) -> Option<(Entry, usize)> {
    let mut head = content.get(at..at + 8)?;
    let length = head.get_u32_le() as usize;
    let crc = head.get_u32_le();
    if !(16..=LARGEST).contains(&length) || content.len() < at + 8 + length {
        return None;
    }
    let mut body = content.slice(at + 8..at + 8 + length);
    if crc32fast::hash(&body) != crc {
        return None;
    }
    let (sequence, task) = (body.get_u64_le(), body.get_u64_le());
    Experience::decode(body.clone()).ok()?;
    let entry = Entry {
        sequence,
        task,
        experience: body,
    };
    Some((entry, at + 8 + length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

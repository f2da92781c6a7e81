//! A board in a tar file: the nodes that discovery looked at, so that a board nobody here owns can be understood, and
//! becomes a test. Unpacked, it works with `--root`.
//!
//! Serial numbers are left out: the `Serial` line of `/proc/cpuinfo` and the UUID that NVIDIA's driver tells of a card;
//! nothing else that discovery reads holds one. Files
//! that may not be read are packed empty with their mode, so that they are unreadable again where they are unpacked.

use anyhow::Context;
use hwmeter_hw::Root;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// More than any node that discovery reads.
const LARGEST: usize = 1 << 20;

/// Packs the files among `paths` (system paths below `root`) into `file`; returns their number.
pub fn write(file: &Path, root: &Root, paths: &[PathBuf]) -> anyhow::Result<usize> {
    let cannot = || {
        format!(
            "cannot write {}; is the folder there and writable?",
            file.display()
        )
    };
    let mut tar = Builder::new(File::create(file).with_context(cannot)?);
    let mut packed = 0;
    for path in paths {
        let real = root.path(path);
        let Ok(metadata) = std::fs::metadata(&real) else {
            continue;
        };
        let name = path.strip_prefix("/").unwrap_or(path);
        if metadata.is_dir() {
            append(&mut tar, name, EntryType::Directory, 0o755, &[]).with_context(cannot)?;
        } else if metadata.is_file() {
            let (mode, content) = match std::fs::read(&real) {
                Ok(content) => (0o644, without_serials(path, content)),
                Err(_) => (metadata.permissions().mode() & 0o777, Vec::new()),
            };
            append(&mut tar, name, EntryType::Regular, mode, &content).with_context(cannot)?;
            packed += 1;
        }
    }
    tar.into_inner()
        .and_then(|file| file.sync_all())
        .with_context(cannot)?;
    Ok(packed)
}

fn append(
    tar: &mut Builder<File>,
    name: &Path,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}

fn without_serials(path: &Path, mut content: Vec<u8>) -> Vec<u8> {
    content.truncate(LARGEST);
    if path != Path::new("/proc/cpuinfo") && !path.starts_with("/proc/driver/nvidia") {
        return content;
    }
    let text = String::from_utf8_lossy(&content);
    let tells_who = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.contains("serial") || line.contains("uuid")
    };
    let lines = text.split_inclusive('\n').filter(|line| !tells_who(line));
    lines.collect::<String>().into_bytes()
}

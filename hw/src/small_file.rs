//! Files that people and programs write for us, and that are small: settings, calibrations, descriptions of a run.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than any of these files needs, and little enough to hold in memory on any board.
pub const LARGEST_BYTES: u64 = 16 << 20;

/// The whole file. One beyond [`LARGEST_BYTES`] is an error and is not read to its end: a slip such as `/dev/zero`
/// or a trace in the place of a calibration must not eat the memory of a board.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(LARGEST_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        let what = format!(
            "it has more than {} MiB: is it the right file?",
            LARGEST_BYTES >> 20
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The same as text.
pub fn read_text(file: &Path) -> io::Result<String> {
    String::from_utf8(read(file)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_refused_and_a_small_one_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("16 MiB"), "{error}");
        assert!(read_text(Path::new("/proc/self/comm")).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert!(read_text(file.path()).unwrap_err().to_string().contains("UTF-8"));
        assert_eq!(read(file.path()).unwrap(), [0xff, 0xfe]);
    }
}

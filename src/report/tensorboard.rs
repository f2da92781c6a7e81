//! Event files of TensorBoard: one folder per run, one value per task for reward, latency, energy and misses.
//!
//! The file is TFRecord: for each record its length (u64), the masked CRC-32C of the length, the record, and the masked
//! CRC-32C of the record, all little endian. A record is a protobuf message `tensorflow.Event` (`event.proto` and
//! `summary.proto` of TensorFlow, of which the fields used here are declared below). The library for it in Rust has had
//! no release for years, so these few lines are ours.

use super::rows::Row;
use super::run::OnRow;
use prost::Message;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Unix time in seconds.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Number of the task.
    #[prost(int64, tag = "2")]
    step: i64,
    /// In the first record of a file alone.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    /// In all others.
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`, a scalar.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes the event file of one run.
pub struct EventWriter {
    file: BufWriter<File>,
    t_zero_unix_s: f64,
}

impl EventWriter {
    /// Creates a file in `folder`, which is created too; one that is there is an error. `t_zero_unix_s` is the Unix time
    /// at which the run began.
    pub fn create(folder: &Path, t_zero_unix_s: f64, overwrite: bool) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = Self::path(folder, t_zero_unix_s);
        let file = match overwrite {
            true => File::create(path)?,
            false => File::create_new(path)?,
        };
        let mut writer = Self {
            file: BufWriter::new(file),
            t_zero_unix_s,
        };
        writer.write(&Event {
            wall_time: t_zero_unix_s,
            step: 0,
            file_version: Some("brain.Event:2".to_owned()),
            summary: None,
        })?;
        Ok(writer)
    }

    /// Where the file of a run that began at `t_zero_unix_s` stands; TensorBoard knows it by its name.
    pub fn path(folder: &Path, t_zero_unix_s: f64) -> PathBuf {
        folder.join(format!(
            "events.out.tfevents.{:010}.hwmeter",
            t_zero_unix_s.max(0.0) as u64
        ))
    }

    /// Writes what is still held back.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let record = event.encode_to_vec();
        let length = (record.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked_crc(&length).to_le_bytes())?;
        self.file.write_all(&record)?;
        self.file.write_all(&masked_crc(&record).to_le_bytes())
    }
}

impl OnRow for EventWriter {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let known = [
            ("reward", row.reward),
            ("latency_s", Some(row.latency_s)),
            ("energy_j", row.energy_j),
            ("missed", Some(f64::from(u8::from(!row.success)))),
        ];
        let scalars = known.into_iter().filter_map(|(tag, value)| {
            Some(Value {
                tag: tag.to_owned(),
                simple_value: Some(value? as f32),
            })
        });
        self.write(&Event {
            wall_time: self.t_zero_unix_s + row.t_s + row.latency_s,
            step: row.task as i64,
            file_version: None,
            summary: Some(Summary {
                value: scalars.collect(),
            }),
        })
    }
}

/// So that a CRC of data that holds CRCs is a good one, too.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli_and_masked() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8A91_36AA);
        // As TensorFlow masks it: turned right by 15 bits, plus 0xa282ead8.
        assert_eq!(masked_crc(&[0; 32]), 0x0FD7_FFFA);
    }

    #[test]
    fn a_record_is_framed_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        EventWriter::create(dir.path(), 7.5, false)
            .unwrap()
            .finish()
            .unwrap();
        let bytes = std::fs::read(EventWriter::path(dir.path(), 7.5)).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + length + 4);
        let event = Event::decode(&bytes[12..12 + length]).unwrap();
        assert_eq!(
            (event.wall_time, event.file_version.as_deref()),
            (7.5, Some("brain.Event:2"))
        );
        let again = EventWriter::create(dir.path(), 7.5, false).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(EventWriter::create(dir.path(), 7.5, true).is_ok());
    }
}

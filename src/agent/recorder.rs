//! `transitions.csv`: what a learner has learned from, exactly.
//!
//! Each row is on its way to the disk before the next experience is learned from.

use crate::learn::{Cost, Transition};
use crate::record::TransitionRecord;
use anyhow::{Context, bail};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Writes experiences down, or does not.
#[derive(Default)]
pub struct Recorder {
    file: Option<(PathBuf, csv::Writer<File>)>,
    updates: u64,
    failure: Option<anyhow::Error>,
}

impl Recorder {
    /// Records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Creates the file, for a learner that has had so many updates.
    pub fn create(path: &Path, updates: u64) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("cannot create {}; is the folder writable?", path.display()))?;
        Ok(Self {
            file: Some((path.to_owned(), csv::Writer::from_writer(file))),
            updates,
            failure: None,
        })
    }

    /// The learner has learned from this. A failure is kept for [`Recorder::check`], and nothing is recorded after it.
    pub fn learned(&mut self, transition: &Transition, cost: &Cost) {
        let Some((path, csv)) = &mut self.file else { return };
        self.updates += 1;
        let row = TransitionRecord::of(self.updates, transition, cost);
        let written = csv
            .serialize(row)
            .and_then(|()| csv.flush().map_err(csv::Error::from));
        if let Err(error) = written {
            let error = anyhow::Error::from(error).context(format!("cannot write {}", path.display()));
            self.failure = Some(error);
            self.file = None;
        }
    }

    /// The failure, if there was one since the last time.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// The experiences of a file, of which the first is the one after `updates`.
pub fn read(path: &Path, updates: u64) -> anyhow::Result<Vec<(Transition, Cost)>> {
    let what = || format!("cannot read {}", path.display());
    let mut file = csv::Reader::from_path(path).with_context(what)?;
    let mut all = Vec::new();
    for (row, expected) in file.deserialize().zip(updates + 1..) {
        let row: TransitionRecord = row.with_context(|| {
            format!(
                "{} is damaged; if its run was killed while it wrote the last row, take that away",
                path.display()
            )
        })?;
        if row.update != expected {
            bail!(
                "{} has update {} where {expected} should be; was it edited?",
                path.display(),
                row.update
            );
        }
        all.push(row.taken());
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::learn::environment::transitions;
    use proptest::prelude::*;

    const COST: Cost = Cost {
        energy_j: 0.1,
        latency_s: 1.0 / 3.0,
        in_time: true,
    };

    /// A file of three experiences, the first of which is the fifth.
    fn recorded(directory: &Path) -> (PathBuf, Vec<(Transition, Cost)>) {
        let path = directory.join("transitions.csv");
        let all: Vec<_> = transitions(3, 1).into_iter().map(|t| (t, COST)).collect();
        let mut recorder = Recorder::create(&path, 4).unwrap();
        for (transition, cost) in &all {
            recorder.learned(transition, cost);
            recorder.check().unwrap();
        }
        (path, all)
    }

    #[test]
    fn every_row_is_on_the_disk_at_once_and_comes_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        // The recorder has gone, but nothing was left for then: the rows below are read while it is there.
        let (path, all) = recorded(directory.path());
        assert_eq!(read(&path, 4).unwrap(), all);
        let mut recorder = Recorder::create(&path, 4).unwrap();
        for (i, (transition, cost)) in all.iter().enumerate() {
            recorder.learned(transition, cost);
            assert_eq!(read(&path, 4).unwrap(), all[..=i]);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("update,device_free,mec_free,"), "{text}");
        assert!(text.contains("\n5,"), "{text}");
    }

    proptest! {
        #[test]
        fn every_number_comes_back_bit_for_bit(numbers in any::<[f64; 13]>(), in_time: bool) {
            prop_assume!(numbers.iter().all(|x| x.is_finite()));
            let mut all = transitions(1, 0)[0];
            let [a, b, c, d, e, f, g, h, i, j, k, l, m] = numbers;
            all.state = crate::learn::State { device_free: a, mec_free: b, throughput_bps: c, cycles: d, deadline_s: e };
            all.next_state = crate::learn::State { device_free: f, mec_free: g, throughput_bps: h, cycles: i, deadline_s: j };
            all.reward = k;
            let cost = Cost { energy_j: l, latency_s: m, in_time };
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("t.csv");
            Recorder::create(&path, 0).unwrap().learned(&all, &cost);
            let (transition, read_cost) = read(&path, 0).unwrap()[0];
            let bits = |t: &Transition, c: &Cost| {
                [t.state, t.next_state]
                    .iter()
                    .flat_map(|s| [s.device_free, s.mec_free, s.throughput_bps, s.cycles, s.deadline_s])
                    .chain([t.reward, c.energy_j, c.latency_s])
                    .map(f64::to_bits)
                    .collect::<Vec<_>>()
            };
            prop_assert_eq!(bits(&transition, &read_cost), bits(&all, &cost));
            prop_assert_eq!(read_cost.in_time, in_time);
        }
    }

    #[test]
    fn a_file_cut_anywhere_in_a_row_is_an_error_and_not_fewer_or_other_experiences() {
        let directory = tempfile::tempdir().unwrap();
        let (path, all) = recorded(directory.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let begin = text.trim_end().rfind('\n').unwrap() + 1;
        for end in begin + 1..text.trim_end().len() {
            std::fs::write(&path, &text[..end]).unwrap();
            let error = format!("{:#}", read(&path, 4).unwrap_err());
            assert!(
                error.contains("transitions.csv is damaged") && error.contains("line: 4"),
                "{error}"
            );
        }
        std::fs::write(&path, &text[..begin]).unwrap();
        assert_eq!(read(&path, 4).unwrap(), all[..2]);
    }

    #[test]
    fn rows_that_are_missing_doubled_or_no_numbers_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = recorded(directory.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let refuse = |lines: &[&str], what: &str| {
            std::fs::write(&path, lines.join("\n")).unwrap();
            let error = format!("{:#}", read(&path, 4).unwrap_err());
            assert!(
                error.contains(what) && error.contains("transitions.csv"),
                "{error}"
            );
        };
        refuse(&[lines[0], lines[1], lines[3]], "update 7 where 6 should be");
        refuse(&[lines[0], lines[1], lines[1]], "update 5 where 6 should be");
        refuse(&[lines[0], &lines[1].replace("0.1,", "O.1,")], "damaged");
        refuse(&["update,reward", "5,1"], "damaged");
        refuse(&lines[1..], "damaged");
        let error = format!("{:#}", read(&directory.path().join("none.csv"), 0).unwrap_err());
        assert!(error.contains("none.csv"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_once() {
        // Every write to it fails with "no space left".
        let mut recorder = Recorder::create(Path::new("/dev/full"), 0).unwrap();
        for _ in 0..2 {
            recorder.learned(&transitions(1, 0)[0], &COST);
        }
        assert!(recorder.check().unwrap_err().to_string().contains("/dev/full"));
        assert!(recorder.check().is_ok());
    }
}

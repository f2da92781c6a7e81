//! What was found, put into the calibration file.

use super::found::{Found, op};
use super::power;
use crate::cmd::{CALIBRATION_FILE, config_dir};
use anyhow::Context as _;
use hwmeter::learn::bench;
use hwmeter_hw::Root;
use hwmeter_hw::blas::rows;
use hwmeter_hw::calibration::{Bandwidth, CalibrationFile, GemmRow, LearnerRow, SensorFindings};
use hwmeter_hw::sensor::Kind;
use nix::unistd::{AccessFlags, access};
use std::path::{Path, PathBuf};

/// Where to write: what the user named, else the file that the other commands read. Below another root that is the one
/// of its `/etc`, as for reading.
pub fn target(named: Option<&Path>, root: &Root) -> Option<PathBuf> {
    let default = || match root.is_real() {
        true => Some(config_dir()?.join(CALIBRATION_FILE)),
        false => Some(root.path(Path::new("/etc").join(CALIBRATION_FILE))),
    };
    named.map(Path::to_owned).or_else(default)
}

/// An error, before minutes are spent, if the file could not be written, or is one that must not be written over.
pub fn check(file: &Path) -> anyhow::Result<()> {
    CalibrationFile::open(file)?;
    let absolute = std::path::absolute(file)?;
    let nearest = absolute.ancestors().skip(1).find(|dir| dir.exists());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let is_writable = match nearest.is_dir() {
        true => access(nearest, AccessFlags::W_OK),
        false => Err(nix::errno::Errno::ENOTDIR),
    };
    is_writable.with_context(|| {
        format!(
            "cannot write {}: {} is not writable; name another file with --out",
            file.display(),
            nearest.display()
        )
    })
}

/// Writes what was found; what else the file says stays.
pub fn write(file: &Path, found: &Found) -> anyhow::Result<()> {
    let mut document = CalibrationFile::open(file)?;
    let mut made = found.made.clone();
    made.partial = found.problems.iter().map(ToString::to_string).collect();
    document.set_made(&made)?;
    for (id, findings) in sensor_sections(found) {
        document.set_sensor(&id, &findings)?;
    }
    if let Some(model) = &found.power_model {
        document.set_power_model(model)?;
    }
    if !found.gemm.rows.is_empty() {
        let rows: Vec<GemmRow> = found.gemm.rows.iter().map(gemm_row).collect();
        document.set_gemm(&rows)?;
    }
    // The last one is of all threads.
    if let Some(bandwidth) = found.bandwidth.last() {
        document.set_bandwidth(&Bandwidth {
            bytes_per_s: bandwidth.best_bytes_per_s.round(),
            spread: Some(significant(bandwidth.spread)),
            threads: u32::try_from(bandwidth.threads).ok(),
        })?;
    }
    if let Some(meter) = found.meter.as_ref().filter(|_| !found.learners.is_empty()) {
        document.set_learners(&learner_rows(&found.learners, meter.kind))?;
    }
    document.save()?;
    Ok(())
}

/// Of sensors that measure: what a model says of itself is no finding, and would outlive the model.
fn sensor_sections(found: &Found) -> Vec<(String, SensorFindings)> {
    let mut sections: Vec<(String, SensorFindings)> = Vec::new();
    if let Some(sensor) = found
        .sensor
        .as_ref()
        .filter(|sensor| sensor.kind == Kind::Measured)
    {
        sections.push((section_of(&sensor.sensor), sensor.findings()));
    }
    let Some(meter) = found.meter.as_ref().filter(|meter| meter.kind == Kind::Measured) else {
        return sections;
    };
    let id = section_of(&meter.id);
    if !sections.iter().any(|(other, _)| *other == id) {
        sections.push((id.clone(), SensorFindings::default()));
    }
    for (_, findings) in sections.iter_mut().filter(|(other, _)| *other == id) {
        // A power below zero (a battery that charges) is no idle power.
        if let Some(idle) = found.idle.as_ref().filter(|idle| idle.watts().0 > 0.0) {
            findings.idle_watts = Some(significant(idle.watts().0));
            findings.idle_uncertainty_watts = Some(significant(idle.uncertainty().0));
        }
        let full = power::full_watts(found).filter(|full| full.0 > 0.0);
        findings.full_watts = full.map(|full| significant(full.0));
    }
    sections.retain(|(_, findings)| *findings != SensorFindings::default());
    sections
}

/// A sensor's section: that of its driver where its id holds a serial number.
fn section_of(id: &str) -> String {
    if without_serial(id) == id {
        return id.to_owned();
    }
    id.split(':').next().unwrap_or(id).to_owned()
}

/// A sensor's id without what names the very unit: `/dev/serial/by-id/` holds the serial number of a USB adapter.
pub fn without_serial(id: &str) -> String {
    const BY_ID: &str = "/dev/serial/by-id/";
    let Some((before, after)) = id.split_once(BY_ID) else {
        return id.to_owned();
    };
    let query = after.find('?').map_or("", |at| &after[at..]);
    format!("{before}{BY_ID}...{query}")
}

/// As it stands in the file.
pub fn gemm_row(row: &rows::GemmRow) -> GemmRow {
    let cost = row.cost.as_ref();
    GemmRow {
        provider: row.provider.to_string(),
        op: op(row.op).to_owned(),
        threads: row.threads.and_then(|threads| threads.try_into().ok()),
        cluster: row.cluster.clone(),
        n: row.n.try_into().unwrap_or(u32::MAX),
        gflops: significant(row.gflops),
        gflops_median: Some(significant(row.gflops_median)),
        gflops_spread: Some(significant(row.gflops_spread)),
        peak_share: row.peak_share.map(significant),
        watts: cost.map(|cost| significant(cost.watts)),
        watts_uncertainty: cost.map(|cost| significant(cost.watts_uncertainty)),
        gflops_per_watt: cost.map(|cost| significant(cost.gflops_per_watt)),
        gflops_per_watt_uncertainty: cost.map(|cost| significant(cost.gflops_per_watt_uncertainty)),
        kind: cost.map(|cost| cost.kind),
        note: Found::throttle_note(row),
    }
}

/// Rows whose joules are of this kind.
pub fn learner_rows(rows: &[bench::Row], kind: Kind) -> Vec<LearnerRow> {
    rows.iter().map(|row| learner_row(row, kind)).collect()
}

fn learner_row(row: &bench::Row, kind: Kind) -> LearnerRow {
    LearnerRow {
        name: row.name.clone(),
        variant: row.variant.clone(),
        decide_s: significant(row.decide_median_s),
        update_s: significant(row.update_median_s),
        decide_j: row.joules.decide_j.map(significant),
        decide_uncertainty_j: row.joules.decide_u_j.map(significant),
        update_j: row.joules.update_j.map(significant),
        update_uncertainty_j: row.joules.update_u_j.map(significant),
        kind,
    }
}

/// Five digits are more than any of these figures has, and a person can read them.
fn significant(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    format!("{number:.4e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_does_not_get_into_the_file() {
        let id = "modbus:rtu:///dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0?meter=pzem-017&unit=1";
        let without = without_serial(id);
        assert!(
            !without.contains("A50285BI") && without.ends_with("...?meter=pzem-017&unit=1"),
            "{without}"
        );
        assert_eq!(section_of(id), "modbus");
        let other = "modbus:rtu:///dev/ttyUSB0?meter=pzem-017";
        assert_eq!(
            (without_serial(other).as_str(), section_of(other).as_str()),
            (other, other)
        );
    }

    #[test]
    fn numbers_keep_five_digits() {
        assert_eq!(significant(1234.5678), 1234.6);
        assert_eq!(significant(0.000123456), 0.00012346);
        assert_eq!((significant(0.0), significant(-2.5)), (0.0, -2.5));
    }
}

//! Benchmarks of hwmeter; see `benches/`. What several of them share stands here.

pub mod engines;
pub mod learners;
pub mod timing;
pub mod twin;

use hwmeter_hw::Root;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

const CHIP: &str = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";

/// The readings of three rails, voltage and current each.
const READINGS: [&str; 6] = [
    "in1_input",
    "curr1_input",
    "in2_input",
    "curr2_input",
    "in3_input",
    "curr3_input",
];

/// Small decimal numbers that every Linux shows in sysfs.
const REAL_NODES: [&str; 6] = [
    "/sys/class/net/lo/mtu",
    "/sys/class/net/lo/ifindex",
    "/sys/class/net/lo/tx_queue_len",
    "/sys/class/net/lo/type",
    "/sys/class/net/lo/addr_len",
    "/sys/class/net/lo/gro_flush_timeout",
];

/// What stands behind the six readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Plain files.
    Files,
    /// Nodes of the running kernel's sysfs, through links.
    Sysfs,
}

impl Backing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Files, Self::Sysfs];

    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "plain files",
            Self::Sysfs => "sysfs nodes",
        }
    }
}

/// Builds a Jetson's INA3221 with three rails below `dir`.
pub fn three_rails(dir: &Path, backing: Backing) -> std::io::Result<Root> {
    let root = Root::new(dir);
    fs::create_dir_all(root.path(CHIP))?;
    let write = |name: &str, content: &str| fs::write(root.path(format!("{CHIP}/{name}")), content);
    write("name", "ina3221\n")?;
    for (n, label) in [(1, "VDD_IN"), (2, "VDD_CPU_GPU_CV"), (3, "VDD_SOC")] {
        write(&format!("in{n}_label"), &format!("{label}\n"))?;
        write(&format!("shunt{n}_resistor"), "5000\n")?;
    }
    for ((place, real), content) in readings(&root)
        .into_iter()
        .zip(REAL_NODES)
        .zip(["5000\n", "965\n"].iter().cycle())
    {
        match backing {
            Backing::Files => fs::write(place, content)?,
            Backing::Sysfs => symlink(real, place)?,
        }
    }
    Ok(root)
}

fn readings(root: &Root) -> [PathBuf; 6] {
    READINGS.map(|name| root.path(format!("{CHIP}/{name}")))
}

/// The same six files without us: kept open, read with `pread`, not even parsed.
pub struct BareFiles([File; 6]);

impl BareFiles {
    /// Opens what [`three_rails`] built.
    pub fn open(root: &Root) -> std::io::Result<Self> {
        let [a, b, c, d, e, f] = readings(root).map(File::open);
        Ok(Self([a?, b?, c?, d?, e?, f?]))
    }

    /// Reads all six; the bytes read, so that no read can be left out.
    pub fn sweep(&self) -> std::io::Result<usize> {
        let mut buffer = [0; 64];
        let mut total = 0;
        for file in &self.0 {
            total += file.read_at(&mut buffer, 0)?;
        }
        Ok(total)
    }
}

/// The middle one of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

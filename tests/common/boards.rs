//! Made-up boards: directory trees that `--root` takes, with constant power unless a test changes it.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A tree in a temporary directory.
pub struct Board {
    dir: tempfile::TempDir,
}

impl Board {
    /// An empty machine: nothing but `/proc/stat`, two cores.
    pub fn empty() -> Self {
        let board = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        board.file("/proc/stat", &stat(0, 0));
        board
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The real place of a path of the made-up system.
    pub fn place(&self, system_path: &str) -> PathBuf {
        self.path().join(system_path.trim_start_matches('/'))
    }

    /// Writes a file and the directories above it.
    pub fn file(&self, system_path: &str, content: &str) -> &Self {
        let path = self.place(system_path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn device_tree(&self, compatible: &str, model: &str) -> &Self {
        self.file("/proc/device-tree/compatible", compatible)
            .file("/proc/device-tree/model", model)
    }

    /// reComputer J1010: 2.247 W in, of which CPU 0.275 W and GPU 0.078 W.
    pub fn jetson_nano() -> Self {
        let board = Self::empty();
        board.device_tree(
            "nvidia,p3449-0000-b00+p3448-0002-b00\0nvidia,jetson-nano\0nvidia,tegra210\0",
            "NVIDIA Jetson Nano Developer Kit\0",
        );
        let chip = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
        for (n, (name, mw)) in [("POM_5V_IN", 2247), ("POM_5V_GPU", 78), ("POM_5V_CPU", 275)]
            .iter()
            .enumerate()
        {
            board
                .file(&format!("{chip}/rail_name_{n}"), &format!("{name}\n"))
                .file(&format!("{chip}/in_power{n}_input"), &format!("{mw}\n"))
                .file(&format!("{chip}/in_power{n}_trigger_input"), "0\n")
                .file(&format!("{chip}/crit_power_limit_{n}"), "32760 mw\n");
        }
        board.file("/sys/bus/i2c/drivers/ina3221x/module/in_power0_input", "999999\n");
        board
    }

    /// AGX Orin: 4.0 + 1.0 + 5.0 W make the board; memory's 0.5 W are not added.
    pub fn agx_orin() -> Self {
        let board = Self::empty();
        board.device_tree(
            "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
            "NVIDIA Jetson AGX Orin Developer Kit\0",
        );
        let first = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3";
        let rails = [
            ("VDD_GPU_SOC", 20_000, 200),
            ("VDD_CPU_CV", 20_000, 50),
            ("VIN_SYS_5V0", 5_000, 1000),
        ];
        for (i, (label, mv, ma)) in rails.iter().enumerate() {
            board.ina3221_channel(first, i + 1, label, *mv, *ma, 2000);
        }
        let second = "/sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4";
        board.ina3221_channel(second, 1, "NC", 0, 0, 2000);
        board.ina3221_channel(second, 2, "VDDQ_VDD2_1V8AO", 5_000, 100, 2000);
        board.ina3221_channel(second, 3, "NC", 0, 0, 2000);
        for chip in [first, second] {
            board
                .file(&format!("{chip}/name"), "ina3221\n")
                .file(&format!("{chip}/samples"), "1\n");
            board.file(&format!("{chip}/update_interval"), "7\n");
            for n in 4..=6 {
                board.file(&format!("{chip}/in{n}_input"), "4000\n");
            }
            board.file(&format!("{chip}/in7_label"), "sum of shunt voltages\n");
        }
        board
    }

    fn ina3221_channel(&self, dir: &str, n: usize, label: &str, mv: i32, ma: i32, shunt_uohm: u32) {
        self.file(&format!("{dir}/in{n}_label"), &format!("{label}\n"))
            .file(&format!("{dir}/in{n}_enable"), "1\n")
            .file(&format!("{dir}/in{n}_input"), &format!("{mv}\n"))
            .file(&format!("{dir}/curr{n}_input"), &format!("{ma}\n"))
            .file(&format!("{dir}/shunt{n}_resistor"), &format!("{shunt_uohm}\n"));
    }

    /// Raspberry Pi 4, revision 1.2, 64-bit.
    pub fn raspberry_pi_4() -> Self {
        let board = Self::empty();
        board.device_tree(
            "raspberrypi,4-model-b\0brcm,bcm2711\0",
            "Raspberry Pi 4 Model B Rev 1.2\0",
        );
        board.file(
            "/proc/cpuinfo",
            "processor\t: 0\nCPU implementer\t: 0x41\nRevision\t: c03112\n",
        );
        board
    }

    /// An x86 machine with RAPL: package, its cores, and memory.
    pub fn rapl() -> Self {
        let board = Self::empty();
        board.file(
            "/proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Example CPU\n",
        );
        for (zone, name) in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl-mmio:0", "package-0"),
        ] {
            board
                .file(&format!("/sys/class/powercap/{zone}/name"), &format!("{name}\n"))
                .file(
                    &format!("/sys/class/powercap/{zone}/max_energy_range_uj"),
                    "262143328850\n",
                )
                .file(&format!("/sys/class/powercap/{zone}/energy_uj"), "0\n");
        }
        board
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

//! The graphics processor: is there one, how busy is it, and how to keep it out of sight.
//!
//! - PCI cards: `/sys/bus/pci/devices/*/class` (`0x03....` is display) and `vendor`; their name from the driver.
//! - Jetsons: a load file (integer, ‰) and a directory of the devfreq class (Hz); their places moved with each JetPack.
//! - In containers without sysfs: the device nodes of NVIDIA's drivers.

use crate::error::{Error, Result};
use crate::root::Root;
use std::path::{Path, PathBuf};
use std::process::Command;

const PCI_DIR: &str = "/sys/bus/pci/devices";
const DEVFREQ_DIR: &str = "/sys/class/devfreq";

/// Where a Jetson's load stands: L4T 32's link, Nano, JetPack 5, JetPack 6.
const LOAD_FILES: [&str; 4] = [
    "/sys/devices/gpu.0/load",
    "/sys/devices/57000000.gpu/load",
    "/sys/devices/platform/gpu.0/load",
    "/sys/devices/platform/bus@0/17000000.gpu/load",
];

/// A Jetson's GPU in the devfreq class, and what it is: Nano and TX1, TX2, Xavier, Orin (JetPack 5 and 6), Thor.
const DEVFREQ_NAMES: [(&str, &str); 6] = [
    ("57000000.gpu", "GM20B (Maxwell)"),
    ("17000000.gp10b", "GP10B (Pascal)"),
    ("17000000.gv11b", "GV11B (Volta)"),
    ("17000000.ga10b", "GA10B (Ampere)"),
    ("17000000.gpu", "GA10B (Ampere)"),
    ("gpu-gpc-0", "GB10B (Blackwell)"),
];

/// Who made a GPU and how it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuKind {
    /// NVIDIA's, part of a Jetson's chip.
    Jetson,
    /// An NVIDIA card.
    Nvidia,
    /// An AMD card or processor graphics.
    Amd,
    /// Intel processor graphics or card.
    Intel,
    /// Anything else that shows a picture, such as a virtual machine's display.
    Other,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Gpu {
    /// Its kind.
    pub kind: GpuKind,
    /// What it is called, where the kernel tells: `Tesla T4`, `GM20B (Maxwell)`.
    pub name: Option<String>,
    /// The device: a PCI slot, a devfreq name, or a device node.
    pub device: String,
    /// A Jetson's load file.
    #[serde(skip)]
    load_file: Option<PathBuf>,
    /// A Jetson's directory in the devfreq class.
    #[serde(skip)]
    devfreq_dir: Option<PathBuf>,
}

/// How a Jetson's GPU is clocked.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Devfreq {
    /// The governor, such as `nvhost_podgov`.
    pub governor: Option<String>,
    /// Frequency now.
    pub current_hz: u64,
    /// Lowest frequency allowed.
    pub min_hz: u64,
    /// Highest frequency allowed.
    pub max_hz: u64,
}

impl std::fmt::Display for Gpu {
    /// `NVIDIA Tesla T4 (0000:01:00.0)`, `Jetson GM20B (Maxwell) (57000000.gpu)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let maker = self.kind.maker();
        match &self.name {
            Some(name) if name.starts_with(maker) => write!(f, "{name}")?,
            Some(name) => write!(f, "{maker} {name}")?,
            None => write!(f, "{maker}")?,
        }
        write!(f, " ({})", self.device)
    }
}

impl GpuKind {
    fn maker(self) -> &'static str {
        match self {
            Self::Jetson => "Jetson",
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Other => "other",
        }
    }

    /// Whether CUDA runs on it.
    pub fn has_cuda(self) -> bool {
        matches!(self, Self::Jetson | Self::Nvidia)
    }
}

/// All GPUs: a Jetson's own first, then PCI cards by slot.
pub fn gpus(root: &Root) -> Result<Vec<Gpu>> {
    let mut found: Vec<Gpu> = jetson(root).into_iter().collect();
    for slot in root.list(PCI_DIR)? {
        let text = |name: &str| {
            root.read_text(format!("{PCI_DIR}/{slot}/{name}"))
                .unwrap_or_default()
        };
        if text("class").starts_with("0x03") {
            let kind = kind_of_vendor(&text("vendor"));
            let name = card_name(root, &slot);
            found.push(Gpu {
                name,
                ..Gpu::new(kind, slot)
            });
        }
    }
    let has_nvidia = found.iter().any(|gpu| gpu.kind.has_cuda());
    if !has_nvidia {
        found.extend(device_nodes(root)?);
    }
    Ok(found)
}

fn kind_of_vendor(vendor: &str) -> GpuKind {
    match vendor {
        "0x10de" => GpuKind::Nvidia,
        "0x1002" => GpuKind::Amd,
        "0x8086" => GpuKind::Intel,
        _ => GpuKind::Other,
    }
}

/// NVIDIA's driver tells the model of a card, AMD's that of some; nobody else does.
fn card_name(root: &Root, slot: &str) -> Option<String> {
    let nvidia = root.read_text(format!("/proc/driver/nvidia/gpus/{slot}/information"));
    let model = nvidia.ok().and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix("Model:")?.trim().to_owned()))
    });
    let product = || root.read_text(format!("{PCI_DIR}/{slot}/product_name")).ok();
    model.or_else(product).filter(|name| !name.is_empty())
}

fn jetson(root: &Root) -> Option<Gpu> {
    let load_file = LOAD_FILES.iter().find(|file| root.exists(file));
    let devfreq = DEVFREQ_NAMES
        .iter()
        .find(|(name, _)| root.exists(format!("{DEVFREQ_DIR}/{name}")));
    let device = match (devfreq, load_file) {
        (Some((name, _)), _) => (*name).to_owned(),
        (None, Some(file)) => Path::new(file).parent()?.file_name()?.to_str()?.to_owned(),
        (None, None) => return None,
    };
    Some(Gpu {
        name: devfreq.map(|(_, chip)| (*chip).to_owned()),
        load_file: load_file.map(PathBuf::from),
        devfreq_dir: devfreq.map(|(name, _)| Path::new(DEVFREQ_DIR).join(name)),
        ..Gpu::new(GpuKind::Jetson, device)
    })
}

/// `/dev/nvidia0` of a card, `/dev/nvhost-gpu` of a Jetson; not `/dev/nvidiactl`, which needs no card.
fn device_nodes(root: &Root) -> Result<Vec<Gpu>> {
    let mut found = Vec::new();
    for name in root.list("/dev")? {
        let is_card = name
            .strip_prefix("nvidia")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let is_jetson = name == "nvhost-gpu";
        if is_card || is_jetson {
            let kind = if is_jetson {
                GpuKind::Jetson
            } else {
                GpuKind::Nvidia
            };
            found.push(Gpu::new(kind, format!("/dev/{name}")));
        }
    }
    Ok(found)
}

impl Gpu {
    fn new(kind: GpuKind, device: String) -> Self {
        Self {
            kind,
            name: None,
            device,
            load_file: None,
            devfreq_dir: None,
        }
    }

    /// How busy it is, 0 to 1; `None` where the kernel does not tell.
    pub fn load(&self, root: &Root) -> Result<Option<f64>> {
        let Some(file) = &self.load_file else {
            return Ok(None);
        };
        let permille: u32 = root.read_number(file)?;
        if permille > 1000 {
            let found = permille.to_string();
            return Err(Error::malformed(
                &root.path(file),
                found.as_bytes(),
                "a load from 0 to 1000",
            ));
        }
        Ok(Some(f64::from(permille) / 1000.0))
    }

    /// How it is clocked; `None` where the kernel does not tell.
    pub fn devfreq(&self, root: &Root) -> Result<Option<Devfreq>> {
        let Some(dir) = &self.devfreq_dir else {
            return Ok(None);
        };
        Ok(Some(Devfreq {
            governor: root.read_text(dir.join("governor")).ok(),
            current_hz: root.read_number(dir.join("cur_freq"))?,
            min_hz: root.read_number(dir.join("min_freq"))?,
            max_hz: root.read_number(dir.join("max_freq"))?,
        }))
    }
}

/// Variables that hide GPUs from programs: CUDA takes an empty list for none, HIP wants a number that no device has.
const HIDING: [(&str, &str); 2] = [("CUDA_VISIBLE_DEVICES", ""), ("HIP_VISIBLE_DEVICES", "-1")];

/// Hides every GPU from a program about to be started, and from its children.
///
/// NVML does not look at these variables, so a sensor still sees the card.
pub fn hide_from_children(command: &mut Command) -> &mut Command {
    command.envs(HIDING)
}

/// Hides every GPU from libraries that this process loads from now on.
///
/// # Safety
/// No other thread may read or write the environment meanwhile: call it first thing in `main`, before any thread runs.
pub unsafe fn hide_from_this_process() {
    for (name, value) in HIDING {
        // SAFETY: the caller guarantees that nothing else touches the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Whether [`hide_from_this_process`] is in force.
pub fn is_hidden() -> bool {
    HIDING
        .iter()
        .all(|(name, value)| std::env::var_os(name).is_some_and(|found| found == *value))
}

/// Beginnings of the device nodes through which a GPU is used.
const DEVICE_NODES: [&str; 6] = [
    "/dev/nvidia",
    "/dev/nvhost-gpu",
    "/dev/nvhost-ctrl-gpu",
    "/dev/nvgpu",
    "/dev/kfd",
    "/dev/dri/render",
];

/// The GPU device nodes that a process holds open: none is proof that it touches no GPU just now.
pub fn open_devices(pid: u32) -> Result<Vec<PathBuf>> {
    let dir = PathBuf::from(format!("/proc/{pid}/fd"));
    let entries = std::fs::read_dir(&dir).map_err(|e| Error::io("list", &dir, e))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| {
            DEVICE_NODES
                .iter()
                .any(|node| target.to_string_lossy().starts_with(node))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_tree::tree;

    #[test]
    fn a_jetson_tells_load_and_clock() {
        let (_dir, root) = tree(&[
            ("/sys/devices/57000000.gpu/load", "505\n"),
            ("/sys/class/devfreq/57000000.gpu/cur_freq", "76800000\n"),
            ("/sys/class/devfreq/57000000.gpu/min_freq", "76800000\n"),
            ("/sys/class/devfreq/57000000.gpu/max_freq", "921600000\n"),
            ("/sys/class/devfreq/57000000.gpu/governor", "nvhost_podgov\n"),
        ]);
        let found = gpus(&root).unwrap();
        assert_eq!(
            (found.len(), found[0].kind, found[0].device.as_str()),
            (1, GpuKind::Jetson, "57000000.gpu")
        );
        assert_eq!(found[0].to_string(), "Jetson GM20B (Maxwell) (57000000.gpu)");
        assert_eq!(found[0].load(&root).unwrap(), Some(0.505));
        assert_eq!(found[0].devfreq(&root).unwrap().unwrap().max_hz, 921_600_000);
        for junk in ["", "x", "-1", "1001"] {
            std::fs::write(root.path("/sys/devices/57000000.gpu/load"), junk).unwrap();
            assert!(found[0].load(&root).is_err(), "{junk:?}");
        }
    }

    #[test]
    fn cards_are_told_by_class_and_vendor() {
        let (_dir, root) = tree(&[
            ("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n"),
            ("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("/sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n"),
            ("/sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n"),
            ("/sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
            ("/sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            (
                "/proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA Made-up 9\nIRQ:   \t\t 77\nGPU UUID: \t GPU-0\n",
            ),
            ("/dev/nvidia0", ""),
        ]);
        let found = gpus(&root).unwrap();
        let kinds: Vec<GpuKind> = found.iter().map(|gpu| gpu.kind).collect();
        assert_eq!(kinds, [GpuKind::Intel, GpuKind::Nvidia]);
        let names: Vec<String> = found.iter().map(Gpu::to_string).collect();
        assert_eq!(names, ["Intel (0000:00:02.0)", "NVIDIA Made-up 9 (0000:01:00.0)"]);
        let (_dir, root) = tree(&[
            ("/dev/nvidia0", ""),
            ("/dev/nvidiactl", ""),
            ("/dev/nvidia-uvm", ""),
        ]);
        assert_eq!(gpus(&root).unwrap()[0].device, "/dev/nvidia0");
        let (_dir, root) = tree(&[("/dev/nvidiactl", "")]);
        assert_eq!(gpus(&root).unwrap(), []);
    }

    #[test]
    fn a_process_that_opened_no_gpu_holds_none() {
        assert_eq!(open_devices(std::process::id()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_child_sees_an_empty_list() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo \"[${CUDA_VISIBLE_DEVICES-unset}]\""])
            .env("CUDA_VISIBLE_DEVICES", "0");
        let output = hide_from_children(&mut command).output().unwrap();
        assert_eq!(output.stdout, b"[]\n");
    }
}

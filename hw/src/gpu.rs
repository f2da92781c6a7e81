//! The GPU: is there one, and how to keep this process and its children off it.

use crate::error::{Error, Result};
use crate::root::Root;
use serde::Serialize;
use std::path::PathBuf;

/// Environment variables by which CUDA, ROCm and OpenCL runtimes are told which GPUs exist for them. An empty
/// value hides all of them.
pub const HIDING_VARIABLES: [&str; 4] = [
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
];

/// Beginnings of device nodes through which a GPU is used.
const DEVICE_NODES: [&str; 6] = [
    "/dev/nvidia",
    "/dev/nvhost-gpu",
    "/dev/nvhost-ctrl-gpu",
    "/dev/nvgpu",
    "/dev/kfd",
    "/dev/dri/render",
];

/// What is known about the machine's GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GpuInfo {
    /// Whether there is one.
    pub present: bool,
    /// A name, where one is known.
    pub name: Option<String>,
    /// How busy it is, 0 to 1 (Jetson).
    pub load: Option<f64>,
}

impl GpuInfo {
    /// Looks for a GPU below `root`.
    pub fn read(root: &Root) -> Self {
        let load = jetson_load(root);
        let name = discrete_name(root).or_else(|| load.map(|_| "integrated Tegra GPU".to_owned()));
        let has_node = ["/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/kfd"]
            .iter()
            .any(|node| root.exists(node));
        Self {
            present: name.is_some() || has_node,
            name,
            load,
        }
    }
}

/// The load of a Tegra GPU: an integer in thousandths, at a place that moved between releases.
fn jetson_load(root: &Root) -> Option<f64> {
    let places = [
        "/sys/devices/gpu.0/load",
        "/sys/devices/57000000.gpu/load",
        "/sys/devices/platform/gpu.0/load",
        "/sys/devices/platform/bus@0/17000000.gpu/load",
        "/sys/devices/platform/17000000.gpu/load",
    ];
    let permille = places
        .iter()
        .find_map(|place| root.read_number::<f64>(place).ok())?;
    Some((permille / 1000.0).clamp(0.0, 1.0))
}

/// The driver's name for the first discrete NVIDIA GPU.
fn discrete_name(root: &Root) -> Option<String> {
    let gpus = "/proc/driver/nvidia/gpus";
    let first = root.list(gpus).ok()?.into_iter().next()?;
    let text = root.read_text(format!("{gpus}/{first}/information")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(model.trim().to_owned())
}

/// Hides every GPU from this process and from all it starts later.
///
/// # Safety
/// No other thread may exist that reads or writes the environment: call it first thing in `main`.
pub unsafe fn hide_from_this_process() {
    for variable in HIDING_VARIABLES {
        // SAFETY: the caller guarantees that no other thread uses the environment.
        unsafe { std::env::set_var(variable, "") };
    }
}

/// Whether [`hide_from_this_process`] is in force.
pub fn is_hidden() -> bool {
    HIDING_VARIABLES
        .iter()
        .all(|variable| std::env::var_os(variable).is_some_and(|value| value.is_empty()))
}

/// The GPU device nodes that a process holds open: empty is proof that it touches no GPU just now.
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

    #[test]
    fn a_tegra_gpu_is_known_by_its_load() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(GpuInfo::read(&root), GpuInfo::default());
        std::fs::create_dir_all(root.path("/sys/devices/gpu.0")).unwrap();
        std::fs::write(root.path("/sys/devices/gpu.0/load"), "250\n").unwrap();
        let gpu = GpuInfo::read(&root);
        assert_eq!((gpu.present, gpu.load), (true, Some(0.25)));
    }

    #[test]
    fn a_discrete_gpu_is_known_by_its_driver() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let gpu = root.path("/proc/driver/nvidia/gpus/0000:01:00.0");
        std::fs::create_dir_all(&gpu).unwrap();
        std::fs::write(gpu.join("information"), "Model: \t\t Example GPU\nIRQ: 5\n").unwrap();
        assert_eq!(GpuInfo::read(&root).name.as_deref(), Some("Example GPU"));
    }

    #[test]
    fn a_process_that_opened_no_gpu_holds_none() {
        assert_eq!(open_devices(std::process::id()).unwrap(), Vec::<PathBuf>::new());
    }
}

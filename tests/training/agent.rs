//! Devices that train on the MEC, as a user runs them.

use super::PROGRAM;
use super::common::child::{Started, started};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of each device.
const TASKS: u32 = 16;

/// This machine, but for its device tree.
pub fn as_if(dir: &Path, model: &str, compatible: &str) -> PathBuf {
    let root = dir.join(model.replace(' ', "-"));
    let device_tree = root.join("proc/device-tree");
    fs::create_dir_all(&device_tree).unwrap();
    fs::write(device_tree.join("model"), format!("{model}\0")).unwrap();
    fs::write(device_tree.join("compatible"), format!("{compatible}\0")).unwrap();
    for folder in ["sys", "dev", "etc"] {
        symlink(Path::new("/").join(folder), root.join(folder)).unwrap();
    }
    let is_process = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !is_process(&name) && name != "device-tree" {
            symlink(Path::new("/proc").join(&name), root.join("proc").join(&name)).unwrap();
        }
    }
    root
}

/// A device that trains on the MEC, and where it writes.
pub struct Agent {
    child: Started,
    out: PathBuf,
}

impl Agent {
    pub fn start(dir: &Path, root: &Path, device: &str, broker: &str, more: &[&str]) -> Self {
        let out = dir.join(device);
        let mut command = Command::new(PROGRAM);
        command
            .args(["--root", root.to_str().unwrap(), "run-agent", "--quiet"])
            .args(["--sensor", "cpu-model", "--audit", "0"])
            .args(["--set", "dqn.hidden=[16,16]", "--record-transitions"])
            .args(["--train", "mec", "--broker", broker, "--device", device])
            .args(["--tasks", &TASKS.to_string(), "--out"])
            .arg(&out)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = started(&mut command);
        Self { child, out }
    }

    pub fn tasks_done(&self) -> usize {
        let rows = fs::read_to_string(self.out.join("decisions.csv"));
        rows.map_or(0, |rows| rows.lines().count().saturating_sub(1))
    }

    /// Its weights at the end are those of an undisturbed learner, and all were trained on the MEC.
    pub fn ends_with_parity(&mut self) {
        assert!(self.child.wait().unwrap().success());
        let manifest = fs::read(self.out.join("run.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let training = &manifest["training"];
        assert_eq!(training[0]["site"], "mec", "{training:#}");
        assert_eq!(
            (&training[0]["updates"], &training[0]["lost"]),
            (&Value::from(TASKS), &Value::from(0))
        );
        let replay = Command::new(PROGRAM)
            .args(["trainer", "replay", "--json"])
            .arg(&self.out)
            .output()
            .unwrap();
        assert!(replay.status.success(), "{replay:?}");
        let replayed = String::from_utf8(replay.stdout).unwrap();
        let weights = manifest["weights_sha256"].as_str().unwrap();
        assert!(replayed.contains(weights), "{weights} is not in {replayed}");
    }
}

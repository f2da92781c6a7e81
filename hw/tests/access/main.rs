//! The files that give a group access: what they match in a fake tree, what they leave alone, and that they go away
//! without a trace.
#![allow(clippy::unwrap_used)] // clippy.toml excuses test functions, not their helpers

mod rules;
mod tree;

use hwmeter_hw::access::{self, FILES};
use hwmeter_hw::{ErrorKind, Root};
use rules::{apply, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::{DEVICES, assert_minimal, fake_tree, group, mode, opened};

fn content(name: &str) -> &'static str {
    FILES
        .iter()
        .find(|file| file.path.contains(name))
        .unwrap()
        .content
}

#[test]
fn the_rules_open_what_measuring_needs_and_nothing_else() {
    let dir = fake_tree();
    let mut links = Vec::new();
    for device in DEVICES {
        let outcome = apply(content("rules.d"), device, dir.path());
        let is_foreign = [
            "intel-rapl",
            "iio:device1",
            "hwmon0",
            "ttyS0",
            "ttyACM0",
            "vcio_crypto",
        ]
        .contains(&device.kernel);
        assert_eq!(
            outcome.run.is_empty(),
            is_foreign,
            "{}: {outcome:?}",
            device.kernel
        );
        run(&outcome, device, dir.path(), group());
        links.extend(outcome.links);
    }
    assert_minimal(dir.path(), &opened(), group());
    assert_eq!(
        links,
        ["ch340", "cp210x", "ftdi"].map(|chip| format!("hwmeter/{chip}-usb-0:1.2:1.0"))
    );
    for node in ["ttyUSB0", "ttyUSB1", "ttyUSB2", "vcio", "vcio_gencmd"] {
        // By an access list or by the group: the group class of the mode shows either.
        assert_eq!(mode(&dir.path().join("dev").join(node)) & 0o070, 0o060, "{node}");
    }
}

#[test]
fn the_boot_time_file_opens_the_same() {
    let dir = fake_tree();
    let lines = || {
        content("tmpfiles.d")
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
    };
    let mut globbed = Vec::new();
    for line in lines() {
        let glob = line.split_whitespace().nth(1).unwrap();
        let script = format!(
            "for f in {}{glob}; do test -e $f && readlink -f $f; done",
            dir.path().display()
        );
        let found = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
        let found = String::from_utf8(found).unwrap();
        globbed.extend(found.lines().map(PathBuf::from));
    }
    let real = fs::canonicalize(dir.path()).unwrap();
    let mut opened = opened();
    opened.retain(|(path, ..)| !path.contains("hwmon"));
    let mut expected: Vec<PathBuf> = opened.iter().map(|(path, ..)| real.join(path)).collect();
    globbed.sort();
    expected.sort();
    assert_eq!(globbed, expected);

    let conf = dir.path().join("etc/tmpfiles.d/hwmeter.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    fs::write(&conf, content("tmpfiles.d")).unwrap();
    fs::write(
        dir.path().join("etc/group"),
        format!("root:x:0:\nhwmeter:x:{}:\n", group()),
    )
    .unwrap();
    fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let mut tmpfiles = Command::new("systemd-tmpfiles");
    tmpfiles
        .arg("--create")
        .arg(format!("--root={}", dir.path().display()))
        .arg("hwmeter.conf");
    match tmpfiles.status() {
        Ok(status) if nix::unistd::geteuid().is_root() => {
            assert!(status.success());
            assert_minimal(dir.path(), &opened, group());
        }
        _ => eprintln!("skipped: needs root and systemd-tmpfiles (apt install systemd)"),
    }
}

#[test]
fn what_is_installed_is_what_stands_in_the_repository() {
    // The crate holds links to these, so that it builds alone; a checkout without links would hold their paths.
    let udev = Path::new(env!("CARGO_MANIFEST_DIR")).join("../udev");
    for (name, file) in [
        ("hwmeter.sysusers.conf", "sysusers.d"),
        ("60-hwmeter.rules", "rules.d"),
        ("hwmeter.tmpfiles.conf", "tmpfiles.d"),
    ] {
        assert_eq!(
            fs::read_to_string(udev.join(name)).unwrap(),
            content(file),
            "{name}"
        );
    }
}

#[test]
fn udev_accepts_the_rules() {
    let version = Command::new("udevadm").arg("--version").output();
    let version = version
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    if version
        .and_then(|text| text.trim().parse::<u32>().ok())
        .is_none_or(|version| version < 254)
    {
        // Not to be had on Debian 12 at all, so not required anywhere.
        eprintln!("skipped: needs udevadm verify (systemd >= 254)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("60-hwmeter.rules");
    fs::write(&path, content("rules.d")).unwrap();
    let output = Command::new("udevadm")
        .args(["verify", "--resolve-names=never"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every file below a directory with its content and rights.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (String, u32)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap().is_dir() {
            true => files.append(&mut snapshot(&path)),
            false => drop(files.insert(path.clone(), (fs::read_to_string(&path).unwrap(), mode(&path)))),
        }
    }
    files
}

#[test]
fn removing_leaves_the_tree_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let other = dir.path().join("etc/udev/rules.d/99-tegra-devices.rules");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "KERNEL==\"nvmap\"\n").unwrap();
    let before = snapshot(dir.path());

    for _ in 0..2 {
        let steps = access::install(&root, Some("ada")).unwrap();
        assert_eq!(steps.last().unwrap().to_string(), "usermod -aG hwmeter ada");
    }
    assert_eq!(access::installed(&root).len(), 3);
    let installed = snapshot(dir.path());
    assert_eq!(installed.len(), before.len() + 3);
    assert_eq!(mode(&dir.path().join("etc/udev/rules.d/60-hwmeter.rules")), 0o644);

    assert_eq!(access::remove(&root).unwrap().files.len(), 3);
    assert_eq!(snapshot(dir.path()), before);
    let again = access::remove(&root).unwrap();
    assert!(again.files.is_empty() && again.steps.is_empty());
}

#[test]
fn a_failed_installation_leaves_nothing_behind_and_foreign_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let theirs = dir.path().join("etc/tmpfiles.d/hwmeter.conf");
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, "# mine\n").unwrap();
    let before = snapshot(dir.path());
    let error = access::install(&root, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(
        error.to_string().contains("etc/tmpfiles.d/hwmeter.conf"),
        "{error}"
    );
    assert_eq!(snapshot(dir.path()), before);
    assert!(access::remove(&root).is_err());
    assert_eq!(snapshot(dir.path()), before);
}

#[test]
fn a_plan_touches_nothing_and_says_why() {
    let plan = access::plan(None);
    assert_eq!(plan.files.len(), 3);
    for word in [
        "systemd-sysusers",
        "systemd-tmpfiles --create",
        "udevadm control --reload-rules",
        "$USER",
    ] {
        assert!(
            plan.steps.iter().any(|step| step.to_string().contains(word)),
            "{word}"
        );
    }
    let reasons = content("rules.d");
    assert!(reasons.contains("CVE-2020-8694") && reasons.contains("CVE-2021-1070"));
}

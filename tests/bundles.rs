//! Boards as `hwmeter probe --bundle` packs them. To add one, put its file into `tests/bundles/` under the name
//! `KIND+SENSOR.tar`: what it must be recognised as, and the sensor that must be its default.
//!
//! The one that is there was packed from a made-up tree.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn hwmeter(root: &Path, args: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    let output = command.arg("--root").arg(root).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_bundle_is_the_board_that_its_name_says() {
    let mut bundles = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (kind, sensor) = name
            .split_once('+')
            .unwrap_or_else(|| panic!("{name} is not KIND+SENSOR.tar"));
        let dir = tempfile::tempdir().unwrap();
        let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
        archive.unpack(dir.path()).unwrap();
        let found = hwmeter(dir.path(), &["probe", "--json"]);
        assert_eq!(
            (&found["board"]["kind"], &found["default_sensor"]),
            (&kind.into(), &sensor.into()),
            "{name}"
        );
        let measured = hwmeter(dir.path(), &["measure", "--duration", "200ms", "--json"]);
        assert!(measured["total"]["joules"].is_number(), "{name}: {measured:#}");
        bundles += 1;
    }
    assert!(bundles > 0);
}

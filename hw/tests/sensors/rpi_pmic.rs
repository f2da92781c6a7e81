//! A `vcgencmd` that answers nonsense, or only in part.

use hwmeter_hw::ErrorKind;
use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::rpi_pmic::RpiPmic;
use hwmeter_hw::units::Watts;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const GOOD: &str = " VDD_CORE_A current(7)=2.0A\n HDMI_A current(22)=0.5A\n VDD_CORE_V volt(15)=0.5V\n HDMI_V volt(23)=4.0V\n EXT5V_V volt(24)=5.1V\n";

/// Prints the file `answer` beside it, and ends as the file `status` says.
fn vcgencmd(dir: &Path) -> PathBuf {
    let file = dir.join("vcgencmd");
    let place = dir.to_str().unwrap();
    let script = format!("#!/bin/sh\ncat {place}/answer\nexit $(cat {place}/status)\n");
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    answer(dir, GOOD.as_bytes(), 0);
    file
}

fn answer(dir: &Path, text: &[u8], status: u8) {
    std::fs::write(dir.join("answer"), text).unwrap();
    std::fs::write(dir.join("status"), status.to_string()).unwrap();
}

#[test]
fn nonsense_loses_the_sample_and_the_next_good_answer_counts() {
    let dir = tempfile::tempdir().unwrap();
    let program = vcgencmd(dir.path());
    let mut sensor = RpiPmic::through(&program, true).unwrap();
    let good = sensor.read().unwrap();
    for junk in [
        "",
        "\n",
        "abc\n",
        "error=1 error_msg=\"Command not registered\"\n",
        " VDD_CORE_A current(7)=twoA\n VDD_CORE_V volt(15)=0.5V\n",
        " VDD_CORE_A current(7)=-2.0A\n VDD_CORE_V volt(15)=0.5V\n",
        " VDD_CORE_A current(7)=9999999999999999.0A\n VDD_CORE_V volt(15)=0.5V\n",
        " VDD_CORE_A current(7)=nanA\n VDD_CORE_V volt(15)=infV\n",
        " EXT5V_V volt(24)=5.1V\n",
    ] {
        answer(dir.path(), junk.as_bytes(), 0);
        let error = sensor.read().expect_err(junk);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{junk:?}");
        assert!(RpiPmic::through(&program, false).is_err(), "{junk:?}");
    }
    answer(dir.path(), &[0xff, 0xfe, 0, 1], 0);
    assert!(sensor.read().is_err());
    answer(dir.path(), GOOD.as_bytes(), 3);
    assert!(sensor.read().is_err(), "a program that failed has said nothing");
    answer(dir.path(), GOOD.as_bytes(), 0);
    assert_eq!(sensor.read().unwrap(), good);
    std::fs::remove_file(&program).unwrap();
    assert_eq!(sensor.read().unwrap_err().kind(), ErrorKind::Gone);
}

#[test]
fn an_answer_cut_short_loses_the_rails_that_are_not_whole_and_the_wall() {
    let dir = tempfile::tempdir().unwrap();
    let mut sensor = RpiPmic::through(&vcgencmd(dir.path()), true).unwrap();
    let cut = GOOD.find("HDMI_V").unwrap();
    // Not one digit of a value cut short may pass for the value.
    for end in cut..GOOD.find("4.0V").unwrap() + 3 {
        answer(dir.path(), &GOOD.as_bytes()[..end], 0);
        let values = sensor.read().unwrap().values;
        assert_eq!(
            values[..],
            [Value::Power(Watts(1.0)), Value::Missing, Value::Missing]
        );
    }
}

//! A firmware that answers nonsense, in part, late, or not at all: through `vcgencmd`, and at the mailbox as far as a
//! machine without one goes.
//!
//! Nothing can be made up behind a mailbox, so its answers are those of `vcgencmd` here (both go through one parser) and
//! only its refusals are real. It is a device of the kernel that does not disappear.

use crate::common::program::script;
use crate::common::{boards, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::rpi_pmic::RpiPmic;
use hwmeter_hw::units::Watts;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GOOD: &str = " VDD_CORE_A current(7)=2.0A\n HDMI_A current(22)=0.5A\n VDD_CORE_V volt(15)=0.5V\n HDMI_V volt(23)=4.0V\n EXT5V_V volt(24)=5.1V\n";

/// Prints the file `answer` beside it, and ends as the file `status` says.
fn vcgencmd(dir: &Path) -> PathBuf {
    let file = dir.join("vcgencmd");
    let place = dir.to_str().unwrap();
    script(&file, &format!("cat {place}/answer\nexit $(cat {place}/status)"));
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
    answer(dir.path(), GOOD.trim_end().as_bytes(), 0); // no line end
    assert_eq!(sensor.read().unwrap(), good);

    // Not to be run, gone, and back again.
    let set_mode = |mode| std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    assert_eq!(sensor.read().unwrap_err().kind(), ErrorKind::Denied);
    set_mode(0o755);
    assert_eq!(sensor.read().unwrap(), good);
    let aside = dir.path().join("aside");
    std::fs::rename(&program, &aside).unwrap();
    assert_eq!(sensor.read().unwrap_err().kind(), ErrorKind::Gone);
    std::fs::rename(&aside, &program).unwrap();
    assert_eq!(sensor.read().unwrap(), good);
}

#[test]
fn a_program_that_hangs_is_given_up_and_killed() {
    let dir = tempfile::tempdir().unwrap();
    let program = vcgencmd(dir.path());
    let mut sensor = RpiPmic::through(&program, false).unwrap();
    let pid_file = dir.path().join("pid");
    script(
        &program,
        &format!("echo $$ > {}\nexec sleep 60", pid_file.display()),
    );
    let begin = Instant::now();
    let error = sensor.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("no answer within 2.0 s"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is left behind");
    vcgencmd(dir.path());
    assert!(sensor.read().is_ok(), "it recovers");
}

#[test]
fn a_mailbox_that_refuses_is_told_for_its_reason() {
    // An ordinary file in its place takes no such call.
    let tree = boards::pi5().with("/dev/vcio", "");
    let open = || discover::open(&tree.context(), "rpi-pmic").err().unwrap();
    let error = open();
    assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    assert!(error.to_string().contains("dev/vcio"), "{error}");
    for (errno, kind) in [
        (libc::EPERM, ErrorKind::Denied),
        (libc::EIO, ErrorKind::Failed),
        (libc::EAGAIN, ErrorKind::Busy),
        (libc::ENODATA, ErrorKind::Busy),
    ] {
        let error = faults::failing_calls(libc::SYS_ioctl, None, errno, open);
        assert_eq!(error.kind(), kind, "{error}");
    }
    tree.lock("/dev/vcio");
    let error = faults::without_rights(open);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn what_is_not_covered_is_said_and_the_wall_is_an_estimate_nobody_gets_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let program = vcgencmd(dir.path());
    let info = RpiPmic::through(&program, false).unwrap().info();
    assert!(info.rails.iter().all(|rail| rail.name != "wall"), "{info:?}");
    let note = info.note.unwrap();
    assert!(note.contains("USB") && note.contains("losses"), "{note}");
    let wall = RpiPmic::through(&program, true).unwrap().info();
    assert_eq!(wall.kind, hwmeter_hw::sensor::Kind::Modelled);
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

use super::*;
use crate::board::BoardKind;
use crate::sensor::{Accuracy, Kind, Rail, Role};
use crate::units::{Joules, Seconds};

fn info(id: &str) -> SensorInfo {
    SensorInfo {
        accuracy: Accuracy {
            gain: 0.01,
            lag_uncertainty: 0.2,
            source: "datasheet".into(),
            ..Accuracy::default()
        },
        ..SensorInfo::new(id, Kind::Measured, vec![Rail::new("VDD_IN", Role::Total)])
    }
}

fn parse(text: &str) -> Calibration {
    Calibration {
        path: Some("c.toml".into()),
        ..Calibration::parse(Path::new("c.toml"), text).unwrap()
    }
}

/// The examples at the top of this file: sensors, and what `hwmeter calibrate` writes.
fn examples() -> Vec<String> {
    let blocks = include_str!("../calibration.rs").split("//! ```toml\n").skip(1);
    let blocks = blocks.take(2).filter_map(|block| block.split("//! ```\n").next());
    blocks.map(|block| block.replace("//!", "")).collect()
}

fn board(kind: BoardKind, model: &str) -> Board {
    Board {
        model: model.into(),
        kind,
        soc: String::new(),
        revision: None,
        is_64_bit: true,
        variant: None,
    }
}

#[test]
fn the_documented_example_overrides_everything() {
    let mut info = info("ina3221-hwmon:1-0040");
    let calibration = parse(&examples()[0]);
    calibration.apply(&mut info).unwrap();
    let expected = Accuracy {
        gain: 0.004,
        lag: Some(Seconds(0.42)),
        lag_uncertainty: 0.1,
        window: Some(Seconds(0.1)),
        update_period: Some(Seconds(0.1)),
        clock: Seconds(0.002),
        source: "compared with an SDM630, May 2026 (calibration file c.toml)".into(),
    };
    assert_eq!(info.accuracy, expected);
    assert_eq!((info.idle, info.full), (Some(Watts(2.1)), Some(Watts(9.8))));
    let rail = &info.rails[0];
    assert_eq!((rail.offset, rail.power_step), (Watts(0.008), Watts(0.004)));
    assert_eq!(rail.energy_step, Joules(0.000061));
    assert_eq!(calibration.idle_uncertainty(&info.id), Some(Watts(0.02)));
}

#[test]
fn what_is_not_given_stays_and_other_sensors_are_left_alone() {
    let calibration = parse("[sensor.hwmon]\ngain = 0.5\nidle_watts = 2\n");
    let mut changed = info("hwmon:hwmon3");
    calibration.apply(&mut changed).unwrap();
    assert_eq!(
        (changed.accuracy.gain, changed.accuracy.lag_uncertainty),
        (0.5, 0.2)
    );
    assert_eq!(
        changed.accuracy.source,
        "datasheet; overridden by calibration file c.toml"
    );
    assert_eq!(calibration.idle_uncertainty("hwmon:hwmon3"), Some(Watts(0.1)));
    let mut other = info("powercap");
    calibration.apply(&mut other).unwrap();
    assert_eq!(other, info("powercap"));
    assert_eq!(calibration.path_for("powercap"), None);
}

#[test]
fn a_mistake_names_its_line() {
    let error = |text| {
        Calibration::parse(Path::new("c.toml"), text)
            .unwrap_err()
            .to_string()
    };
    for (text, line, word) in [
        ("\n[sensor.hwmon]\ngian = 0.1\n", 3, "unknown field `gian`"),
        ("[sensors.hwmon]\n", 1, "unknown field `sensors`"),
        ("[sensor.hwmon]\ngain = -0.1\n", 2, "0 or more"),
        ("[sensor.hwmon]\n\ngain = nan\n", 3, "0 or more"),
        ("[sensor.hwmon]\ngain = \"1 %\"\n", 2, "f64"),
        ("# x\n[sensor.hwmoon]\ngain = 1\n", 2, "no sensor `hwmoon`"),
        ("[sensor.hwmon]\ngain = 1\ngain = 2\n", 3, "duplicate"),
        ("[sensor.hwmon.rail.a]\noffset = 1\n", 2, "unknown field `offset`"),
        ("[sensor.hwmon\n", 1, ""),
    ] {
        let said = error(text);
        assert!(
            said.contains(&format!("c.toml, line {line}:")) && said.contains(word),
            "{text:?}: {said}"
        );
    }
}

#[test]
fn a_rail_that_is_not_there_is_an_error_and_changes_nothing() {
    let calibration = parse("[sensor.hwmon]\ngain = 0.5\n[sensor.hwmon.rail.VDD_MOON]\noffset_w = 1\n");
    let mut info = info("hwmon");
    let error = calibration.apply(&mut info).unwrap_err().to_string();
    assert!(error.contains("VDD_MOON") && error.contains("VDD_IN"), "{error}");
    assert_eq!(info.accuracy.gain, 0.01);
}

#[test]
fn what_calibrate_writes_is_read() {
    let calibration = parse(&examples()[1]);
    let made = calibration.made().unwrap();
    assert_eq!(
        (made.kind.as_str(), made.kernel.as_deref()),
        ("raspberry-pi-4", Some("6.12.20"))
    );
    assert_eq!(calibration.gemm()[0].gflops, 21.3);
    assert_eq!(calibration.bandwidth().unwrap().bytes_per_s, 4.1e9);
    let pi = board(BoardKind::RaspberryPi4, "Raspberry Pi 4 Model B Rev 1.2");
    let fitted = calibration.power_model_for(&pi).unwrap();
    for word in [
        "2026-11-25",
        "modbus:tcp://192.0.2.7",
        "21 load steps",
        "c.toml",
        "1.3 %",
    ] {
        assert!(fitted.source.contains(word), "{word}: {}", fitted.source);
    }
    assert_eq!(
        calibration.power_model_for(&board(BoardKind::RaspberryPi5, &made.board)),
        None
    );
}

#[test]
fn a_generic_board_is_the_same_only_if_it_is_the_same_model() {
    let text = examples()[1].replace("raspberry-pi-4", "generic-x86");
    let calibration = parse(&text);
    assert!(
        calibration
            .power_model_for(&board(BoardKind::GenericX86, "Acme Box"))
            .is_none()
    );
    let same = board(BoardKind::GenericX86, "Raspberry Pi 4 Model B Rev 1.4");
    assert!(calibration.power_model_for(&same).is_some());
}

#[test]
fn another_board_kernel_or_governor_is_told() {
    let calibration = parse(&examples()[1]);
    let pi = board(BoardKind::RaspberryPi4, "Raspberry Pi 4 Model B Rev 1.4");
    assert_eq!(calibration.warnings(&pi, "6.12.20", Some("ondemand")), [""; 0]);
    assert_eq!(Calibration::default().warnings(&pi, "6.1", None), [""; 0]);
    let warnings = calibration.warnings(&pi, "6.18.1", Some("performance"));
    assert!(warnings.len() == 2, "{warnings:?}");
    assert!(warnings[0].contains("6.12.20") && warnings[0].contains("6.18.1"));
    assert!(warnings[1].contains("ondemand") && warnings[1].contains("performance"));
    let nano = board(BoardKind::JetsonNano, "NVIDIA Jetson Nano Developer Kit");
    let warnings = calibration.warnings(&nano, "6.12.20", Some("ondemand"));
    assert!(
        warnings[0].contains("Raspberry Pi 4") && warnings[0].contains("Jetson Nano"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("not used"), "{warnings:?}");
}

#[test]
fn a_mistake_in_what_calibrate_wrote_names_its_line() {
    let good = &examples()[1];
    for (from, to, word) in [
        ("version = 1", "version = 2", "version 2"),
        ("version = 1", "version = \"one\"", "string"),
        ("kernel = ", "kernle = ", "unknown field `kernle`"),
        ("gflops_spread", "gflops_spraed", "unknown field `gflops_spraed`"),
        ("fit_error = 0.013", "fit_error = -1", "0 or more"),
        ("knots = [0.0,", "knots = [0.4,", "ascend"),
        ("threads = 4\n n", "threads = -4\n n", ""),
    ] {
        assert!(good.contains(from), "{from}");
        let error = Calibration::parse(Path::new("c.toml"), &good.replacen(from, to, 1));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("c.toml, line ") && error.contains(word),
            "{to}: {error}"
        );
    }
    let future = "[new]\nkey = 1\n".to_owned();
    let error = Calibration::parse(Path::new("c.toml"), &format!("version = 3\n{future}")).unwrap_err();
    assert!(
        error.to_string().contains("line 1: it is of version 3"),
        "{error}"
    );
    let lonely = good.replace(
        &good[good.find(" [made]").unwrap()..good.find(" [power_model]").unwrap()],
        "",
    );
    let error = Calibration::parse(Path::new("c.toml"), &lonely)
        .unwrap_err()
        .to_string();
    assert!(error.contains("[made]"), "{error}");
}

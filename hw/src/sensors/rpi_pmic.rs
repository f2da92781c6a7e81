//! `rpi-pmic`: the power management chip of a Raspberry Pi 5, which measures twelve of its outputs.
//!
//! The firmware answers the text command `pmic_read_adc` ([`super::pmic_parse`]). It is asked through the property
//! mailbox, `ioctl(/dev/vcio, _IOWR(100, 0, char *))` with tag `GET_GENCMD_RESULT` (`raspberrypi/linux`,
//! `drivers/char/broadcom/vcio.c`); without the device, through the program `vcgencmd`.
//!
//! Not covered: what is fed straight from 5 V (USB ports, fan, HATs, PCIe) and the losses of the chip itself. The
//! instance `rpi-pmic:wall` adds a line fitted by a user on one board, and is then modelled.

use super::mailbox::Message;
use super::pmic_parse::rails;
use super::program::{answer_of, find_program};
use super::{Context, Driver};
use crate::board::BoardKind;
use crate::error::{Error, ErrorKind, Result};
use crate::rails::role_of;
use crate::root::Root;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Seconds, Watts};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "rpi-pmic",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(RpiPmic::open(context, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| context.board.kind == BoardKind::RaspberryPi5,
    place: "/dev/vcio, /dev/vcio_gencmd, vcgencmd in PATH",
    hint: |_, error| match error.map(Error::kind) {
        Some(ErrorKind::Denied) => "sudo usermod -aG video $USER  # then log out and in again".to_owned(),
        Some(_) => "vcgencmd pmic_read_adc  # must list currents and volts of twelve rails".to_owned(),
        None => "sudo apt install raspi-utils  # the package with vcgencmd".to_owned(),
    },
};

/// The second is a node of newer kernels that takes this kind of message only.
const DEVICES: [&str; 2] = ["/dev/vcio", "/dev/vcio_gencmd"];
const COMMAND: &str = "pmic_read_adc";
/// How long `vcgencmd` may take: it takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Relative standard uncertainty of a rail's power: the chip's converter is not specified in public (assumed).
const GAIN: f64 = 0.03;
/// Wall power over the sum of the rails, fitted by a user against a meter: jfikar/RPi5-power, one board.
const WALL_SLOPE: f64 = 1.1451;
const WALL_OFFSET: Watts = Watts(0.5879);
/// Its relative standard uncertainty on another board and supply (assumed).
const WALL_GAIN: f64 = 0.10;

/// The chip's measured rails.
pub struct RpiPmic {
    source: Source,
    has_wall: bool,
    info: SensorInfo,
}

/// Who is asked.
enum Source {
    Mailbox {
        file: File,
        path: PathBuf,
        message: Box<Message>,
    },
    Vcgencmd(PathBuf),
}

impl RpiPmic {
    /// On a Raspberry Pi 5, the mailbox or else `vcgencmd`. The instance `wall` adds the rail `wall`.
    pub fn open(context: &Context, instance: Option<&str>) -> Result<Option<Self>> {
        if context.board.kind != BoardKind::RaspberryPi5 {
            return Ok(None);
        }
        let has_wall = match instance {
            None => false,
            Some("wall") => true,
            Some(other) => {
                let why = "the only instance is rpi-pmic:wall, which adds the estimated losses";
                return Err(Error::unsupported(format!("sensor rpi-pmic:{other}"), why));
            }
        };
        // The first that answers: a device may be there and still refuse this command (`EPERM` on newer kernels).
        let mut first_error = None;
        for source in sources(&context.root) {
            match source.and_then(|source| Self::from_source(source, has_wall)) {
                Ok(sensor) => return Ok(Some(sensor)),
                Err(error) if error.kind() == ErrorKind::Gone => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// The same through a program that answers like `vcgencmd`.
    pub fn through(program: &Path, has_wall: bool) -> Result<Self> {
        Self::from_source(Source::Vcgencmd(program.to_owned()), has_wall)
    }

    fn from_source(mut source: Source, has_wall: bool) -> Result<Self> {
        let answer = source.ask()?;
        let names: Vec<Rail> = rails(&answer)
            .map(|(name, _)| Rail::new(name, role(name)))
            .collect();
        if names.is_empty() {
            return Err(Error::malformed(
                source.path(),
                answer.as_bytes(),
                "the rails of pmic_read_adc",
            ));
        }
        Ok(Self {
            source,
            has_wall,
            info: info(names, has_wall),
        })
    }
}

impl Sensor for RpiPmic {
    fn read(&mut self) -> Result<Reading> {
        let answer = self.source.ask()?;
        let measured = self.info.rails.len() - usize::from(self.has_wall);
        let mut reading = Reading::default();
        let mut sum = Some(Watts::ZERO);
        for rail in &self.info.rails[..measured] {
            let power = rails(&answer)
                .find(|(name, _)| *name == rail.name)
                .map(|(_, watts)| watts);
            sum = sum.zip(power).map(|(sum, power)| sum + power);
            reading.values.push(power.map_or(Value::Missing, Value::Power));
        }
        if reading.values.iter().all(|value| *value == Value::Missing) {
            return Err(Error::malformed(
                self.source.path(),
                answer.as_bytes(),
                "the rails of pmic_read_adc",
            ));
        }
        if self.has_wall {
            let wall = sum.map(|sum| sum * WALL_SLOPE + WALL_OFFSET);
            reading.values.push(wall.map_or(Value::Missing, Value::Power));
        }
        Ok(reading)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

fn role(name: &str) -> Role {
    match name {
        "VDD_CORE" => Role::Cpu, // the chip's cores, CPU and GPU alike
        "DDR_VDD2" | "DDR_VDDQ" => Role::Memory,
        "0V8_SW" | "0V8_AON" | "1V1_SYS" => Role::Soc,
        "HDMI" | "3V7_WL_SW" | "3V3_SYS" | "1V8_SYS" => Role::Io,
        other => role_of(other),
    }
}

fn info(mut rails: Vec<Rail>, has_wall: bool) -> SensorInfo {
    let mut accuracy = Accuracy {
        gain: GAIN,
        update_period: Some(Seconds(0.1)),
        source:
            "3 % gain and a new value every 0.1 s assumed: the chip's converter is not specified in public"
                .to_owned(),
        ..Accuracy::default()
    };
    let mut note = "the sum of the PMIC's outputs; does not cover USB devices, fan, HATs and PCIe fed from 5 V, nor the PMIC's own losses";
    if has_wall {
        rails.push(Rail::new("wall", Role::Total));
        accuracy.gain = WALL_GAIN;
        accuracy.source =
            "PMIC sum x 1.1451 + 0.5879 W, fitted by a user on one board; 10 % assumed for others".to_owned();
        note = "the rail `wall` is an estimate from the PMIC's outputs; devices on 5 V are still not covered";
    }
    let kind = if has_wall { Kind::Modelled } else { Kind::Measured };
    let id = if has_wall { "rpi-pmic:wall" } else { "rpi-pmic" };
    SensorInfo {
        accuracy,
        note: Some(note.to_owned()),
        ..SensorInfo::new(id, kind, rails)
    }
}

/// Everyone who can be asked, best first.
fn sources(root: &Root) -> impl Iterator<Item = Result<Source>> {
    let devices = DEVICES.map(|device| {
        let path = root.path(device);
        let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let message = Box::default();
        Ok(Source::Mailbox { file, path, message })
    });
    devices
        .into_iter()
        .chain(find_program("vcgencmd").map(|program| Ok(Source::Vcgencmd(program))))
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Mailbox { path, .. } | Self::Vcgencmd(path) => path,
        }
    }

    fn ask(&mut self) -> Result<String> {
        match self {
            Self::Mailbox { file, path, message } => {
                message.ask(COMMAND);
                message
                    .send(file)
                    .map_err(|e| Error::io("send pmic_read_adc to", path, e))?;
                message
                    .answer()
                    .ok_or_else(|| Error::malformed(path, message.text(), "an answer to pmic_read_adc"))
            }
            Self::Vcgencmd(program) => {
                let (text, status) = answer_of(program, COMMAND, PATIENCE)?;
                match status.success() {
                    true => Ok(String::from_utf8_lossy(&text).into_owned()),
                    false => Err(Error::malformed(program, &text, "an answer to pmic_read_adc")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pmic_parse::tests::answer;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn fake(dir: &Path, body: &str) -> PathBuf {
        let file = dir.join("vcgencmd");
        std::fs::write(dir.join("answer"), answer()).unwrap();
        std::fs::write(
            &file,
            format!("#!/bin/sh\n{}\n", body.replace("DIR", dir.to_str().unwrap())),
        )
        .unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    #[test]
    fn vcgencmd_answers_for_the_mailbox() {
        let dir = tempfile::tempdir().unwrap();
        let program = fake(dir.path(), "[ \"$1\" = pmic_read_adc ] && cat DIR/answer");
        let mut sensor = RpiPmic::through(&program, true).unwrap();
        let info = sensor.info();
        assert_eq!(
            (info.rails.len(), info.kind, &info.total[..]),
            (13, Kind::Modelled, &[12][..])
        );
        let reading = sensor.read().unwrap();
        let Value::Power(wall) = reading.values[12] else {
            panic!("{reading:?}")
        };
        assert!((wall.0 - (2.2822104316 * 1.1451 + 0.5879)).abs() < 1e-8);
        assert_eq!(RpiPmic::through(&program, false).unwrap().info().total.len(), 12);

        std::fs::write(
            dir.path().join("answer"),
            "error=1 error_msg=\"Command not registered\"",
        )
        .unwrap();
        assert!(sensor.read().is_err(), "no answer is no zero");
        assert!(RpiPmic::through(&program, false).is_err());
    }
}

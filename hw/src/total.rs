//! The total of a sensor: chosen by the user, and checked against its parts.

use crate::error::{Error, Result};
use crate::sensor::{Reading, Role, Sensor, SensorInfo, Value};
use crate::units::Watts;

/// A total may be this much below its parts before it is called wrong: rails are not read at one moment.
const TOLERANCE: f64 = 0.05;

/// Makes the rails of these names the total, in place of what the board's map says.
///
/// An error if a name is not a rail of the sensor, or none is given. A rail named twice counts once.
pub fn override_total(info: &mut SensorInfo, names: &[&str]) -> Result<()> {
    let mut total = Vec::new();
    for name in names {
        let Some(index) = info
            .rails
            .iter()
            .position(|rail| rail.name.eq_ignore_ascii_case(name))
        else {
            let known: Vec<&str> = info.rails.iter().map(|rail| rail.name.as_str()).collect();
            let why = format!("{} has the rails {}", info.id, known.join(", "));
            return Err(Error::unsupported(format!("a total with the rail {name:?}"), why));
        };
        if !total.contains(&index) {
            total.push(index);
        }
    }
    if total.is_empty() {
        return Err(Error::unsupported(
            "a total of no rails",
            "name at least one rail",
        ));
    }
    total.sort_unstable();
    if total != info.total {
        info.idle = None; // these were those of another total
        info.full = None;
    }
    let chosen: Vec<&str> = total.iter().map(|&i| info.rails[i].name.as_str()).collect();
    let mut note = format!("total chosen by the user: {}", chosen.join(" + "));
    let has_whole = total.iter().any(|&i| info.rails[i].role == Role::Total);
    if has_whole && total.len() > 1 {
        note += "; it adds the whole board to parts of it, which counts them twice";
    }
    info.total = total;
    add_note(info, &note);
    Ok(())
}

/// A sensor with a total chosen by the user.
pub struct WithTotal<S> {
    sensor: S,
    info: SensorInfo,
}

impl<S: Sensor> WithTotal<S> {
    /// The sensor with the rails of these names as its total.
    pub fn new(sensor: S, names: &[&str]) -> Result<Self> {
        let mut info = sensor.info();
        override_total(&mut info, names)?;
        Ok(Self { sensor, info })
    }
}

impl<S: Sensor> Sensor for WithTotal<S> {
    fn read(&mut self) -> Result<Reading> {
        self.sensor.read()
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

/// What to say where the rail of the whole board reads less than what hangs below it.
///
/// That happens: carrier boards with a device tree that names channels in another order are in the field. Only rails
/// that are inside the module are counted as parts (CPU, GPU, chip, memory), and only readings of power.
pub fn warning(info: &SensorInfo, reading: &Reading) -> Option<String> {
    let &[whole] = &info.total[..] else { return None };
    if info.rails.get(whole)?.role != Role::Total {
        return None;
    }
    let power = |i: usize| match reading.values.get(i) {
        Some(Value::Power(power)) => Some(*power),
        _ => None,
    };
    let is_part = |i: &usize| {
        matches!(
            info.rails[*i].role,
            Role::Cpu | Role::Gpu | Role::Soc | Role::Memory
        )
    };
    let parts: Vec<(usize, Watts)> = (0..info.rails.len())
        .filter(is_part)
        .filter_map(|i| Some((i, power(i)?)))
        .collect();
    let sum: Watts = parts.iter().map(|(_, watts)| *watts).sum();
    let offsets: f64 = info.rails.iter().map(|rail| rail.offset.0.powi(2)).sum();
    let total = power(whole)?;
    if sum.0 <= total.0 * (1.0 + TOLERANCE) + 2.0 * offsets.sqrt() {
        return None;
    }
    let names: Vec<&str> = parts.iter().map(|&(i, _)| info.rails[i].name.as_str()).collect();
    Some(format!(
        "{} reads {total:.2}, less than its parts {} together ({sum:.2}): the labels of this carrier board are probably swapped; choose the right rail with --total",
        info.rails[whole].name,
        names.join(" + "),
    ))
}

/// Adds a sentence to a sensor's note.
pub fn add_note(info: &mut SensorInfo, sentence: &str) {
    info.note = Some(match info.note.take() {
        Some(note) => format!("{note}; {sentence}"),
        None => sentence.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rails::role_of;
    use crate::sensor::{Kind, Rail};

    fn nano() -> SensorInfo {
        let rails = ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"].map(|name| Rail::new(name, role_of(name)));
        SensorInfo::new("ina3221-iio", Kind::Measured, rails.to_vec())
    }

    fn reading(watts: [f64; 3]) -> Reading {
        watts.map(|w| Value::Power(Watts(w))).into_iter().collect()
    }

    #[test]
    fn a_total_below_its_parts_is_told_with_its_likely_cause() {
        let text = warning(&nano(), &reading([3.2, 8.9, 3.1])).unwrap();
        assert!(
            text.contains("POM_5V_IN reads 3.20 W") && text.contains("swapped") && text.contains("12.00 W"),
            "{text}"
        );
        assert_eq!(warning(&nano(), &reading([12.0, 8.9, 3.1])), None);
        assert_eq!(
            warning(&nano(), &reading([11.9, 8.9, 3.1])),
            None,
            "within tolerance"
        );
        let missing = Reading {
            values: [Value::Missing; 3].into_iter().collect(),
            at: None,
        };
        assert_eq!(warning(&nano(), &missing), None);
        assert_eq!(warning(&nano(), &Reading::unchanged()), None);
    }

    #[test]
    fn rails_upstream_of_the_module_are_no_parts() {
        let rails = ["VDD_IN", "VDD_MUX", "VDD_SYS_CPU"].map(|name| Rail::new(name, role_of(name)));
        let info = SensorInfo::new("ina3221-iio", Kind::Measured, rails.to_vec());
        assert_eq!(warning(&info, &reading([3.0, 7.0, 1.0])), None);
    }

    #[test]
    fn the_user_chooses_the_total_by_name() {
        let mut info = nano();
        override_total(&mut info, &["pom_5v_cpu", "POM_5V_GPU", "POM_5V_CPU"]).unwrap();
        assert_eq!(info.total, [1, 2]);
        assert!(info.note.as_deref().unwrap().contains("chosen by the user"));
        let error = override_total(&mut info, &["VDD_IN"]).unwrap_err().to_string();
        assert!(error.contains("POM_5V_IN, POM_5V_GPU"), "{error}");
        assert!(override_total(&mut info, &[]).is_err());
        assert_eq!(info.total, [1, 2], "an error changes nothing");
    }

    #[test]
    fn the_wrapper_reads_on_with_the_new_total() {
        struct Fixed;
        impl Sensor for Fixed {
            fn read(&mut self) -> Result<Reading> {
                Ok(reading([1.0, 2.0, 3.0]))
            }
            fn info(&self) -> SensorInfo {
                nano()
            }
        }
        let mut sensor = WithTotal::new(Fixed, &["POM_5V_GPU"]).unwrap();
        assert_eq!(
            (sensor.info().total, sensor.read().unwrap()),
            (vec![1], reading([1.0, 2.0, 3.0]))
        );
        assert!(WithTotal::new(Fixed, &["x"]).is_err());
    }
}

//! `cpu-model`: the fallback where no power sensor exists. Modelled, and stated so everywhere.
//!
//! P = idle + u x (full - idle), u the share of time in which `/proc/stat` was not idle, over all cores. The two
//! constants are guesses per class of machine; the power model of the board in a calibration file replaces them, with
//! the error of its own fit (see [`power_model`](crate::power_model)).

use super::load::{Curve, LoadCounter, UPDATE_PERIOD};
use super::{Context, Driver};
use crate::board::BoardKind;
use crate::cpu::core_count;
use crate::error::Result;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo};
use crate::units::Watts;

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "cpu-model",
    kind: Kind::Modelled,
    open: |context, _| Ok(Some(Box::new(CpuModel::open(context)?))),
    expected: |_| true,
    place: "/proc/stat",
    hint: |context, _| {
        let path = context.root.path("/proc/stat");
        format!("ls -l {}  # must be there and readable", path.display())
    },
};

/// Relative standard uncertainty of the guessed constants: they may well be wrong by a factor of two.
const MODEL_ERROR: f64 = 0.5;

/// The model of the machine found.
pub struct CpuModel {
    counter: LoadCounter,
    idle: Watts,
    full: Watts,
}

impl CpuModel {
    /// The model for this board's class and number of cores.
    pub fn open(context: &Context) -> Result<Self> {
        let (idle, full) = guess(context.board.kind, core_count(&context.root));
        let guessed = || Curve::Line {
            utilisation: |earlier, now| now.utilisation_since(earlier),
            idle,
            full,
        };
        let curve = Curve::fitted(context).unwrap_or_else(guessed);
        let counter = LoadCounter::open(context, curve)?;
        Ok(Self { counter, idle, full })
    }
}

impl Sensor for CpuModel {
    fn read(&mut self) -> Result<Reading> {
        self.counter.read()
    }

    fn info(&self) -> SensorInfo {
        self.counter.describe(SensorInfo {
            accuracy: Accuracy {
                gain: MODEL_ERROR,
                update_period: Some(UPDATE_PERIOD),
                source: format!("assumed: idle {:.1}, all cores busy {:.1}", self.idle, self.full),
                ..Accuracy::default()
            },
            idle: Some(self.idle),
            full: Some(self.full),
            note: Some("modelled from CPU load with assumed constants; no power sensor was read".to_owned()),
            ..SensorInfo::new("cpu-model", Kind::Modelled, vec![Rail::new("total", Role::Total)])
        })
    }
}

/// Idle and full-load power of a machine of this class: assumed round figures.
pub(crate) fn guess(kind: BoardKind, cores: usize) -> (Watts, Watts) {
    let cores = cores as f64;
    let (idle, per_core) = match kind {
        BoardKind::GenericX86 => (3.0 + cores, 7.0),
        _ => (1.5 + 0.25 * cores, 1.0),
    };
    (Watts(idle), Watts(idle + per_core * cores))
}

//! `rpi-model`: power of a Raspberry Pi from CPU utilisation. A Raspberry Pi up to 4 has no power sensor.
//!
//! P(u) = slope u + idle, whole board, with u = busy / (busy + idle) and busy = user + nice + system of
//! `/proc/stat`. The coefficients are the linear models published by the PowerJoular project, one per board
//! revision and word size. Linear, because the published high-degree polynomials are not monotone. The power model of
//! the board in a calibration file takes their place.

use super::load::{Curve, LoadCounter, UPDATE_PERIOD};
use super::{Context, Driver};
use crate::board::{Board, BoardKind};
use crate::cpu::CpuTimes;
use crate::error::Result;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo};
use crate::units::Watts;

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "rpi-model",
    kind: Kind::Modelled,
    open: |context, _| Ok(RpiModel::open(context)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>)),
    expected: |context| model_for(&context.board).is_some(),
    place: "/proc/stat",
    hint: |context, _| {
        let path = context.root.path("/proc/stat");
        format!("ls -l {}  # must be there and readable", path.display())
    },
};

/// Relative standard uncertainty of a model on the revision it was fitted on: one unit was measured, and units
/// and power supplies differ (assumed).
const MODEL_ERROR: f64 = 0.10;
/// The same for another revision or word size than the one fitted (assumed).
const NEIGHBOUR_ERROR: f64 = 0.20;

/// One fitted line.
#[derive(Debug, PartialEq)]
struct Model {
    key: &'static str,
    kind: BoardKind,
    /// Minor revision of the board it was fitted on.
    revision: u8,
    is_64_bit: bool,
    slope: f64,
    idle: f64,
}

const fn model(
    key: &'static str,
    kind: BoardKind,
    revision: u8,
    is_64_bit: bool,
    slope: f64,
    idle: f64,
) -> Model {
    Model {
        key,
        kind,
        revision,
        is_64_bit,
        slope,
        idle,
    }
}

/// Published linear models, in watts.
const MODELS: [Model; 13] = [
    model(
        "rbp5b1.0-64",
        BoardKind::RaspberryPi5,
        0,
        true,
        3.457855981342954,
        4.403192179893827,
    ),
    model(
        "rbp4001.0-64",
        BoardKind::RaspberryPi400,
        0,
        true,
        5.025368568347057,
        1.8221330203847232,
    ),
    model(
        "rbp4b1.2",
        BoardKind::RaspberryPi4,
        2,
        false,
        3.484191712285443,
        2.243353676359355,
    ),
    model(
        "rbp4b1.2-64",
        BoardKind::RaspberryPi4,
        2,
        true,
        4.534426720546654,
        2.2856926184722672,
    ),
    model(
        "rbp4b1.1",
        BoardKind::RaspberryPi4,
        1,
        false,
        3.7120866521147464,
        2.2057553699838475,
    ),
    model(
        "rbp4b1.1-64",
        BoardKind::RaspberryPi4,
        1,
        true,
        4.495800769695992,
        2.307256151537276,
    ),
    model(
        "rbp3b+1.3",
        BoardKind::RaspberryPi3,
        3,
        false,
        3.298332817557656,
        2.002229902630705,
    ),
    model(
        "rbp3b1.2",
        BoardKind::RaspberryPi3,
        2,
        false,
        3.477373034437569,
        1.078203625009793,
    ),
    model(
        "rbp2b1.1",
        BoardKind::RaspberryPi2,
        1,
        false,
        1.1488378157140957,
        1.2902541858404697,
    ),
    model(
        "rbp1b+1.2",
        BoardKind::RaspberryPi1,
        2,
        false,
        0.12201084670300544,
        1.3142771210514672,
    ),
    model(
        "rbp1b2",
        BoardKind::RaspberryPi1,
        0,
        false,
        0.1423962237746236,
        2.911666160370786,
    ),
    model(
        "rbpzw1.1",
        BoardKind::RaspberryPiZero,
        1,
        false,
        0.47328964159919246,
        0.9200829295923802,
    ),
    model(
        "asustbs",
        BoardKind::AsusTinkerBoard,
        0,
        false,
        5.3346584535257895,
        1.6289208146316931,
    ),
];

/// The model of the Raspberry Pi found.
pub struct RpiModel {
    counter: LoadCounter,
    model: &'static Model,
    is_exact: bool,
}

impl RpiModel {
    /// The nearest published model; `None` where the board has none.
    pub fn open(context: &Context) -> Result<Option<Self>> {
        let Some((model, is_exact)) = model_for(&context.board) else {
            return Ok(None);
        };
        let published = || Curve::Line {
            utilisation,
            idle: Watts(model.idle),
            full: Watts(model.idle + model.slope),
        };
        let curve = Curve::fitted(context).unwrap_or_else(published);
        let counter = LoadCounter::open(context, curve)?;
        Ok(Some(Self {
            counter,
            model,
            is_exact,
        }))
    }
}

impl Sensor for RpiModel {
    fn read(&mut self) -> Result<Reading> {
        self.counter.read()
    }

    fn info(&self) -> SensorInfo {
        let fit = if self.is_exact {
            "fitted on this revision"
        } else {
            "of the nearest revision that has one"
        };
        self.counter.describe(SensorInfo {
            accuracy: Accuracy {
                gain: if self.is_exact {
                    MODEL_ERROR
                } else {
                    NEIGHBOUR_ERROR
                },
                update_period: Some(UPDATE_PERIOD),
                source: format!("linear model {} {fit}; its error is assumed", self.model.key),
                ..Accuracy::default()
            },
            idle: Some(Watts(self.model.idle)),
            full: Some(Watts(self.model.idle + self.model.slope)),
            note: Some(
                "modelled from CPU load: blind to USB devices, HATs, radio and GPU; no power sensor was read"
                    .to_owned(),
            ),
            ..SensorInfo::new("rpi-model", Kind::Modelled, vec![Rail::new("total", Role::Total)])
        })
    }
}

/// The model for a board, and whether it was fitted on this very revision and word size.
/// Among several of a kind, word size counts before revision.
fn model_for(board: &Board) -> Option<(&'static Model, bool)> {
    let revision = board.revision.unwrap_or(0);
    let distance = |m: &Model| {
        (
            u8::from(m.is_64_bit != board.is_64_bit),
            m.revision.abs_diff(revision),
        )
    };
    let model = MODELS
        .iter()
        .filter(|m| m.kind == board.kind)
        .min_by_key(|m| distance(m))?;
    Some((model, distance(model) == (0, 0)))
}

/// u = busy / (busy + idle), as the models were fitted.
fn utilisation(earlier: &CpuTimes, now: &CpuTimes) -> Option<f64> {
    let busy = (now.busy - earlier.busy).0;
    let idle = (now.idle - earlier.idle).0;
    let total = busy + idle;
    (total > 0.0).then(|| (busy / total).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(kind: BoardKind, revision: u8, is_64_bit: bool) -> Board {
        Board {
            model: String::new(),
            kind,
            soc: String::new(),
            revision: Some(revision),
            is_64_bit,
            variant: None,
        }
    }

    #[test]
    fn the_model_fits_revision_and_word_size_or_says_that_it_does_not() {
        let key = |board: &Board| model_for(board).map(|(m, exact)| (m.key, exact));
        assert_eq!(
            key(&board(BoardKind::RaspberryPi4, 1, true)),
            Some(("rbp4b1.1-64", true))
        );
        assert_eq!(
            key(&board(BoardKind::RaspberryPi4, 2, false)),
            Some(("rbp4b1.2", true))
        );
        assert_eq!(
            key(&board(BoardKind::RaspberryPi4, 5, true)),
            Some(("rbp4b1.2-64", false))
        );
        assert_eq!(
            key(&board(BoardKind::RaspberryPi3, 2, true)),
            Some(("rbp3b1.2", false))
        );
        assert_eq!(key(&board(BoardKind::JetsonNano, 0, true)), None);
    }

    #[test]
    fn utilisation_is_that_of_the_fit() {
        use crate::units::Seconds;
        let at = |busy, idle, other| CpuTimes {
            busy: Seconds(busy),
            idle: Seconds(idle),
            other: Seconds(other),
            cores: 4,
        };
        assert_eq!(utilisation(&at(0.0, 0.0, 0.0), &at(1.0, 3.0, 5.0)), Some(0.25));
        assert_eq!(utilisation(&at(1.0, 3.0, 0.0), &at(1.0, 3.0, 1.0)), None);
    }
}

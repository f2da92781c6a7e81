//! The controller of a lift as a state machine: collective control ("elevator algorithm"; Knuth, TAOCP 1, 2.2.5), with
//! a door that opens again when something is in its way.

use super::Rounds;
use crate::task::mix::{SplitMix, mix};

/// Floors.
const FLOORS: u8 = 12;

/// Ticks of the controller in one round.
const TICKS: usize = 6144;

/// Ticks from one floor to the next, and those that a door stays open.
const TRAVEL: u8 = 4;
const OPEN: u8 = 6;

/// One round lets passengers call the lift for some time; where it went makes the next passengers.
pub(crate) struct Lift {
    controller: Controller,
    passengers: SplitMix,
}

impl Rounds for Lift {
    fn new(seed: u64) -> Self {
        Self {
            controller: Controller::default(),
            passengers: SplitMix::new(seed),
        }
    }

    fn round(&mut self) -> u64 {
        let (mut history, mut random) = (0u64, 0);
        for tick in 0..TICKS {
            // 16 bits for each tick: a call every eighth of them, something in the door every fourth.
            random = if tick % 4 == 0 {
                self.passengers.next()
            } else {
                random >> 16
            };
            let call = (random & 7 == 0).then_some((random >> 3) as u8 % FLOORS);
            self.controller.tick(call, random >> 11 & 3 == 0);
            history = history.rotate_left(7).wrapping_mul(31) ^ self.controller.word();
        }
        let checksum = mix(history);
        self.passengers = SplitMix::new(checksum);
        checksum
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Moving {
        ticks: u8,
    },
    Opening,
    Open {
        ticks: u8,
    },
    Closing,
}

#[derive(Clone, Debug, Default)]
struct Controller {
    state: State,
    floor: u8,
    is_upward: bool,
    /// A bit for each floor that is called.
    calls: u16,
}

impl Controller {
    /// One tick, in which a floor may be called and the doorway be blocked.
    fn tick(&mut self, call: Option<u8>, is_blocked: bool) {
        if let Some(floor) = call {
            self.calls |= 1 << floor;
        }
        self.state = match self.state {
            State::Waiting => self.start(),
            State::Moving { ticks: 0 } => self.arrive(),
            State::Moving { ticks } => State::Moving { ticks: ticks - 1 },
            State::Opening => State::Open { ticks: OPEN },
            State::Open { ticks: 0 } => State::Closing,
            State::Open { .. } if is_blocked => State::Open { ticks: OPEN },
            State::Open { ticks } => State::Open { ticks: ticks - 1 },
            State::Closing if is_blocked => State::Opening,
            State::Closing => self.start(),
        };
        if matches!(self.state, State::Opening | State::Open { .. }) {
            self.calls &= !(1 << self.floor);
        }
    }

    /// Where to, with the door closed: here, on in the same direction, or back.
    fn start(&mut self) -> State {
        if self.is_called(self.floor) {
            return State::Opening;
        }
        if !self.is_called_ahead() {
            self.is_upward = !self.is_upward;
        }
        if self.is_called_ahead() {
            State::Moving { ticks: TRAVEL - 1 }
        } else {
            State::Waiting
        }
    }

    /// At the next floor.
    fn arrive(&mut self) -> State {
        self.floor = if self.is_upward {
            self.floor + 1
        } else {
            self.floor - 1
        };
        self.start()
    }

    fn is_called(&self, floor: u8) -> bool {
        self.calls >> floor & 1 == 1
    }

    /// Is any floor called in the direction of travel? None lies beyond the last, so the lift cannot leave the shaft.
    fn is_called_ahead(&self) -> bool {
        if self.is_upward {
            self.calls >> self.floor > 1
        } else {
            self.calls & ((1 << self.floor) - 1) != 0
        }
    }

    /// Everything that can be seen from outside.
    fn word(&self) -> u64 {
        let state = match self.state {
            State::Waiting => 0,
            State::Moving { ticks } => 1 + 8 * u64::from(ticks),
            State::Opening => 2,
            State::Open { ticks } => 3 + 8 * u64::from(ticks),
            State::Closing => 4,
        };
        state | u64::from(self.floor) << 8 | u64::from(self.is_upward) << 12 | u64::from(self.calls) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The floors at which the door opens, in their order.
    fn stops(controller: &mut Controller, calls: &[(usize, u8)], ticks: usize) -> Vec<u8> {
        let mut stops = Vec::new();
        for tick in 0..ticks {
            let call = calls.iter().find(|(at, _)| *at == tick).map(|&(_, floor)| floor);
            controller.tick(call, false);
            if controller.state == State::Opening {
                stops.push(controller.floor);
            }
        }
        stops
    }

    #[test]
    fn floors_on_the_way_come_first_and_then_those_behind() {
        let mut lift = Controller {
            floor: 3,
            ..Controller::default()
        };
        // Called to 8 first, but 5 lies on the way; 1 and 2 lie behind, and are served downwards.
        let calls = [(0, 8), (1, 1), (2, 5), (3, 2)];
        assert_eq!(stops(&mut lift, &calls, 200), [5, 8, 2, 1]);
        assert_eq!((lift.state, lift.calls), (State::Waiting, 0));
    }

    #[test]
    fn travel_takes_its_ticks_and_a_call_here_just_opens() {
        let mut lift = Controller::default();
        lift.tick(Some(0), false);
        assert_eq!(lift.state, State::Opening);
        let mut lift = Controller::default();
        assert_eq!(stops(&mut lift, &[(0, 2)], 2 * usize::from(TRAVEL)), [0u8; 0]);
        lift.tick(None, false);
        assert_eq!((lift.state, lift.floor), (State::Opening, 2));
    }

    #[test]
    fn a_blocked_door_opens_again() {
        let mut lift = Controller::default();
        lift.tick(Some(0), false);
        lift.tick(None, false);
        for _ in 0..50 {
            lift.tick(None, true);
            assert!(matches!(lift.state, State::Open { .. }));
        }
        while lift.state != State::Closing {
            lift.tick(None, false);
        }
        lift.tick(None, true);
        assert_eq!(lift.state, State::Opening);
    }

    #[test]
    fn it_never_leaves_the_shaft_and_moves_only_with_its_door_closed() {
        let (mut lift, mut random) = (Controller::default(), SplitMix::new(5));
        let mut served = 0;
        for _ in 0..200_000 {
            let (before, number) = (lift.clone(), random.next());
            lift.tick(
                (number & 7 == 0).then_some((number >> 3) as u8 % FLOORS),
                number >> 20 & 3 == 0,
            );
            assert!(lift.floor < FLOORS);
            if lift.floor != before.floor {
                assert!(
                    matches!(before.state, State::Moving { ticks: 0 })
                        && lift.floor.abs_diff(before.floor) == 1
                );
            }
            let was_closed = matches!(
                before.state,
                State::Waiting | State::Moving { .. } | State::Closing
            );
            assert!(was_closed || !matches!(lift.state, State::Moving { .. }));
            served += u32::from(lift.state == State::Opening);
        }
        assert!(served > 5_000, "{served}");
    }
}

//! The controller of a car's power windows as a state machine: express operation, limit stops, a driver who overrules
//! the passengers, a child lock, and a window that goes down again when something is pinched (as FMVSS 118 asks for).

use super::Rounds;
use crate::task::mix::{SplitMix, mix};

/// Windows; the first is the driver's.
const WINDOWS: usize = 4;

/// Ticks of the controller in one round.
const TICKS: usize = 1536;

/// Places of a window from closed (0) to open, and how far it goes down when something was pinched.
const OPEN: u8 = 60;
const RELEASE: u8 = 20;

/// Ticks that a switch is held before letting it go no longer means express.
const EXPRESS_TICKS: u8 = 5;

/// One round lets driver and passengers play with the switches; where the windows went makes the next switches.
pub(crate) struct PowerWindow {
    windows: [Window; WINDOWS],
    hands: SplitMix,
}

impl Rounds for PowerWindow {
    fn new(seed: u64) -> Self {
        Self {
            windows: Default::default(),
            hands: SplitMix::new(seed),
        }
    }

    fn round(&mut self) -> u64 {
        let (mut history, mut hands) = (0u64, 0);
        for tick in 0..TICKS {
            // Switches change every 8 ticks; things are pinched now and then.
            if tick % 8 == 0 {
                hands = self.hands.next();
            }
            let is_locked = hands >> 60 == 0;
            for (at, window) in self.windows.iter_mut().enumerate() {
                let bits = hands >> (12 * at);
                let passenger = if at == 0 {
                    Switch::Neutral
                } else {
                    Switch::of(bits >> 2)
                };
                let switch = chosen(Switch::of(bits), passenger, is_locked);
                window.tick(switch, bits >> 4 & 0x7f == (tick & 0x7f) as u64);
                history = history.rotate_left(9).wrapping_mul(31) ^ window.word();
            }
        }
        let checksum = mix(history);
        self.hands = SplitMix::new(checksum);
        checksum
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Switch {
    #[default]
    Neutral,
    Up,
    Down,
}

impl Switch {
    fn of(bits: u64) -> Self {
        match bits & 3 {
            1 => Self::Up,
            2 => Self::Down,
            _ => Self::Neutral,
        }
    }
}

/// The driver overrules, and may lock the passengers' switches.
fn chosen(driver: Switch, passenger: Switch, is_locked: bool) -> Switch {
    match driver {
        Switch::Neutral if is_locked => Switch::Neutral,
        Switch::Neutral => passenger,
        driver => driver,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Still,
    /// As long as the switch is held; counts how long, up to [`EXPRESS_TICKS`].
    Held { up: bool, ticks: u8 },
    /// To the end by itself.
    Express { up: bool },
    /// Down, because something was pinched; no switch stops that.
    Releasing { left: u8 },
}

#[derive(Clone, Debug, Default)]
struct Window {
    state: State,
    /// 0 is closed.
    place: u8,
}

impl Window {
    /// One tick: the switch decides, then the motor moves by one place.
    fn tick(&mut self, switch: Switch, is_pinching: bool) {
        self.state = self.next(switch);
        if is_pinching && self.is_rising() {
            self.state = State::Releasing { left: RELEASE };
        }
        self.drive();
    }

    fn next(&self, switch: Switch) -> State {
        let pressed = match switch {
            Switch::Neutral => None,
            Switch::Up => Some(true),
            Switch::Down => Some(false),
        };
        match (self.state, pressed) {
            (State::Releasing { .. }, _) => self.state,
            (State::Held { up, ticks }, Some(now)) if up == now => State::Held {
                up,
                ticks: (ticks + 1).min(EXPRESS_TICKS),
            },
            // A short touch was meant as "all the way".
            (State::Held { up, ticks }, None) if ticks < EXPRESS_TICKS => State::Express { up },
            (State::Held { .. }, None) => State::Still,
            (State::Express { up }, Some(now)) if up != now => State::Still,
            (State::Express { .. }, _) | (State::Still, None) => self.state,
            (State::Still | State::Held { .. }, Some(up)) => State::Held { up, ticks: 0 },
        }
    }

    fn is_rising(&self) -> bool {
        self.place > 0
            && matches!(
                self.state,
                State::Held { up: true, .. } | State::Express { up: true }
            )
    }

    /// Moves by one place; the limit stops end an express run, a release ends after its way.
    fn drive(&mut self) {
        match self.state {
            State::Still => {}
            State::Held { up: true, .. } => self.place = self.place.saturating_sub(1),
            State::Held { up: false, .. } => self.place = (self.place + 1).min(OPEN),
            State::Express { up: true } if self.place > 1 => self.place -= 1,
            State::Express { up: false } if self.place < OPEN - 1 => self.place += 1,
            State::Express { up } => {
                self.place = if up { 0 } else { OPEN };
                self.state = State::Still;
            }
            State::Releasing { left } if left > 0 && self.place < OPEN => {
                self.place += 1;
                self.state = State::Releasing { left: left - 1 };
            }
            State::Releasing { .. } => self.state = State::Still,
        }
    }

    /// Everything that can be seen from outside.
    fn word(&self) -> u64 {
        let state = match self.state {
            State::Still => 0,
            State::Held { up, ticks } => 1 + 4 * u64::from(ticks) + 128 * u64::from(up),
            State::Express { up } => 2 + 128 * u64::from(up),
            State::Releasing { left } => 3 + 4 * u64::from(left),
        };
        state << 8 | u64::from(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(window: &mut Window, switch: Switch, ticks: u8) {
        (0..ticks).for_each(|_| window.tick(switch, false));
    }

    #[test]
    fn a_touch_goes_all_the_way_and_a_long_press_stops_with_the_hand() {
        let mut window = Window::default();
        run(&mut window, Switch::Down, 2);
        run(&mut window, Switch::Neutral, 100);
        assert_eq!((window.place, window.state), (OPEN, State::Still));
        run(&mut window, Switch::Up, 10);
        run(&mut window, Switch::Neutral, 100);
        assert_eq!((window.place, window.state), (OPEN - 10, State::Still));
    }

    #[test]
    fn the_opposite_switch_stops_an_express_run() {
        let mut window = Window::default();
        run(&mut window, Switch::Down, 1);
        run(&mut window, Switch::Neutral, 10);
        window.tick(Switch::Up, false);
        assert_eq!((window.place, window.state), (11, State::Still));
    }

    #[test]
    fn something_pinched_is_let_go_whatever_the_switch_says() {
        let mut window = Window {
            place: 30,
            ..Window::default()
        };
        run(&mut window, Switch::Up, 3);
        window.tick(Switch::Up, true);
        for _ in 0..RELEASE {
            let before = window.place;
            window.tick(Switch::Up, false);
            assert!(window.place > before || window.state == State::Still);
        }
        assert_eq!(window.place, 27 + RELEASE);
        // A closed or a falling window pinches nothing.
        let mut closed = Window::default();
        closed.tick(Switch::Up, true);
        assert_eq!(closed.place, 0);
        closed.tick(Switch::Down, true);
        assert_eq!(closed.state, State::Held { up: false, ticks: 0 });
    }

    #[test]
    fn the_driver_overrules_and_locks() {
        use Switch::{Down, Neutral, Up};
        assert_eq!(chosen(Up, Down, false), Up);
        assert_eq!(chosen(Neutral, Down, false), Down);
        assert_eq!(chosen(Neutral, Down, true), Neutral);
        assert_eq!(chosen(Up, Down, true), Up);
    }

    #[test]
    fn windows_stay_between_their_stops() {
        let mut random = SplitMix::new(3);
        let (mut window, mut seen) = (Window::default(), [false; OPEN as usize + 1]);
        for _ in 0..100_000 {
            let bits = random.next();
            let before = window.place;
            window.tick(Switch::of(bits), bits >> 8 & 0xff == 0);
            assert!(window.place <= OPEN && window.place.abs_diff(before) <= 1);
            seen[usize::from(window.place)] = true;
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}

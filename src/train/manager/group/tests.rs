use super::*;

const LEASE: Duration = Duration::from_secs(9);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Members and their broker, which loses nothing unless told so. Each member has a clock of its own.
struct Broker {
    members: Vec<(Group, Instant)>,
    retained: BTreeMap<String, Bytes>,
    cut: Option<usize>,
}

impl Broker {
    fn new() -> Self {
        Self {
            members: Vec::new(),
            retained: BTreeMap::new(),
            cut: None,
        }
    }

    fn join(&mut self, me: &str, instance: u64) -> usize {
        let group = Group::new(name("g"), name(me), instance, LEASE);
        // Far apart, as clocks of machines are that started at different times.
        let clock = Instant::now() + Duration::from_secs(1000) * self.members.len() as u32;
        self.members.push((group, clock));
        let (group, clock) = self.members.last_mut().unwrap();
        for (topic, payload) in &self.retained {
            group.receive(topic, payload, true, *clock);
        }
        self.members.len() - 1
    }

    fn publish(&mut self, outgoing: &Outgoing) {
        match outgoing.payload.is_empty() {
            true => drop(self.retained.remove(&outgoing.topic)),
            false => drop(
                self.retained
                    .insert(outgoing.topic.clone(), outgoing.payload.clone()),
            ),
        }
        for (i, (group, clock)) in self.members.iter_mut().enumerate() {
            if self.cut != Some(i) {
                group.receive(&outgoing.topic, &outgoing.payload, false, *clock);
            }
        }
    }

    fn pass(&mut self, seconds: f64) {
        for _ in 0..(seconds * 4.0) as u32 {
            for i in 0..self.members.len() {
                let (group, clock) = &mut self.members[i];
                *clock += Duration::from_millis(250);
                group.tick(*clock);
                let beat = group.beat(*clock).filter(|_| self.cut != Some(i));
                if let Some(beat) = beat {
                    self.publish(&beat);
                }
            }
        }
    }

    /// Killed: the broker says its last will.
    fn kill(&mut self, i: usize) {
        let (group, _) = self.members.remove(i);
        self.publish(&group.goodbye());
    }

    /// By device, who takes it.
    fn takers(&self) -> Vec<Vec<String>> {
        let of = |n: u32| {
            let device = name(&format!("pi-{n}"));
            let takers = self.members.iter().filter(|(group, _)| group.takes(&device));
            takers.map(|(group, _)| group.me.to_string()).collect()
        };
        (0..300).map(of).collect()
    }
}

#[test]
fn every_device_has_one_trainer_and_only_those_move_that_must() {
    let mut broker = Broker::new();
    for (i, me) in ["a", "b", "c"].into_iter().enumerate() {
        broker.join(me, i as u64);
    }
    broker.pass(3.0);
    let three = broker.takers();
    assert!(three.iter().all(|takers| takers.len() == 1));
    for me in ["a", "b", "c"] {
        let n = three.iter().filter(|takers| takers[0] == me).count();
        assert!((70..130).contains(&n), "{me} has {n} of 300");
    }
    broker.pass(60.0);
    assert_eq!(broker.takers(), three, "they go on being alive");
    broker.kill(1);
    broker.pass(2.0);
    for (before, after) in three.iter().zip(broker.takers()) {
        assert_eq!(after.len(), 1);
        assert!(before[0] == "b" || before[0] == after[0]);
    }
}

#[test]
fn one_that_starts_takes_nothing_before_it_has_heard_itself_and_the_others() {
    let mut broker = Broker::new();
    broker.join("a", 0);
    assert!(broker.takers().iter().all(Vec::is_empty));
    broker.pass(0.5);
    assert!(broker.takers().iter().all(Vec::is_empty), "not settled");
    broker.pass(2.0);
    assert!(broker.takers().iter().all(|takers| *takers == ["a"]));
    broker.join("b", 1);
    broker.pass(0.25);
    let (a, b) = (&broker.members[0].0, &broker.members[1].0);
    let devices: Vec<Name> = (0..50).map(|n| name(&format!("pi-{n}"))).collect();
    // Each is let go of at once by the one and not taken yet by the other.
    assert!(devices.iter().all(|d| a.keeps(d) != b.keeps(d)));
    assert!(devices.iter().any(|d| b.keeps(d)) && !devices.iter().any(|d| b.takes(d)));
}

#[test]
fn one_that_is_cut_off_lets_go_when_the_others_take_and_comes_back() {
    let mut broker = Broker::new();
    broker.join("a", 0);
    broker.join("b", 1);
    broker.pass(3.0);
    let both = broker.takers();
    broker.cut = Some(0);
    broker.pass(6.0);
    assert_eq!(broker.takers(), both, "within the lease nothing happens");
    broker.pass(6.0);
    assert!(broker.takers().iter().all(|takers| *takers == ["b"]));
    broker.cut = None;
    broker.pass(12.0);
    assert_eq!(broker.takers(), both);
}

#[test]
fn one_that_hears_its_own_last_will_says_at_once_that_it_lives() {
    let mut broker = Broker::new();
    broker.join("a", 0);
    broker.pass(3.0);
    let (group, now) = &mut broker.members[0];
    let will = group.goodbye();
    assert!(group.beat(*now).is_none());
    assert_eq!(group.receive(&will.topic, &will.payload, false, *now), Some(true));
    assert!(!group.keeps(&name("pi-1")), "the others take it");
    let beat = group.beat(*now).unwrap();
    broker.publish(&beat);
    assert!(broker.members[0].0.keeps(&name("pi-1")));
}

#[test]
fn another_of_the_same_name_and_a_former_self_are_not_oneself() {
    let mut broker = Broker::new();
    broker.join("a", 0);
    broker.pass(3.0);
    let again = broker.join("a", 1);
    let (group, _) = &broker.members[again];
    assert!(group.members.is_empty());
    broker.pass(2.0);
    assert!(broker.members[again].0.takes(&name("pi-1")));
}

#[test]
fn what_is_late_damaged_or_of_others_is_no_sign_of_life() {
    let now = Instant::now();
    let mut group = Group::new(name("g"), name("a"), 0, LEASE);
    let mut other = Group::new(name("g"), name("b"), 1, LEASE);
    let first = other.beat(now).unwrap();
    let second = other.beat(now + LEASE).unwrap();
    let mut hear = |topic: &str, payload: &Bytes, at: Duration| {
        let changed = group.receive(topic, payload, false, now + at);
        (changed, group.members.len())
    };
    assert_eq!(
        hear(&second.topic, &second.payload, Duration::ZERO),
        (Some(true), 1)
    );
    // An earlier one that comes later does not lengthen the lease.
    assert_eq!(hear(&first.topic, &first.payload, LEASE / 2), (Some(false), 1));
    let cut = second.payload.slice(..second.payload.len() - 1);
    assert_eq!(hear("group/g/member/c/v1", &cut, LEASE / 2), (Some(false), 1));
    let other_version = Member {
        protocol: 2,
        ..Member::decode(second.payload.clone()).unwrap()
    };
    let other_version = other_version.encode_to_vec().into();
    assert_eq!(
        hear("group/g/member/c/v1", &other_version, LEASE / 2),
        (Some(false), 1)
    );
    for topic in [
        "group/h/member/c/v1",
        "group/g/member/c/v2",
        "group/g/member//v1",
        "joy",
    ] {
        assert_eq!(hear(topic, &second.payload, LEASE / 2), (None, 1));
    }
    assert!(group.tick(now + LEASE + Duration::from_millis(1)));
    assert!(group.members.is_empty());
    assert_eq!(group.gone().collect::<Vec<_>>(), [&name("b")]);
}

#[test]
fn what_does_not_come_back_is_said_less_often() {
    let mut group = Group::new(name("g"), name("a"), 0, LEASE);
    let begin = Instant::now();
    let beats = (0..360).filter(|n| group.beat(begin + LEASE / 10 * *n).is_some());
    assert_eq!(beats.count(), 52);
}

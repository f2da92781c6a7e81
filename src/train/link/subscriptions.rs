//! What this client wants to read, and which of it the broker has granted.

use crate::train::lock;
use rumqttc::{QoS, Request, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// Filters in one packet, at most: far below any broker's limit.
const AT_ONCE: usize = 100;

/// Shared by the one who asks and the one who sends.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: BTreeSet<String>,
    /// In the order in which they are sent; their packets have no number yet.
    asking: VecDeque<Vec<String>>,
    /// By the number of the packet that asked.
    asked: HashMap<u16, Vec<String>>,
    /// To be asked for again after a while.
    refused: BTreeSet<String>,
    /// Refused ones that somebody was told of.
    told: BTreeSet<String>,
}

impl Subscriptions {
    /// From now on, after every reconnect too.
    pub fn add(&self, filter: &str) {
        self.state().wanted.insert(filter.to_owned());
    }

    /// No longer; false if not so before.
    pub fn remove(&self, filter: &str) -> bool {
        self.state().wanted.remove(filter)
    }

    /// Everything, for a new connection. Also where the broker has kept the session: whether it had got the last of our
    /// subscriptions is not known, and to ask twice costs nothing but its retained messages once more.
    pub fn all_again(&self) -> Vec<Request> {
        let mut state = self.state();
        state.asking.clear();
        state.asked.clear();
        state.refused.clear();
        let all: Vec<String> = state.wanted.iter().cloned().collect();
        all.chunks(AT_ONCE).map(|some| state.ask(some)).collect()
    }

    /// The next packet asks for these.
    pub fn asking(&self, filters: &[String]) {
        self.state().asking.push_back(filters.to_vec());
    }

    /// A packet was sent under this number.
    pub fn sent(&self, number: u16) {
        let mut state = self.state();
        if let Some(filters) = state.asking.pop_front() {
            state.asked.insert(number, filters);
        }
    }

    /// What the broker refuses and nobody was told of yet.
    pub fn refused(&self, answer: &SubAck) -> Vec<String> {
        let mut state = self.state();
        let filters = state.asked.remove(&answer.pkid).unwrap_or_default();
        let mut news = Vec::new();
        for (filter, code) in filters.into_iter().zip(&answer.return_codes) {
            if *code != SubscribeReasonCode::Failure {
                state.told.remove(&filter);
                continue;
            }
            state.refused.insert(filter.clone());
            if state.told.insert(filter.clone()) {
                news.push(filter);
            }
        }
        news
    }

    /// What was refused and is still wanted: a broker whose cluster has lost a node refuses for a while what it grants
    /// later.
    pub fn to_ask_again(&self) -> Vec<String> {
        let mut state = self.state();
        let refused = std::mem::take(&mut state.refused);
        refused
            .into_iter()
            .filter(|filter| state.wanted.contains(filter))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn ask(&mut self, filters: &[String]) -> Request {
        self.asking.push_back(filters.to_vec());
        let filters = filters.iter().cloned();
        Request::Subscribe(Subscribe::new_many(
            filters.map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce)),
        ))
    }
}

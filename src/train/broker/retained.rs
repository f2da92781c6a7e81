//! Retained messages: the last one of each topic, in memory, so many at most.

use super::counts::{Count, Counters};
use async_trait::async_trait;
use rmqtt::retain::{RetainStorage, RetainTree};
use rmqtt::types::{Retain, Topic, TopicFilter, TopicName};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;

/// All of them.
pub(super) struct Retained {
    most: usize,
    counters: Arc<Counters>,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    tree: RetainTree<Retain>,
    count: usize,
}

impl Retained {
    pub fn new(most: usize, counters: Arc<Counters>) -> Self {
        Self {
            most,
            counters,
            kept: RwLock::default(),
        }
    }
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    /// They are kept until they are replaced, or removed by an empty one, as MQTT 3.1.1 has it (3.3.1.3).
    async fn set(&self, topic: &TopicName, retain: Retain, _: Option<Duration>) -> rmqtt::Result<()> {
        let topic = Topic::from_str(topic)?;
        let mut kept = self.kept.write().await;
        if kept.tree.remove(&topic).is_some() {
            kept.count -= 1;
        }
        if retain.publish.payload.is_empty() {
            return Ok(());
        }
        if kept.count == self.most {
            self.counters.add(Count::NotRetained);
            return Ok(());
        }
        kept.tree.insert(&topic, retain);
        kept.count += 1;
        Ok(())
    }

    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        let filter = Topic::from_str(filter)?;
        let found = self.kept.read().await.tree.matches(&filter);
        let named = |(topic, retain): (Topic, Retain)| (TopicName::from(topic.to_string()), retain);
        Ok(found.into_iter().map(named).collect())
    }

    async fn count(&self) -> isize {
        self.kept.read().await.count as isize
    }

    async fn max(&self) -> isize {
        self.most as isize
    }
}

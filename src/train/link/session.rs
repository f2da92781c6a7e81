//! The thread of a link: rumqttc's event loop, kept going.

use super::backoff::Backoff;
use super::brokers::Brokers;
use super::outbox::{self, Command, Held};
use super::problem::{self, Problem};
use super::subscriptions::Subscriptions;
use super::{Event, LinkConfig};
use rumqttc::{AsyncClient, ConnectionError, EventLoop, MqttOptions, Outgoing, Packet, Publish, Request};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time;

/// For a connection to come about, with TLS and the broker's welcome.
const CONNECT: Duration = Duration::from_secs(5);
/// For the largest message to leave on a slow link.
const SEND: Duration = Duration::from_secs(60);
/// For the broker to hang up after our goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often it is tried again to hand over an event.
const EVENT_RETRY: Duration = Duration::from_millis(1);

/// One thread's worth of state.
pub(super) struct Session {
    config: LinkConfig,
    client: AsyncClient,
    event_loop: EventLoop,
    brokers: Brokers,
    /// Messages not acknowledged on the connection before. The library would forget them if the broker has forgotten
    /// the session.
    unacknowledged: VecDeque<Request>,
    events: SyncSender<Event>,
    stop_within: watch::Receiver<Option<Duration>>,
    subscriptions: Arc<Subscriptions>,
    held: Arc<Held>,
    backoff: Backoff,
    move_on: Arc<Notify>,
}

impl Session {
    pub fn new(
        config: LinkConfig,
        options: Vec<MqttOptions>,
        events: SyncSender<Event>,
        stop_within: watch::Receiver<Option<Duration>>,
        subscriptions: Arc<Subscriptions>,
        held: Arc<Held>,
        move_on: Arc<Notify>,
    ) -> Self {
        let brokers = Brokers::new(&config.urls, options);
        // No queue of the library's own: see `outbox::feed`.
        let (client, mut event_loop) = AsyncClient::new(brokers.options(), 0);
        event_loop.network_options.set_tcp_nodelay(true);
        Self {
            config,
            client,
            event_loop,
            brokers,
            unacknowledged: VecDeque::new(),
            events,
            stop_within,
            subscriptions,
            held,
            backoff: Backoff::new(),
            move_on,
        }
    }

    /// Until the link is stopped or dropped; how many messages were not acknowledged then.
    pub async fn run(mut self, commands: UnboundedReceiver<Command>) -> usize {
        let held = Arc::clone(&self.held);
        let subscriptions = Arc::clone(&self.subscriptions);
        let mut feed = pin!(outbox::feed(commands, self.client.clone(), &subscriptions));
        let out_of_time = out_of_time(self.stop_within.clone());
        // Neither the feed nor the event loop can be stopped halfway and go on: they run side by side until the end.
        tokio::select! {
            () = feed.as_mut() => {}
            () = out_of_time => {}
            () = self.stay_connected() => {}
        }
        held.messages()
    }

    async fn stay_connected(&mut self) {
        loop {
            let was_connected = self.event_loop.network.is_some();
            if !was_connected {
                self.before_connecting().await;
            }
            let happened = tokio::select! {
                happened = self.event_loop.poll() => happened,
                () = self.move_on.notified(), if was_connected => {
                    self.leave_for_the_next();
                    continue;
                }
            };
            match happened {
                Ok(rumqttc::Event::Outgoing(Outgoing::Disconnect)) => return self.see_it_off().await,
                Ok(event) => self.happened(event).await,
                Err(error) => self.failed(&error, was_connected).await,
            }
            if self.is_to_end() && self.has_nothing_to_send() {
                return;
            }
        }
    }

    /// As if the connection were lost: what the broker has not acknowledged, the next one gets.
    fn leave_for_the_next(&mut self) {
        self.event_loop.clean();
        self.try_next();
    }

    /// Whether another broker is worth trying at once.
    fn try_next(&mut self) -> bool {
        let at_once = self.brokers.next();
        self.event_loop.mqtt_options = self.brokers.options();
        at_once
    }

    /// Of the connection before: what came and was acknowledged, and what the broker has not acknowledged.
    async fn before_connecting(&mut self) {
        while let Some(event) = self.event_loop.state.events.pop_front() {
            if !matches!(event, rumqttc::Event::Incoming(Packet::ConnAck(_))) {
                self.happened(event).await;
            }
        }
        let waiting = self.event_loop.state.collision.take().map(renumbered);
        let left = self.event_loop.pending.drain(..).filter(is_message);
        self.unacknowledged.extend(left.chain(waiting));
        self.event_loop
            .network_options
            .set_connection_timeout(CONNECT.as_secs());
    }

    async fn happened(&mut self, event: rumqttc::Event) {
        // Whatever comes is as good a sign of life as an answer to a ping, which may be waiting behind it.
        if matches!(event, rumqttc::Event::Incoming(_)) {
            self.event_loop.state.await_pingresp = false;
        }
        match event {
            rumqttc::Event::Incoming(Packet::ConnAck(_)) => self.connected().await,
            rumqttc::Event::Incoming(Packet::Publish(publish)) => self.came(publish).await,
            rumqttc::Event::Incoming(Packet::SubAck(answer)) => {
                for filter in self.subscriptions.refused(&answer) {
                    let broker = self.brokers.url().to_string();
                    self.deliver(Event::Trouble(Problem::Subscription { broker, filter }))
                        .await;
                }
            }
            rumqttc::Event::Outgoing(Outgoing::Subscribe(number)) => self.subscriptions.sent(number),
            _ => {}
        }
    }

    async fn connected(&mut self) {
        self.event_loop
            .network_options
            .set_connection_timeout(SEND.as_secs());
        self.event_loop.mqtt_options.set_clean_session(self.config.clean);
        self.event_loop.pending.extend(self.subscriptions.all_again());
        self.event_loop.pending.append(&mut self.unacknowledged);
        self.backoff.connected();
        self.brokers.connected();
        self.deliver(Event::Connected).await;
    }

    async fn came(&mut self, publish: Publish) {
        let Publish {
            topic,
            payload,
            retain,
            ..
        } = publish;
        let event = match payload.len() > self.config.max_message {
            true => Event::Trouble(Problem::TooLarge {
                topic,
                bytes: payload.len(),
                limit: self.config.max_message,
            }),
            false => Event::Message {
                topic,
                payload,
                retained: retain,
            },
        };
        self.deliver(event).await;
    }

    async fn failed(&mut self, error: &ConnectionError, was_connected: bool) {
        let problem = problem::of(error, was_connected, &self.config, self.brokers.url());
        // The broker would send the same message again and again.
        if matches!(problem, Problem::FarTooLarge { .. }) {
            self.event_loop.mqtt_options.set_clean_session(true);
        }
        let needs_somebody = problem.needs_somebody();
        if self.brokers.is_news(&problem) {
            self.deliver(Event::Disconnected(problem)).await;
        }
        // One that was there may be there again at once, and knows what it had not delivered yet.
        if !was_connected && self.try_next() {
            return;
        }
        let wait = self.backoff.failed(needs_somebody);
        if self.is_to_end() {
            return time::sleep(wait).await;
        }
        // Who is told to end meanwhile tries once more, at once.
        let told_to_end = self.stop_within.wait_for(Option::is_some);
        let _ = time::timeout(wait, told_to_end).await;
    }

    fn is_to_end(&self) -> bool {
        self.stop_within.borrow().is_some()
    }

    fn has_nothing_to_send(&self) -> bool {
        self.event_loop.network.is_none() && self.held.messages() == 0
    }

    /// Waits for room in the channel. Meanwhile nothing is read from the broker, which then waits as well.
    async fn deliver(&mut self, event: Event) {
        let mut event = event;
        while let Err(TrySendError::Full(back)) = self.events.try_send(event) {
            event = back;
            time::sleep(EVENT_RETRY).await;
        }
    }

    /// A socket that is closed with something unread in it may take back what was written last.
    async fn see_it_off(&mut self) {
        let hung_up = async { while self.event_loop.poll().await.is_ok() {} };
        let _ = time::timeout(GOODBYE, hung_up).await;
    }
}

/// A goodbye and subscriptions are made anew for each connection.
fn is_message(request: &Request) -> bool {
    matches!(
        request,
        Request::Publish(_) | Request::Unsubscribe(_) | Request::Disconnect(_)
    )
}

/// The library gives it a number that is free.
fn renumbered(mut publish: Publish) -> Request {
    publish.pkid = 0;
    Request::Publish(publish)
}

async fn out_of_time(mut stop_within: watch::Receiver<Option<Duration>>) {
    // The sender lives as long as the link, and that waits for this thread.
    let limit = stop_within
        .wait_for(Option::is_some)
        .await
        .map_or(None, |limit| *limit);
    time::sleep(limit.unwrap_or_default()).await;
}

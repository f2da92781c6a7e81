//! Where `rmqtt` asks us: may this client come in, publish this, subscribe to that?

use super::Limits;
use super::counts::{Count, Counters};
use super::gate::{Connection, Connections};
use super::held::{Sum, hold};
use super::users::{Access, Refusal, Role, owner};
use crate::train::lock;
use async_trait::async_trait;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::session::Session;
use rmqtt::types::{
    AuthResult, ConnectInfo, Publish, PublishAclResult, Reason, Subscribe, SubscribeAclResult,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Sessions of one device.
const DEVICE_SESSIONS: usize = 8;
/// One device may have this part of the memory for messages.
const DEVICE_SHARE: usize = 8;
/// Somebody who guesses passwords waits so long for each answer.
const WRONG_PASSWORD: Duration = Duration::from_millis(200);

/// The hooks.
#[derive(Clone)]
pub(super) struct Hooks(Arc<Shared>);

struct Shared {
    access: Access,
    connections: Connections,
    counters: Arc<Counters>,
    memory_bytes: usize,
    held: Sum,
    devices: Mutex<HashMap<String, Device>>,
}

/// What one device has.
#[derive(Default)]
struct Device {
    /// Their client ids.
    sessions: HashSet<String>,
    held: Sum,
}

impl Hooks {
    pub fn new(access: Access, connections: Connections, limits: &Limits, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared {
            access,
            connections,
            counters,
            memory_bytes: limits.memory_bytes,
            held: Sum::default(),
            devices: Mutex::default(),
        }))
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.0.counters)
    }

    /// From now on they are asked.
    pub async fn register(&self, context: &ServerContext) {
        let register = context.extends.hook_mgr().register();
        for kind in [
            Type::ClientAuthenticate,
            Type::SessionCreated,
            Type::SessionTerminated,
            Type::ClientSubscribeCheckAcl,
            Type::MessagePublish,
            Type::MessagePublishCheckAcl,
            Type::MessageDropped,
        ] {
            register.add(kind, Box::new(self.clone())).await;
        }
        register.start().await;
    }
}

#[async_trait]
impl Handler for Hooks {
    async fn hook(&self, parameter: &Parameter, found: Option<HookResult>) -> ReturnType {
        let shared = &self.0;
        let result = match parameter {
            Parameter::ClientAuthenticate(client) => {
                HookResult::AuthResult(shared.authenticate(client).await)
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                HookResult::SubscribeAclResult(shared.subscribe(session, subscribe))
            }
            Parameter::MessagePublish(_, from, publish) => {
                HookResult::Publish(shared.hold(from.username_ref(), publish))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                HookResult::PublishAclResult(shared.publish(session, publish))
            }
            Parameter::SessionCreated(session) => {
                shared.created(session);
                return (true, found);
            }
            Parameter::SessionTerminated(session, _) => {
                shared.terminated(session);
                return (true, found);
            }
            // What the ACL dropped was counted there.
            Parameter::MessageDropped(_, _, _, reason) if !matches!(reason, Reason::PublishResult(_)) => {
                shared.counters.add(Count::Dropped);
                return (true, found);
            }
            _ => return (true, found),
        };
        (false, Some(result))
    }
}

impl Shared {
    async fn authenticate(&self, client: &ConnectInfo) -> AuthResult {
        let Some(connection) = self.connection(client) else {
            self.counters.add(Count::Bypass);
            return AuthResult::NotAuthorized;
        };
        match self.check(client, connection.is_own) {
            Ok(role) => {
                connection.admit(role);
                AuthResult::Allow(false, None)
            }
            Err(count) => {
                self.counters.add(count);
                let (id, name) = (client.client_id(), client.username());
                tracing::debug!(
                    "{} is not let in as {name:?} with id {id:?}: {count:?}",
                    connection.peer
                );
                if count != Count::BadPassword {
                    return AuthResult::NotAuthorized;
                }
                tokio::time::sleep(WRONG_PASSWORD).await;
                AuthResult::BadUsernameOrPassword
            }
        }
    }

    /// The connection by which the gate speaks for this client.
    fn connection(&self, client: &ConnectInfo) -> Option<Arc<Connection>> {
        let port = client.ipaddress()?.port();
        lock(&self.connections).get(&port).cloned()
    }

    fn check(&self, client: &ConnectInfo, is_own: bool) -> Result<Role, Count> {
        // The gate lets no other version through.
        let ConnectInfo::V3(_, connect) = client else {
            return Err(Count::OtherVersion);
        };
        let name = connect.username.as_deref();
        if is_own && !self.access.is_own(name) {
            return Err(Count::BadPassword);
        }
        let password = connect.password.as_deref().unwrap_or_default();
        let id = &*connect.client_id;
        let role = self
            .access
            .admit(name, password, id)
            .map_err(|refusal| match refusal {
                Refusal::Password => Count::BadPassword,
                Refusal::ClientId => Count::BadClientId,
            })?;
        let name = name.unwrap_or_default();
        let is_good_will = |topic: &str| self.access.may_publish(name, topic);
        if connect
            .last_will
            .as_ref()
            .is_some_and(|will| !is_good_will(&will.topic))
        {
            return Err(Count::BadWill);
        }
        if role == Role::Device {
            let devices = lock(&self.devices);
            let sessions = devices.get(name).map(|device| &device.sessions);
            if sessions.is_some_and(|ids| ids.len() >= DEVICE_SESSIONS && !ids.contains(id)) {
                return Err(Count::TooManySessions);
            }
        }
        Ok(role)
    }

    fn created(&self, session: &Session) {
        let id = &*session.id.client_id;
        if self.access.is_device(owner(id)) {
            let mut devices = lock(&self.devices);
            let device = devices.entry(owner(id).to_owned()).or_default();
            device.sessions.insert(id.to_owned());
        }
    }

    fn terminated(&self, session: &Session) {
        let id = &*session.id.client_id;
        if let Some(device) = lock(&self.devices).get_mut(owner(id)) {
            device.sessions.remove(id);
        }
    }

    fn subscribe(&self, session: &Session, subscribe: &Subscribe) -> SubscribeAclResult {
        if self
            .access
            .may_subscribe(session.id.username_ref(), &subscribe.topic_filter)
        {
            return SubscribeAclResult::new_success(subscribe.opts.qos(), None);
        }
        self.counters.add(Count::SubscribeDenied);
        SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
    }

    /// From here on the message counts as held. It is asked about next ([`Shared::publish`]), and dropped if that is
    /// too much.
    fn hold(&self, name: &str, publish: &Publish) -> Publish {
        let mut held = publish.clone();
        held.payload = hold(&publish.payload, [self.held.clone(), self.held_for(name)]);
        held
    }

    /// What is held for a device; of all others nobody asks.
    fn held_for(&self, name: &str) -> Sum {
        let devices = lock(&self.devices);
        devices
            .get(name)
            .map(|device| device.held.clone())
            .unwrap_or_default()
    }

    /// A refused message is acknowledged all the same: MQTT 3.1.1 knows no other answer but to close the connection,
    /// after which its client would send it again for ever.
    fn publish(&self, session: &Session, publish: &Publish) -> PublishAclResult {
        let name = session.id.username_ref();
        if !self.access.may_publish(name, &publish.topic) {
            self.counters.add(Count::PublishDenied);
            return PublishAclResult::rejected(false, None);
        }
        let is_too_much = self.held.bytes() > self.memory_bytes
            || self.held_for(name).bytes() > self.memory_bytes / DEVICE_SHARE;
        if is_too_much {
            self.counters.add(Count::NoMemory);
            return PublishAclResult::rejected(false, None);
        }
        PublishAclResult::allow()
    }
}

//! The routes: one list for the dispatch, the OpenAPI document, the metrics and the messages.

use super::api_error::Code;
use crate::offload::wire::{HEALTH_PATH, LOAD_PATH, METRICS_PATH, OPENAPI_PATH, TASKS_PATH, TRAINING_PATH};
use hyper::Method;

/// Where requests can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Tasks,
    Load,
    Training,
    Health,
    Metrics,
    OpenApi,
}

impl Route {
    pub const ALL: [Self; 6] = [
        Self::Tasks,
        Self::Load,
        Self::Training,
        Self::Health,
        Self::Metrics,
        Self::OpenApi,
    ];

    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path() == path)
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Tasks => TASKS_PATH,
            Self::Load => LOAD_PATH,
            Self::Training => TRAINING_PATH,
            Self::Health => HEALTH_PATH,
            Self::Metrics => METRICS_PATH,
            Self::OpenApi => OPENAPI_PATH,
        }
    }

    pub fn takes(self, method: &Method) -> bool {
        match self {
            Self::Tasks => *method == Method::POST,
            _ => *method == Method::GET || *method == Method::HEAD,
        }
    }

    /// The `Allow` header.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Tasks => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whoever watches over the server may ask whether it is well without a token.
    pub fn needs_token(self) -> bool {
        self != Self::Health
    }

    /// The errors that its method may end in.
    pub fn errors(self) -> &'static [Code] {
        match self {
            Self::Tasks => &[
                Code::BadParameter,
                Code::BodyIncomplete,
                Code::Unauthorized,
                Code::CrossOrigin,
                Code::WrongHost,
                Code::BodyTooSlow,
                Code::PayloadTooLarge,
                Code::UnsupportedType,
                Code::HeaderTooLarge,
                Code::QueueFull,
                Code::TaskCrashed,
                Code::CpuLimit,
                Code::WallLimit,
                Code::ModuleUnknown,
                Code::ModuleTooLarge,
                Code::ModuleInvalid,
                Code::ModuleTooComplex,
                Code::ModuleImport,
                Code::ModuleExport,
                Code::PayloadNoRoom,
                Code::MemoryLimit,
                Code::StackLimit,
                Code::TaskTrapped,
                Code::TaskExited,
                Code::OutOfMemory,
                Code::WasmUnavailable,
                Code::Stopping,
                Code::DeadlinePassed,
            ],
            Self::Load => &[
                Code::Unauthorized,
                Code::CrossOrigin,
                Code::WrongHost,
                Code::HeaderTooLarge,
                Code::LoadUnknown,
            ],
            Self::Training => &[
                Code::Unauthorized,
                Code::CrossOrigin,
                Code::WrongHost,
                Code::HeaderTooLarge,
                Code::NoTraining,
            ],
            Self::Health => &[
                Code::CrossOrigin,
                Code::WrongHost,
                Code::HeaderTooLarge,
                Code::Stopping,
            ],
            Self::Metrics | Self::OpenApi => &[
                Code::Unauthorized,
                Code::CrossOrigin,
                Code::WrongHost,
                Code::HeaderTooLarge,
            ],
        }
    }
}

//! Errors as clients see them: a status, a code and a sentence.

use super::answer::{Answer, json};
use crate::offload::wire::{
    CODE_DEADLINE, CODE_MODULE_UNKNOWN, CODE_NO_TRAINING, CODE_QUEUE_FULL, ErrorBody,
};
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// What can go wrong with a request. The table of all codes is in [`Code::facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BadParameter,
    BodyIncomplete,
    Unauthorized,
    CrossOrigin,
    WrongHost,
    NotFound,
    WrongMethod,
    BodyTooSlow,
    PayloadTooLarge,
    UnsupportedType,
    HeaderTooLarge,
    QueueFull,
    TaskCrashed,
    CpuLimit,
    WallLimit,
    LoadUnknown,
    NoTraining,
    ModuleUnknown,
    ModuleTooLarge,
    ModuleInvalid,
    ModuleTooComplex,
    ModuleImport,
    ModuleExport,
    PayloadNoRoom,
    MemoryLimit,
    StackLimit,
    TaskTrapped,
    TaskExited,
    OutOfMemory,
    WasmUnavailable,
    Stopping,
    DeadlinePassed,
}

/// What is the same for every error of one code.
pub(super) struct Facts {
    pub name: &'static str,
    pub status: StatusCode,
    /// Seconds after which it is worth while to try again.
    pub retry_after_s: Option<u16>,
    /// For the OpenAPI document.
    pub meaning: &'static str,
}

impl Code {
    pub fn facts(self) -> Facts {
        use StatusCode as S;
        let (name, status, retry_after_s, meaning) = match self {
            Self::BadParameter => (
                "bad_parameter",
                S::BAD_REQUEST,
                None,
                "a parameter is missing, unknown, given twice or wrong; the message names it",
            ),
            Self::BodyIncomplete => (
                "body_incomplete",
                S::BAD_REQUEST,
                None,
                "the payload did not arrive whole",
            ),
            Self::Unauthorized => (
                "unauthorized",
                S::UNAUTHORIZED,
                None,
                "no bearer token, or none that this server knows",
            ),
            Self::CrossOrigin => (
                "cross_origin",
                S::FORBIDDEN,
                None,
                "the request comes from a web page, and this server has no tokens to tell friends by",
            ),
            Self::WrongHost => (
                "wrong_host",
                S::MISDIRECTED_REQUEST,
                None,
                "the server was asked for by a name that need not be its own; use its address, or localhost",
            ),
            Self::NotFound => ("not_found", S::NOT_FOUND, None, "no such path"),
            Self::WrongMethod => (
                "wrong_method",
                S::METHOD_NOT_ALLOWED,
                None,
                "the path does not take this method; `Allow` says which it takes",
            ),
            Self::BodyTooSlow => (
                "body_too_slow",
                S::REQUEST_TIMEOUT,
                None,
                "the payload stalled, or took longer than a task may run",
            ),
            Self::PayloadTooLarge => (
                "payload_too_large",
                S::PAYLOAD_TOO_LARGE,
                None,
                "the payload is larger than this server takes",
            ),
            Self::UnsupportedType => (
                "unsupported_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                None,
                "the payload has a Content-Type this server does not take",
            ),
            Self::HeaderTooLarge => (
                "header_too_large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                None,
                "path and header fields together are too long",
            ),
            Self::QueueFull => (
                CODE_QUEUE_FULL,
                S::TOO_MANY_REQUESTS,
                Some(1),
                "all workers are busy and the queue is full, or the payloads that arrive fill the memory for them",
            ),
            Self::TaskCrashed => (
                "task_crashed",
                S::INTERNAL_SERVER_ERROR,
                None,
                "the task crashed, which is a bug; the server's log says where",
            ),
            Self::CpuLimit => (
                "cpu_limit",
                S::SERVICE_UNAVAILABLE,
                Some(60),
                "the task used all the CPU time a task may use, and was stopped",
            ),
            Self::WallLimit => (
                "wall_limit",
                S::SERVICE_UNAVAILABLE,
                Some(60),
                "the task ran for as long as a task may run, and was stopped",
            ),
            Self::LoadUnknown => (
                "load_unknown",
                S::SERVICE_UNAVAILABLE,
                Some(1),
                "the load is not known: the server has just started, or cannot read it",
            ),
            Self::NoTraining => (
                CODE_NO_TRAINING,
                S::NOT_FOUND,
                None,
                "no learners are trained here, or not for clients of this server; the message says why",
            ),
            Self::ModuleUnknown => (
                CODE_MODULE_UNKNOWN,
                S::NOT_FOUND,
                None,
                "the server has no module of this SHA-256; send it",
            ),
            Self::ModuleTooLarge => (
                "module_too_large",
                S::PAYLOAD_TOO_LARGE,
                None,
                "the module is longer than any that is compiled",
            ),
            Self::ModuleInvalid => (
                "module_invalid",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module is not valid WebAssembly",
            ),
            Self::ModuleTooComplex => (
                "module_too_complex",
                S::UNPROCESSABLE_ENTITY,
                None,
                "compiling the module could take too long",
            ),
            Self::ModuleImport => (
                "module_import",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module imports what tasks are not given",
            ),
            Self::ModuleExport => (
                "module_export",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module lacks `memory` or `run`, or an export has the wrong type",
            ),
            Self::PayloadNoRoom => (
                "payload_no_room",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module has no room for the payload in its memory",
            ),
            Self::MemoryLimit => (
                "memory_limit",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module asked for more memory than a task may have",
            ),
            Self::StackLimit => (
                "stack_limit",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module's calls were nested too deeply",
            ),
            Self::TaskTrapped => (
                "task_trapped",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module did something that WebAssembly forbids",
            ),
            Self::TaskExited => (
                "task_exited",
                S::UNPROCESSABLE_ENTITY,
                None,
                "the module ended itself before it had a result",
            ),
            Self::OutOfMemory => (
                "out_of_memory",
                S::SERVICE_UNAVAILABLE,
                Some(1),
                "the server's machine has no memory left for the task",
            ),
            Self::WasmUnavailable => (
                "wasm_unavailable",
                S::SERVICE_UNAVAILABLE,
                Some(60),
                "this server cannot run WebAssembly",
            ),
            Self::Stopping => (
                "stopping",
                S::SERVICE_UNAVAILABLE,
                Some(5),
                "the server is stopping",
            ),
            Self::DeadlinePassed => (
                CODE_DEADLINE,
                S::GATEWAY_TIMEOUT,
                None,
                "the deadline passed before the task was done; the message says when it was stopped",
            ),
        };
        Facts {
            name,
            status,
            retry_after_s,
            meaning,
        }
    }

    /// An error of this code.
    pub fn error(self, message: impl Into<String>) -> ApiError {
        ApiError {
            code: self,
            message: message.into(),
            allow: None,
        }
    }
}

/// One refused request.
#[derive(Debug)]
pub(super) struct ApiError {
    pub code: Code,
    message: String,
    allow: Option<&'static str>,
}

impl ApiError {
    /// Adds the methods that would have been right.
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    pub fn into_answer(self) -> Answer {
        let Facts {
            name,
            status,
            retry_after_s,
            ..
        } = self.code.facts();
        tracing::debug!("{status} {name}: {}", self.message);
        let body = ErrorBody {
            code: name.to_owned(),
            message: self.message,
        };
        let mut answer = json(status, &body);
        let headers = answer.headers_mut();
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

//! What happens to a request, from its head to its answer.

use super::answer::{Answer, json, typed};
use super::api_error::{ApiError, Code};
use super::executor::{Executor, Refused, Unfinished};
use super::job::{Job, Payload};
use super::load::LoadWatch;
use super::metrics::{Metrics, TEXT_FORMAT};
use super::receive::{Keep, Received, Room, declared_too_large, discard, receive, too_large};
use super::route::Route;
use super::training::broker_for;
use super::web_page::check_no_web_page;
use super::{ServeConfig, Tokens};
use crate::offload::wire::{
    Health, Load, MODULE_TYPE, PAYLOAD_TYPE, TaskQuery, TaskResult, Training, payload_hash,
};
use crate::task::wasm::{Engine, WasmError};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// Bytes that path, query and header fields may have together.
pub(super) const LARGEST_HEADER: usize = 16 << 10;

/// What every request can reach.
pub(super) struct App {
    pub config: ServeConfig,
    pub tokens: Option<Tokens>,
    pub executor: Executor,
    /// For the bodies of modules.
    pub room: Room,
    pub load: LoadWatch,
    pub metrics: Arc<Metrics>,
    pub openapi: Bytes,
    /// What modules run on, or why they cannot.
    pub wasm: Result<Engine, WasmError>,
}

/// Answers one request, and counts it.
pub(super) async fn answer(app: &App, request: Request<Incoming>) -> Answer {
    let arrived = Instant::now();
    let route = Route::of(request.uri().path());
    let mut gone = CountIfGone {
        app,
        route,
        is_answered: false,
    };
    let outcome = dispatch(app, request, arrived).await;
    let (answer, code) = match outcome {
        Ok(answer) => (answer, None),
        Err(error) => {
            let code = error.code;
            (error.into_answer(), Some(code))
        }
    };
    gone.is_answered = true;
    app.metrics
        .answered(route, answer.status(), code, arrived.elapsed());
    answer
}

/// A request is dropped unanswered when its client hangs up.
struct CountIfGone<'a> {
    app: &'a App,
    route: Option<Route>,
    is_answered: bool,
}

impl Drop for CountIfGone<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.app.metrics.client_gone(self.route);
        }
    }
}

async fn dispatch(app: &App, request: Request<Incoming>, arrived: Instant) -> Result<Answer, ApiError> {
    match let_in(app, &request) {
        Ok(Route::Tasks) => run_task(app, request, arrived).await,
        Ok(Route::Load) => load(app),
        Ok(Route::Training) => training(app, &request),
        Ok(Route::Health) => health(app),
        Ok(Route::Metrics) => Ok(metrics(app)),
        Ok(Route::OpenApi) => Ok(openapi(app)),
        Err(refusal) => {
            discard_body_of(request);
            Err(refusal)
        }
    }
}

/// May this client use this route in this way?
fn let_in(app: &App, request: &Request<Incoming>) -> Result<Route, ApiError> {
    check_header(request)?;
    if app.tokens.is_none() {
        check_no_web_page(request)?;
    }
    let path = request.uri().path();
    let route = Route::of(path);
    if let Some(tokens) = &app.tokens
        && route.is_none_or(Route::needs_token)
        && !tokens.admit(request.headers())
    {
        let message = "this server needs a token: send `Authorization: Bearer TOKEN` with one of those in its token file";
        return Err(Code::Unauthorized.error(message));
    }
    let route = route.ok_or_else(|| not_found(path))?;
    if !route.takes(request.method()) {
        let (method, allow) = (request.method(), route.allow());
        let message = format!("{path} does not take {method}, but {allow}");
        return Err(Code::WrongMethod.error(message).allow(allow));
    }
    Ok(route)
}

fn check_header(request: &Request<Incoming>) -> Result<(), ApiError> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let fields = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let bytes = target + fields.sum::<usize>();
    if bytes <= LARGEST_HEADER {
        return Ok(());
    }
    Err(Code::HeaderTooLarge.error(format!(
        "path and header fields have {bytes} bytes, this server takes {LARGEST_HEADER}"
    )))
}

fn not_found(path: &str) -> ApiError {
    let paths = Route::ALL.map(Route::path).join(", ");
    Code::NotFound.error(format!("no {path}; there are {paths}"))
}

async fn run_task(app: &App, request: Request<Incoming>, arrived: Instant) -> Result<Answer, ApiError> {
    let Admitted { job, deadline } = match admit(app, &request) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            discard_body_of(request);
            return Err(refusal);
        }
    };
    let deadline = deadline.map(|left| arrived + left);
    let received = receive_in_time(app, request, job.keep(), arrived, deadline).await?;
    // Only now, so that whoever sends slowly holds nothing that others could use.
    let ticket = app.executor.admit().map_err(no_ticket)?;
    let (body, held) = (received.payload, received.held);
    let payload_at = job.payload_at(&body)?;
    let payload_hash = match payload_at {
        0 => received.hash,
        // What was hashed on the way begins with a module.
        at => payload_hash(&body[at..]),
    };

    let (speed, limits) = (app.config.speed, app.config.limits);
    let done = ticket
        .run(job.length(speed), deadline, move |stop| {
            let _held = held;
            let payload = Payload {
                body: &body,
                at: payload_at,
                hash: payload_hash,
            };
            job.run(payload, speed, &limits, stop)
        })
        .await
        .map_err(|why| unfinished(app, why))?;
    app.metrics.task_done(done.queued, done.ran);
    let result = TaskResult {
        checksum: done.value?,
        payload_hash,
        receive_s: received.took.as_secs_f64(),
        receive_bytes: received.later_bytes,
        queue_s: done.queued.as_secs_f64(),
        execute_s: done.ran.as_secs_f64(),
    };
    Ok(json(StatusCode::OK, &result))
}

/// A task that may send its body.
struct Admitted {
    job: Job,
    deadline: Option<Duration>,
}

/// Everything that can be refused before the body is read.
fn admit(app: &App, request: &Request<Incoming>) -> Result<Admitted, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    let has_module = has_module(request.headers())?;
    let query = TaskQuery::from_pairs(&pairs, has_module).map_err(|e| Code::BadParameter.error(e))?;
    let job = Job::of(query.asked, &app.wasm)?;
    let limit = app.config.payload_limit();
    if declared_too_large(request.body(), limit) {
        return Err(too_large(limit));
    }
    app.executor.has_room().map_err(no_ticket)?;
    Ok(Admitted {
        job,
        deadline: query.deadline,
    })
}

fn no_ticket(refused: Refused) -> ApiError {
    match refused {
        Refused::QueueFull => Code::QueueFull
            .error("all workers are busy and the queue is full; try again later or run the task elsewhere"),
        Refused::Stopping => stopping(),
    }
}

/// Does the body begin with a module, by its type?
fn has_module(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(found) = headers.get(CONTENT_TYPE) else {
        return Ok(false);
    };
    // What follows a semicolon are parameters, of which these types have none that matter.
    let essence = found.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
    let is = |name: &str| essence.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
    if is(PAYLOAD_TYPE) || is(MODULE_TYPE) {
        return Ok(is(MODULE_TYPE));
    }
    Err(Code::UnsupportedType.error(format!(
        "the body is {found:?}, send a payload as {PAYLOAD_TYPE} or a module as {MODULE_TYPE}"
    )))
}

/// A sender that is too slow for the deadline, or for any task, does not hold its place any longer.
async fn receive_in_time(
    app: &App,
    request: Request<Incoming>,
    keep: Keep,
    arrived: Instant,
    deadline: Option<Instant>,
) -> Result<Received, ApiError> {
    let wall = app.config.limits.wall;
    let until = deadline.unwrap_or(arrived + wall).min(arrived + wall);
    let receiving = receive(request.into_body(), app.config.payload_limit(), keep, &app.room);
    match timeout_at(until.into(), receiving).await {
        Ok(outcome) => outcome,
        Err(_) if Some(until) == deadline => Err(deadline_passed("its payload was arriving")),
        Err(_) => Err(Code::BodyTooSlow.error(format!(
            "the payload did not arrive within {} s",
            wall.as_secs_f64()
        ))),
    }
}

fn unfinished(app: &App, why: Unfinished) -> ApiError {
    let limits = &app.config.limits;
    match why {
        Unfinished::DeadlineWaiting => deadline_passed("it waited for a worker; it was not run"),
        Unfinished::DeadlineRunning => deadline_passed("it ran; it was stopped"),
        Unfinished::WallLimit => Code::WallLimit.error(format!(
            "the task was stopped after the {} s any task may run",
            limits.wall.as_secs_f64()
        )),
        Unfinished::CpuLimit => Code::CpuLimit.error(format!(
            "the task was stopped after the {} s of CPU time any task may use",
            limits.cpu.as_secs_f64()
        )),
        Unfinished::Ending | Unfinished::Abandoned => stopping(),
        Unfinished::Crashed => {
            tracing::error!("a task crashed");
            Code::TaskCrashed.error("the task crashed; the server's log says where")
        }
    }
}

fn deadline_passed(during: &str) -> ApiError {
    Code::DeadlinePassed.error(format!("the task's deadline passed while {during}"))
}

fn stopping() -> ApiError {
    Code::Stopping.error("the server is stopping; run the task elsewhere")
}

fn load(app: &App) -> Result<Answer, ApiError> {
    let seen = app.load.get().map_err(|why| Code::LoadUnknown.error(why))?;
    let tasks = app.executor.counts();
    let load = Load {
        cpu_use: seen.cpu_use.mean,
        free: 1.0 - seen.cpu_use.mean,
        cpu_use_now: seen.cpu_use.now,
        free_now: 1.0 - seen.cpu_use.now,
        queue: tasks.waiting,
        queue_smoothed: seen.queue.mean,
        running: tasks.running,
        workers: tasks.workers,
    };
    Ok(json(StatusCode::OK, &load))
}

fn training(app: &App, request: &Request<Incoming>) -> Result<Answer, ApiError> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match broker_for(&app.config, host) {
        Ok(broker) => Ok(json(StatusCode::OK, &Training { broker })),
        Err(why) => Err(Code::NoTraining.error(why)),
    }
}

fn health(app: &App) -> Result<Answer, ApiError> {
    if app.executor.is_closing() {
        return Err(stopping());
    }
    let health = Health {
        status: "ok".to_owned(),
        role: app.config.role.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(json(StatusCode::OK, &health))
}

fn metrics(app: &App) -> Answer {
    let text = app.metrics.text(app.executor.counts());
    typed(StatusCode::OK, HeaderValue::from_static(TEXT_FORMAT), text)
}

fn openapi(app: &App) -> Answer {
    let json = HeaderValue::from_static("application/json");
    typed(StatusCode::OK, json, app.openapi.clone())
}

fn discard_body_of(request: Request<Incoming>) {
    // A client that waits for `100 Continue` has not begun to send, and reading would make it begin.
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body());
    }
}

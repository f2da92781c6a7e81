//! The OpenAPI 3.1 document, made from what the server itself uses: the routes with their errors, the kernels, the
//! limits. It cannot name what does not exist; that it names everything is tested against real answers.

use super::ServeConfig;
use super::api_error::{Code, Facts};
use super::route::Route;
use crate::offload::task_query::MAX_DEADLINE_S;
use crate::offload::wire::{MODULE_TYPE, PAYLOAD_TYPE};
use crate::task::{Kernel, MAX_STEPS};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The document of a server set up like this.
pub(super) fn document(config: &ServeConfig) -> Value {
    let paths: Map<String, Value> = Route::ALL.iter().map(|&route| path(config, route)).collect();
    let security = match config.token_file {
        Some(_) => json!([{ "bearer": [] }]),
        None => json!([]),
    };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hwmeter serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs tasks for devices, and tells how busy it is. Every error is JSON with a code and a sentence. \
                Besides those listed: an unknown path is 404 `not_found`, a wrong method 405 `wrong_method`; where all \
                connections are busy a new one gets 503 `too_many_connections`; and what is no HTTP gets 400 or 431 \
                without a body.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "security": security,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn path(config: &ServeConfig, route: Route) -> (String, Value) {
    let (method, mut operation) = match route {
        Route::Tasks => ("post", run_task(config)),
        Route::Load => (
            "get",
            json!({ "operationId": "load", "summary": "How busy the server is" }),
        ),
        Route::Training => (
            "get",
            json!({ "operationId": "training", "summary": "Where learners are trained" }),
        ),
        Route::Health => (
            "get",
            json!({ "operationId": "health", "summary": "Is the server well?", "security": [] }),
        ),
        Route::Metrics => (
            "get",
            json!({ "operationId": "metrics", "summary": "What the server has counted" }),
        ),
        Route::OpenApi => (
            "get",
            json!({ "operationId": "openapi", "summary": "This document" }),
        ),
    };
    operation["responses"] = responses(config, route);
    (route.path().to_owned(), json!({ method: operation }))
}

fn run_task(config: &ServeConfig) -> Value {
    let kernels: Vec<_> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
    let whole_number = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    let parameter = |name: &str, required: bool, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema });
    let with_example = |mut parameter: Value, example: Value| {
        parameter["example"] = example;
        parameter
    };
    // Those with an example are a task together.
    json!({
        "operationId": "runTask",
        "summary": "Run a task and wait for its result",
        "description": "What to compute is either `kernel` and `size` with `seed`, or `kernels` with `seed`, or a WebAssembly \
            module: in the body, or sent before and named by `module`. A client that hangs up stops its task. Parameters \
            that are unknown, or mean nothing beside the others, are refused.",
        "parameters": [
            with_example(
                parameter("kernel", false, "What to compute", json!({ "type": "string", "enum": kernels })),
                json!("sha256"),
            ),
            with_example(
                parameter("size", false, "How many rounds of it", whole_number.clone()),
                json!(12),
            ),
            parameter(
                "kernels",
                false,
                "What to compute, in several steps, such as `sha256:12 fft:3`; the checksum of one seeds the next",
                json!({ "type": "string", "pattern": steps(&kernels) }),
            ),
            with_example(
                parameter(
                    "seed",
                    false,
                    "What the kernels' input is made from, together with the payload; must be given with them",
                    whole_number.clone(),
                ),
                json!(5),
            ),
            parameter(
                "module",
                false,
                "The SHA-256 of a module that this server has compiled before, or of the one in the body",
                json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" }),
            ),
            parameter(
                "module_bytes",
                false,
                "Bytes of the module at the beginning of the body; the payload follows. Without it, the module is all",
                whole_number,
            ),
            parameter(
                "deadline_s",
                false,
                "Seconds the task has left when it is sent; it is not run, or stopped, when they have passed",
                json!({ "type": "number", "exclusiveMinimum": 0, "maximum": MAX_DEADLINE_S }),
            ),
        ],
        "requestBody": {
            "required": false,
            "description": format!(
                "The payload, or a module and the payload after it, at most {} bytes in all",
                config.payload_limit()
            ),
            "content": { PAYLOAD_TYPE: {}, MODULE_TYPE: {} },
        },
    })
}

/// The form of a list of steps.
fn steps(kernels: &[&str]) -> String {
    let step = format!("({}):[0-9]{{1,19}}", kernels.join("|"));
    format!("^{step}( {step}){{0,{}}}$", MAX_STEPS - 1)
}

/// The good answer, and the errors by status.
fn responses(config: &ServeConfig, route: Route) -> Value {
    let (description, content) = match route {
        Route::Tasks => ("The task's result", json_of("TaskResult")),
        Route::Load => ("The load", json_of("Load")),
        Route::Training => ("Where to train", json_of("Training")),
        Route::Health => ("The server is well", json_of("Health")),
        Route::Metrics => (
            "Prometheus text format 0.0.4",
            json!({ "text/plain": { "schema": { "type": "string" } } }),
        ),
        Route::OpenApi => (
            "An OpenAPI document",
            json!({ "application/json": { "schema": { "type": "object" } } }),
        ),
    };
    let mut by_status: BTreeMap<u16, Vec<Facts>> = BTreeMap::new();
    for code in route.errors() {
        let for_strangers = matches!(code, Code::CrossOrigin | Code::WrongHost);
        let has_tokens = config.token_file.is_some();
        if (*code == Code::Unauthorized && !has_tokens) || (for_strangers && has_tokens) {
            continue;
        }
        let facts = code.facts();
        by_status.entry(facts.status.as_u16()).or_default().push(facts);
    }
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": description, "content": content }),
    );
    for (status, errors) in by_status {
        responses.insert(status.to_string(), error_response(&errors));
    }
    Value::Object(responses)
}

fn error_response(errors: &[Facts]) -> Value {
    let meanings: Vec<_> = errors
        .iter()
        .map(|error| format!("`{}`: {}", error.name, error.meaning))
        .collect();
    let names: Vec<_> = errors.iter().map(|error| error.name).collect();
    let schema = json!({
        "allOf": [{ "$ref": "#/components/schemas/Error" }],
        "properties": { "code": { "enum": names } },
    });
    let mut response = json!({
        "description": meanings.join("; "),
        "content": { "application/json": { "schema": schema } },
    });
    let integer = json!({ "type": "integer", "minimum": 0 });
    if errors.iter().all(|error| error.retry_after_s.is_some()) {
        response["headers"] = json!({
            "Retry-After": { "description": "Seconds to wait", "required": true, "schema": integer }
        });
    }
    response
}

fn json_of(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn schemas() -> Value {
    let seconds = json!({ "type": "number", "minimum": 0 });
    let count = json!({ "type": "integer", "minimum": 0 });
    let share = json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let hex = json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" });
    let text = json!({ "type": "string" });
    json!({
        "TaskResult": object(json!({
            "checksum": hex, "payload_hash": hex, "receive_s": seconds, "receive_bytes": count,
            "queue_s": seconds, "execute_s": seconds,
        })),
        "Load": object(json!({
            "cpu_use": share, "free": share, "cpu_use_now": share, "free_now": share,
            "queue": count, "queue_smoothed": seconds, "running": count, "workers": count,
        })),
        "Training": object(json!({
            "broker": {
                "type": "string",
                "description": "The MQTT 3.1.1 broker by which to reach the trainer, or several with commas between",
                "pattern": "^mqtts?://",
                "example": "mqtt://127.0.0.1:1883",
            },
        })),
        "Health": object(json!({
            "status": { "const": "ok" }, "role": { "enum": ["mec", "cloud"] }, "version": text,
        })),
        "Error": object(json!({ "code": text, "message": text })),
    })
}

/// An object that has all of these properties.
fn object(properties: Value) -> Value {
    let names: Vec<_> = properties
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .cloned()
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::offload::task_query::PARAMETERS;
    use crate::offload::wire::{ErrorBody, Health, Load, TaskResult, Training};
    use crate::serve::Role;
    use serde::Serialize;

    fn keys(value: &Value) -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// The schema names exactly the fields that are sent.
    #[track_caller]
    fn check(document: &Value, name: &str, example: impl Serialize) {
        let schema = &document["components"]["schemas"][name];
        let sent = keys(&serde_json::to_value(example).unwrap());
        assert_eq!(keys(&schema["properties"]), sent, "{name}");
    }

    #[test]
    fn schemas_and_parameters_are_those_of_the_wire() {
        let document = document(&ServeConfig::new(Role::Mec));
        let result = TaskResult {
            checksum: 1,
            payload_hash: 2,
            receive_s: 0.0,
            receive_bytes: 0,
            queue_s: 0.0,
            execute_s: 0.0,
        };
        check(&document, "TaskResult", result);
        let load = Load {
            cpu_use: 0.5,
            free: 0.5,
            cpu_use_now: 0.5,
            free_now: 0.5,
            queue: 0,
            queue_smoothed: 0.0,
            running: 0,
            workers: 1,
        };
        check(&document, "Load", load);
        let health = Health {
            status: String::new(),
            role: String::new(),
            version: String::new(),
        };
        check(&document, "Health", health);
        let training = Training {
            broker: String::new(),
        };
        check(&document, "Training", training);
        let error = ErrorBody {
            code: String::new(),
            message: String::new(),
        };
        check(&document, "Error", error);

        let parameters = document["paths"]["/v1/tasks"]["post"]["parameters"]
            .as_array()
            .unwrap();
        let names: Vec<_> = parameters.iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, PARAMETERS);
    }

    #[test]
    fn the_limits_that_are_set_are_the_ones_that_are_told() {
        let mut config = ServeConfig::new(Role::Cloud);
        config.max_payload = 12_345;
        config.token_file = Some("tokens".into());
        let text = document(&config).to_string();
        assert!(
            text.contains("12345 bytes") && text.contains("unauthorized"),
            "{text}"
        );
        let document = document(&ServeConfig::new(Role::Cloud));
        assert_eq!(document["security"], json!([]));
        assert!(!document.to_string().contains("`unauthorized`"));
    }
}

//! The line to a meter: opened when needed, closed when it fails.

use super::codec::{Function, Request};
use super::meters::{Line, Parity};
use super::url::{Address, Config};
use crate::error::{Error, Result};
use crate::root::Root;
use nix::unistd::{AccessFlags, access};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::{ExceptionCode, Request as Call, Response, Slave};
use tokio_serial::{ClearBuffer, DataBits, SerialPort, SerialStream, StopBits};

/// The registers answered, one list per request.
pub type Answers = Vec<Vec<u16>>;

/// How an exchange can fail.
#[derive(Debug)]
pub enum Failure {
    /// The meter understood and said no; the line is fine.
    Refused(Error),
    /// The line is down, or silent for too long. It is closed.
    Broken(Error),
    /// Something that is not an answer came back. The line is closed, for more of it may follow.
    Confused(Error),
}

type Outcome<T> = std::result::Result<T, Failure>;

/// The line to a meter.
pub struct Link {
    target: Target,
    /// How messages name the meter.
    name: PathBuf,
    slave: Slave,
    function: Function,
    timeout: Duration,
    client: Option<Context>,
}

enum Target {
    Tcp { host: String, port: u16 },
    Rtu { device: PathBuf, line: Line },
}

impl Link {
    /// A line that is not open yet.
    pub fn new(root: &Root, config: &Config) -> Self {
        let target = match &config.address {
            Address::Tcp { host, port } => Target::Tcp {
                host: host.clone(),
                port: *port,
            },
            Address::Rtu { device } => Target::Rtu {
                device: root.path(device),
                line: config.meter.line,
            },
        };
        let name = match &target {
            Target::Tcp { host, port } => format!("tcp://{host}:{port}").into(),
            Target::Rtu { device, .. } => device.clone(),
        };
        Self {
            target,
            name,
            slave: Slave(config.unit),
            function: config.meter.format.function,
            timeout: Duration::from_secs_f64(config.timeout_s),
            client: None,
        }
    }

    /// Asks all requests, opening the line first if need be; all of it within the timeout.
    pub async fn exchange(&mut self, requests: &[Request]) -> Outcome<Answers> {
        let timeout = self.timeout;
        let outcome = match tokio::time::timeout(timeout, self.ask_anew_if_stale(requests)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let silence = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "silence for {} s; is the meter on, and are unit and line settings right?",
                        timeout.as_secs_f64()
                    ),
                );
                Err(Failure::Broken(Error::io(
                    "get an answer from",
                    &self.name,
                    silence,
                )))
            }
        };
        if matches!(outcome, Err(Failure::Broken(_) | Failure::Confused(_))) {
            self.client = None;
        }
        outcome
    }

    /// Many meters close a connection that was idle for a while, which only shows when it is used again: that is
    /// no reason to lose a sample.
    async fn ask_anew_if_stale(&mut self, requests: &[Request]) -> Outcome<Answers> {
        let was_open = self.client.is_some();
        match self.ask(requests).await {
            Err(Failure::Broken(_)) if was_open => {
                self.client = None;
                self.ask(requests).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&mut self, requests: &[Request]) -> Outcome<Answers> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let client = open(&self.target, &self.name, self.slave)
                    .await
                    .map_err(Failure::Broken)?;
                self.client.insert(client)
            }
        };
        let mut answers = Vec::with_capacity(requests.len());
        for &request in requests {
            answers.push(call(client, &self.name, self.function, request).await?);
        }
        Ok(answers)
    }

    /// Drops the connection where its sockets are registered.
    pub fn close(&mut self) {
        self.client = None;
    }
}

async fn open(target: &Target, name: &Path, slave: Slave) -> Result<Context> {
    match target {
        Target::Tcp { host, port } => {
            let connect_error = |e| Error::io("connect to", name, e);
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(connect_error)?;
            stream.set_nodelay(true).map_err(connect_error)?;
            Ok(tcp::attach_slave(stream, slave))
        }
        Target::Rtu { device, line } => Ok(rtu::attach_slave(open_serial(device, *line)?, slave)),
    }
}

fn open_serial(device: &Path, line: Line) -> Result<SerialStream> {
    // The serial library drops errno, and with it the difference between "no right to it" and "not there".
    access(device, AccessFlags::R_OK | AccessFlags::W_OK).map_err(|e| Error::io("open", device, e.into()))?;
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let builder = tokio_serial::new(device.to_string_lossy(), line.baud)
        .data_bits(DataBits::Eight)
        .parity(parity)
        .stop_bits(if line.stop == 2 {
            StopBits::Two
        } else {
            StopBits::One
        });
    let serial_error = |e: tokio_serial::Error| Error::io("open", device, e.into());
    let stream = SerialStream::open(&builder).map_err(serial_error)?;
    // An answer that came too late for its question must not be taken for the next one's.
    stream.clear(ClearBuffer::All).map_err(serial_error)?;
    Ok(stream)
}

async fn call(client: &mut Context, name: &Path, function: Function, request: Request) -> Outcome<Vec<u16>> {
    let Request { start, count } = request;
    let call = match function {
        Function::Holding => Call::ReadHoldingRegisters(start, count),
        Function::Input => Call::ReadInputRegisters(start, count),
    };
    // Not `read_input_registers`: debug builds of the library panic on an answer of the wrong length.
    match client.call(call).await {
        Ok(Ok(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words)))
            if words.len() == usize::from(count) =>
        {
            Ok(words)
        }
        Ok(Ok(other)) => Err(Failure::Confused(Error::malformed(
            name,
            format!("{other:?}").as_bytes(),
            "as many registers as asked for",
        ))),
        Ok(Err(exception)) => Err(Failure::Refused(refusal(name, function, request, exception))),
        Err(tokio_modbus::Error::Transport(e)) => Err(Failure::Broken(Error::io("ask", name, e))),
        Err(tokio_modbus::Error::Protocol(e)) => Err(Failure::Confused(Error::malformed(
            name,
            e.to_string().as_bytes(),
            "an answer to the question asked",
        ))),
    }
}

/// An exception reply as an error of the kind it calls for.
fn refusal(name: &Path, function: Function, request: Request, exception: ExceptionCode) -> Error {
    let kind = match exception {
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => io::ErrorKind::WouldBlock,
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => io::ErrorKind::NotFound,
        ExceptionCode::ServerDeviceFailure => io::ErrorKind::Other,
        _ => {
            let code = match function {
                Function::Holding => 3,
                Function::Input => 4,
            };
            return Error::unsupported(
                format!(
                    "{}, {} registers from {} by function {code}",
                    name.display(),
                    request.count,
                    request.start
                ),
                format!(
                    "the meter answers {exception:?}; is it the meter named in the URL, and the right unit?"
                ),
            );
        }
    };
    Error::io(
        "ask",
        name,
        io::Error::new(kind, format!("the meter answers {exception:?}")),
    )
}

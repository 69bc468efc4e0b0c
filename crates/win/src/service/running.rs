//! This process as a service.

use std::ffi::OsString;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    ServiceControlHandlerResult, ServiceStatusHandle, register,
};
use windows_service::{define_windows_service, service_dispatcher};

use super::system;

/// How long a change of state may take before the manager takes the service for stuck.
const HINT: Duration = Duration::from_secs(30);

/// Nobody started this process as a service.
const ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: i32 = 1063;

/// What the manager wants of a running service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// End; with the reason.
    Stop(&'static str),
    /// Read the configuration again; with the reason.
    Reload(&'static str),
}

/// What the manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It begins; nothing is asked of it yet.
    Starting,
    /// It does what it is for.
    Running,
    /// It ends.
    Stopping,
}

type Heed = Box<dyn Fn(Control) + Send>;

/// The service of this process; there is at most one.
struct Service {
    name: &'static str,
    main: Option<fn() -> u8>,
    heed: Option<Heed>,
    handle: Option<ServiceStatusHandle>,
    /// What the manager was told.
    state: ServiceState,
}

static SERVICE: Mutex<Service> = Mutex::new(Service {
    name: "",
    main: None,
    heed: None,
    handle: None,
    state: ServiceState::StartPending,
});

fn service() -> MutexGuard<'static, Service> {
    SERVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

define_windows_service!(entry, enter);

/// Runs `main` as the service of this name, on a thread of the system's, until it returns: 0, or a
/// number that says what went wrong, upon which the manager may start the service again. `Ok(false)`:
/// it was not the service manager that started this process.
pub fn run(name: &'static str, main: fn() -> u8) -> io::Result<bool> {
    {
        let mut service = service();
        service.name = name;
        service.main = Some(main);
    }
    match service_dispatcher::start(name, entry).map_err(system) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether this process runs as a service.
pub fn is_one() -> bool {
    service().handle.is_some()
}

/// Has `heed` called whenever the manager wants something. To be called before the manager hears
/// that the service runs, as nothing is asked of it until then. It must not wait.
pub fn heed(heed: impl Fn(Control) + Send + 'static) {
    service().heed = Some(Box::new(heed));
}

/// Tells the manager; nothing if there is none. A service that was paused is so until the manager has
/// it go on, and one that ends does not run again.
pub fn tell(state: State) {
    let mut service = service();
    match (state, service.state) {
        (State::Starting, _) => service.tell(ServiceState::StartPending),
        (State::Running, ServiceState::StartPending) => service.tell(ServiceState::Running),
        (State::Running, _) => {}
        (State::Stopping, _) => service.tell(ServiceState::StopPending),
    }
}

impl Service {
    fn tell(&mut self, state: ServiceState) {
        self.tell_all(state, ServiceExitCode::NO_ERROR);
    }

    fn tell_all(&mut self, state: ServiceState, exit_code: ServiceExitCode) {
        self.state = state;
        let Some(handle) = self.handle else { return };
        let (controls_accepted, wait_hint) = match state {
            ServiceState::Running | ServiceState::Paused => (
                ServiceControlAccept::STOP
                    | ServiceControlAccept::SHUTDOWN
                    | ServiceControlAccept::PAUSE_CONTINUE
                    | ServiceControlAccept::PARAM_CHANGE,
                Duration::ZERO,
            ),
            ServiceState::Stopped => (ServiceControlAccept::empty(), Duration::ZERO),
            _ => (ServiceControlAccept::empty(), HINT),
        };
        // It fails only if the manager is gone.
        let _ = handle.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint,
            process_id: None,
        });
    }

    fn pass_on(&self, control: Control) {
        if let Some(heed) = &self.heed {
            heed(control);
        }
    }
}

/// Called by the system, with arguments of whoever started the service: ours are in its configuration.
fn enter(_arguments: Vec<OsString>) {
    let (name, main) = {
        let mut service = service();
        (service.name, service.main.take())
    };
    // `handle` has nothing of its own, so that it does not matter when the crate frees it: at the first
    // request to stop, although others may follow.
    let (Some(main), Ok(status)) = (main, register(name, handle)) else {
        // The manager can be told in no other way.
        std::process::exit(1);
    };
    service().handle = Some(status);
    tell(State::Starting);
    let exit_code = match main() {
        0 => ServiceExitCode::NO_ERROR,
        code => ServiceExitCode::ServiceSpecific(code.into()),
    };
    service().tell_all(ServiceState::Stopped, exit_code);
}

fn handle(control: ServiceControl) -> ServiceControlHandlerResult {
    let mut service = service();
    match control {
        ServiceControl::Interrogate => {}
        ServiceControl::Stop => {
            service.tell(ServiceState::StopPending);
            service.pass_on(Control::Stop("the service is to stop"));
        }
        ServiceControl::Shutdown => {
            service.tell(ServiceState::StopPending);
            service.pass_on(Control::Stop("the system shuts down"));
        }
        ServiceControl::Pause => {
            service.tell(ServiceState::Paused);
            service.pass_on(Control::Reload("the service is paused"));
        }
        ServiceControl::Continue => {
            service.tell(ServiceState::Running);
            service.pass_on(Control::Reload("the service goes on"));
        }
        ServiceControl::ParamChange => {
            service.pass_on(Control::Reload("the service's parameters changed"));
        }
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

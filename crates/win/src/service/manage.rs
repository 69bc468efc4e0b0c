//! Services as those see them who manage them. All of this takes an administrator's rights.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType,
    ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::system;
use crate::rights;

/// How long somebody who starts or stops a service waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// After how many seconds a service that failed is started again: the first time, the second, and
/// every other.
const RESTARTS: [u64; 3] = [5, 30, 60];

/// After how long without a failure the next one is the first again.
const RESET: Duration = Duration::from_secs(24 * 60 * 60);

const ERROR_SERVICE_ALREADY_RUNNING: i32 = 1056;
const ERROR_SERVICE_DOES_NOT_EXIST: i32 = 1060;
const ERROR_SERVICE_NOT_ACTIVE: i32 = 1062;

/// Whom a service runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// `NT SERVICE\` and its name: an account that has nothing, and nobody else.
    Virtual,
    /// The system itself.
    System,
}

/// A service as it is to be.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Its name.
    pub name: &'a str,
    /// The name that people see.
    pub display_name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// The program.
    pub program: &'a Path,
    /// What the program is started with.
    pub arguments: Vec<OsString>,
    /// Whom it runs as.
    pub account: Account,
}

/// What became of a plan.
#[derive(Debug)]
pub struct Installed {
    /// Whether there was no such service before.
    pub created: bool,
    /// What this system could not do, and why; the service works without.
    pub missing: Vec<String>,
}

/// Makes a service that starts with the system, or changes the one that there is.
pub fn install(plan: &Plan<'_>) -> io::Result<Installed> {
    let info = ServiceInfo {
        name: plan.name.into(),
        display_name: plan.display_name.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: plan.program.to_owned(),
        launch_arguments: plan.arguments.clone(),
        dependencies: Vec::new(),
        // Without a name an existing service would keep whom it runs as.
        account_name: Some(match plan.account {
            Account::Virtual => format!(r"NT SERVICE\{}", plan.name).into(),
            Account::System => "LocalSystem".into(),
        }),
        account_password: None,
    };
    // To have it started again, one must be able to start it.
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let (created, service) = match open(plan.name, access)? {
        Some(service) => {
            service.change_config(&info).map_err(system)?;
            (false, service)
        }
        None => {
            let manager = manager(ServiceManagerAccess::CREATE_SERVICE)?;
            (true, manager.create_service(&info, access).map_err(system)?)
        }
    };
    let mut missing = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        missing.extend(result.err().map(|e| format!("{what}: {e}")));
    };
    note("the description", service.set_description(plan.description).map_err(system));
    note("starting it again after a failure", restart(&service).map_err(system));
    let sid = service.set_config_service_sid_info(ServiceSidType::Unrestricted);
    note("an identity of its own (service SID)", sid.map_err(system));
    note("giving up privileges", rights::drop_privileges(&service));
    Ok(Installed { created, missing })
}

fn restart(service: &Service) -> windows_service::Result<()> {
    let again = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESET),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(again).to_vec()),
    })?;
    service.set_failure_actions_on_non_crash_failures(true)
}

/// Stops a service and removes it. `false`: there is none.
pub fn uninstall(name: &str) -> io::Result<bool> {
    stop(name)?;
    match open(name, ServiceAccess::DELETE)? {
        Some(service) => service.delete().map(|()| true).map_err(system),
        None => Ok(false),
    }
}

/// Starts a service, and waits until it runs. `false`: it runs already.
pub fn start(name: &str) -> io::Result<bool> {
    let service = must_open(name, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    match service.start::<OsString>(&[]).map_err(system) {
        Ok(()) => wait_for(&service, ServiceState::Running).map(|()| true),
        Err(e) if e.raw_os_error() == Some(ERROR_SERVICE_ALREADY_RUNNING) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Stops a service, and waits until it has stopped. `false`: it does not run, or there is none.
pub fn stop(name: &str) -> io::Result<bool> {
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS;
    let Some(service) = open(name, access)? else { return Ok(false) };
    match service.stop().map_err(system) {
        Ok(_) => wait_for(&service, ServiceState::Stopped).map(|()| true),
        Err(e) if e.raw_os_error() == Some(ERROR_SERVICE_NOT_ACTIVE) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether there is such a service.
pub fn exists(name: &str) -> io::Result<bool> {
    open(name, ServiceAccess::QUERY_STATUS).map(|service| service.is_some())
}

fn wait_for(service: &Service, wanted: ServiceState) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = service.query_status().map_err(system)?.current_state;
        if state == wanted {
            return Ok(());
        }
        if state == ServiceState::Stopped {
            return Err(io::Error::other("it ended: the event log (Application) says why"));
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn manager(access: ServiceManagerAccess) -> io::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access).map_err(system)
}

fn open(name: &str, access: ServiceAccess) -> io::Result<Option<Service>> {
    match manager(ServiceManagerAccess::CONNECT)?.open_service(name, access).map_err(system) {
        Ok(service) => Ok(Some(service)),
        Err(e) if e.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(e) => Err(e),
    }
}

fn must_open(name: &str, access: ServiceAccess) -> io::Result<Service> {
    open(name, access)?.ok_or_else(|| io::Error::from_raw_os_error(ERROR_SERVICE_DOES_NOT_EXIST))
}

//! Where a thread runs, and how important it is.

use super::Core;

/// Whether this process may run on a processor.
#[cfg(target_os = "linux")]
pub fn check(core: usize) -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(None).map_err(|e| format!("sched_getaffinity: {e}"))?;
    if core < CpuSet::MAX_CPU && allowed.is_set(core) {
        return Ok(());
    }
    let allowed: Vec<String> = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .map(|core| core.to_string())
        .collect();
    Err(format!("this process may not run on core {core}, but on {}", allowed.join(", ")))
}

/// Whether this process may run on a processor.
#[cfg(windows)]
pub fn check(core: usize) -> Result<(), String> {
    let ours = win::thread::processors().map_err(|e| format!("GetProcessAffinityMask: {e}"))?;
    let all: Vec<usize> = (0..usize::BITS as usize).filter(|core| ours >> core & 1 == 1).collect();
    if all.contains(&core) {
        return Ok(());
    }
    let all: Vec<_> = all.iter().map(usize::to_string).collect();
    Err(format!("this process may not run on core {core}, but on {}", all.join(", ")))
}

/// Whether this process may run on a processor.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn check(_: usize) -> Result<(), String> {
    Err("binding threads to cores is there on Linux and Windows only".to_owned())
}

/// Puts the current thread where it is to be. What the system refuses costs speed and nothing else,
/// so it is said and no more.
pub fn settle(name: &str, core: Core, nice: Option<i32>) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::setpriority_process;
        use rustix::thread::{CpuSet, sched_setaffinity};
        if let Some(core) = core {
            let mut set = CpuSet::new();
            set.set(core);
            if let Err(e) = sched_setaffinity(None, &set) {
                tracing::warn!(thread = name, core, "not bound to its core: {e}");
            }
        }
        // Of the thread alone, on Linux.
        if let Some(nice) = nice
            && let Err(e) = setpriority_process(None, nice)
        {
            tracing::warn!(thread = name, nice, "nice value not set: {e}");
        }
    }
    #[cfg(windows)]
    {
        if let Some(core) = core
            && let Err(e) = win::thread::bind(core)
        {
            tracing::warn!(thread = name, core, "not bound to its core: {e}");
        }
        if let Some(nice) = nice
            && let Err(e) = win::thread::set_nice(nice)
        {
            tracing::warn!(thread = name, nice, "priority not set: {e}");
        }
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    if core.is_some() || nice.is_some() {
        tracing::warn!(thread = name, "cores and nice values are set on Linux and Windows only");
    }
}

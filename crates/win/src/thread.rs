//! Where a thread runs, how important it is, and what it has used.
#![allow(unsafe_code, reason = "functions of the system that no other crate has")]

use std::io;
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, GetProcessAffinityMask, GetThreadTimes,
    SetThreadAffinityMask, SetThreadPriority, THREAD_PRIORITY_ABOVE_NORMAL,
    THREAD_PRIORITY_BELOW_NORMAL, THREAD_PRIORITY_HIGHEST, THREAD_PRIORITY_LOWEST,
    THREAD_PRIORITY_NORMAL,
};

/// The processors, of the first 64, that this process may run on, one bit each.
pub fn processors() -> io::Result<usize> {
    let (mut ours, mut all) = (0, 0);
    // SAFETY: it has no conditions.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: it is this process, and both numbers are written.
    let result = unsafe { GetProcessAffinityMask(process, &mut ours, &mut all) };
    done(result != 0).map(|()| ours)
}

/// Binds the calling thread to a processor, of the first 64.
pub fn bind(core: usize) -> io::Result<()> {
    let mask = u32::try_from(core).ok().and_then(|core| 1usize.checked_shl(core)).unwrap_or(0);
    // SAFETY: it is this thread, and every mask may be asked for.
    let before = unsafe { SetThreadAffinityMask(this(), mask) };
    done(before != 0)
}

/// Makes the calling thread as important as a nice value (-20 to 19) would, as far as Windows has so
/// many steps.
pub fn set_nice(nice: i32) -> io::Result<()> {
    let priority = match nice {
        ..=-10 => THREAD_PRIORITY_HIGHEST,
        -9..=-1 => THREAD_PRIORITY_ABOVE_NORMAL,
        0 => THREAD_PRIORITY_NORMAL,
        1..=9 => THREAD_PRIORITY_BELOW_NORMAL,
        10.. => THREAD_PRIORITY_LOWEST,
    };
    // SAFETY: it is this thread.
    let result = unsafe { SetThreadPriority(this(), priority) };
    done(result != 0)
}

/// CPU time of the calling thread, in steps of a tick, which is 15.6 ms.
pub fn cpu_time() -> io::Result<Duration> {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: it is this thread, and all four are written.
    let result = unsafe { GetThreadTimes(this(), created, ended, kernel, user) };
    done(result != 0)?;
    // Tenths of a microsecond.
    let ticks = |t: &FILETIME| u64::from(t.dwHighDateTime) << 32 | u64::from(t.dwLowDateTime);
    Ok(Duration::from_nanos((ticks(kernel) + ticks(user)) * 100))
}

/// The calling thread, wherever this value goes. It is not closed.
fn this() -> HANDLE {
    // SAFETY: it has no conditions.
    unsafe { GetCurrentThread() }
}

fn done(well: bool) -> io::Result<()> {
    if well { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_bound_and_made_less_important() {
        let first = processors().unwrap().trailing_zeros() as usize;
        std::thread::spawn(move || {
            bind(first).unwrap();
            bind(64).unwrap_err();
            set_nice(5).unwrap();
            set_nice(-20).unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn work_takes_time() {
        let before = cpu_time().unwrap();
        let mut n = 0u64;
        while cpu_time().unwrap() == before {
            n = std::hint::black_box(n + 1);
        }
        assert!(n > 0);
    }
}

//! Who the process is, and what it may: `-u`, `-r`, `-k`.

use log::{Level, warn};
use nix::errno::Errno;
use nix::unistd::{User, geteuid, getuid, initgroups, setgid, setuid};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Refusal;
use super::logging::say;

const EX_USAGE: u8 = 64;
const EX_NOUSER: u8 = 67;

/// `-u`: root becomes the user it names, for good; nobody else can become another, and is not told to. To be called
/// before there is any thread.
pub(super) fn become_user(name: Option<&str>) -> Result<(), Refusal> {
    if !getuid().is_root() && !geteuid().is_root() {
        return Ok(());
    }
    let refused = |code, message: String| Refusal { message, code };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(refused(
            EX_USAGE,
            "must add '-u root' to start as root".to_owned(),
        ));
    };
    let found = User::from_name(name).ok().flatten();
    let Some(user) = found else {
        return Err(refused(
            EX_NOUSER,
            format!("can't find the user {name} to switch to"),
        ));
    };
    let c_name = std::ffi::CString::new(name).expect("a name that was found has no zero byte");
    match initgroups(&c_name, user.gid) {
        Ok(()) => {}
        // There is nothing to lose already: so it is in containers without the capability.
        Err(Errno::EPERM) => warn!("supplementary groups stay as they are: {}", Errno::EPERM.desc()),
        Err(error) => {
            let message = format!("failed to set supplementary groups: {}", error.desc());
            return Err(Refusal::os(message));
        }
    }
    setgid(user.gid)
        .and_then(|()| setuid(user.uid))
        .map_err(|_| Refusal::os(format!("failed to assume identity of user {name}")))
}

/// `-r`: as large a core file as the system allows.
pub(super) fn allow_core_files() -> Result<(), Refusal> {
    let endless = Rlimit {
        current: None,
        maximum: None,
    };
    let maximum = getrlimit(Resource::Core).maximum;
    let to_maximum = Rlimit {
        current: maximum,
        maximum,
    };
    // The second is always allowed; what came of both is looked at below.
    let _ = setrlimit(Resource::Core, endless).or_else(|_| setrlimit(Resource::Core, to_maximum));
    match getrlimit(Resource::Core).current {
        Some(0) => Err(Refusal::os("-r: failed to ensure corefile creation".to_owned())),
        _ => Ok(()),
    }
}

/// `-k`: nothing is swapped out, now or later. The server works without, too.
pub(super) fn lock_memory() {
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        say(
            Level::Warn,
            &format!("warning: -k invalid, mlockall() failed: {error}"),
        );
    }
}

//! Which service a process belongs to, and how that is started anew.

use super::processes::printable;
use crate::engine::target::procfile;

/// What a process is part of, as its control group tells (systemd.unit(5); cgroups(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SystemdUnit {
    /// A service of the system.
    Service(String),
    /// A service of a user's own manager.
    OfUser(String),
    /// A login session.
    Session(String),
    /// Another scope, mostly a container's.
    Scope(String),
    /// systemd itself.
    Manager,
    /// None that is known.
    None,
}

impl SystemdUnit {
    /// The unit that a process belongs to.
    pub(crate) fn of(pid: i32) -> Self {
        if pid == 1 {
            return Self::Manager;
        }
        Self::parse(&procfile::text(&format!("/proc/{pid}/cgroup")).unwrap_or_default())
    }

    fn parse(cgroups: &str) -> Self {
        // The second hierarchy, else systemd's own of the first.
        let path = |prefix: &str| cgroups.lines().find_map(|line| line.strip_prefix(prefix));
        let named = || cgroups.lines().find_map(|l| l.split_once(":name=systemd:").map(|(_, path)| path));
        let path = path("0::").filter(|p| *p != "/").or_else(named).unwrap_or_default();
        let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        let Some(unit) = path.split('/').rfind(is_unit) else { return Self::None };
        let name = printable(unit);
        let below_manager = path.split('/').any(|part| part.starts_with("user@") && part != unit);
        match unit {
            "init.scope" => Self::Manager,
            _ if below_manager && unit.ends_with(".service") => Self::OfUser(name),
            _ if unit.ends_with(".service") => Self::Service(name),
            _ if unit.starts_with("session-") => Self::Session(name),
            _ => Self::Scope(name),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Service(name) | Self::OfUser(name) | Self::Session(name) | Self::Scope(name) => Some(name),
            Self::Manager | Self::None => None,
        }
    }

    /// What restarts the process: a command, where there is one.
    pub(crate) fn remedy(&self, pid: i32) -> String {
        match self {
            Self::Service(name) => format!("systemctl restart {name}"),
            Self::OfUser(name) => format!("systemctl --user restart {name} (as its user)"),
            Self::Session(name) => format!("log out and in again ({name})"),
            Self::Scope(name) => format!("start it again (part of {name}, perhaps a container)"),
            Self::Manager => "systemctl daemon-reexec".into(),
            Self::None => format!("start process {pid} again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SystemdUnit;

    #[test]
    fn units_of_control_groups() {
        let v2 = |path: &str| SystemdUnit::parse(&format!("0::{path}\n"));
        assert_eq!(v2("/system.slice/redis.service"), SystemdUnit::Service("redis.service".into()));
        assert_eq!(
            v2("/system.slice/system-getty.slice/getty@tty1.service/sub"),
            SystemdUnit::Service("getty@tty1.service".into())
        );
        assert_eq!(
            v2("/user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service"),
            SystemdUnit::OfUser("syncthing.service".into())
        );
        assert_eq!(
            v2("/user.slice/user-1000.slice/session-3.scope"),
            SystemdUnit::Session("session-3.scope".into())
        );
        assert_eq!(v2("/system.slice/docker-0a1b.scope"), SystemdUnit::Scope("docker-0a1b.scope".into()));
        assert_eq!(v2("/init.scope"), SystemdUnit::Manager);
        assert_eq!(v2("/"), SystemdUnit::None);
        let v1 = "12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n";
        assert_eq!(SystemdUnit::parse(v1), SystemdUnit::Service("cron.service".into()));
    }
}

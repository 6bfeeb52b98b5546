//! What a spec needs to be built, on a host whose packages rpm's database does not know (Debian and its kin).
//!
//! rpmbuild would miss every one of them there. So they are looked up in other ways, and only what nothing on
//! the host resembles counts as missing.

use crate::process::Tool;
use std::path::Path;

/// Does rpm's database know this host's packages? Then rpmbuild's own check is right.
pub(crate) fn host_uses_rpm() -> bool {
    let rpm = which::which("rpmbuild").unwrap_or_else(|_| "/usr/bin/rpmbuild".into());
    Tool::new("rpm").arg("-qf").arg(rpm).output().is_ok_and(|o| o.status.success())
}

/// The packages among `requires` that the host does not seem to have; empty where rpmbuild checks by itself.
pub(crate) fn missing(requires: &[String]) -> Vec<String> {
    if requires.is_empty() || host_uses_rpm() {
        return Vec::new();
    }
    requires.iter().filter(|r| !present(r)).cloned().collect()
}

fn present(requirement: &str) -> bool {
    let name = requirement.split_whitespace().next().unwrap_or_default();
    // A rich dependency, or one on rpm itself: not decided here.
    if name.is_empty() || name.starts_with('(') || name.starts_with("rpmlib(") {
        return true;
    }
    if name.starts_with('/') {
        return Path::new(name).exists();
    }
    let ok = |tool: Tool| tool.output().is_ok_and(|o| o.status.success());
    if ok(Tool::new("rpm").args(["-q", "--whatprovides", name])) {
        return true;
    }
    if let Some(module) = inside(name, "pkgconfig") {
        return ok(Tool::new("pkg-config").args(["--exists", module]));
    }
    if let Some(module) = inside(name, "perl") {
        return ok(Tool::new("perl").args([format!("-M{module}"), "-e1".to_owned()]));
    }
    if let Some(module) = inside(name, "python3dist").or_else(|| inside(name, "python3.11dist")) {
        return ok(Tool::new("python3")
            .args(["-c", &format!("import importlib.metadata as m; m.version('{module}')")]));
    }
    let bare = name.split('(').next().unwrap_or(name);
    if which::which(bare).is_ok()
        || name.ends_with("-rpm-macros")
        || bare == "gcc-c++" && which::which("g++").is_ok()
    {
        return true;
    }
    debian_names(bare).iter().any(|n| {
        let out = Tool::new("dpkg-query").args(["-W", "-f=${db:Status-Status} ", n]).output();
        out.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("installed") && o.status.success())
    })
}

fn inside<'a>(name: &'a str, kind: &str) -> Option<&'a str> {
    name.strip_prefix(kind)?.strip_prefix('(')?.split(')').next()
}

/// Names that Debian may have for a Fedora package.
fn debian_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some(base) = name.strip_suffix("-devel").or_else(|| name.strip_suffix("-static")) {
        let plain = base.strip_prefix("lib").unwrap_or(base);
        names.extend([
            format!("{base}-dev"),
            format!("lib{plain}-dev"),
            format!("lib{plain}1g-dev"),
            format!("lib{plain}*-dev"),
        ]);
    }
    if let Some(base) = name.strip_suffix("-libs") {
        names.push(format!("lib{base}*"));
    }
    match name {
        "glibc-devel" | "glibc-headers" | "glibc-static" => names.push("libc6-dev".into()),
        "openssl-devel" => names.push("libssl-dev".into()),
        "ncurses-devel" => names.push("libncurses-dev".into()),
        "kernel-headers" => names.push("linux-libc-dev".into()),
        "systemd-devel" => names.push("libsystemd-dev".into()),
        "libstdc++-devel" => names.push("libstdc++-*-dev".into()),
        _ => {}
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_host_has_is_missing() {
        assert!(!present("no-such-thing-devel >= 9"));
        assert!(!present("/no/such/file"));
        assert!(present("/bin/sh"));
    }
}

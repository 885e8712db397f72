//! How much memory the control groups of this process allow it: the least on the way up the hierarchy.
//!
//! ```text
//! /proc/self/cgroup      4:memory:/system.slice/x.service     where we are, below the hierarchy's root
//!                        0::/system.slice/x.service           version 2 has one hierarchy, and no name
//! /proc/self/mountinfo   .. /root /mount/point .. - cgroup .. memory     what part of it is mounted, and where
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Version 1 says that there is no limit by one near 2^63.
const UNLIMITED: u64 = 1 << 60;

/// The limit in bytes, if there is one. `system`: the root of the file system, for tests.
pub(super) fn limit(system: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(system.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    groups
        .lines()
        .filter_map(|line| Some((place(line, &mounts)?, line)))
        .filter_map(|((mount, group), line)| {
            let file = if line.starts_with("0::") {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            let mount = below(system, &mount);
            least(&mount, &group, file)
        })
        .min()
}

/// Where a line of `/proc/self/cgroup` is mounted, and the group's path below that.
fn place(line: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, Path::new(fields.next()?));
    let wanted = match controllers {
        "" => "cgroup2",
        _ if controllers.split(',').any(|name| name == "memory") => "cgroup",
        _ => return None,
    };
    mounts.lines().find_map(|mount| {
        let (mount, kind) = mount.split_once(" - ")?;
        let (root, point) = {
            let mut fields = mount.split(' ').skip(3);
            (Path::new(fields.next()?), PathBuf::from(fields.next()?))
        };
        let mut fields = kind.split(' ');
        let is_wanted = fields.next() == Some(wanted)
            && (wanted == "cgroup2" || fields.nth(1)?.split(',').any(|name| name == "memory"));
        // Inside of a container its own group may be mounted as the root, under the name that it has outside.
        let group = group.strip_prefix(root).unwrap_or(Path::new(""));
        is_wanted.then(|| (point, group.to_owned()))
    })
}

/// The least limit of the group and those that it is in, up to the mount.
fn least(mount: &Path, group: &Path, file: &str) -> Option<u64> {
    below(mount, group)
        .ancestors()
        .take_while(|folder| folder.starts_with(mount))
        .filter_map(|folder| number(&fs::read_to_string(folder.join(file)).ok()?))
        .min()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&limit| limit < UNLIMITED)
}

/// `path` taken as one below `folder`, whatever it begins with.
fn below(folder: &Path, path: &Path) -> PathBuf {
    let inside = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    inside.fold(folder.to_owned(), |folder, part| folder.join(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system of these files.
    #[track_caller]
    fn check(name: &str, files: &[(&str, &str)], want: Option<u64>) {
        let system = std::env::temp_dir().join(format!("ringcached-cgroup-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = system.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let found = limit(&system);
        fs::remove_dir_all(&system).expect("the files were there");
        assert_eq!(want, found, "{name}");
    }

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_least_on_the_way_up() {
        let files = [
            ("proc/self/cgroup", "0::/system.slice/cache.service\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/system.slice/cache.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
            ("memory.max", "1\n"),
        ];
        check("above", &files, Some(512 << 20));
        let own = (
            "sys/fs/cgroup/system.slice/cache.service/memory.max",
            "104857600\n",
        );
        check("own", &[&files[..], &[own]].concat(), Some(100 << 20));
    }

    #[test]
    fn both_versions_at_once_and_none() {
        let groups = "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n";
        let files = [
            ("proc/self/cgroup", groups),
            ("proc/self/mountinfo", V1),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        check("unlimited", &files, None);
        let limited = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "209715200\n");
        check("version 1", &[&files[..], &[limited]].concat(), Some(200 << 20));
        check("nothing", &[("proc/self/cgroup", "")], None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n");
        for (name, group) in [
            ("outer name", "4:memory:/docker/abc\n"),
            ("other name", "4:memory:/x/../..\n"),
        ] {
            let files = [("proc/self/cgroup", group), ("proc/self/mountinfo", mount), limit];
            check(name, &files, Some(1 << 20));
        }
    }
}

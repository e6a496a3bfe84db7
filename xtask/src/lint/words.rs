//! Words that belong to one place: pure boxes have no I/O, no clock and no aya; one writer, one exit.

use anyhow::Result;

use super::Finding;
use super::path::words;
use super::source::Source;

/// Words that may not stand in some folders, but for some files of them. One that ends with `_` or `::`
/// stands for everything that begins so.
struct Ban {
    words: &'static [&'static str],
    folders: &'static [&'static str],
    except: &'static [&'static str],
    rule: &'static str,
}

const BANS: [Ban; 4] = [
    Ban {
        words: &[
            "aya",
            "tokio",
            "rusqlite",
            "rtnetlink",
            "nix",
            "libc",
            "std::fs",
            "std::io",
            "std::env",
            "std::process",
            "std::thread",
            "std::time",
            "std::os",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "Instant",
            "SystemTime",
            "OffsetDateTime::now_utc",
            "async",
        ],
        folders: &[
            "fwd-common/src/",
            "fwd-user/src/state/",
            "fwd-user/src/compile/",
            "fwd-user/src/diagnose/",
            "fwd-user/src/plan/",
        ],
        except: &["fwd-common/src/pod.rs"],
        rule: "this is a pure box: no I/O, no clock, no aya, no async; time and randomness are arguments",
    },
    Ban {
        words: &["xdp_action", "TC_ACT_"],
        folders: &["fwd-ebpf/src/"],
        except: &["fwd-ebpf/src/finish.rs"],
        rule: "only finish.rs turns a verdict into a hook's code",
    },
    Ban {
        words: &["aya"],
        folders: &["fwd-user/src/"],
        except: &["fwd-user/src/datapath/", "fwd-user/src/observe/"],
        rule: "only datapath/ writes maps, and only observe/ reads what the kernel counts",
    },
    Ban {
        words: &["unsafe"],
        folders: &["fwd-user/src/", "fwd-common/src/"],
        except: &[
            "fwd-common/src/pod.rs",
            "fwd-user/src/daemon/start.rs",
            "fwd-user/src/datapath/",
            "fwd-user/src/host/driver.rs",
            "fwd-user/src/observe/",
        ],
        rule: "unsafe code of user space stands where maps are read and written, and for two calls of the kernel",
    },
];

pub fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    Ok(BANS.iter().flat_map(|ban| sources.iter().flat_map(|source| ban.check(source))).collect())
}

impl Ban {
    fn check(&self, source: &Source) -> Vec<Finding> {
        let within = |folders: &[&str]| folders.iter().any(|folder| source.path.starts_with(folder));
        if source.is_test() || !within(self.folders) || within(self.except) {
            return Vec::new();
        }
        let places = self.words.iter().flat_map(|word| words(&source.code, word).map(move |at| (word, at)));
        places
            .map(|(word, at)| Finding {
                path: source.path.clone(),
                line: source.line_at(at),
                what: format!("`{word}`: {}", self.rule),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::lint::source::Source;

    fn findings(path: &str, code: &str) -> usize {
        check(&[Source::new(path, code)]).expect("no I/O").len()
    }

    #[test]
    fn pure_boxes_have_no_clock() {
        assert_eq!(findings("fwd-user/src/plan/op.rs", "\nuse std::time::Instant;"), 2);
        assert_eq!(findings("fwd-user/src/plan/op.rs", "use core::time::Duration; // Instant"), 0);
        assert_eq!(findings("fwd-common/src/flow.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}"), 0);
    }

    #[test]
    fn only_finish_names_a_hooks_code() {
        assert_eq!(findings("fwd-ebpf/src/stage/policy.rs", "return TC_ACT_SHOT;"), 1);
        assert_eq!(findings("fwd-ebpf/src/finish.rs", "return TC_ACT_SHOT;"), 0);
        assert_eq!(findings("fwd-ebpf/src/stage/policy.rs", "MY_TC_ACT_SHOT"), 0);
    }

    #[test]
    fn a_word_is_whole() {
        assert_eq!(findings("fwd-user/src/cli/drop.rs", "use ayah::x; use aya::maps;"), 1);
    }
}

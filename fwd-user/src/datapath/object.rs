//! The kernel object: its maps are made or adopted, its programs loaded and pinned.
//!
//! Guarantees: a pinned map is used only if its type, sizes and flags are those of the object (aya does not
//! look); programs of the build that is pinned already are not loaded again. The note of the build is taken
//! away before the first pin changes and written after the last, so a half-done load is done anew.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapInfo, ProgramArray},
    programs::Program,
};
use aya_obj::generated::{BPF_F_RDONLY_PROG, bpf_map_type::BPF_MAP_TYPE_DEVMAP};
use fwd_common::map::{self, program};

use super::{
    error::{Error, Result},
    kernel::Options,
    log::LogLevel,
    pins::{Note, Pins},
    sizes::Sizes,
};

/// The object that was built with this binary.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fwd"));

/// Lines of the verifier's log that are shown: the end says why.
const LOG_LINES: usize = 12;

/// The most rows of each map, of which flow tables have as many as is asked for.
///
/// # Errors
/// The object cannot be read.
pub fn capacities() -> Result<Vec<(&'static str, u32)>> {
    let parsed = aya_obj::Object::parse(OBJECT).map_err(|e| Error::Object(e.to_string()))?;
    let of = |doc: &map::MapDoc| Some((doc.name, parsed.maps.get(doc.name)?.max_entries()));
    Ok(map::ALL.iter().filter_map(of).collect())
}

/// Makes sure that all maps and programs of the object are pinned, and returns the sizes that hold: those of
/// flow tables that were there are kept, so that their flows are.
///
/// # Errors
/// If a pinned map is not what the object needs, or the kernel refuses the object.
pub fn ensure_pinned(pins: &Pins, options: &Options<'_>) -> Result<Sizes> {
    let Options { object, sizes: asked, log, .. } = *options;
    let parsed = aya_obj::Object::parse(object).map_err(|e| Error::Object(e.to_string()))?;
    let sizes = match pins.map(map::FLOWS4).exists() {
        true => Sizes { flows: pins.open_map(map::FLOWS4)?.1.max_entries() / 2 },
        false => asked,
    };
    for doc in map::ALL.iter().filter(|doc| pins.map(doc.name).exists()) {
        if let Some(definition) = parsed.maps.get(doc.name) {
            check_map(doc.name, definition, &pins.open_map(doc.name)?.1, sizes)?;
        }
    }
    let build = build_of(object, log);
    let is_whole =
        map::ALL.iter().all(|doc| pins.map(doc.name).exists() || !parsed.maps.contains_key(doc.name))
            && program::ALL.iter().all(|name| pins.program(name).exists());
    if !is_whole || pins.read_note(Note::Build).as_ref() != Some(&build) {
        pins.remove_note(Note::Build)?;
        load(pins, object, sizes, log)?;
        pins.write_note(Note::Build, &build)?;
    }
    Ok(sizes)
}

fn check_map(name: &str, wanted: &aya_obj::Map, pinned: &MapInfo, sizes: Sizes) -> Result<()> {
    let kind = pinned.map_type().map_or(u32::MAX, |kind| kind as u32);
    let mut flags = pinned.map_flags();
    if kind == BPF_MAP_TYPE_DEVMAP as u32 {
        // The kernel adds this one itself.
        flags &= !BPF_F_RDONLY_PROG;
    }
    let rows = sizes.rows(name).unwrap_or(wanted.max_entries());
    for (what, pinned, wanted) in [
        ("the map type", kind, wanted.map_type()),
        ("the key size", pinned.key_size(), wanted.key_size()),
        ("the value size", pinned.value_size(), wanted.value_size()),
        ("the number of rows", pinned.max_entries(), rows),
        ("the flags", flags, wanted.map_flags()),
    ] {
        if pinned != wanted {
            return Err(Error::MapDiffers { map: name.to_owned(), what, pinned, wanted });
        }
    }
    Ok(())
}

fn build_of(object: &[u8], log: LogLevel) -> String {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    format!("{:016x} log {}", hasher.finish(), log.name())
}

fn load(pins: &Pins, object: &[u8], sizes: Sizes, log: LogLevel) -> Result<()> {
    let level = log as u8;
    let mut loader = EbpfLoader::new();
    loader.override_global(LogLevel::GLOBAL, &level, true);
    // Nothing in the object is relocated against the kernel's types.
    loader.btf(None);
    for doc in map::ALL {
        loader.map_pin_path(doc.name, pins.map(doc.name));
        if let Some(rows) = sizes.rows(doc.name) {
            loader.map_max_entries(doc.name, rows);
        }
    }
    let mut loaded = loader.load(object).map_err(|e| Error::Object(with_causes(&e)))?;
    for name in program::ALL {
        let program = load_program(&mut loaded, name)?;
        replace_pin(pins, name, program).map_err(|reason| Error::ProgramRefused { program: name, reason })?;
    }
    continue_in_pipeline(&mut loaded).map_err(|reason| Error::Object(format!("{}: {reason}", map::PIPELINE)))
}

/// Has the program of tunnels go on in that of all other devices, in place of an older one.
fn continue_in_pipeline(loaded: &mut Ebpf) -> std::result::Result<(), String> {
    let Some(Program::SchedClassifier(ingress)) = loaded.program(program::INGRESS) else {
        return Err(format!("there is no program {}", program::INGRESS));
    };
    let ingress = ingress.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(|e| with_causes(&e))?;
    let map = loaded.map_mut(map::PIPELINE).ok_or("there is no such map")?;
    let mut next = ProgramArray::try_from(map).map_err(|e| with_causes(&e))?;
    next.set(0, &ingress, 0).map_err(|e| with_causes(&e))
}

/// Has the kernel check a program and take it.
pub(super) fn load_program<'a>(loaded: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program> {
    let program =
        loaded.program_mut(name).ok_or_else(|| Error::Object(format!("it has no program {name}")))?;
    let result = match program {
        Program::Xdp(xdp) => xdp.load(),
        Program::SchedClassifier(classifier) => classifier.load(),
        _ => return Err(Error::Object(format!("program {name} is of a kind that fwd does not use"))),
    };
    result.map_err(|e| Error::ProgramRefused { program: name, reason: tail(&with_causes(&e)) })?;
    Ok(program)
}

/// Pins a program in place of the one of that name.
fn replace_pin(pins: &Pins, name: &str, program: &mut Program) -> std::result::Result<(), String> {
    let new = pins.program(&format!("{name}_new"));
    // One that an interrupted load left behind.
    let _ = fs::remove_file(&new);
    program.pin(&new).map_err(|e| with_causes(&e))?;
    fs::rename(&new, pins.program(name)).map_err(|e| e.to_string())
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The first line and the last ones.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() <= LOG_LINES {
        return lines.join("\n");
    }
    format!("{}\n…\n{}", lines[0], lines[lines.len() - LOG_LINES..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// aya-obj 0.3 links functions by their address, whatever their section: one of `.text.unlikely`, where `#[cold]`
    /// ones go, would be called in place of one of `.text`.
    #[test]
    fn no_two_functions_of_the_object_have_one_address() {
        let parsed = aya_obj::Object::parse(OBJECT).expect("the object was built with this binary");
        let programs: Vec<_> = parsed.programs.values().map(aya_obj::Program::function_key).collect();
        let called = parsed.functions.keys().filter(|key| !programs.contains(key));
        let mut addresses: Vec<u64> = called.map(|(_, address)| *address).collect();
        let all = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert!(all > 10, "{all} functions");
        assert_eq!(addresses.len(), all);
    }

    #[test]
    fn a_long_log_keeps_its_start_and_its_end() {
        let log: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let short = tail(&log);
        assert!(short.starts_with("line 0\n…\nline 88\n"), "{short}");
        assert!(short.ends_with("\nline 99"), "{short}");
    }
}

//! Programs of Debian's that are not static: the libraries that they need, each of which says it of itself.

use std::collections::BTreeMap;

use object::elf::{FileHeader64, DT_NEEDED, DT_SONAME};
use object::read::elf::{Dyn, FileHeader};
use object::Endianness;

use crate::package::Files;
use crate::Error;

/// What a program or a library says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Links {
    name: Option<String>,
    needs: Vec<String>,
}

/// The libraries among `files` that `programs` need, and those need, by the name that each is looked for.
///
/// # Errors
/// One is missing, or a program is none.
pub fn select<'a>(files: &'a Files, programs: &[&[u8]]) -> Result<BTreeMap<String, &'a [u8]>, Error> {
    let mut there = BTreeMap::new();
    for (path, content) in files.iter().filter(|(path, _)| is_library(path)) {
        let links = read(content).map_err(|reason| Error::package(path, reason))?;
        if let Some(name) = &links.name {
            there.insert(name.clone(), (links.needs, content.as_slice()));
        }
    }
    let mut wanted = Vec::new();
    for program in programs {
        wanted.extend(read(program).map_err(|reason| Error::package("a program", reason))?.needs);
    }
    let mut found = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let missing = || Error::package(&name, "no package has this library");
        let (needs, content) = there.get(&name).ok_or_else(missing)?;
        if found.insert(name, *content).is_none() {
            wanted.extend(needs.iter().cloned());
        }
    }
    Ok(found)
}

/// Whether it is where programs look for libraries, and not a part of one.
pub fn is_library(path: &str) -> bool {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let mut parts = path.split('/');
    let (first, second, name) = (parts.next(), parts.next(), parts.next());
    first == Some("lib")
        && second.is_some_and(|directory| directory.contains("-linux-gnu"))
        && name.is_some_and(|name| name.contains(".so"))
        && parts.next().is_none()
}

fn read(bytes: &[u8]) -> Result<Links, String> {
    let read = || {
        let header = FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, bytes)?;
        let mut links = Links::default();
        let Some((entries, strings)) = sections.dynamic(endian, bytes)? else { return Ok(links) };
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries {
            let text = || entry.string(endian, strings).map(|text| String::from_utf8_lossy(text).into_owned());
            match entry.tag(endian) {
                DT_NEEDED => links.needs.push(text()?),
                DT_SONAME => links.name = Some(text()?),
                _ => {}
            }
        }
        Ok::<_, object::Error>(links)
    };
    read().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_where_programs_look() {
        for path in ["usr/lib/x86_64-linux-gnu/libc.so.6", "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"] {
            assert!(is_library(path), "{path}");
        }
        for path in ["usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", "usr/lib/x86_64-linux-gnu/libc.a", "usr/bin/a.so"] {
            assert!(!is_library(path), "{path}");
        }
    }

    #[test]
    fn what_a_program_needs_is_found_and_what_is_missing_named() {
        // This test itself is a program that needs the C library.
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = read(&program).unwrap().needs;
        assert!(needs.iter().any(|name| name == "libc.so.6"), "{needs:?}");
        let error = select(&Files::new(), &[&program]).unwrap_err().to_string();
        assert!(error.contains("lib"), "{error}");
        assert!(select(&Files::new(), &[b"#!/bin/sh"]).is_err());
    }

    #[test]
    fn libraries_go_by_their_own_names_and_bring_what_they_need() {
        let directory = tempfile::tempdir().unwrap();
        let build = |name: &str, with: &[&str]| {
            let out = directory.path().join(name);
            let mut compiler = std::process::Command::new("cc");
            compiler.args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-x", "none", "-Wl,--no-as-needed"]);
            compiler.arg(format!("-Wl,-soname,{}.1", name.trim_end_matches(".4.2"))).arg("-o").arg(&out);
            compiler.args(with.iter().map(|name| directory.path().join(name)));
            assert!(compiler.status().unwrap().success());
            std::fs::read(out).unwrap()
        };
        let inner = build("libinner.so.4.2", &[]);
        let outer = build("libouter.so.4.2", &["libinner.so.4.2"]);
        let program = build("program.4.2", &["libouter.so.4.2"]);
        let at = |name: &str| format!("usr/lib/x86_64-linux-gnu/{name}");
        let files = Files::from([(at("libinner.so.4.2"), inner.clone()), (at("libouter.so.4.2"), outer.clone())]);
        let found = select(&files, &[&program]).unwrap();
        assert_eq!(found, [("libinner.so.1".to_owned(), &inner[..]), ("libouter.so.1".to_owned(), &outer[..])].into());
    }
}

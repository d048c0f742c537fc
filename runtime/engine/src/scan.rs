//! The look at an untrusted module before wasmi compiles it: caps where wasmi has none, and what a reset must cover.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use eyot_wire::module::{EXPORT_MEMORY, IMPORT_MODULE, MODULE_MAX_BYTES, SECTION_MANIFEST};
use wasmparser::{
    BinaryReaderError, ElementItems, Encoding, FunctionBody, Operator, Parser, Payload, TableInit, TypeRef,
};

use crate::error::LoadError;
use crate::host::HOST_CALLS;
use crate::limits::{
    BLOCKS_NESTED_MAX, BODY_MAX_BYTES, EXPORTS_MAX, FUNCTIONS_MAX, GLOBALS_MAX, GROWS_MAX, IMPORTS_MAX, LOCALS_MAX,
    SEGMENTS_MAX, TABLES_MAX, TABLE_ELEMENTS_MAX, TYPES_MAX,
};
use crate::selects::Selects;

/// What the rest of the engine needs to know of a module.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// Contents of the manifest section.
    pub(crate) manifest: Option<&'a [u8]>,
    /// Initial linear memory.
    pub(crate) memory_bytes: u64,
    /// Indexes of globals that code can change.
    pub(crate) mutable_globals: Vec<u32>,
    /// Whether code can change tables or drop segments, which no API can put back.
    pub(crate) changes_tables_or_segments: bool,
    /// The export section.
    pub(crate) exports: Option<ExportSection>,
    /// Whether code chooses by a comparison in a way that wasmi gets wrong; see [`crate::selects`].
    pub(crate) has_bad_selects: bool,
}

/// Where the export section stands in the module.
#[derive(Clone, Debug)]
pub(crate) struct ExportSection {
    /// Where its header starts.
    pub(crate) header: usize,
    /// Its entries, after the count.
    pub(crate) entries: Range<usize>,
    /// Number of entries.
    pub(crate) count: u32,
}

const MAGIC: &[u8] = b"\0asm";
/// Magic number and version.
pub(crate) const PREAMBLE_BYTES: usize = 8;

pub(crate) fn invalid(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}

fn cap(what: &'static str, count: u64, most: u64) -> Result<(), LoadError> {
    if count > most {
        return Err(LoadError::TooMany { what, count, most });
    }
    Ok(())
}

fn forbidden<T>(what: &'static str, remedy: &'static str) -> Result<T, LoadError> {
    Err(LoadError::Forbidden { what, remedy })
}

/// Reads the whole module once. Does not validate it: wasmi does, afterwards.
pub(crate) fn scan(wasm: &[u8]) -> Result<Facts<'_>, LoadError> {
    if wasm.len() > MODULE_MAX_BYTES {
        return Err(LoadError::TooLarge { bytes: wasm.len() });
    }
    // The parser's own words for this are a table of bytes over many lines.
    if !wasm.starts_with(MAGIC) {
        return Err(LoadError::Invalid("it does not begin with \\0asm, as every module does".into()));
    }
    let mut facts = Facts::default();
    let mut memories = 0;
    let mut section_end = PREAMBLE_BYTES;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        let header = section_end;
        if let Some((_, range)) = payload.as_section() {
            section_end = range.end;
        }
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return forbidden("a component is", "build a core module for wasm32-unknown-unknown");
            }
            Payload::Version { num, .. } if num != 1 => {
                return Err(LoadError::Invalid(format!("version {num} of the format is not known")));
            }
            Payload::CustomSection(section) if section.name() == SECTION_MANIFEST => {
                if facts.manifest.replace(section.data()).is_some() {
                    return forbidden("a second eyot.manifest section is", "build the function again");
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    memories += 1;
                    let memory = memory.map_err(invalid)?;
                    let page_log2 = memory.page_size_log2.unwrap_or(16).min(16);
                    facts.memory_bytes = memory.initial.saturating_mul(1 << page_log2);
                }
            }
            Payload::CodeSectionEntry(body) => scan_body(&body, &mut facts)?,
            other => scan_section(other, header, &mut facts)?,
        }
    }
    match memories {
        0 => Err(LoadError::MissingExport { name: EXPORT_MEMORY }),
        1 => Ok(facts),
        _ => forbidden("more than one memory is", "link with a single memory"),
    }
}

fn scan_section(payload: Payload<'_>, header: usize, facts: &mut Facts<'_>) -> Result<(), LoadError> {
    match payload {
        Payload::TypeSection(section) => cap("function types", section.count().into(), TYPES_MAX.into()),
        Payload::ImportSection(section) => {
            cap("imports", section.count().into(), IMPORTS_MAX.into())?;
            section.into_iter().try_for_each(|import| scan_import(&import.map_err(invalid)?))
        }
        Payload::FunctionSection(section) => cap("functions", section.count().into(), FUNCTIONS_MAX.into()),
        Payload::TableSection(section) => {
            cap("tables", section.count().into(), TABLES_MAX.into())?;
            let mut elements = 0u64;
            for table in section {
                let table = table.map_err(invalid)?;
                elements = elements.saturating_add(table.ty.initial);
                cap("table elements", elements, TABLE_ELEMENTS_MAX)?;
                if matches!(table.init, TableInit::Expr(_)) {
                    return forbidden("a table with an initial value is", "use an element segment");
                }
            }
            Ok(())
        }
        Payload::GlobalSection(section) => {
            cap("globals", section.count().into(), GLOBALS_MAX.into())?;
            for (index, global) in (0..).zip(section) {
                if global.map_err(invalid)?.ty.mutable {
                    facts.mutable_globals.push(index);
                }
            }
            Ok(())
        }
        Payload::ExportSection(section) => {
            cap("exports", section.count().into(), EXPORTS_MAX.into())?;
            let entries = section.original_position()..section.range().end;
            facts.exports = Some(ExportSection { header, entries, count: section.count() });
            Ok(())
        }
        Payload::StartSection { .. } => forbidden("a start function is", "do its work in eyot_init"),
        Payload::ElementSection(section) => {
            cap("element segments", section.count().into(), SEGMENTS_MAX.into())?;
            let mut items = 0u64;
            for element in section {
                items += match element.map_err(invalid)?.items {
                    ElementItems::Functions(list) => u64::from(list.count()),
                    ElementItems::Expressions(_, list) => u64::from(list.count()),
                };
            }
            cap("elements in segments", items, TABLE_ELEMENTS_MAX)
        }
        Payload::DataSection(section) => cap("data segments", section.count().into(), SEGMENTS_MAX.into()),
        _ => Ok(()),
    }
}

fn scan_import(import: &wasmparser::Import<'_>) -> Result<(), LoadError> {
    match import.ty {
        TypeRef::Func(_) if import.module == IMPORT_MODULE && HOST_CALLS.contains(&import.name) => Ok(()),
        TypeRef::Memory(_) => forbidden("an imported memory is", "define and export the memory"),
        _ => Err(LoadError::UnknownImport { module: import.module.to_string(), name: import.name.to_string() }),
    }
}

fn scan_body(body: &FunctionBody<'_>, facts: &mut Facts<'_>) -> Result<(), LoadError> {
    cap("bytes in one function", body.range().len() as u64, BODY_MAX_BYTES as u64)?;
    let mut locals = 0u64;
    for group in body.get_locals_reader().map_err(invalid)? {
        locals = locals.saturating_add(group.map_err(invalid)?.0.into());
        cap("locals in one function", locals, LOCALS_MAX)?;
    }
    let (mut grows, mut nested, mut selects) = (0, 0u64, Selects::default());
    for operator in body.get_operators_reader().map_err(invalid)? {
        let operator = operator.map_err(invalid)?;
        facts.has_bad_selects |= selects.is_bad(&operator);
        match operator {
            Operator::MemoryGrow { .. } => {
                grows += 1;
                cap("memory.grow in one function", grows, GROWS_MAX.into())?;
            }
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                nested += 1;
                cap("blocks inside each other", nested, BLOCKS_NESTED_MAX)?;
            }
            Operator::End => nested = nested.saturating_sub(1),
            Operator::TableGrow { .. } => return forbidden("table.grow is", "declare the table at its full size"),
            Operator::TableSet { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::DataDrop { .. } => facts.changes_tables_or_segments = true,
            _ => {}
        }
    }
    Ok(())
}

//! `eyot test`: the cases in a function's folder, through its module.

use std::fs;
use std::path::{Path, PathBuf};

use eyot_wire::capture::Capture;

use crate::case::compare::{coloured, differences};
use crate::case::document::Document;
use crate::case::runner::Runner;
use crate::case::{self, Case, Recording};
use crate::error::Error;
use crate::output::{self, BAD, GOOD};
use crate::{build, file, guest};

/// Most files of cases in one folder.
const FILES_MAX: usize = 10_000;

/// Run the cases in a function's folder through its module, without a gateway.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of the function, with its cases in tests/*.json and tests/*.cap.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The module [default: DIR/<name>.wasm, as `eyot build` makes it].
    #[arg(long, value_name = "FN.wasm")]
    wasm: Option<PathBuf>,
    /// Makes what comes out what is to come, in the files. Look at the difference before you commit it.
    #[arg(long)]
    update: bool,
}

impl Args {
    /// The cases of the folder `dir` through the module `wasm`.
    pub fn of(dir: &Path, wasm: &Path) -> Self {
        Self { dir: dir.to_owned(), wasm: Some(wasm.to_owned()), update: false }
    }
}

const EXAMPLES: &str = "\
Examples:
  eyot test greenhouse
  eyot test greenhouse --update
  cp smooth.cap functions/smooth/tests/              # captures must come out as they were recorded
  mosquitto_sub -t eyot/barn-7/dead/smooth -C 1 > functions/smooth/tests/sensor-7.json
                                                     # a dead letter must end well

A case, of which only topic must be there:
  {
    \"topic\": \"sensors/7/raw\",
    \"payload\": {\"t\": 21.5},
    \"now_ms\": 1767225600000,
    \"seed\": 1,
    \"state\": {\"last\": \"20.1\", \"bytes\": \"base64:/wA=\"},
    \"config\": {\"factor\": \"3\"},
    \"expect\": {\"emits\": [{\"topic\": \"processed/7\", \"payload\": {\"t\": 64.5}}]}
  }
payload is text, other JSON that is taken as it is written, or payload_base64. expect has what `eyot run --json` prints: emits, \
state, logs, error; what it leaves out is not compared, and without error the message must end well. A payload that is \
to come and is not text is compared as a document, not as bytes.
Exit codes: 0 all came out, 1 one did not, 2 a file cannot be used.";

/// A file of cases.
struct File {
    path: PathBuf,
    recording: Recording,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let (_, manifest) = build::read_manifest(&args.dir)?;
    let module = args.wasm.clone().unwrap_or_else(|| args.dir.join(format!("{}.wasm", manifest.name)));
    if !module.exists() {
        let remedy = format!("build it: eyot build {}", args.dir.display());
        return Err(Error::bad_input(module.display(), "is not there", remedy));
    }
    let mut files = files(&args.dir.join("tests"))?;
    let failed = guest::on_guest_thread(|| run(args, &module, &mut files))?;
    let count = files.iter().map(|file| file.len()).sum::<usize>();
    if args.update || failed == 0 {
        let cases = if count == 1 { "case" } else { "cases" };
        return output::print(&format!("{GOOD}{count} {cases}{GOOD:#} of {}\n", manifest.name));
    }
    let reason = format!("{failed} of {count} cases do not come out");
    Err(Error::failed(args.dir.display(), reason, remedy(args, &module)))
}

fn files(folder: &Path) -> Result<Vec<File>, Error> {
    let none = |reason: String| {
        Error::bad_input(folder.display(), reason, "write a case, as in `eyot test --help`, or put a capture there")
    };
    let entries = fs::read_dir(folder).map_err(|e| none(format!("has no cases: {e}")))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_case = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json" || ending == "cap");
    let mut paths: Vec<PathBuf> = paths.filter(is_case).take(FILES_MAX + 1).collect();
    if paths.is_empty() || paths.len() > FILES_MAX {
        return Err(none(format!("has {} files *.json or *.cap", if paths.is_empty() { "no" } else { "too many" })));
    }
    paths.sort();
    paths.into_iter().map(|path| Ok(File { recording: case::read(&path)?, path })).collect()
}

impl File {
    fn len(&self) -> usize {
        match &self.recording {
            Recording::Captures(captures) => captures.len(),
            Recording::Documents(documents) => documents.len(),
        }
    }

    fn cases(&self) -> Result<Vec<Case>, Error> {
        let cases: Vec<Case> = match &self.recording {
            Recording::Captures(captures) => captures.iter().cloned().map(Case::from).collect(),
            Recording::Documents(documents) => {
                let read = documents.iter().map(|document| document.case(false));
                let read = read.collect::<Result<_, _>>();
                read.map_err(|reason| Error::bad_input(self.path.display(), reason, "see `eyot test --help`"))?
            }
        };
        cases.iter().try_for_each(|case| case.check(&self.path.display().to_string()))?;
        Ok(cases)
    }
}

/// Runs all of them; returns how many did not come out.
fn run(args: &Args, module: &Path, files: &mut [File]) -> Result<usize, Error> {
    let mut failed = 0;
    let mut runner: Option<Runner> = None;
    for file in files {
        let cases = file.cases()?;
        let mut outcomes = Vec::new();
        for (number, case) in (1..).zip(&cases) {
            let runner = match &mut runner {
                Some(runner) => runner,
                None => runner.insert(Runner::load(module, Some(case))?),
            };
            let (outcome, _) = runner.run(case)?;
            let differences = differences(&case.expected, &outcome);
            failed += usize::from(!differences.is_empty());
            tell(args, &file.path, number, cases.len(), &differences)?;
            outcomes.push(outcome);
        }
        if args.update {
            for (at, outcome) in outcomes.into_iter().enumerate() {
                match &mut file.recording {
                    Recording::Captures(captures) => {
                        captures.iter_mut().skip(at).take(1).for_each(|c| c.outcome = outcome.clone())
                    }
                    Recording::Documents(documents) => {
                        documents.iter_mut().skip(at).take(1).for_each(|d| d.update(&outcome))
                    }
                }
            }
            write(file)?;
        }
    }
    Ok(failed)
}

fn tell(args: &Args, path: &Path, number: usize, of: usize, differences: &[String]) -> Result<(), Error> {
    let place = if of > 1 { format!("{}, {number}", path.display()) } else { path.display().to_string() };
    let (style, word) = match (differences.is_empty(), args.update) {
        (true, _) => (GOOD, "ok"),
        (false, true) => (GOOD, "updated"),
        (false, false) => (BAD, "failed"),
    };
    let mut text = format!("{style}{word:<7}{style:#} {place}\n");
    differences.iter().for_each(|line| text.push_str(&format!("  {}\n", coloured(line))));
    output::print(&text)
}

/// Writes a file with what came out in place of what was to come.
fn write(file: &File) -> Result<(), Error> {
    let bytes = match &file.recording {
        Recording::Captures(captures) => captures.iter().filter_map(Capture::encode).flatten().collect(),
        Recording::Documents(documents) => {
            let mut text = String::new();
            for document in documents {
                let fault = |e| Error::failed(file.path.display(), e, "report this as a fault of eyot");
                text.push_str(&serde_json::to_string_pretty::<Document>(document).map_err(fault)?);
                text.push('\n');
            }
            text.into_bytes()
        }
    };
    file::write_atomically(&file.path, &bytes)
}

/// What to do about cases that do not come out.
fn remedy(args: &Args, module: &Path) -> String {
    let written = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let source = args.dir.join("src/lib.rs");
    match (written(&source), written(module)) {
        (Some(source), Some(module)) if args.wasm.is_none() && source > module => {
            format!("src/lib.rs is newer than the module: eyot build {}", args.dir.display())
        }
        _ => format!("correct the function, or if this is right: eyot test {} --update", args.dir.display()),
    }
}

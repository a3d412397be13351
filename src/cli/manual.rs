//! `completions` and `man`: the command line told to shells and to readers. No cluster is asked.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::failure::Failure;
use super::{Cli, output};

/// Prints completions for a shell, to be sourced by it
#[derive(Args, Debug)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "innkeeper", &mut script);
        output::print(String::from_utf8_lossy(&script).trim_end())
    }
}

/// Prints the manual page, or writes those of all subcommands
#[derive(Args, Debug)]
pub(super) struct Manual {
    /// Write a page for each subcommand here
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Manual {
    pub fn run(&self) -> Result<(), Failure> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        match &self.dir {
            None => output::print(String::from_utf8_lossy(&page(&command)?).trim_end()),
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
                write(dir, &command)
            }
        }
    }
}

/// The pages of a command and of all under it.
fn write(dir: &Path, command: &Command) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).map_err(|error| unwritable(&path, &error))?;
    command.get_subcommands().try_for_each(|subcommand| write(dir, subcommand))
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::Failed(format!("the page can't be rendered: {error}")))?;
    Ok(page)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{} can't be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        Manual { dir: Some(dir.path().join("man1")) }.run().unwrap();
        let names = names("innkeeper", &Cli::command());
        assert!(names.iter().any(|name| name == "innkeeper-put-rate"), "{names:?}");
        for name in names {
            let page = std::fs::read_to_string(dir.path().join(format!("man1/{name}.1"))).expect(&name);
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }

    /// Of the command and of all below it, as their pages are called.
    fn names(name: &str, command: &clap::Command) -> Vec<String> {
        let below = command.get_subcommands().filter(|it| it.get_name() != "help");
        let below = below.flat_map(|it| names(&format!("{name}-{}", it.get_name()), it));
        std::iter::once(name.to_owned()).chain(below).collect()
    }
}

use clap::{Args, CommandFactory};
use clap_complete::Shell as ShellKind;

use crate::Shell;
use crate::args::Cli;
use crate::errors::Result;

/// Print a script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  littoral completion bash > ~/.local/share/bash-completion/completions/littoral
  littoral completion zsh > ~/.zfunc/_littoral
  littoral completion fish > ~/.config/fish/completions/littoral.fish")]
pub(crate) struct Completion {
    /// Which shell
    shell: ShellKind,
}

pub(crate) fn run(completion: &Completion, shell: &Shell) -> Result<()> {
    shell.output.bytes(&script(completion.shell))
}

fn script(shell: ShellKind) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "littoral", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_the_verbs_and_nothing_hidden() {
        for shell in [ShellKind::Bash, ShellKind::Zsh, ShellKind::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            assert!(script.contains("invoke") && script.contains("token"), "{shell}");
            assert!(!script.contains("__agent"), "{shell}");
        }
    }
}

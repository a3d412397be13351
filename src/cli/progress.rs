//! How far long work is, on stderr, where a person watches it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts to `length`. It draws nothing where stderr is no terminal.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = "{elapsed_precise} {bar:40} {human_pos}/{human_len} {prefix} {per_sec} {msg}";
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(ProgressStyle::with_template(style).expect("the template is a constant"));
    bar.set_prefix(what);
    bar
}

//! The manual page: the options, and sections that the options do not tell.

use super::command;
use clap_mangen::Man;

/// Examples, exit status, files, other pages.
const TAIL: &str = include_str!("manual.roff");

/// The page, as roff.
///
/// # Errors
/// None that a buffer in memory can have.
pub(crate) fn manual() -> std::io::Result<Vec<u8>> {
    let man = Man::new(command());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(TAIL.as_bytes());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchfile::exit::BuildExit;

    #[test]
    fn the_page_has_options_and_what_goes_beyond_them() {
        let page = String::from_utf8(manual().unwrap()).unwrap();
        for section in ["SOURCE", "OUTPUT", "EXAMPLES", "EXIT STATUS", "FILES", "SEE ALSO"] {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
        }
        for code in 0..=BuildExit::Mismatch as u8 {
            assert!(page.contains(&format!("\n\\fB{code}\\fR\n")), "exit code {code}");
        }
    }
}
